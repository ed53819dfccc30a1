// What events do to the state of the queue view. Never fails, reads no rows (M2). The only place that changes
// cells.
//   V1. Counters always equal the number of jobs in each state.
//   V2. Inside a transaction every change is taken back through rows.onRollback.
import assert from 'node:assert/strict';
import type { OnChange } from '../admin/declared.ts';
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import { recordAttempt } from './attempts.ts';
import { freshState, type Grant, QueueCell } from './cell.ts';
import { expireDedups } from './dedup.ts';
import * as ev from './events.ts';
import { childEnded } from './flow-evolve.ts';
import { REFILLED } from './key-events.ts';
import { delReady, evolveKeyEvent, forgetBuckets, leaseEnded, putReady } from './key-state.ts';
import type { LeaseClock } from './lease-clock.ts';
import { recordOutcome } from './reports.ts';
import { evolveTicked, TICKED } from './schedule-events.ts';
import { afterDeclaration } from './schedule-spec.ts';
import { DEDUP, DEDUP_EXPIRY, DUE, DYING, JOB, type JobMeta, LANE, NEXT, type QueueKeys } from './tables.ts';

export class QueueState {
  readonly context: ViewContext;
  readonly byName = new Map<string, QueueCell>();
  readonly byNumber = new Map<number, QueueCell>();
  /** Cells whose rows go at the next checkpoint. */
  readonly deleted: QueueCell[] = [];
  readonly leaseClock: LeaseClock;
  nextQueue = 1;
  nextEpoch = 1;
  /** Journal position of the last deletion of a queue. */
  deletedAt = 0;
  /** Told of what owner-events.ts calls a change, durable or not. */
  onChange: OnChange = () => {};

  constructor(context: ViewContext, leaseClock: LeaseClock) {
    this.context = context;
    this.leaseClock = leaseClock;
  }

  nameKey(tenant: number, name: string): string {
    return `${tenant} ${name}`;
  }

  cell(tenant: number, name: string): QueueCell | undefined {
    return this.byName.get(this.nameKey(tenant, name));
  }

  evolve(e: ev.QueueEvent, at: Moment): void {
    if (e.type === ev.DECLARED) this.#declare(e, at);
    else if (e.type === ev.DEDUP_EXPIRED) expireDedups(this.context.rows, this.byNumber, e);
    else if (e.type === REFILLED) forgetBuckets(this.context.rows, DEFAULT_TENANT, e);
    else this.#evolveQueue(e, at);
  }

