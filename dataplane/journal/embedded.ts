// The embedded journal: appends, reads and fencing over segment files (grammar: codec.ts).
//
//   E1. Groups of entries are written one after the other, each with one write and one fdatasync; what
//       comes in meanwhile is the next group.
//   E2. A segment is used only when everything before it is durable (recovery relies on it: R2).
//   E3. After a failed write or sync nothing is acknowledged: a second try may say ok with the data gone.
//   E4. An append that is refused (full, fenced, too large) has written nothing.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import { ENTRY_HEADER_BYTES, encodeEntryHeader, encodeHead, HEAD_BYTES, seedOf } from './codec.ts';
import { type JournalFile, type JournalFiles, realFiles } from './files.ts';
import {
  type AppendOptions,
  ENTRY_BYTES_MAX,
  type Entry,
  type Journal,
  JournalFenced,
  JournalFull,
} from './journal.ts';
import { oneSlice, ownSlices, readSegment, type SliceMemory } from './reader.ts';
import { type Recovered, recover } from './recovery.ts';
import { Segments } from './segments.ts';

export interface EmbeddedOptions {
  readonly dir: string;
  readonly files?: JournalFiles;
  /** Wall clock: age of the history, pace of retries. */
  readonly nowMs: () => number;
  /** Called once, when the journal is poisoned (J3): the process must end. */
  readonly onFatal: (error: FlowError) => void;
  readonly log?: (event: string, fields: Record<string, unknown>) => void;
  readonly segmentBytes?: number;
  /** Trimmed segments are kept until they take more than this or are older than `historyMs`. */
  readonly historyBytes?: number;
  readonly historyMs?: number;
}

export interface EmbeddedJournal extends Journal {
  /** Call about every second: retries after DISK_FULL, age of the history. */
  poke(): void;
}

type State = 'ready' | 'full' | 'failed' | 'closed';

interface Pending {
  readonly seq: number;
  readonly timeMs: number;
  readonly epoch: number;
  readonly payload: readonly Uint8Array[];
  readonly length: number;
  readonly resolve: (seq: number) => void;
  readonly reject: (error: FlowError) => void;
}

/** Rejects with DATA_DAMAGED naming file and byte, or DATA_TOO_NEW. */
export async function openEmbeddedJournal(options: EmbeddedOptions): Promise<EmbeddedJournal> {
  const { files = realFiles } = options;
  const recovered = await recover(files, options);
  const { seq, timeMs } = recovered.last;
  options.log?.('journal.opened', {
    dir: options.dir,
    last: seq,
    lastTimeMs: timeMs,
    segments: recovered.segments.length,
    clearedBytes: recovered.clearedBytes,
  });
  return new SegmentJournal(files, recovered, options);
}

class SegmentJournal implements EmbeddedJournal {
  readonly #files: JournalFiles;
  readonly #options: EmbeddedOptions;
  readonly #owner: Recovered['owner'];
  readonly #segments: Segments;
  readonly #seed: number;
  readonly #listeners: ((state: State) => void)[] = [];
  /** The segment that is being filled. `end`: where the next entry goes. */
  #active: { id: number; file: JournalFile; bytes: number; end: number } | undefined;
  /** Accepted, not durable. */
  #pending: Pending[] = [];
  #durable: { seq: number; timeMs: number };
  #nextSeq: number;
  #epoch: number;
  #state: State = 'ready';
  #isFlushing = false;
  #idle: (() => void)[] = [];
  #closing: Promise<void> | undefined;

