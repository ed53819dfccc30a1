// Moves the recovery start forward: rows into LevelDB, partition logs synced, then the journal behind may go.
//   K1. What a checkpoint holds is exactly the state at the end of one journal entry, and that entry is
//       durable before anything of it reaches LevelDB.
//   K2. Order: freeze, entry durable, logs synced, rows + lengths + position in one synced batch, trim.
//   K3. A failed checkpoint keeps everything in memory and in the journal, and is tried again.
import type { FlowError } from '@flowmesh/protocol';
import type { Journal } from '../journal/journal.ts';
import type { Runtime } from '../runtime.ts';
import type { CapturedLength, LogStore } from '../storage/log-store.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { View } from './state-machine.ts';

/**
 * Memtable size at which a checkpoint is due, of all shards together. LevelDB writes the less the more comes
 * at once: for rows all over its range 12 % fewer bytes and processor time than with half of it.
 */
const ROWS_BYTES = 24 * 1024 * 1024;
/**
 * Of packed rows among them, where they are as large as in LevelDB's batch. The batch grows by doubling, and
 * its memory goes when the collector comes by: this much fits into 16 MiB.
 */
const PACKED_BYTES = 16 * 1024 * 1024;
/** Journal bytes since the last one: bounds recovery time. */
const JOURNAL_BYTES = 96 * 1024 * 1024;
const IDLE_MS = 60_000;
/** The same while the disk is full: what a checkpoint sets free is all the space that there is. */
const FULL_MS = 2000;
const RETRY_MS = 2000;

export interface CheckpointParts {
  readonly shards: number;
  readonly rows: RowStore;
  readonly logs: LogStore;
  readonly journal: Journal;
  readonly views: readonly View[];
  readonly runtime: Runtime;
  /** Journal bytes after which one is due. */
  readonly journalBytes?: number | undefined;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** Partition logs can no longer be synced: the journal has everything, a restart replays it. */
  readonly onFatal: (error: FlowError) => void;
}

export interface Position {
  readonly seq: number;
  readonly timeMs: number;
}

interface Frozen {
  readonly position: Position;
  readonly lengths: readonly CapturedLength[];
}

export const POSITION_ROW = 'checkpoint';
/** One row for each partition log: how much of it the checkpoint counts on. */
export const LENGTH_ROWS = 'log/';
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

export class Checkpoints {
  #p: CheckpointParts;
  #frozen: Frozen | null = null;
  #running: Promise<void> | null = null;
  #lastMs: number;
  #lastSeq: number;
  #bytesSince = 0;
  #retryAtMs = 0;
  /** Tests and the recovery benchmark hold checkpoints back. */
  isHeld = false;

  constructor(parts: CheckpointParts, lastSeq: number) {
    this.#p = parts;
    this.#lastSeq = lastSeq;
    this.#lastMs = parts.runtime.monotonicMs();
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /**
   * Called between two entries: everything up to `position` is applied, nothing behind it. Starts a
   * checkpoint if one is due; `durable` resolves when the entry at `position` is.
   */
  consider(position: Position, entryBytes: number, durable: () => Promise<void>): void {
    this.#bytesSince += entryBytes;
    if (this.isHeld || this.#running !== null || position.seq === this.#lastSeq) return;
    const nowMs = this.#p.runtime.monotonicMs();
    const isDue =
      this.#p.rows.dirtyBytes > ROWS_BYTES / this.#p.shards ||
      this.#p.rows.packedBytes > PACKED_BYTES / this.#p.shards ||
      this.#bytesSince > (this.#p.journalBytes ?? JOURNAL_BYTES) ||
      nowMs - this.#lastMs > (this.#p.journal.state() === 'full' ? FULL_MS : IDLE_MS);
    if (isDue && nowMs >= this.#retryAtMs) void this.run(position, durable);
  }

  /** Runs a checkpoint now, unless one is running: then waits for that one. Never rejects. */
  run(position: Position, durable: () => Promise<void>): Promise<void> {
    if (this.#running !== null) return this.#running;
    this.#freeze(position);
    this.#running = this.#write(durable).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Resolves when none is running. */
  async settled(): Promise<void> {
    await this.#running;
  }

  #freeze(position: Position): void {
    const { rows, logs, views } = this.#p;
    // A failed checkpoint left its rows frozen: they are written first, as they were.
    if (this.#frozen !== null) return;
    for (const view of views) view.flush();
    rows.freeze();
    this.#frozen = { position, lengths: logs.captureLengths() };
    this.#bytesSince = 0;
  }

  async #write(durable: () => Promise<void>): Promise<void> {
    const { rows, logs, journal, runtime, log } = this.#p;
    const frozen = this.#frozen;
    if (frozen === null) return;
    const startedMs = runtime.monotonicMs();
    try {
      await durable();
      await logs.syncTo(frozen.lengths);
      const extra = [...logs.lengthRows(frozen.lengths), { key: POSITION_ROW, value: json(frozen.position) }];
      await rows.writeFrozen(extra);
      this.#frozen = null;
      this.#lastSeq = frozen.position.seq;
      this.#lastMs = runtime.monotonicMs();
      await logs.applyDeletes();
      await journal.trim(frozen.position.seq);
      log('checkpoint.written', { seq: this.#lastSeq, ms: Math.round(this.#lastMs - startedMs) });
    } catch (err) {
      this.#retryAtMs = runtime.monotonicMs() + RETRY_MS;
      // A failed journal has said so, and that is to be the last word of the process.
      if (journal.state() !== 'failed') log('checkpoint.failed', { seq: frozen.position.seq, err });
      if (logs.failure !== null) this.#p.onFatal(logs.failure);
    }
  }
}
