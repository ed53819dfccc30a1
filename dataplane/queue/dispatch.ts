// Who gets which job next. Owns the waiting workers and the place of the cursor in the log; decides grants in
// `tick`, so that the lease of a job that was just enqueued is journaled in the same entry.
//   D1. A grant is emitted before its delivery leaves, and the delivery leaves when the grant is durable.
//   D2. Jobs with a limit key take turns with each other (key-turns.ts) and with all others (next-jobs.ts).
import { ENTRY_INDEXED } from '@flowmesh/protocol';
import type { AfterDurable, Event, Moment, ViewContext } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import { type Granted, grantedOf, type Pick } from './grants.ts';
import * as ke from './key-events.ts';
import { KeyTurns } from './key-turns.ts';
import { isByKey, limitKeyOf, nextTokenMs, rebased, spend, tokens } from './limits.ts';
import { LineBytes } from './line-bytes.ts';
import { GRANT_BYTES_MAX, NextJobs } from './next-jobs.ts';
import { jobKeysOf, spansOf } from './sources.ts';
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
/** A waiter takes at most this share at a time when others wait too. */
const TURN_JOBS = 64;
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
  readonly #bytes: LineBytes;
  readonly #next: NextJobs;
  #turns: KeyTurns | null = null;
  /** Shard time before which the queue's own rate lets nothing start. */
  #notBeforeMs = Number.POSITIVE_INFINITY;
  readonly #context: ViewContext;

  constructor(cell: QueueCell, context: ViewContext) {
    this.cell = cell;
    this.#context = context;
    this.#bytes = new LineBytes(cell, context);
    this.#next = new NextJobs(cell, context, this.#bytes);
  }

  /** What comes next is being read. */
  get isLoading(): boolean {
    return this.#bytes.isLoading;
  }

  /** When the next token of the queue's own rate is there, if jobs wait for one. */
  get wakeAtMs(): number {
    return this.#notBeforeMs;
  }

  /** It knows whose turn it is, which is worth keeping between the polls of a worker. */
  get isWorthKeeping(): boolean {
    return this.#turns !== null || this.#next.isWorthKeeping;
  }

  close(): void {
    this.#closeTurns();
    this.#next.close();
  }

  #closeTurns(): void {
    this.#turns?.close();
    this.#turns = null;
  }

  dispatch(at: Moment, nextEpoch: () => number, emit: EmitThen, hasRoom: () => boolean): void {
    const { cell } = this;
    this.#notBeforeMs = Number.POSITIVE_INFINITY;
    this.#bytes.begin(at.nowMs);
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
        : this.#grantTaken(waiter, this.#next.take(max), at, nextEpoch(), emit);
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
    if (this.#turns?.isOutdated) this.#closeTurns();
    this.#turns ??= new KeyTurns(this.#context, cell);
    const turns = this.#turns;
    const others = Math.min(max, turns.rounds, cell.state.plain + cell.state.ready);
    const picks = turns.take(max - others, at, (offset) => this.#bytes.ofKeyed(offset));
    const first = picks.length;
    const rest = this.#next.take(max - first, first === 0 ? GRANT_BYTES_MAX : ALONG_BYTES_MAX);
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
    const source = cell.state.plain > 0 ? this.#bytes.at(cursor) : null;
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

  #nextWaiter(): Waiter | undefined {
    for (let i = 0; i < this.waiters.length; i++) {
      this.#turn = (this.#turn + 1) % this.waiters.length;
      const waiter = this.waiters[this.#turn];
      if (waiter !== undefined && waiter.credits > 0 && !waiter.isCongested) return waiter;
    }
    return undefined;
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