  constructor(
    files: JournalFiles,
    { owner, segments, spares, active, last }: Recovered,
    options: EmbeddedOptions,
  ) {
    this.#files = files;
    this.#options = options;
    this.#owner = owner;
    this.#seed = seedOf(owner.owner.identity);
    this.#epoch = last.epoch;
    this.#durable = last;
    this.#nextSeq = last.seq + 1;
    const newest = segments.at(-1);
    this.#active = active && newest && { ...active, id: newest.id, bytes: newest.bytes };
    this.#segments = new Segments(
      files,
      { segments, spares },
      {
        dir: options.dir,
        nowMs: options.nowMs,
        segmentBytes: options.segmentBytes ?? 16 * 1024 * 1024,
        historyBytes: options.historyBytes ?? 1024 ** 3,
        historyMs: options.historyMs ?? 24 * 3600 * 1000,
        log: options.log ?? (() => {}),
        onFull: (full) => this.#become(full ? 'full' : 'ready'),
        onFatal: (error) => this.#poison('preparing or removing a segment', error),
      },
    );
    this.#segments.poke();
  }

  append(
    frame: { timeMs: number; payload: readonly Uint8Array[] },
    { expect, fence }: AppendOptions,
  ): Promise<number> {
    const length = frame.payload.reduce((sum, piece) => sum + piece.length, 0);
    const refusal = this.#refusal(length, { expect, fence });
    if (refusal) return Promise.reject(refusal);
    if (this.#state === 'full') this.#segments.poke();
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#pending.push({ ...frame, seq: this.#nextSeq++, epoch: fence, length, resolve, reject });
    if (!this.#isFlushing) void this.#flush();
    return promise;
  }

  read(seq: number, { isFleeting } = { isFleeting: false }): AsyncIterable<Entry> {
    return this.#entries(seq, this.#durable.seq, isFleeting ? oneSlice() : ownSlices);
  }

  tail(): ReturnType<Journal['tail']> {
    const used = this.#segments.used;
    const sealedBytes = used.slice(0, -1).reduce((sum, { bytes }) => sum + bytes, 0);
    return {
      first: used[0]?.firstSeq ?? this.#durable.seq + 1,
      last: this.#durable.seq,
      lastTimeMs: this.#durable.timeMs,
      bytes: sealedBytes + (this.#active?.end ?? 0),
    };
  }

  async trim(seq: number): Promise<void> {
    this.#assertUsable();
    // Checkpoints trim: a good moment to make the loss of what came before it provable (R3).
    await this.#record({});
    await this.#segments.trim(Math.min(seq, this.#durable.seq));
  }

  async fence(): Promise<number> {
    this.#assertUsable();
    // From here on the owner before is refused. What it had begun is finished first: the new one replays it.
    const epoch = ++this.#epoch;
    await this.#settled();
    this.#assertUsable();
    await this.#record({ epoch });
    return epoch;
  }

  state(): State {
    return this.#state;
  }

  onState(listener: (state: State) => void): void {
    this.#listeners.push(listener);
  }

  poke(): void {
    if (this.#state === 'ready' || this.#state === 'full') this.#segments.poke();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #refusal(length: number, { expect, fence }: AppendOptions): FlowError | undefined {
    if (this.#state === 'failed')
      return new FlowError('INTERNAL', 'journal: it has failed, the process must end');
    if (this.#closing) return closed();
    if (fence !== this.#epoch) return new JournalFenced(`fence ${fence}, now ${this.#epoch}`);
    if (expect !== this.#nextSeq)
      return new JournalFenced(`expected sequence ${expect}, next is ${this.#nextSeq}`);
    if (length <= ENTRY_BYTES_MAX) return undefined;
    return new FlowError(
      'BATCH_TOO_LARGE',
      `journal: an entry has at most ${ENTRY_BYTES_MAX} bytes, not ${length}`,
    );
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true;
    try {
      while (this.#pending.length > 0 && this.#state !== 'failed') {
        const group = this.#nextGroup();
        if (group.length > 0) await this.#write(group);
        else if (!(await this.#advance())) this.#refusePending();
      }
    } catch (error) {
      this.#poison('writing an entry', error);
    }
    this.#isFlushing = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** The waiting entries that fit into the active segment. */
  #nextGroup(): Pending[] {
    if (this.#active === undefined) return [];
    let room = this.#active.bytes - Math.max(this.#active.end, HEAD_BYTES);
    const past = this.#pending.findIndex(({ length }) => {
      room -= ENTRY_HEADER_BYTES + length;
      return room < 0;
    });
    return this.#pending.slice(0, past === -1 ? undefined : past);
  }

  async #write(group: readonly Pending[]): Promise<void> {
    const active = this.#active;
    const [first, last] = [group[0], group.at(-1)];
    assert(active && first && last, 'a group is made of what fits into the active segment');
    const headers = Buffer.allocUnsafe(group.length * ENTRY_HEADER_BYTES);
    const pieces: Uint8Array[] = [];
    // A segment gets its head with its first entry (G1).
    if (active.end === 0) pieces.push(this.#head(active.id, first));
    for (const [index, { payload, ...entry }] of group.entries()) {
      const at = index * ENTRY_HEADER_BYTES;
      const header = { ...entry, durableUpTo: this.#durable.seq, segmentId: active.id };
      encodeEntryHeader(headers, at, header, { payload, seed: this.#seed });
      pieces.push(headers.subarray(at, at + ENTRY_HEADER_BYTES), ...payload);
    }
    await active.file.write(pieces, active.end);
    await active.file.sync();
    // A failure elsewhere has rejected the group already (E3).
    if (this.#state === 'failed') return;
    active.end += pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#durable = { seq: last.seq, timeMs: last.timeMs };
    this.#pending = this.#pending.slice(group.length);
    for (const { resolve, seq } of group) resolve(seq);
  }

  #head(segmentId: number, { seq, epoch }: Pending): Buffer {
    const { identity } = this.#owner.owner;
    return encodeHead({ identity, segmentId, epoch, firstSeq: seq, previousTimeMs: this.#durable.timeMs });
  }

  /** Goes on in the next segment; false: there is none. */
  async #advance(): Promise<boolean> {
    const bytes = ENTRY_HEADER_BYTES + (this.#pending[0]?.length ?? 0);
    const { seq, timeMs } = this.#durable;
    const next = await this.#segments.advance({ firstSeq: seq + 1, previousTimeMs: timeMs, bytes });
    if (next === undefined) return false;
    const sealed = this.#active;
    this.#active = { ...next, end: 0 };
    await sealed?.file.close();
    return true;
  }

  /** Nothing of these was written (E4), so the sequence goes on where it was. */
  #refusePending(): void {
    this.#nextSeq = this.#durable.seq + 1;
    for (const { reject } of this.#pending.splice(0)) reject(new JournalFull());
  }

  async *#entries(from: number, upTo: number, memory: SliceMemory): AsyncGenerator<Entry> {
    let next = from;
    while (next <= upTo) {
      if (this.#closing) throw closed();
      const segment = this.#segments.find(next);
      if (segment === undefined) {
        throw new FlowError('HISTORY_TRIMMED', `entry ${next} is gone; the oldest is ${this.tail().first}`);
      }
      const to = Math.min(upTo, this.#segments.endSeq(segment) - 1);
      // Pinned in the same turn in which it was found, so it is not recycled under the reader.
      segment.readers++;
      try {
        yield* readSegment(this.#files, segment, { from: next, to, seed: this.#seed, memory });
      } finally {
        segment.readers--;
      }
      next = to + 1;
    }
  }

  #become(state: State): void {
    if (this.#state === state || this.#state === 'failed' || this.#state === 'closed') return;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }

  #poison(doing: string, cause: unknown): void {
    if (this.#state === 'failed') return;
    this.#become('failed');
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new FlowError('INTERNAL', `journal ${this.#options.dir}: ${doing}: ${reason}`, { cause });
    this.#options.log?.('journal.failed', { err: error });
    for (const { reject } of this.#pending.splice(0)) reject(error);
    this.#options.onFatal(error);
  }

  #settled(): Promise<void> {
    return this.#isFlushing ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve();
  }

  async #record(change: { epoch?: number }): Promise<void> {
    try {
      await this.#owner.write({ ...change, durable: this.#durable.seq });
    } catch (error) {
      this.#poison('writing the owner file', error);
      throw error;
    }
  }

  async #close(): Promise<void> {
    await this.#settled();
    await this.#segments.close();
    if (this.#state !== 'failed') await this.#record({});
    await this.#active?.file.close();
    await this.#owner.close();
    this.#become('closed');
  }

  #assertUsable(): void {
    const refusal = this.#refusal(0, { expect: this.#nextSeq, fence: this.#epoch });
    if (refusal) throw refusal;
  }
}

const closed = () => new FlowError('UNAVAILABLE', 'journal: it is closed');
