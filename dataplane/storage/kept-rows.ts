// Rows below the memtable that are in memory, known-absent ones included: of most tables decoded and as disk
// has them (row-cache.ts), of those that are asked for one by one packed (packed-rows.ts), and all of them.
//   K1. Rows go only in `turn`, never between a check for residence and the decision that relies on it.
import type { RowRef, Table } from './contract.ts';
import type { KeyHash } from './key-hash.ts';
import { type Cell, sizeOfRow } from './memtable.ts';
import { type PackedOptions, PackedRows } from './packed-rows.ts';
import { RowCache } from './row-cache.ts';
import { decodeRow, openRow } from './row-codec.ts';

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
  readonly packed: PackedRows;
  readonly #cache: RowCache;

  constructor({ cacheBytesMax = CACHE_BYTES_MAX, packed }: KeptRowsOptions, hash: KeyHash) {
    this.#cache = new RowCache(cacheBytesMax);
    this.packed = new PackedRows({ bytesMax: PACKED_BYTES_MAX, ...packed, hash });
  }

  /** Every row of the table is known, without a look. */
  knowsAll(table: Table<unknown>): boolean {
    return table.view !== undefined && this.packed.isComplete;
  }

  has(table: Table<unknown>, key: string): boolean {
    return table.view === undefined ? this.#cache.has(key) : this.packed.has(key);
  }

  /** Here and below: of tables that are not packed. */
  isAbsent(key: string): boolean {
    return this.#cache.isAbsent(key);
  }

  /** undefined: there is no such row. Only for rows that it `has`, of tables that are not packed. */
  get(key: string): Cell | undefined {
    return this.#cache.get(key);
  }

  /** Makes room for what `keep` adds. */
  turn(): void {
    this.#cache.turn();
    this.packed.turn(FETCH_SLABS);
  }

  keep({ key, bytes, cell }: Fetched): void {
    if (cell === undefined) this.packed.keep(key, bytes);
    else this.#cache.set(key, cell);
  }

  /** A checkpoint writes the row, of a table that is not packed: its frozen rows hide it until then. */
  forget(key: string): void {
    this.#cache.delete(key);
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
