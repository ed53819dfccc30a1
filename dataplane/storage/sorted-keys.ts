// Ordered byte-string keys as a list of sorted chunks. Ascending keys are appended; others cost two binary searches and
// a move of at most one chunk.
//   K1. Chunks are sorted, not empty (save the only one), and in order; no key is there twice.

const CHUNK_KEYS_MAX = 512;

export class SortedKeys {
  readonly #chunks: string[][] = [[]];
  /** Chunk of the last insertion: runs of ascending keys in the middle (one run for each queue) stay cheap. */
  #hint = 0;

  /** A key that is there already stays. */
  add(key: string): void {
    const at = this.#chunkFor(key);
    const chunk = this.#chunks[at] ?? [];
    const last = chunk[chunk.length - 1];
    this.#hint = at;
    if (last === undefined || key > last) {
      if (chunk.length < CHUNK_KEYS_MAX) chunk.push(key);
      else this.#chunks.splice(++this.#hint, 0, [key]);
      return;
    }
    const place = lowerBound(chunk, key);
    if (chunk[place] === key) return;
    chunk.splice(place, 0, key);
    if (chunk.length > CHUNK_KEYS_MAX) {
      this.#chunks.splice(at + 1, 0, chunk.splice(Math.max(place + 1, CHUNK_KEYS_MAX / 2)));
    }
  }

  /** From the first key >= `from` upwards to the last one < `to`. */
  ascending(from: string, to: string): KeyCursor {
    const chunk = this.#chunkFor(from);
    return new KeyCursor(this.#chunks, chunk, lowerBound(this.#chunks[chunk] ?? [], from), 1, to);
  }

  /** From the last key < `to` downwards to `from`. */
  descending(from: string, to: string): KeyCursor {
    const chunk = this.#chunkFor(to);
    return new KeyCursor(this.#chunks, chunk, lowerBound(this.#chunks[chunk] ?? [], to) - 1, -1, from);
  }

  /** The last chunk whose first key is <= `key`, or the first chunk. */
  #chunkFor(key: string): number {
    const chunks = this.#chunks;
    if (this.#covers(chunks.length - 1, key)) return chunks.length - 1;
    if (this.#covers(this.#hint, key)) return this.#hint;
    let low = 0;
    let high = chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((chunks[middle]?.[0] ?? '') <= key) low = middle;
      else high = middle;
    }
    return low;
  }

  #covers(at: number, key: string): boolean {
    const first = this.#chunks[at]?.[0];
    if (first === undefined || key < first) return false;
    const next = this.#chunks[at + 1]?.[0];
    return next === undefined || key < next;
  }
}

/** Walks keys of one `SortedKeys`, which must not change meanwhile. */
export class KeyCursor {
  readonly #chunks: readonly string[][];
  readonly #step: 1 | -1;
  readonly #end: string;
  #chunk: number;
  #place: number;
  /** undefined: the end. */
  key: string | undefined;

  constructor(chunks: readonly string[][], chunk: number, place: number, step: 1 | -1, end: string) {
    this.#chunks = chunks;
    this.#chunk = chunk;
    this.#place = place;
    this.#step = step;
    this.#end = end;
    this.key = this.#look();
  }

  next(): void {
    this.#place += this.#step;
    this.key = this.#look();
  }

  #look(): string | undefined {
    let chunk = this.#chunks[this.#chunk];
    while (chunk !== undefined && (this.#place < 0 || this.#place >= chunk.length)) {
      this.#chunk += this.#step;
      chunk = this.#chunks[this.#chunk];
      this.#place = this.#step === 1 ? 0 : (chunk?.length ?? 0) - 1;
    }
    const key = chunk?.[this.#place];
    if (key === undefined) return undefined;
    return (this.#step === 1 ? key < this.#end : key >= this.#end) ? key : undefined;
  }
}

/** Index of the first key >= `key`. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
