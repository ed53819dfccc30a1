// Who gets which job next. Owns the waiting workers and the place of the cursor in the log; decides grants in
// `tick`, so that the lease of a job that was just enqueued is journaled in the same entry.
//   D1. A grant is emitted before its delivery leaves, and the delivery leaves when the grant is durable.
//   D2. Ready exceptions (priorities, retries, unblocked) come before the cursor, higher priorities first.
//   D3. A job is only granted when its bytes are in memory: the lease does not run while the disk is read.
import {
  type BatchHead,
  ENTRY_INDEXED,
  type EntrySpan,
  EXT,
  patchHead,
  readEntries,
  readExt,
  readHead,
  sliceBatch,
} from '@flowmesh/protocol';
import type { AfterDurable, Event, Moment } from '../shard/state-machine.ts';
import type { PartitionLog } from '../storage/contract.ts';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import { freshMeta, type JobMeta, metaBytes } from './tables.ts';

/** Jobs of one stored batch granted together. */
export interface Granted {
  readonly batch: Buffer;
  readonly count: number;
  /** Offsets of the entries when they are not consecutive from the batch's base offset. */
  readonly offsets: readonly number[] | null;
  readonly firstEpoch: number;
  /** Attempt of each entry; null: all first attempts. */
  readonly attempts: readonly number[] | null;
  readonly deadlineMs: number;
}

/** Somebody who can take jobs: a worker's stream, or one long poll. */
export interface Waiter {
  /** Empty: leases belong to no session and end at their deadline. */
  readonly sessionId: string;
  readonly worker: string;
  /** 0: the queue's. */
  readonly visibilityMs: number;
  credits: number;
  /** One grant is all it takes (a long poll). */
  readonly isOnce: boolean;
  /** Its connection is congested. */
  isCongested: boolean;
  deliver(granted: readonly Granted[]): void;
  lost(offsets: readonly number[], epochs: readonly number[]): void;
}

type EmitThen = (event: Event, then?: AfterDurable) => void;

const GRANT_JOBS_MAX = 1024;
const GRANT_BYTES_MAX = 1024 * 1024;
/** A waiter takes at most this share at a time when others wait too. */
const TURN_JOBS = 64;
const LOAD_BYTES = 256 * 1024;

/** One stored batch in memory. */
interface Source {
  readonly bytes: Buffer;
  readonly head: BatchHead;
  spans: EntrySpan[] | null;
}

/** Consecutive entries of a source. */
interface Pick {
  readonly source: Source;
  readonly index: number;
  count: number;
  readonly meta: JobMeta | null;
  readonly wasReady: boolean;
}

/** Waiting workers of one queue, and where its cursor reads. */
export class QueueLine {
  readonly cell: QueueCell;
  readonly waiters: Waiter[] = [];
  #turn = 0;
  #source: Source | null = null;
  #isLoading = false;
  readonly #wake: () => void;

  constructor(cell: QueueCell, wake: () => void) {
    this.cell = cell;
    this.#wake = wake;
  }

  dispatch(at: Moment, nextEpoch: () => number, emit: EmitThen, hasRoom: () => boolean): void {
    const { cell } = this;
    if (cell.state.paused) return;
    while (cell.state.plain + cell.state.ready > 0 && hasRoom()) {
      const waiter = this.#nextWaiter();
      if (waiter === undefined) return;
      const share = this.waiters.length > 1 ? TURN_JOBS : GRANT_JOBS_MAX;
      const taken = this.#take(Math.min(waiter.credits, share));
      if (taken.count === 0) return;
      waiter.credits = waiter.isOnce ? 0 : waiter.credits - taken.count;
      this.#grant(waiter, taken.picks, taken.cursor, at, nextEpoch(), emit);
    }
  }

  #nextWaiter(): Waiter | undefined {
    for (let i = 0; i < this.waiters.length; i++) {
      this.#turn = (this.#turn + 1) % this.waiters.length;
      const waiter = this.waiters[this.#turn];
      if (waiter !== undefined && waiter.credits > 0 && !waiter.isCongested) return waiter;
    }
    return undefined;
  }

