// What a shard keeps in memory about streams: one cell for each stream, partition, group, member, assignment
// and cursor. Each cell is one row; rows are written at checkpoints only.
//   C1. A cell's value is immutable; `set` replaces it and can be undone by the open transaction.
//   C2. Every cell of a stream is in `stream.cells`, so that a deleted stream can be swept in slices.
import assert from 'node:assert/strict';
import type { PartitionLog, Rows, Table } from '../storage/contract.ts';
import type { GroupMeter } from './group-meter.ts';
import type { AssignmentRow, CursorRow, GroupRow, MemberRow, PartitionRow, StreamRow } from './tables.ts';

export interface Cell<V> {
  readonly table: Table<V>;
  readonly key: string;
  value: V;
  isGone: boolean;
}

export interface StreamCell {
  readonly no: number;
  readonly tenant: number;
  readonly cell: Cell<StreamRow>;
  readonly cells: Map<string, Cell<unknown>>;
  /** Those that live on this shard. */
  readonly partitions: Map<number, PartitionCell>;
  /** Only filled on the stream's home shard. */
  readonly groups: Map<string, GroupCell>;
}

export interface PartitionCell {
  readonly stream: StreamCell;
  readonly partition: number;
  readonly cell: Cell<PartitionRow>;
  readonly log: PartitionLog;
  /** Offset behind the last durable record: nobody sees more. */
  visibleEnd: number;
  /** Where the log was asked last to be trimmed: it keeps what shares a segment with newer records. */
  trimmedTo: number;
  /** Takes no records: the stream is being deleted, if it is empty. In memory only. */
  isSealed: boolean;
  /** Called when `visibleEnd` has grown. */
  readonly watchers: Set<() => void>;
  readonly cursors: Map<string, Cell<CursorRow>>;
}

export interface GroupCell {
  readonly stream: StreamCell;
  readonly group: string;
  readonly cell: Cell<GroupRow>;
  readonly members: Map<string, MemberCell>;
  readonly assignments: Map<number, Cell<AssignmentRow>>;
  /** By partition: when the record was appended that is to be read next. In memory only. */
  readonly fronts: Map<number, { readonly offset: number; readonly atMs: number }>;
  /** How fast it goes; in memory only. */
  readonly meter: GroupMeter;
}

export interface MemberCell {
  readonly member: string;
  readonly cell: Cell<MemberRow>;
  /** Shard time at which it is fenced unless it is heard of; in memory only. */
  deadlineMs: number;
}

export class Cells {
  readonly #rows: Rows;
  readonly #dirty = new Set<Cell<unknown>>();

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  create<V>(table: Table<V>, key: string, value: V): Cell<V> {
    const cell: Cell<V> = { table, key, value, isGone: false };
    this.#dirty.add(cell as Cell<unknown>);
    this.#rows.onRollback(() => this.#dirty.delete(cell as Cell<unknown>));
    return cell;
  }

  /** A cell whose row is on disk already. */
  static loaded<V>(table: Table<V>, key: string, value: V): Cell<V> {
    return { table, key, value, isGone: false };
  }

  set<V>(cell: Cell<V>, value: V): void {
    assert(!cell.isGone, 'a removed cell does not change');
    const before = cell.value;
    cell.value = value;
    this.#dirty.add(cell as Cell<unknown>);
    this.#rows.onRollback(() => {
      cell.value = before;
    });
  }

  remove(cell: Cell<unknown>): void {
    cell.isGone = true;
    this.#dirty.add(cell);
  }

  flush(): void {
    for (const cell of this.#dirty) {
      if (cell.isGone) this.#rows.del(cell.table, cell.key);
      else this.#rows.put(cell.table, cell.key, cell.value);
    }
    this.#dirty.clear();
  }
}
