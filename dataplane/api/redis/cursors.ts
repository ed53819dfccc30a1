// Numbers for the cursors of scans: Redis clients take a cursor for a number, ours is the place of the last
// key.
//   N1. Bounded: the ones used least recently are forgotten, and a scan that comes back with one has to
//       begin anew.

const CURSORS_MAX = 10_000;

export class Cursors {
  /** Oldest first. */
  readonly #places = new Map<number, { readonly of: string; readonly cursor: Buffer }>();
  #next = 1;

  /** A number for the place; `of` says which scan it belongs to. */
  give(of: string, cursor: Buffer): number {
    const number = this.#next++;
    this.#places.set(number, { of, cursor });
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
    return place.cursor;
  }
}