  #take(max: number): { picks: Pick[]; count: number; cursor: number } {
    const picks: Pick[] = [];
    const fromReady = this.#takeReady(max, picks);
    if (fromReady === 'blocked' || picks.length >= max)
      return { picks, count: picks.length, cursor: this.cell.state.cursor };
    return this.#takeAtCursor(max, picks);
  }

  /**
   * Takes ready exceptions; `blocked`: more are ready, but not in memory yet, and nothing may overtake them
   * (D2).
   */
  #takeReady(max: number, picks: Pick[]): 'done' | 'blocked' {
    const { cell } = this;
    if (cell.state.ready === 0) return 'done';
    let bytes = 0;
    for (const { key, value: meta } of cell.ready.take(max)) {
      const offset = readU53be(key, key.length - 7);
      const source = this.#sourceAt(offset);
      if (source === null) return 'blocked';
      picks.push({ source, index: offset - source.head.baseOffset, count: 1, meta, wasReady: true });
      bytes += source.bytes.length / source.head.count + metaBytes(meta);
      if (bytes > GRANT_BYTES_MAX) return 'blocked';
    }
    if (cell.ready.isStale()) {
      this.#load(cell.ready.refill());
      return 'blocked';
    }
    return 'done';
  }

  #takeAtCursor(max: number, picks: Pick[]): { picks: Pick[]; count: number; cursor: number } {
    const { cell } = this;
    let { cursor } = cell.state;
    let count = picks.length;
    let left = cell.state.plain;
    let bytes = 0;
    while (left > 0 && count < max && bytes < GRANT_BYTES_MAX) {
      const source = this.#sourceAt(cursor);
      if (source === null) break;
      const { head } = source;
      const index = cursor - head.baseOffset;
      const before = count;
      if (head.plain) {
        const n = Math.min(max - count, head.count - index);
        picks.push({ source, index, count: n, meta: null, wasReady: false });
        count += n;
        cursor += n;
      } else {
        const end = this.#pickEntries(source, index, max - count, picks);
        for (let i = picks.length - 1; i >= 0 && picks[i]?.source === source && !picks[i]?.wasReady; i--)
          count += picks[i]?.count ?? 0;
        cursor = head.baseOffset + end;
      }
      left -= count - before;
      bytes += (source.bytes.length * (count - before)) / head.count;
    }
    return { picks, count, cursor };
  }

  /** Picks up to `max` unindexed entries from `index` on; returns the index behind the last one looked at. */
  #pickEntries(source: Source, index: number, max: number, picks: Pick[]): number {
    const spans = spansOf(source);
    let taken = 0;
    let i = index;
    for (; i < spans.length && taken < max; i++) {
      const span = spans[i];
      if (span === undefined || (source.bytes[span.flagsAt] ?? 0) & ENTRY_INDEXED) continue;
      const key = keyOf(source.bytes, span);
      const last = picks.at(-1);
      taken++;
      if (key !== '') {
        const meta = { ...freshMeta(this.cell.state.generation, source.head.appendTimeMs), key };
        picks.push({ source, index: i, count: 1, meta, wasReady: false });
      } else if (
        last !== undefined &&
        last.source === source &&
        last.meta === null &&
        last.index + last.count === i
      )
        last.count++;
      else picks.push({ source, index: i, count: 1, meta: null, wasReady: false });
    }
    return i;
  }

  /** The stored batch that holds `offset`; null: it is being read from disk, and `wake` follows. */
  #sourceAt(offset: number): Source | null {
    const held = this.#source;
    if (held !== null && offset >= held.head.baseOffset && offset < held.head.baseOffset + held.head.count)
      return held;
    if (this.#isLoading) return null;
    const chunk = this.cell.log.resident(offset, 1);
    if (chunk === undefined) {
      this.#load(this.cell.log.load(offset, LOAD_BYTES));
      return null;
    }
    this.#source = sourceIn(chunk.bytes, offset);
    return this.#source;
  }

  #load(work: Promise<unknown>): void {
    if (this.#isLoading) return;
    this.#isLoading = true;
    const done = () => {
      this.#isLoading = false;
      this.#wake();
    };
    // Damage is reported by whoever reads the job on purpose; the queue stops here rather than skip what it
    // cannot show.
    work.then(done, () => {
      this.#isLoading = false;
    });
  }

  #grant(
    waiter: Waiter,
    picks: readonly Pick[],
    cursor: number,
    at: Moment,
    firstEpoch: number,
    emit: EmitThen,
  ): void {
    const { cell } = this;
    const deadlineMs = at.nowMs + (waiter.visibilityMs || cell.spec.visibilityTimeoutMs);
    const runs: ev.Run[] = [];
    const singles: ev.SingleLease[] = [];
    const granted: Granted[] = [];
    let epoch = firstEpoch;
    for (let i = 0; i < picks.length; ) {
      const from = i;
      const first = picks[from] as Pick;
      const groupEpoch = epoch;
      for (; i < picks.length && picks[i]?.source === first.source; i++) {
        const pick = picks[i] as Pick;
        const offset = pick.source.head.baseOffset + pick.index;
        if (pick.meta === null) runs.push({ offset, count: pick.count, epoch });
        else singles.push({ offset, epoch, meta: pick.meta, wasReady: pick.wasReady });
        epoch += pick.count;
      }
      granted.push(grantedOf(picks.slice(from, i), groupEpoch, deadlineMs));
    }
    const { sessionId, worker } = waiter;
    const event: ev.Leased = {
      type: ev.LEASED,
      queueNo: cell.queueNo,
      sessionId,
      worker,
      deadlineMs,
      cursor,
      runs,
      singles,
    };
    emit(event, () => waiter.deliver(granted));
  }
}

