// Looks at the memory of several packed rows before the first of them is needed. A million rows are in no
// cache of a processor: one after the other, each look would wait for longer than the rest of its decision
// takes, while the waits of looks that do not depend on each other overlap.
import type { RowRef } from './contract.ts';
import type { KeyHash } from './key-hash.ts';
import type { PackedIndex } from './packed-index.ts';
import { flagsAt, offsetOf, type PackedSlabs } from './packed-slabs.ts';

/** More than a processor has on their way. */
const TOGETHER_MAX = 64;

export class PackedGlance {
  /** Of what was looked at. Nobody needs it, but looks without any result would be optimised away. */
  sum = 0;
  readonly #hash: KeyHash;
  readonly #index: PackedIndex;
  readonly #slabs: PackedSlabs;
  readonly #hashes = new Uint32Array(TOGETHER_MAX);
  readonly #places = new Uint32Array(TOGETHER_MAX);

  constructor(parts: { hash: KeyHash; index: PackedIndex; slabs: PackedSlabs }) {
    this.#hash = parts.hash;
    this.#index = parts.index;
    this.#slabs = parts.slabs;
  }

  at(refs: readonly RowRef[]): void {
    for (let from = 0; from < refs.length; from += TOGETHER_MAX) {
      const count = Math.min(TOGETHER_MAX, refs.length - from);
      const [hashes, places] = [this.#hashes, this.#places];
      for (let i = 0; i < count; i++) hashes[i] = this.#hash.of((refs[from + i] as RowRef).key);
      for (let i = 0; i < count; i++) places[i] = this.#index.glance(hashes[i] as number);
      let sum = 0;
      for (let i = 0; i < count; i++) {
        const place = places[i] as number;
        if (place !== 0) sum ^= flagsAt(this.#slabs.of(place), offsetOf(place));
      }
      this.sum = sum;
    }
  }
}
