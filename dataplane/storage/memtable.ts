// Rows that changed since the last checkpoint, deletions included, by key and in key order.
//   T1. A cell without value is a deletion. Keys linger in the order after their cell is gone, at most as
//       many as there are cells, or STALE_KEYS_MIN.
import { CellMap } from './cell-map.ts';
import type { Table } from './contract.ts';
import type { KeyHash } from './key-hash.ts';
import { type KeyCursor, SortedKeys } from './sorted-keys.ts';

export interface Cell {
  /** undefined: there is no such row. */
  value: unknown;
  readonly table: Table<unknown>;
  /** Batch that wrote it; 0: read from disk. */
  batch: number;
  /** Approximate, in memory. */
  bytes: number;
  /** When it was first put, there was no such row below: if it is deleted again, disk need not hear of it. */
  readonly isBorn: boolean;
}

/** A key is in every key for the table id, behind the tenant. */
export const TABLE_AT = 4;

const DEAD_CELLS_MIN = 1024;
const STALE_KEYS_MIN = 4096;

export class Memtable {
  readonly cells: CellMap<Cell>;
  bytes = 0;
  readonly #keys: (SortedKeys | undefined)[] = new Array(256).fill(undefined);
  /** Born and deleted again, in order of their deletion. */
  #dead: { key: string; batch: number }[] = [];
  #staleKeys = 0;
  /** By table: its keys have been walked, so they will be again. Shared with the memtables to come. */
  readonly #walked: boolean[];

  constructor(hash: KeyHash, walked: boolean[] = []) {
    this.cells = new CellMap(hash);
    this.#walked = walked;
  }

  add(key: string, cell: Cell): void {
    this.cells.set(key, cell);
    this.bytes += cell.bytes;
    const id = key.charCodeAt(TABLE_AT) & 255;
    let keys = this.#keys[id];
    if (keys === undefined) {
      keys = new SortedKeys(this.#walked[id] === true);
      this.#keys[id] = keys;
    }
    keys.add(key);
  }

  forget(key: string, cell: Cell): void {
    this.cells.delete(key);
    this.bytes -= cell.bytes;
    this.#staleKeys++;
  }

  noteDead(key: string, batch: number): void {
    this.#dead.push({ key, batch });
  }

  /**
   * Forgets rows that came and went, if their end is older than `batch`: nobody needs to wait for it any
   * more.
   */
  purge(batch: number): void {
    if (this.#dead.length < DEAD_CELLS_MIN) return;
    let count = 0;
    for (const { key, batch: diedIn } of this.#dead) {
      if (diedIn >= batch) break;
      count++;
      const cell = this.cells.get(key);
      if (cell !== undefined && cell.value === undefined && cell.batch < batch) this.forget(key, cell);
    }
    if (count > 0) this.#dead = this.#dead.slice(count);
    if (this.#staleKeys < Math.max(STALE_KEYS_MIN, this.cells.size)) return;
    for (const keys of this.#keys) keys?.retain((key) => this.cells.has(key));
    this.#staleKeys = 0;
  }

  cell(_table: Table<unknown>, key: string): Cell | undefined {
    return this.cells.get(key);
  }

  cursor(
    table: Table<unknown>,
    range: { from: string; to: string; reverse?: boolean },
  ): KeyCursor | undefined {
    const keys = this.#keys[table.id];
    this.#walked[table.id] = true;
    return range.reverse ? keys?.descending(range.from, range.to) : keys?.ascending(range.from, range.to);
  }
}

/** Map entry, cell and key of a small row, measured. */
const CELL_BYTES = 160;

export function sizeOfRow(table: Table<unknown>, key: string, value: unknown): number {
  return CELL_BYTES + key.length + (table.sizeOf === undefined ? guessedSize(value) : table.sizeOf(value));
}

/** Shallow: bytes and texts of an object's fields are what makes rows large. */
function guessedSize(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === 'string') return value.length;
  if (value instanceof Uint8Array) return value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let bytes = 16;
  for (const name in value) {
    const field: unknown = (value as Record<string, unknown>)[name];
    bytes += 8;
    if (typeof field === 'string') bytes += field.length;
    else if (field instanceof Uint8Array) bytes += field.length + 96;
  }
  return bytes;
}
