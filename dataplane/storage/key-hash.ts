// Hashes of row keys, for the tables of storage. A Map looks each key up among all strings of the process
// first (V8 internalizes what it looks up), which costs more than the rest of a small row.

export class KeyHash {
  readonly #multiplier: number;
  /** A row is mostly looked up several times in a row. */
  #lastKey = '';
  #lastHash = 0;

  /** A secret seed: then nobody can choose keys whose hashes meet. */
  constructor(seed = 0x9e3779b9) {
    this.#multiplier = seed | 1;
    this.#lastHash = this.#hash('');
  }

  of(key: string): number {
    if (key === this.#lastKey) return this.#lastHash;
    this.#lastKey = key;
    this.#lastHash = this.#hash(key);
    return this.#lastHash;
  }

  /** 32 bits; equal keys only have equal hashes by the same object. */
  #hash(key: string): number {
    const multiplier = this.#multiplier;
    let hash = key.length;
    for (let i = 0; i < key.length; i++) {
      hash = Math.imul(hash ^ key.charCodeAt(i), multiplier);
      hash ^= hash >>> 15;
    }
    return hash >>> 0;
  }
}
