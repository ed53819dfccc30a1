// What happens to queues of its own accord: jobs become due, leases end, exhausted jobs go to their
// dead-letter queue, old jobs and dedup keys go. Runs before every batch, so it returns at once unless
// something is due.
import { patchHead } from '@flowmesh/protocol';
import type { Moment, View, ViewContext } from '../shard/state-machine.ts';
import type { Window } from '../storage/contract.ts';
import { after, DEFAULT_TENANT, readPart, readU32be, readU53be } from '../storage/keys.ts';
import { attemptReads, attemptsOf } from './attempts.ts';
import type { QueueCell } from './cell.ts';
import { deadJobBatch } from './dead-job.ts';
import type { Waiter } from './dispatch.ts';
import * as ev from './events.ts';
import type { QueueState } from './evolve.ts';
import type { LeaseClock } from './lease-clock.ts';
import * as life from './life-events.ts';
import { LifeSweeper } from './life-sweeper.ts';
import { readyPlace } from './limits.ts';
import { Parking } from './parking.ts';
import { endedGrant } from './sessions.ts';
import { laneReads, unblock } from './settle.ts';
import { sourceIn } from './sources.ts';
import { DEDUP_EXPIRY, tablePrefix } from './tables.ts';

/** Work of one kind that a single run does at most. */
const SLICE = 256;
const HOUSEKEEPING_MS = 2000;
/** After a read that failed: a disk that fails once must not hold up jobs for ever. */
const RETRY_MS = 1000;

export type EmitThen = Parameters<NonNullable<View['tick']>>[1];

export interface UpkeepHooks {
  readonly deadQueueOf: (cell: QueueCell, emit: EmitThen) => QueueCell;
  readonly idPrefix: (cell: QueueCell) => string;
  readonly waiterOf: (cell: QueueCell, sessionId: string) => Waiter | undefined;
}

export class Upkeep {
  readonly #context: ViewContext;
  readonly #state: QueueState;
  readonly #leaseClock: LeaseClock;
  readonly #hooks: UpkeepHooks;
  readonly #parking: Parking;
  readonly #hasDue = new Set<QueueCell>();
  readonly #hasDying = new Set<QueueCell>();
  readonly #dedupExpiry: Window<true>;
  readonly sweeper: LifeSweeper;
  #nextDueMs = 0;
  #nextBurialMs = 0;
  #nextHousekeepingMs = 0;

  constructor(context: ViewContext, state: QueueState, leaseClock: LeaseClock, hooks: UpkeepHooks) {
    this.#context = context;
    this.#state = state;
    this.#leaseClock = leaseClock;
    this.#hooks = hooks;
    this.sweeper = new LifeSweeper(context);
    this.#parking = new Parking(context);
    const prefix = tablePrefix(DEFAULT_TENANT, DEDUP_EXPIRY);
    this.#dedupExpiry = context.rows.window(DEDUP_EXPIRY, prefix, after(prefix));
  }

  /** When house was kept last. */
  get lastMs(): number {
    return this.#nextHousekeepingMs - HOUSEKEEPING_MS;
  }

