// Who gets which job next. Owns the waiting workers and the place of the cursor in the log; decides grants in
// `tick`, so that the lease of a job that was just enqueued is journaled in the same entry.
//   D1. A grant is emitted before its delivery leaves, and the delivery leaves when the grant is durable.
//   D2. Ready exceptions (priorities, retries, unblocked) come before the cursor, higher priorities first.
//       Jobs with a limit key take turns with each other and with all others (key-turns.ts).
//   D3. A job is only granted when its bytes are in memory: the lease does not run while the disk is read.
import { ENTRY_INDEXED } from '@flowmesh/protocol';
import type { AfterDurable, Event, Moment, ViewContext } from '../shard/state-machine.ts';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import { type Granted, grantedOf, type Pick } from './grants.ts';
import * as ke from './key-events.ts';
import { KeyTurns } from './key-turns.ts';
import { isByKey, limitKeyOf, nextTokenMs, readyPlace, rebased, spend, tokens } from './limits.ts';
import { jobKeysOf, type Source, sourceIn, spansOf } from './sources.ts';
import { freshMeta, metaBytes } from './tables.ts';

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
  lost(offsets: readonly number[], epochs: readonly number[], code?: string): void;
}

type EmitThen = (event: Event, then?: AfterDurable) => void;

const GRANT_JOBS_MAX = 1024;
const GRANT_BYTES_MAX = 1024 * 1024;
/** A waiter takes at most this share at a time when others wait too. */
const TURN_JOBS = 64;
const LOAD_BYTES = 256 * 1024;
/** Reads from the disk on the way at the same time. */
const LOADS_MAX = 16;
const DAMAGED_MAX = 1000;
/** Ready exceptions that come along with jobs by key: all of a grant's events fit together (bounds.ts). */
const ALONG_BYTES_MAX = 512 * 1024;
/** Jobs that go to their limit keys at once. */
const SORT_JOBS = 256;
const SORT_BYTES = 256 * 1024;

/** Waiting workers of one queue, and where its cursor reads. */
export class QueueLine {
  readonly cell: QueueCell;
  readonly waiters: Waiter[] = [];
  #turn = 0;
  #source: Source | null = null;
  /** What comes next is being read. */
  isLoading = false;
  /** Batches on their way from the disk for jobs by key, by offset. */
  readonly #loads = new Set<number>();
  /** Jobs whose bytes could not be read: their keys lose their turns, the others go on. */
  readonly #damaged = new Set<number>();
  #turns: KeyTurns | null = null;
  /** Shard time before which the queue's own rate lets nothing start. */
  #notBeforeMs = Number.POSITIVE_INFINITY;
  readonly #context: ViewContext;

  constructor(cell: QueueCell, context: ViewContext) {
    this.cell = cell;
    this.#context = context;
  }

  /** When the next token of the queue's own rate is there, if jobs wait for one. */
  get wakeAtMs(): number {
    return this.#notBeforeMs;
  }

  /** It knows whose turn it is, which is worth keeping between the polls of a worker. */
  get isWorthKeeping(): boolean {
    return this.#turns !== null;
  }

  close(): void {
    this.#turns?.close();
    this.#turns = null;
  }

  dispatch(at: Moment, nextEpoch: () => number, emit: EmitThen, hasRoom: () => boolean): void {
    const { cell } = this;
    this.#notBeforeMs = Number.POSITIVE_INFINITY;
    if (cell.state.paused) return;
    while (cell.waiting > 0 && hasRoom()) {
      const waiter = this.#nextWaiter();
      if (waiter === undefined) return;
      const share = this.waiters.length > 1 ? TURN_JOBS : GRANT_JOBS_MAX;
      const max = Math.min(waiter.credits, share, this.#allowance(at, emit));
      if (max <= 0) return;
      const byKey = cell.state.keyed > 0 || isByKey(cell.spec);
      if (isByKey(cell.spec) && this.#sort(emit)) continue;
      const count = byKey
        ? this.#dispatchByKey(waiter, max, at, nextEpoch, emit)
        : this.#grantTaken(waiter, this.#take(max), at, nextEpoch(), emit);
      if (count === 0) return;
      waiter.credits = waiter.isOnce ? 0 : waiter.credits - count;
    }
  }

  /** Jobs that may start now by the limits of the whole queue. */
  #allowance(at: Moment, emit: EmitThen): number {
    const { limits } = this.cell.spec;
    if (limits === undefined) return GRANT_JOBS_MAX;
    const { rate, concurrency } = limits;
    const free = concurrency === undefined ? GRANT_JOBS_MAX : concurrency - this.cell.leases.size;
    if (rate === undefined || free <= 0) return free;
    const fullAtUs = rebased(rate, this.cell.state.fullAtUs, at.nowMs);
    if (fullAtUs < this.cell.state.fullAtUs) this.#meter(fullAtUs, [], emit);
    const left = tokens(rate, fullAtUs, at.nowMs);
    if (left < 1) this.#notBeforeMs = nextTokenMs(rate, fullAtUs);
    return Math.min(free, left);
  }

  #grantTaken(
    waiter: Waiter,
    { picks, count, cursor }: { picks: Pick[]; count: number; cursor: number },
    at: Moment,
    firstEpoch: number,
    emit: EmitThen,
  ): number {
    const { spec, state } = this.cell;
    const rate = spec.limits?.rate;
    const fullAtUs = rate === undefined || count === 0 ? 0 : spend(rate, state.fullAtUs, at.nowMs, count);
    this.#meter(fullAtUs, this.#turns?.metered() ?? [], emit);
    if (count > 0) this.#grant(waiter, picks, cursor, at, firstEpoch, emit);
    return count;
  }