const spansOf = (source: Source): EntrySpan[] => {
  source.spans ??= readEntries(source.bytes, 0, source.head);
  return source.spans;
};

function keyOf(bytes: Buffer, span: EntrySpan): string {
  let key = '';
  if (span.extLength > 0) {
    readExt(bytes, span, (tag, from, to) => {
      if (tag === EXT.key) key = bytes.toString('latin1', from, to);
    });
  }
  return key;
}

/** The batch of `bytes` (one or more whole batches) that holds `offset`. */
export function sourceIn(bytes: Buffer, offset: number): Source {
  let p = 0;
  let head = readHead(bytes, p);
  while (offset >= head.baseOffset + head.count) {
    p += head.length;
    head = readHead(bytes, p);
  }
  return { bytes: bytes.subarray(p, p + head.length), head, spans: null };
}

function grantedOf(picks: readonly Pick[], firstEpoch: number, deadlineMs: number): Granted {
  const { source } = picks[0] as Pick;
  const { head } = source;
  const attempts = picks.some((p) => p.meta !== null && p.meta.acquired > 0) ? attemptsOf(picks) : null;
  const count = picks.reduce((sum, p) => sum + p.count, 0);
  if (count === head.count && picks[0]?.index === 0 && isDense(picks)) {
    return { batch: source.bytes, count, offsets: null, firstEpoch, attempts, deadlineMs };
  }
  const spans = spansOf(source);
  const chosen = picks.flatMap((p) => spans.slice(p.index, p.index + p.count));
  const batch = sliceBatch(source.bytes, head, chosen);
  const firstOffset = head.baseOffset + (picks[0]?.index ?? 0);
  patchHead(batch, firstOffset, head.appendTimeMs);
  const offsets = isDense(picks)
    ? null
    : picks.flatMap((p) => Array.from({ length: p.count }, (_, i) => head.baseOffset + p.index + i));
  return { batch, count, offsets, firstEpoch, attempts, deadlineMs };
}

const isDense = (picks: readonly Pick[]): boolean =>
  picks.every((p, i) => i === 0 || p.index === (picks[i - 1]?.index ?? 0) + (picks[i - 1]?.count ?? 0));

const attemptsOf = (picks: readonly Pick[]): number[] =>
  picks.flatMap((p) => new Array<number>(p.count).fill((p.meta?.acquired ?? 0) + 1));

/** A job's bytes, for whoever looks at one on purpose. */
export async function loadEntry(
  log: PartitionLog,
  offset: number,
): Promise<{ bytes: Buffer; head: BatchHead; index: number }> {
  const chunk = log.resident(offset, 1) ?? (await log.load(offset, 1));
  const source = sourceIn(chunk.bytes, offset);
  return { bytes: source.bytes, head: source.head, index: offset - source.head.baseOffset };
}
