// The seam between a shard and whatever keeps its history: a durable, totally ordered sequence of entries.
// Embedded segment files and memory today; a replicated engine later (docs/architecture.md, "Journal").
//
//   J1. `append` resolves only when the entry is durable, and entries are durable in order: if entry n is,
//       so are all before it.
//   J2. Sequences are dense: 1, 2, 3, ... across restarts.
//   J3. After `append` rejects with anything but JournalFull the owner must stop. JournalFenced: another
//       owner took over and nothing was written. Else the journal is poisoned: the outcome is unknown, the
//       process must end.
//   J4. `read` yields what is durable, in order, each entry checked against its checksum.
import { FlowError } from '@flowmesh/protocol';

/** One batch of events with one timestamp. `payload` is at most ENTRY_BYTES_MAX. */
export interface Entry {
  readonly seq: number;
  /** Shard time of the entry, ms. */
  readonly timeMs: number;
  /** Fencing epoch of the owner that wrote it. */
  readonly epoch: number;
  readonly payload: Buffer;
}

export const ENTRY_BYTES_MAX = 8 * 1024 * 1024;

export interface AppendOptions {
  /** The sequence this entry must get; anything else means another owner wrote. */
  readonly expect: number;
  /** Epoch under which the caller owns the shard; refused if a newer fence exists. */
  readonly fence: number;
}

export interface Journal {
  /** Durable when resolved. The pieces are written one behind the other; they must not change until then. */
  append(frame: { timeMs: number; payload: readonly Uint8Array[] }, options: AppendOptions): Promise<number>;
  /**
   * Entries from `seq` on, up to what was durable when called. `isFleeting`: a payload is over when the next
   * entry is asked for, so that all can lie in the same memory, one after the other.
   */
  read(seq: number, options?: { isFleeting: boolean }): AsyncIterable<Entry>;
  /** First retained and last durable sequence (last = first - 1 when empty), and the time of the last. */
  tail(): { first: number; last: number; lastTimeMs: number; bytes: number };
  /**
   * Entries up to `seq` are no longer needed for recovery; those behind it are kept for the history window.
   * Resolved when what is beyond the window is gone.
   */
  trim(seq: number): Promise<void>;
  /** Takes ownership: raises the fencing epoch (persisted) and returns it. */
  fence(): Promise<number>;
  /** `full`: no space for a further segment; only entries marked as freeing are welcome (DISK_FULL). */
  state(): 'ready' | 'full' | 'failed' | 'closed';
  /** Called on each change of `state`. */
  onState(listener: (state: 'ready' | 'full' | 'failed' | 'closed') => void): void;
  close(): Promise<void>;
}

/** No space for the entry. Nothing was written, nor of the appends that were waiting behind it. */
export class JournalFull extends FlowError {
  constructor() {
    super('DISK_FULL', 'journal: no space for a further segment', { retryAfterMs: 1000 });
  }
}

/** The caller no longer owns the shard: a newer fence, or an entry that it did not write. */
export class JournalFenced extends FlowError {
  constructor(what: string) {
    super('UNAVAILABLE', `journal: another owner has taken over (${what})`);
  }
}