  #meter(fullAtUs: number, keys: ke.Metered['keys'], emit: EmitThen): void {
    if (fullAtUs === 0 && keys.length === 0) return;
    emit({ type: ke.METERED, queueNo: this.cell.queueNo, fullAtUs, keys } as ke.Metered);
  }

  /** Jobs with a limit key in their turns; each round of the ring gives one turn to those without. */
  #dispatchByKey(waiter: Waiter, max: number, at: Moment, nextEpoch: () => number, emit: EmitThen): number {
    const { cell } = this;
    if (this.#turns?.isOutdated) this.close();
    this.#turns ??= new KeyTurns(this.#context, cell);
    const turns = this.#turns;
    const others = Math.min(max, turns.rounds, cell.state.plain + cell.state.ready);
    const picks = turns.take(max - others, at, (offset) => this.#sourceOfKeyed(offset));
    const first = picks.length;
    const rest = this.#take(max - first, first === 0 ? GRANT_BYTES_MAX : ALONG_BYTES_MAX);
    turns.rounds = Math.max(0, turns.rounds - rest.count);
    // A round in which nobody else waits owes nothing.
    if (cell.state.plain + cell.state.ready <= rest.count) turns.rounds = 0;
    picks.push(...rest.picks);
    const count = this.#grantTaken(
      waiter,
      { picks, count: first + rest.count, cursor: rest.cursor },
      at,
      nextEpoch(),
      emit,
    );
    const keys = turns.settle();
    if (keys.length > 0) emit({ type: ke.LEFT, queueNo: cell.queueNo, keys } as ke.Left);
    return count;
  }

  /**
   * Jobs at the cursor that were enqueued before the queue went by key go to their limit keys; false: there
   * is none, or its bytes are on their way.
   */
  #sort(emit: EmitThen): boolean {
    const { cell } = this;
    let { cursor } = cell.state;
    const source = cell.state.plain > 0 ? this.#sourceAt(cursor) : null;
    if (source === null || source.head.plain) return false;
    const jobs: ke.Sorted['jobs'][number][] = [];
    const spans = spansOf(source);
    const end = source.head.baseOffset + source.head.count;
    for (let bytes = 0; cursor < end && jobs.length < SORT_JOBS && bytes < SORT_BYTES; cursor++) {
      const span = spans[cursor - source.head.baseOffset];
      if (span === undefined || (source.bytes[span.flagsAt] ?? 0) & ENTRY_INDEXED) continue;
      if (cell.holes.has(cursor)) continue;
      const keys = jobKeysOf(source.bytes, span);
      if (limitKeyOf(keys) === '') break;
      const meta = { ...freshMeta(cell.state.generation, source.head.appendTimeMs), ...keys };
      jobs.push({ offset: cursor, meta });
      bytes += metaBytes(meta);
    }
    if (jobs.length === 0) return false;
    emit({ type: ke.SORTED, queueNo: cell.queueNo, cursor, jobs } as ke.Sorted);
    return true;
  }

  /** The stored batch of a job that has its turn; null: it is being read; undefined: that failed. */
  #sourceOfKeyed(offset: number): Source | null | undefined {
    const held = this.#held(offset);
    if (held !== null) return held;
    const chunk = this.cell.log.resident(offset, 1);
    if (chunk !== undefined) {
      this.#source = sourceIn(chunk.bytes, offset);
      return this.#source;
    }
    if (this.#damaged.has(offset)) return undefined;
    if (this.#loads.has(offset) || this.#loads.size >= LOADS_MAX) return null;
    this.#loads.add(offset);
    this.cell.log.load(offset, 1).then(
      () => {
        this.#loads.delete(offset);
        this.#context.wake();
      },
      () => {
        this.#loads.delete(offset);
        if (this.#damaged.size >= DAMAGED_MAX) this.#damaged.clear();
        this.#damaged.add(offset);
        this.#context.wake();
      },
    );
    return null;
  }

  #nextWaiter(): Waiter | undefined {
    for (let i = 0; i < this.waiters.length; i++) {
      this.#turn = (this.#turn + 1) % this.waiters.length;
      const waiter = this.waiters[this.#turn];
      if (waiter !== undefined && waiter.credits > 0 && !waiter.isCongested) return waiter;
    }
    return undefined;
  }

  #take(max: number, bytesMax = GRANT_BYTES_MAX): { picks: Pick[]; count: number; cursor: number } {
    const picks: Pick[] = [];
    const fromReady = this.#takeReady(max, picks, bytesMax);
    if (fromReady === 'blocked' || picks.length >= max)
      return { picks, count: picks.length, cursor: this.cell.state.cursor };
    return this.#takeAtCursor(max, picks);
  }

  /**
   * Takes ready exceptions; `blocked`: more are ready, but not in memory yet, and nothing may overtake them
   * (D2).
   */
  #takeReady(max: number, picks: Pick[], bytesMax: number): 'done' | 'blocked' {
    const { cell } = this;
    if (cell.state.ready === 0) return 'done';
    let bytes = 0;
    for (const { key, value: meta } of cell.ready.take(max)) {
      const offset = readU53be(key, key.length - 7);
      const source = this.#sourceAt(offset);
      if (source === null) return 'blocked';
      picks.push({ source, index: offset - source.head.baseOffset, count: 1, meta, from: 'ready' });
      bytes += source.bytes.length / source.head.count + metaBytes(meta);
      if (bytes > bytesMax) return 'blocked';
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
      while (cell.holes.has(cursor)) cursor++;
      const source = this.#sourceAt(cursor);
      if (source === null) break;
      const { head } = source;
      const index = cursor - head.baseOffset;
      const before = count;
      if (head.plain) {
        const n = cell.untilHole(cursor, Math.min(max - count, head.count - index));
        picks.push({ source, index, count: n, meta: null, from: 'cursor' });
        count += n;
        cursor += n;
      } else {
        const end = this.#pickEntries(source, index, max - count, picks);
        if (end === index) break;
        for (
          let i = picks.length - 1;
          i >= 0 && picks[i]?.source === source && picks[i]?.from === 'cursor';
          i--
        )
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
      if (this.cell.holes.has(source.head.baseOffset + i)) continue;
      const keys = jobKeysOf(source.bytes, span);
      const last = picks.at(-1);
      if (limitKeyOf(keys) !== '') {
        const meta = { ...freshMeta(this.cell.state.generation, source.head.appendTimeMs), ...keys };
        // It goes to its limit key first.
        if (readyPlace(this.cell.spec, meta) === 'keyed') break;
        taken++;
        picks.push({ source, index: i, count: 1, meta, from: 'cursor' });
        continue;
      }
      taken++;
      if (last !== undefined && last.source === source && last.meta === null && last.index + last.count === i)
        last.count++;
      else picks.push({ source, index: i, count: 1, meta: null, from: 'cursor' });
    }
    return i;
  }

  /** The stored batch that holds `offset`; null: it is being read from disk, and `wake` follows. */
  #sourceAt(offset: number): Source | null {
    const held = this.#held(offset);
    if (held !== null) return held;
    if (this.isLoading) return null;
    const chunk = this.cell.log.resident(offset, 1);
    if (chunk === undefined) {
      this.#load(this.cell.log.load(offset, LOAD_BYTES));
      return null;
    }
    this.#source = sourceIn(chunk.bytes, offset);
    return this.#source;
  }

  #held(offset: number): Source | null {
    const held = this.#source;
    const isIn =
      held !== null && offset >= held.head.baseOffset && offset < held.head.baseOffset + held.head.count;
    return isIn ? held : null;
  }

  #load(work: Promise<unknown>): void {
    if (this.isLoading) return;
    this.isLoading = true;
    const done = () => {
      this.isLoading = false;
      this.#context.wake();
    };
    // Damage is reported by whoever reads the job on purpose; the queue stops here rather than skip what it
    // cannot show.
    work.then(done, () => {
      this.isLoading = false;
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
        else singles.push({ offset, epoch, meta: pick.meta, from: pick.from });
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