  #evolveQueue(e: ev.OfOneQueue, at: Moment): void {
    const cell = this.byNumber.get(e.queueNo);
    assert(cell !== undefined, `queue ${e.queueNo} of event ${e.type} exists`);
    cell.isDirty = true;
    cell.holders.nowMs = at.nowMs;
    const before = { ...cell.state };
    this.context.rows.onRollback(() => {
      cell.state = before;
    });
    switch (e.type) {
      case ev.DELETED:
        this.#delete(cell);
        return;
      case ev.ENQUEUED:
        this.#enqueue(cell, e, at);
        return;
      case ev.LEASED:
        this.#lease(cell, e, at);
        return;
      case ev.ACKED:
        this.#ack(cell, e, at);
        return;
      case ev.RETURNED:
        this.#return(cell, e, at);
        return;
      case ev.EXTENDED:
        this.#extend(cell, e);
        return;
      case ev.BECAME_DUE:
        this.#becomeDue(cell, e);
        return;
      case ev.DEAD_LETTERED:
        this.#deadLetter(cell, e, at);
        return;
      case ev.REMOVED:
        this.#remove(cell, e);
        return;
      case ev.PURGED:
        this.#purge(cell, e);
        return;
      case ev.PAUSED:
        cell.state.paused = e.paused;
        return;
      case ev.SESSION_RENEWED:
        this.#renew(cell, e);
        return;
      case ev.TRIMMED:
        cell.log.trimTo(e.offset);
        return;
      case TICKED:
        evolveTicked(this.context.rows, cell, e, at);
        return;
      default:
        evolveKeyEvent(this.context.rows, cell, e, (offset) => this.countException(cell, offset, 1));
    }
  }

  #declare(e: ev.Declared, at: Moment): void {
    const { rows, logs } = this.context;
    const present = this.byNumber.get(e.queueNo);
    if (present !== undefined) {
      const { spec, schedules } = present;
      present.spec = e.spec;
      present.schedules = afterDeclaration(schedules, e.spec.schedules ?? [], at.nowMs);
      present.isDirty = true;
      rows.onRollback(() => Object.assign(present, { spec, schedules }));
      return;
    }
    const row = {
      name: e.name,
      tenant: e.tenant,
      spec: e.spec,
      createdAtMs: at.nowMs,
      bornAt: at.position,
      state: freshState(),
      sessions: [],
      exceptions: [],
      recentAcks: [],
    };
    const cell = new QueueCell(rows, logs.open(logIdOf(e.queueNo)), e.queueNo, row);
    cell.schedules = afterDeclaration(cell.schedules, e.spec.schedules ?? [], at.nowMs);
    this.add(cell);
    rows.onRollback(() => {
      this.byName.delete(this.nameKey(e.tenant, e.name));
      this.byNumber.delete(e.queueNo);
    });
  }

  add(cell: QueueCell): void {
    this.byName.set(this.nameKey(cell.tenant, cell.name), cell);
    this.byNumber.set(cell.queueNo, cell);
    if (cell.queueNo >= this.nextQueue) this.nextQueue = cell.queueNo + 1;
  }

  #delete(cell: QueueCell): void {
    this.byName.delete(this.nameKey(cell.tenant, cell.name));
    this.byNumber.delete(cell.queueNo);
    this.context.logs.drop(cell.log.id);
    // Nothing that waits for a time, a lease's end or its turn may speak of the queue again.
    for (const grant of cell.leases.values()) grant.left = 0;
    cell.leases.clear();
    for (const window of [cell.ready, cell.due, cell.dying, cell.ring, cell.parked]) window.close();
    this.deleted.push(cell);
  }

  #enqueue(cell: QueueCell, e: ev.Enqueued, at: Moment): void {
    const { rows } = this.context;
    const { state, keys } = cell;
    assert(e.firstOffset === cell.log.endOffset, 'an enqueued batch begins where the log ends');
    cell.log.append(e.batch, e.count, at.nowMs);
    rows.onRollback(() => cell.log.unappend());
    state.enqueuedTotal += e.count;
    state.plain += e.count - e.placed.length;
    for (const job of e.placed) this.place(cell, job);
    for (const change of e.lanes) this.changeLane(keys, change);
    for (const { offset, next } of e.nexts) rows.put(NEXT, keys.nextKey(offset), next);
    for (const d of e.dedups) {
      rows.put(DEDUP, keys.dedupKey(d.key), { offset: d.offset, untilMs: d.untilMs });
      if (d.replacesUntilMs > 0) rows.del(DEDUP_EXPIRY, keys.dedupExpiryKey(d.key, d.replacesUntilMs));
      rows.put(DEDUP_EXPIRY, keys.dedupExpiryKey(d.key, d.untilMs), true);
    }
  }

  /** Gives a job its exception rows and counts it. */
  place(cell: QueueCell, { offset, meta, to }: ev.PlacedJob): void {
    const { rows } = this.context;
    const { keys, state } = cell;
    rows.put(JOB, keys.jobKey(offset), { state: to, meta });
    if (to === 'ready' || to === 'keyed') putReady(rows, cell, offset, meta, to);
    else if (to === 'dying') this.#die(cell, offset, meta);
    else if (to !== 'blocked' && to !== 'awaiting') rows.put(DUE, keys.dueKey(offset, meta.readyAtMs), meta);
    state[to]++;
    this.countException(cell, offset, 1);
  }

  #die(cell: QueueCell, offset: number, meta: JobMeta): void {
    const { rows } = this.context;
    rows.put(DYING, cell.keys.dyingKey(offset), meta);
    if (meta.parent === null || cell.tombs.has(offset)) return;
    childEnded(rows, cell, offset, meta.parent, { state: 'dead', error: meta.lastError });
  }

  countException(cell: QueueCell, offset: number, change: 1 | -1): void {
    cell.countException(offset, change);
    this.context.rows.onRollback(() => cell.countException(offset, change === 1 ? -1 : 1));
  }

  changeLane(keys: QueueKeys, { key, lane }: ev.LaneChange): void {
    if (lane === null) this.context.rows.del(LANE, keys.laneKey(key));
    else this.context.rows.put(LANE, keys.laneKey(key), lane);
  }

  #lease(cell: QueueCell, e: ev.Leased, at: Moment): void {
    const { rows } = this.context;
    const { state, keys } = cell;
    state.cursor = e.cursor;
    const common = {
      deadlineMs: e.deadlineMs,
      sessionId: e.sessionId,
      worker: e.worker,
      leasedAtMs: at.nowMs,
      holder: cell.holders.of(e.worker),
    };
    for (const { offset, epoch, count } of e.runs) {
      state.plain -= count;
      const run = { firstOffset: offset, firstEpoch: epoch, count, left: count };
      this.#hold(cell, { ...run, meta: null, ...common });
    }
    for (const { offset, epoch, meta, from } of e.singles) {
      if (from !== 'cursor') {
        state[from]--;
        delReady(rows, cell, offset, meta, from);
        rows.del(JOB, keys.jobKey(offset));
        cell.countException(offset, -1);
      } else state.plain--;
      const held = { ...meta, acquired: meta.acquired + 1 };
      this.#hold(cell, { firstOffset: offset, firstEpoch: epoch, count: 1, meta: held, left: 1, ...common });
    }
  }

  #hold(cell: QueueCell, grant: Grant): void {
    cell.hold(grant);
    this.leaseClock.add(cell, grant);
    const next = grant.firstEpoch + grant.count;
    if (next > this.nextEpoch) this.nextEpoch = next;
  }

  #ack(cell: QueueCell, e: ev.Acked, at: Moment): void {
    let count = 0;
    for (const run of e.ranges) {
      for (let i = 0; i < run.count; i++) {
        const { meta, leasedAtMs } = this.letGo(cell, run.offset + i);
        cell.meter.times.note(at.nowMs - leasedAtMs, 1);
        if (meta === null || meta.parent === null) continue;
        childEnded(this.context.rows, cell, run.offset + i, meta.parent, { state: 'completed', error: '' });
      }
      if (run.count === 1) this.#rememberAck(cell, run);
      count += run.count;
    }
    cell.state.completedTotal += count;
    this.unblock(cell, e.unblocked);
  }

  #rememberAck(cell: QueueCell, { offset, epoch }: ev.Run): void {
    const before = cell.recentAcks.get(offset);
    cell.rememberAck(offset, epoch);
    this.context.rows.onRollback(() => {
      if (before === undefined) cell.recentAcks.delete(offset);
      else cell.recentAcks.set(offset, before);
    });
  }

  letGo(cell: QueueCell, offset: number): Grant {
    const grant = cell.leases.get(offset);
    assert(grant !== undefined, `offset ${offset} is leased`);
    cell.leases.delete(offset);
    grant.left--;
    cell.holders.give(grant.holder, 1);
    this.leaseClock.released();
    leaseEnded(this.context.rows, cell, grant.meta);
    if (this.context.rows.isStaging) {
      this.context.rows.onRollback(() => {
        cell.leases.set(offset, grant);
        grant.left++;
        cell.holders.take(grant.holder, 1);
        cell.countRunning(grant.meta, 1);
      });
    }
    return grant;
  }

  unblock(cell: QueueCell, unblocked: readonly ev.Unblocked[]): void {
    const { rows } = this.context;
    for (const u of unblocked) {
      this.changeLane(cell.keys, u.change);
      if (u.dropNext >= 0) rows.del(NEXT, cell.keys.nextKey(u.dropNext));
      if (u.released === null) continue;
      cell.state.blocked--;
      this.countException(cell, u.released.offset, -1);
      this.place(cell, u.released);
    }
  }

  #return(cell: QueueCell, e: ev.Returned, at: Moment): void {
    const { reason } = e;
    for (const job of e.jobs) {
      const grant = cell.leases.get(job.offset);
      if (grant !== undefined) recordAttempt(this.context.rows, cell, { job, grant, reason }, at);
      this.letGo(cell, job.offset);
      if (e.reason !== 'released') cell.state.failedTotal++;
      this.place(cell, job);
    }
  }

  #extend(cell: QueueCell, e: ev.Extended): void {
    const grant = cell.leases.get(e.offset);
    assert(grant !== undefined, `offset ${e.offset} is leased`);
    this.letGo(cell, e.offset);
    const { offset: firstOffset, epoch: firstEpoch, deadlineMs } = e;
    this.#hold(cell, { ...grant, firstOffset, firstEpoch, count: 1, deadlineMs, left: 1 });
    // Behind this, what was let go of is taken back.
    this.context.rows.onRollback(() => {
      cell.countRunning(grant.meta, -1);
      cell.holders.give(grant.holder, 1);
    });
  }

  #becomeDue(cell: QueueCell, e: ev.BecameDue): void {
    const { rows } = this.context;
    const { keys, state } = cell;
    for (const { offset, meta, wasRetry, to } of e.jobs) {
      rows.del(DUE, keys.dueKey(offset, meta.readyAtMs));
      putReady(rows, cell, offset, meta, to);
      rows.put(JOB, keys.jobKey(offset), { state: to, meta });
      state[wasRetry ? 'retrying' : 'delayed']--;
      state[to]++;
    }
  }

  #deadLetter(cell: QueueCell, e: ev.DeadLettered, at: Moment): void {
    const { rows } = this.context;
    rows.del(DYING, cell.keys.dyingKey(e.offset));
    rows.del(JOB, cell.keys.jobKey(e.offset));
    cell.countException(e.offset, -1);
    cell.state.dying--;
    cell.state.deadTotal++;
    this.unblock(cell, e.unblocked);
    const dead = this.byNumber.get(e.deadQueueNo);
    assert(dead !== undefined, 'a dead-letter queue is declared before it is used');
    const place = [this.context.shard, dead.queueNo, dead.log.endOffset].map((n) => n.toString(36)).join('-');
    const note = `${dead.name} ${place}`;
    recordOutcome(rows, cell, e.offset, { kind: 'dead', atMs: at.nowMs, note });
    dead.isDirty = true;
    dead.log.append(e.batch, 1, at.nowMs);
    dead.state.enqueuedTotal++;
    dead.state.plain++;
  }

  #remove(cell: QueueCell, e: ev.Removed): void {
    const { rows } = this.context;
    cell.state.cursor = e.cursor;
    cell.state.plain -= e.plain;
    for (const { offset, meta } of e.ready) {
      delReady(rows, cell, offset, meta, 'ready');
      rows.del(JOB, cell.keys.jobKey(offset));
      if (meta.parent !== null)
        childEnded(rows, cell, offset, meta.parent, { state: 'cancelled', error: 'it was redriven' });
      cell.state.ready--;
      this.countException(cell, offset, -1);
    }
  }

  #purge(cell: QueueCell, e: ev.Purged): void {
    const { state } = cell;
    state.cursor = e.cursor;
    cell.tombs.clear();
    Object.assign(state, NO_JOBS);
    // Which of its children the purge took is found out beside the shard's work (flow-keeper.ts).
    state.orphansBelow = state.children > 0 ? e.cursor : 0;
    state.orphansFrom = 0;
    cell.exceptions.clear();
    cell.setGeneration(e.generation);
  }

  #renew(cell: QueueCell, e: ev.SessionRenewed): void {
    const session = cell.sessions.get(e.sessionId);
    if (session === undefined)
      cell.sessions.set(e.sessionId, { id: e.sessionId, worker: e.worker, untilMs: e.untilMs });
    else {
      session.untilMs = e.untilMs;
      session.unstartedFrom = undefined;
    }
  }
}

/** Those that are not leased. */
const NO_JOBS = { plain: 0, ready: 0, keyed: 0, delayed: 0, retrying: 0, blocked: 0, dying: 0, awaiting: 0 };

/** Log ids are odd for queues, even for streams: they share a shard's directory. */
export const logIdOf = (queueNo: number): number => queueNo * 2 + 1;
