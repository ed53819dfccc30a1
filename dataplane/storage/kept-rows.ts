// Rows as disk has them that are in memory, known-absent ones included: of most tables decoded
// (row-cache.ts), of those that are asked for one by one packed (packed-cache.ts).
//   K1. Rows go only in `turn`, never between a check for residence and the decision that relies on it.
//   K2. While a checkpoint is written what is here may be ahead of disk: its frozen rows hide it.
import type { RowRef, Table } from './contract.ts';
import type { KeyHash } from './key-hash.ts';
import { type Cell, sizeOfRow } from './memtable.ts';
import { PackedCache, type PackedOptions } from './packed-cache.ts';
import { RowCache } from './row-cache.ts';
import { CRC_BYTES, decodeRow, openRow } from './row-codec.ts';

export interface KeptRowsOptions {
  /** Bound of the cache of decoded rows. */
  readonly cacheBytesMax?: number | undefined;
  readonly packed?: Partial<Omit<PackedOptions, 'hash'>> | undefined;
}

/** A row on its way from disk: of a packed table its checked bytes, of others the cell. */
export interface Fetched {
  readonly key: string;
  readonly bytes: Buffer | null;
  readonly cell: Cell | undefined;
}

const CACHE_BYTES_MAX = 8 * 1024 * 1024;
const PACKED_BYTES_MAX = 256 * 1024 * 1024;
/** Let go at most where what was fetched comes in, which is less. */
const FETCH_SLABS = 8;

export class KeptRows {
  readonly #cache: RowCache;
  readonly #packed: PackedCache;

  constructor({ cacheBytesMax = CACHE_BYTES_MAX, packed }: KeptRowsOptions, hash: KeyHash) {
    this.#cache = new RowCache(cacheBytesMax);
    this.#packed = new PackedCache({ bytesMax: PACKED_BYTES_MAX, ...packed, hash });
  }

  /** Disk has no rows at all: from now on packed tables know what is not there. */
  declareComplete(): void {
    this.#packed.declareComplete();
  }

  /** Every row of the table is known, without a look. */
  knowsAll(table: Table<unknown>): boolean {
    return table.view !== undefined && this.#packed.isComplete;
  }

  has(table: Table<unknown>, key: string): boolean {
    return table.view === undefined ? this.#cache.has(key) : this.#packed.has(key);
  }

  isAbsent(table: Table<unknown>, key: string): boolean {
    return table.view === undefined ? this.#cache.isAbsent(key) : this.#packed.isAbsent(key);
  }

  /** undefined: there is no such row. Only for rows that it `has`. */
  get<V>(table: Table<V>, key: string): V | undefined {
    if (table.view === undefined) return this.#cache.get(key)?.value as V | undefined;
    const reader = this.#packed.get(key);
    return reader && table.view(reader);
  }

  /** Makes room for what `keep` adds. */
  turn(): void {
    this.#cache.turn();
    this.#packed.turn(FETCH_SLABS);
  }

  keep({ key, bytes, cell }: Fetched): void {
    if (cell === undefined) this.#packed.set(key, bytes);
    else this.#cache.set(key, cell);
  }

  /** A checkpoint writes the row (K2); `stored` as it is on disk, undefined for one that is deleted. */
  written(table: Table<unknown>, key: string, stored: Buffer | undefined): void {
    if (table.view === undefined) this.#cache.delete(key);
    else if (stored === undefined) this.#packed.delete(key);
    else this.#packed.set(key, stored, stored.length - CRC_BYTES);
  }

  /** Between two slices of a checkpoint. */
  slice(): void {
    this.#packed.turn();
  }
}

/** Checks and decodes what disk has of a row. */
export function fetchedRow(
  { table, key }: RowRef,
  keyBytes: Buffer,
  stored: Buffer | undefined,
  where: string,
): Fetched {
  if (table.view !== undefined) {
    const bytes = stored === undefined ? null : openRow(keyBytes, stored, table.name, where);
    return { key, bytes, cell: undefined };
  }
  const value = stored && decodeRow(table, keyBytes, stored, where);
  const bytes = sizeOfRow(table, key, undefined) + (stored?.length ?? 0);
  return { key, bytes: null, cell: { value, table, batch: 0, bytes, isBorn: false } };
}