  run(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    if (this.#leaseClock.nextAtMs() <= at.nowMs) this.#endLeases(at, emit, hasRoom);
    if (this.#hasDue.size > 0 && this.#nextDueMs <= at.nowMs) this.#makeDue(at, emit, hasRoom);
    if (this.#hasDying.size > 0 && at.nowMs >= this.#nextBurialMs) this.#buryDying(at, emit, hasRoom);
    this.#parking.run(at, emit, hasRoom);
    if (at.nowMs >= this.#nextHousekeepingMs) this.#keepHouse(at, emit);
    this.sweeper.run(at, emit);
  }

  wakeAtMs(): number {
    const dueMs = this.#hasDue.size > 0 ? this.#nextDueMs : Number.POSITIVE_INFINITY;
    return Math.min(this.#leaseClock.nextAtMs(), dueMs, this.#parking.wakeAtMs(), this.#nextHousekeepingMs);
  }

  forget(cell: QueueCell): void {
    this.#hasDue.delete(cell);
    this.#hasDying.delete(cell);
    this.#parking.forget(cell);
  }

  /** A cell may have got jobs that wait for a time, or for their burial. */
  note(cell: QueueCell): void {
    const { delayed, retrying, dying } = cell.state;
    this.#parking.note(cell);
    if (delayed + retrying > 0) {
      this.#hasDue.add(cell);
      const first = cell.due.first();
      this.#nextDueMs = Math.min(
        this.#nextDueMs,
        first === undefined ? 0 : readU53be(first.key, first.key.length - 14),
      );
    }
    if (dying > 0) this.#hasDying.add(cell);
  }

  #endLeases(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    for (const { cell, grant } of this.#leaseClock.due(at.nowMs, hasRoom)) {
      const { events, offsets, epochs } = endedGrant(cell, grant, at, this.#context.random);
      const waiter = this.#hooks.waiterOf(cell, grant.sessionId);
      events.forEach((event, i) => {
        emit(event, i === 0 ? () => waiter?.lost(offsets, epochs) : undefined);
      });
    }
  }

  #makeDue(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const cell of this.#hasDue) {
      if (!hasRoom()) {
        this.#nextDueMs = at.nowMs;
        return;
      }
      const jobs: ev.BecameDue['jobs'][number][] = [];
      for (const { key, value: meta } of cell.due.take(SLICE)) {
        if (meta.readyAtMs > at.nowMs) break;
        const to = readyPlace(cell.spec, meta);
        jobs.push({ offset: readU53be(key, key.length - 7), meta, wasRetry: meta.acquired > 0, to });
      }
      if (jobs.length > 0) emit({ type: ev.BECAME_DUE, queueNo: cell.queueNo, jobs } as ev.BecameDue);
      const first = cell.due.first();
      if (first !== undefined) nextMs = Math.min(nextMs, first.value.readyAtMs);
      else if (cell.due.isStale()) {
        const later = () => {
          this.#nextDueMs = Math.min(this.#nextDueMs, at.nowMs + RETRY_MS);
        };
        cell.due.refill().then(() => this.#dueAgain(), later);
      }
      if (cell.state.delayed + cell.state.retrying === 0) this.#hasDue.delete(cell);
    }
    this.#nextDueMs = nextMs;
  }

  #dueAgain(): void {
    this.#nextDueMs = 0;
    this.#context.wake();
  }

  /** Moves exhausted jobs to their dead-letter queue, once their bytes and lanes are in memory. */
  #buryDying(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    const { rows } = this.#context;
    for (const cell of this.#hasDying) {
      // What cannot be read must not become a busy loop.
      const later = () => {
        this.#nextBurialMs = at.nowMs + RETRY_MS;
      };
      if (cell.dying.isStale()) cell.dying.refill().then(this.#context.wake, later);
      for (const { key, value: meta } of cell.dying.take(SLICE)) {
        if (!hasRoom()) return;
        const offset = readU53be(key, key.length - 7);
        const chunk = cell.log.resident(offset, 1);
        const failures = meta.failed + meta.timedOut;
        const reads = [
          ...laneReads(rows, cell, [offset], () => meta.key),
          ...attemptReads(cell, offset, failures),
        ];
        const missing = reads.filter((ref) => !rows.isResident(ref));
        if (chunk === undefined || missing.length > 0) {
          const loads = [rows.fetch(missing), chunk === undefined ? cell.log.load(offset, 1) : undefined];
          Promise.all(loads).then(this.#context.wake, later);
          break;
        }
        const change = unblock(rows, cell, offset, meta, at);
        const unblocked = change === null ? [] : [change];
        if (cell.tombs.has(offset)) {
          const { queueNo } = cell;
          const tomb = { queueNo, offset, from: 'dying', meta, reason: '', unblocked };
          emit({ type: life.CANCELLED, ...tomb } as life.Cancelled);
          continue;
        }
        const source = sourceIn(chunk.bytes, offset);
        const dead = this.#hooks.deadQueueOf(cell, emit);
        const from = {
          queue: cell.name,
          id: this.#hooks.idPrefix(cell) + offset.toString(36),
          error: meta.lastError,
          attempts: attemptsOf(rows, cell, offset, failures),
        };
        const batch = deadJobBatch(source.bytes, offset - source.head.baseOffset, from);
        const { endOffset } = dead.log;
        const event = {
          type: ev.DEAD_LETTERED,
          queueNo: cell.queueNo,
          offset,
          generation: meta.generation,
          deadQueueNo: dead.queueNo,
          batch: patched(batch, endOffset, at.nowMs),
          unblocked,
        };
        emit(event as ev.DeadLettered);
      }
      if (cell.state.dying === 0) this.#hasDying.delete(cell);
    }
  }

  #keepHouse(at: Moment, emit: EmitThen): void {
    this.#nextHousekeepingMs = at.nowMs + HOUSEKEEPING_MS;
    for (const cell of this.#state.byNumber.values()) {
      const { retentionMs, retentionBytes } = cell.spec;
      const expired = cell.log.expiredOffset({
        olderThanMs: at.nowMs - retentionMs,
        bytesMax: retentionBytes,
      });
      const offset = expired > cell.log.startOffset ? Math.min(expired, cell.floor()) : 0;
      if (offset > cell.log.startOffset)
        emit({ type: ev.TRIMMED, queueNo: cell.queueNo, offset } as ev.Trimmed);
    }
    const keys: ev.DedupExpired['keys'][number][] = [];
    for (const { key } of this.#dedupExpiry.take(SLICE * 4)) {
      const untilMs = readU53be(key, 5);
      if (untilMs > at.nowMs) break;
      keys.push({ queueNo: readU32be(key, 12), key: readPart(key, 16).bytes, untilMs });
    }
    if (keys.length > 0) emit({ type: ev.DEDUP_EXPIRED, keys } as ev.DedupExpired);
    // What cannot be read is asked for again when house is kept next.
    if (this.#dedupExpiry.isStale()) this.#dedupExpiry.refill().then(this.#context.wake, () => {});
    if (keys.length === SLICE * 4) this.#nextHousekeepingMs = at.nowMs + 20;
  }
}

function patched(batch: Buffer, offset: number, timeMs: number): Buffer {
  patchHead(batch, offset, timeMs);
  return batch;
}
