// What the views see of storage, and nothing more: rows by key, ordered windows, partition logs. A
// transaction's staging, a sandbox overlay and a state as of a position implement the same
// (docs/architecture.md, "State").
//   S1. `get` never touches the disk: rows are made resident beforehand by `fetch`; a miss is a programmer
//       error and throws.
//   S2. Values are immutable once put: to change a row, put a new value.
//   S3. Between `begin` and `commit | rollback` every change can be undone.
import type { ByteReader, ByteWriter } from './bytes.ts';

/** A kind of row. `id` is the byte behind the tenant in every key and never changes its meaning. */
export interface Table<V> {
  readonly id: number;
  readonly name: string;
  /** Methods, so that a table of anything is a `Table<unknown>`. */
  encode(value: V, into: ByteWriter): void;
  decode(from: ByteReader): V;
  /**
   * For tables whose rows are asked for one by one, at random: they are encoded when they are put, and stay
   * in memory so (packed-rows.ts). Decodes one; the value may keep views on bytes that never change.
   */
  view?(from: ByteReader): V;
  /** The value without views on others' buffers, for who keeps values as they are put. Unset: it has none. */
  own?(value: V): V;
  /** Approximate bytes of a value in memory, where its direct fields do not tell (nested objects, lists). */
  sizeOf?(value: V): number;
}

export interface RowRef {
  readonly table: Table<unknown>;
  /** Full key: tenant, table id, parts (keys.ts; `tablePrefix`). */
  readonly key: string;
}

export interface Row<V> {
  readonly key: string;
  readonly value: V;
}

export interface Range {
  /** Inclusive. */
  readonly from: string;
  /** Exclusive. */
  readonly to: string;
  readonly limit: number;
  readonly reverse?: boolean;
}

export interface Reader {
  /** The row, or undefined when there is none. Throws if the row is not resident (S1). */
  get<V>(table: Table<V>, key: string): V | undefined;
}

export interface Rows extends Reader {
  /**
   * `isNew`: the caller knows that there is no such row. If it is deleted again before the next checkpoint,
   * it never reaches the disk, nor does its deletion. A wrong claim brings deleted rows back.
   */
  put<V>(table: Table<V>, key: string, value: V, isNew?: boolean): void;
  del(table: Table<unknown>, key: string): void;
  /** Inside a transaction: what happens may be taken back. */
  readonly isStaging: boolean;
  /**
   * Runs `revert` if the open transaction is rolled back; a no-op outside of one. For state that views keep
   * beside rows.
   */
  onRollback(revert: () => void): void;
  isResident(ref: RowRef): boolean;
  /** These are looked at next: their memory is asked for at once, where each look would wait for its own. */
  expect?(refs: readonly RowRef[]): void;
  /** Makes rows resident, absent ones too. */
  fetch(refs: readonly RowRef[]): Promise<void>;
  /** Rows in key order as of the call, memory and disk merged. Not for decide or evolve. */
  scan<V>(table: Table<V>, range: Range): Promise<Row<V>[]>;
  /**
   * A resident view on the first rows of a key range that is consumed from the front. `rows`: how many one
   * refill brings, four times as many are kept at most; unset: 1,024.
   */
  window<V>(table: Table<V>, from: string, to: string, rows?: number): Window<V>;
}

/**
 * The front of an ordered range, kept in memory: what is put into the range shows up here in order, what is
 * deleted disappears. Memory is bounded; behind the resident part the rest stays on disk.
 */
