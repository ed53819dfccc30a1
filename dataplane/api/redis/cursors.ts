// Numbers for the cursors of scans: Redis clients take a cursor for a number, ours is the place of the last
// key.
//   N1. Bounded: the ones used least recently are forgotten, and a scan that comes back with one has to
//       begin anew.
//   N2. A place is kept as a string: a small Buffer would keep the pool alive that it was cut from (64 KiB).

import { fromByteString, toByteString } from '../../storage/keys.ts';

const CURSORS_MAX = 10_000;

export class Cursors {
  /** Oldest first. */
  readonly #places = new Map<number, { readonly of: string; readonly cursor: string }>();
  #next = 1;

  /** A number for the place; `of` says which scan it belongs to. */
  give(of: string, cursor: Uint8Array): number {
    const number = this.#next++;
    this.#places.set(number, { of, cursor: toByteString(cursor) });
    if (this.#places.size > CURSORS_MAX) {
      for (const oldest of this.#places.keys()) {
        this.#places.delete(oldest);
        break;
      }
    }
    return number;
  }

  /** undefined: it is not known, any more or at all. It stays valid, for a client that lost the reply. */
  find(of: string, number: number): Buffer | undefined {
    const place = this.#places.get(number);
    if (place?.of !== of) return undefined;
    this.#places.delete(number);
    this.#places.set(number, place);
    return fromByteString(place.cursor);
  }
}
