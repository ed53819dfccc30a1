// Values by row key: what of a Map the memtable needs, over KeyHash. In no particular order.
import type { KeyHash } from './key-hash.ts';
import { PackedIndex } from './packed-index.ts';

export class CellMap<V> {
  readonly #hash: KeyHash;
  readonly #index = new PackedIndex(1);
  /** Without holes; the place of an entry is its number and one. */
  readonly #keys: string[] = [];
  readonly #hashes: number[] = [];
  readonly #values: V[] = [];
  /** What is looked for, so that a look takes no closure. */
  #key = '';

  constructor(hash: KeyHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#keys.length;
  }

  get(key: string): V | undefined {
    const place = this.#find(key);
    return place === 0 ? undefined : this.#values[place - 1];
  }

  has(key: string): boolean {
    return this.#find(key) !== 0;
  }

  set(key: string, value: V): void {
    const place = this.#find(key);
    if (place !== 0) {
      this.#values[place - 1] = value;
      return;
    }
    const hash = this.#hash.of(key);
    this.#keys.push(key);
    this.#hashes.push(hash);
    this.#values.push(value);
    this.#index.add(hash, this.#keys.length);
  }

  delete(key: string): void {
    const place = this.#find(key);
    if (place === 0) return;
    this.#index.remove(this.#hash.of(key), place);
    const lastKey = this.#keys.pop() as string;
    const lastHash = this.#hashes.pop() as number;
    const lastValue = this.#values.pop() as V;
    if (place > this.#keys.length) return;
    this.#keys[place - 1] = lastKey;
    this.#hashes[place - 1] = lastHash;
    this.#values[place - 1] = lastValue;
    this.#index.move(lastHash, this.#keys.length + 1, place);
  }

  /** Nothing may be added or deleted meanwhile. */
  *[Symbol.iterator](): IterableIterator<[string, V]> {
    for (let i = 0; i < this.#keys.length; i++) yield [this.#keys[i] as string, this.#values[i] as V];
  }

  #find(key: string): number {
    if (this.#keys.length === 0) return 0;
    this.#key = key;
    return this.#index.find(this.#hash.of(key), this.#isKeyAt);
  }

  readonly #isKeyAt = (place: number): boolean => this.#keys[place - 1] === this.#key;
}
