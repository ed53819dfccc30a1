// The journal of `--ephemeral` and of tests: the same contract, with memory for a disk. What is appended is
// durable for as long as its store lives.
import { FlowError } from '@flowmesh/protocol';
import { type AppendOptions, ENTRY_BYTES_MAX, type Entry, type Journal, JournalFenced } from './journal.ts';

export interface MemoryOptions {
  /** Trimmed entries are kept until they take more than this. */
  readonly historyBytes?: number;
  /** Reopen with the same store to find the entries again. */
  readonly store?: MemoryStore;
}

/** What a memory journal leaves behind when it is closed. */
export class MemoryStore {
  /** Retained entries; sequences are dense. */
  entries: Entry[] = [];
  first = 1;
  bytes = 0;
  epoch = 0;
  lastTimeMs = 0;
}

export const openMemoryJournal = (options: MemoryOptions = {}): Journal => new MemoryJournal(options);

class MemoryJournal implements Journal {
  readonly #store: MemoryStore;
  readonly #historyBytes: number;
  readonly #listeners: ((state: 'closed') => void)[] = [];
  #trimmedTo = 0;
  #trimmedBytes = 0;
  #isClosed = false;

  constructor({ store = new MemoryStore(), historyBytes = 64 * 1024 * 1024 }: MemoryOptions) {
    this.#store = store;
    this.#historyBytes = historyBytes;
  }

  async append(
    { timeMs, payload }: { timeMs: number; payload: readonly Uint8Array[] },
    { expect, fence }: AppendOptions,
  ): Promise<number> {
    this.#assertOpen();
    const store = this.#store;
    const seq = store.first + store.entries.length;
    if (fence !== store.epoch) throw new JournalFenced(`fence ${fence}, now ${store.epoch}`);
    if (expect !== seq) throw new JournalFenced(`expected sequence ${expect}, next is ${seq}`);
    const entry = { seq, timeMs, epoch: fence, payload: Buffer.concat(payload) };
    if (entry.payload.length > ENTRY_BYTES_MAX) {
      throw new FlowError('BATCH_TOO_LARGE', `journal: an entry has at most ${ENTRY_BYTES_MAX} bytes`);
    }
    store.entries.push(entry);
    store.bytes += entry.payload.length;
    store.lastTimeMs = timeMs;
    return seq;
  }

  async *#entries(from: number, upTo: number): AsyncGenerator<Entry> {
    for (let seq = from; seq <= upTo; seq++) {
      this.#assertOpen();
      const entry = this.#store.entries[seq - this.#store.first];
      if (entry === undefined) {
        throw new FlowError('HISTORY_TRIMMED', `entry ${seq} is gone; the oldest is ${this.#store.first}`);
      }
      yield entry;
    }
  }

  read(seq: number): AsyncIterable<Entry> {
    return this.#entries(seq, this.tail().last);
  }

  tail(): ReturnType<Journal['tail']> {
    const { first, entries, lastTimeMs, bytes } = this.#store;
    return { first, last: first + entries.length - 1, lastTimeMs, bytes };
  }

  async trim(seq: number): Promise<void> {
    this.#assertOpen();
    const store = this.#store;
    const to = Math.min(seq, this.tail().last);
    for (let at = Math.max(this.#trimmedTo + 1, store.first); at <= to; at++) {
      this.#trimmedBytes += store.entries[at - store.first]?.payload.length ?? 0;
      this.#trimmedTo = at;
    }
    let drop = 0;
    while (this.#trimmedBytes > this.#historyBytes) {
      const bytes = store.entries[drop++]?.payload.length ?? 0;
      this.#trimmedBytes -= bytes;
      store.bytes -= bytes;
    }
    store.entries.splice(0, drop);
    store.first += drop;
  }

  async fence(): Promise<number> {
    this.#assertOpen();
    return ++this.#store.epoch;
  }

  state(): 'ready' | 'closed' {
    return this.#isClosed ? 'closed' : 'ready';
  }

  onState(listener: (state: 'closed') => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const listener of this.#listeners) listener('closed');
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new FlowError('UNAVAILABLE', 'journal: it is closed');
  }
}