export interface Window<V> {
  /** First row; undefined when the range is empty or `isStale`. */
  first(): Row<V> | undefined;
  /** Up to `max` rows from the front that are resident now. */
  take(max: number): Row<V>[];
  /** The row that has `index` rows before it, if it is resident. */
  at(index: number): Row<V> | undefined;
  /** The first resident row whose key is `key` or behind it. */
  firstFrom(key: string): Row<V> | undefined;
  /** Nothing lies behind the resident part. */
  isWhole(): boolean;
  /** Where the range begins. */
  readonly from: string;
  /** The resident part is used up, but disk holds more: call `refill` and look again. */
  isStale(): boolean;
  /** Makes the next rows resident. */
  refill(): Promise<void>;
  /** The range moved (a purge): forget everything and serve this range from now on. */
  reset(from: string, to: string): void;
  /** The range is no longer served (a queue was deleted). */
  close(): void;
}

/**
 * Identity of a partition log within its shard: dense numbers given out by the views, recorded in their rows.
 */
export type LogId = number;

/** Stored batches in a row, and where they lie. */
export interface Chunk {
  /** One or more whole RecordBatches (docs/reference/record-batch.md). */
  readonly bytes: Buffer;
  /** Base offset of the first batch; may be below the offset asked for. */
  readonly firstOffset: number;
  /** Offset behind the last record. */
  readonly nextOffset: number;
}

/** How a log is cleaned by key (log-compaction.ts). */
export interface CompactionTerms {
  readonly nowMs: number;
  /** Offset up to which everything is durable. */
  readonly limit: number;
  /** Segments with records appended after this stay as they are. */
  readonly untilMs: number;
  /** How long after its first cleaning a tombstone stays. */
  readonly tombstoneRetentionMs: number;
  /** Memory for keys; what does not fit is for another pass. */
  readonly keyBytesMax?: number;
  /** Awaited before each slice of work. */
  pace(): Promise<void>;
  isStopped(): boolean;
}

/**
 * Append-only batches in segment files, with an in-memory tail. Offsets are dense; cleaning by key leaves
 * gaps, which are batches without records.
 */
export interface PartitionLog {
  readonly id: LogId;
  readonly startOffset: number;
  readonly endOffset: number;
  /** Bytes from start to end. */
  readonly byteLength: number;
  /**
   * Takes ownership of `batch`, except during replay (log-store.ts). Its head must carry `endOffset` as base
   * offset. Lands in files later, synced at checkpoints.
   */
  append(batch: Buffer, count: number, timeMs: number): void;
  /** Undoes the last append (transactions). */
  unappend(): void;
  /** The batch that holds `offset`, and what follows it up to about `maxBytes`, if it is in memory. */
  resident(offset: number, maxBytes: number): Chunk | undefined;
  /** The same from files, read into a bounded cache. Rejects with DATA_DAMAGED naming file and place. */
  load(offset: number, maxBytes: number): Promise<Chunk>;
  /** First offset whose append time is at or after `timeMs`; endOffset if none. */
  offsetAt(timeMs: number): Promise<number>;
  /** Append time of the first record at or after `offset`; 0 if there is none. Rejects as `load` does. */
  timeAt(offset: number): Promise<number>;
  /**
   * Whole segments below `offset` go; startOffset rises to the first record kept. `force`: start at exactly
   * `offset`. Up to the end it closes the segment that is being filled, so not after each record.
   */
  trimTo(offset: number, force?: boolean): void;
  /**
   * Retention: the offset below which whole segments were appended before `olderThanMs` (shard time), or are
   * beyond `bytesMax`; the segment that is being filled goes by age only. For `trimTo`.
   */
  expiredOffset(limits: { olderThanMs?: number; bytesMax?: number }): number;
  /**
   * Whether `compact` would be worth its while. Ends the segment that is being filled if that makes it so.
   */
  isCompactionDue(terms: CompactionTerms): boolean;
  /** One pass of cleaning; one at a time. Resolves to whether there is more to do at once. */
  compact(terms: CompactionTerms): Promise<boolean>;
}

export interface Logs {
  /** Opens or creates. Recovery has cut it to the length of the last checkpoint. */
  open(id: LogId): PartitionLog;
  /** Deletes the files at the next checkpoint. */
  drop(id: LogId): void;
}
