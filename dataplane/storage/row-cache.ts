// Rows as disk has them, known-absent ones included, in two generations: what is read moves to the young one,
// and when that is full it becomes the old one.
//   H1. Rows go only in `turn`, which the store calls before it adds fetched rows: never between a check for
//       residence and the decision that relies on it. The bound is exceeded by at most what one fetch adds.
import type { Cell } from './memtable.ts';

export class RowCache {
  readonly #bytesMax: number;
  #young = new Map<string, Cell>();
  #old = new Map<string, Cell>();
  #youngBytes = 0;
  #oldBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#youngBytes + this.#oldBytes;
  }

  get(key: string): Cell | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.#oldBytes -= old.bytes;
    this.set(key, old);
    return old;
  }

  has(key: string): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  /** It is known that there is no such row. */
  isAbsent(key: string): boolean {
    const cell = this.#young.get(key) ?? this.#old.get(key);
    return cell !== undefined && cell.value === undefined;
  }

  set(key: string, cell: Cell): void {
    this.delete(key);
    this.#young.set(key, cell);
    this.#youngBytes += cell.bytes;
  }

  delete(key: string): void {
    const young = this.#young.get(key);
    if (young !== undefined && this.#young.delete(key)) this.#youngBytes -= young.bytes;
    const old = this.#old.get(key);
    if (old !== undefined && this.#old.delete(key)) this.#oldBytes -= old.bytes;
  }

  /** Lets the old generation go if the young one has grown to half of the bound. */
  turn(): void {
    if (this.#youngBytes <= this.#bytesMax / 2) return;
    this.#old = this.#young;
    this.#oldBytes = this.#youngBytes;
    this.#young = new Map();
    this.#youngBytes = 0;
  }
}
