// Rows that changed since the last checkpoint, deletions included, by key and in key order.
//   T1. A cell without value is a deletion. Keys may linger in the order after their cell is gone (rollback).
import type { Table } from './contract.ts';
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

export class Memtable {
  readonly cells = new Map<string, Cell>();
  bytes = 0;
  readonly #keys: (SortedKeys | undefined)[] = new Array(256).fill(undefined);

  add(key: string, cell: Cell): void {
    this.cells.set(key, cell);
    this.bytes += cell.bytes;
    const id = key.charCodeAt(TABLE_AT) & 255;
    let keys = this.#keys[id];
    if (keys === undefined) {
      keys = new SortedKeys();
      this.#keys[id] = keys;
    }
    keys.add(key);
  }

  cursor(
    table: Table<unknown>,
    range: { from: string; to: string; reverse?: boolean },
  ): KeyCursor | undefined {
    const keys = this.#keys[table.id];
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
