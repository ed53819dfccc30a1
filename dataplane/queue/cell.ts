// What a shard keeps in memory of one queue: declaration, counters, held leases, sessions, and the fronts of
// its indexes.
//   C1. Memory is O(leases + sessions), never O(waiting jobs).
//   C2. A job is finished exactly if the cursor has passed it or its entry is flagged as indexed, and it is
//       neither leased nor an exception row.
import type { Ownership } from '../admin/ownership.ts';
import { Meter } from '../scaling/meter.ts';
import type { PartitionLog, Rows, Window } from '../storage/contract.ts';
import { after } from '../storage/keys.ts';
import { type Holder, Holders } from './holders.ts';
import { LimitKeys, PARKED, RING } from './key-tables.ts';
import { LifeKeys } from './life-tables.ts';
import { limitKeyOf } from './limits.ts';
import type { RedriveTask } from './redrive-decide.ts';
import type { ScheduleState } from './schedule-spec.ts';
import {
  DUE,
  DYING,
  type JobMeta,
  QUEUE,
  QueueKeys,
  type QueueRow,
  type QueueState,
  READY,
  type ResolvedSpec,
} from './tables.ts';

/** Consecutive offsets leased together: one object for all of them. */
export interface Grant {
  readonly firstOffset: number;
  readonly firstEpoch: number;
  readonly count: number;
  readonly deadlineMs: number;
  readonly sessionId: string;
  readonly worker: string;
  readonly leasedAtMs: number;
  /** Set for jobs with a history or a key; such grants hold one job. */
  readonly meta: JobMeta | null;
  /** Its worker. */
  readonly holder: Holder;
  /** Leases of the grant that are still held. */
  left: number;
}

export interface SessionRecord {
  readonly id: string;
  worker: string;
  /** Leases of the session do not expire before this. */
  untilMs: number;
  /** What the worker said when it connected; absent in rows of older versions and after a bare renewal. */
  readonly build?: string;
  readonly visibilityMs?: number;
  readonly concurrency?: number;
  /** Set while its leases end; see sessions.ts. */
  unstartedFrom?: number | undefined;
}

/** Exceptions are counted by buckets of this many offsets, to know how far the log may be trimmed. */
const BUCKET = 16_384;
const RECENT_ACKS_MAX = 1000;
/** A lease may last this long in all, however it is prolonged, as in SQS. */
export const VISIBILITY_MS_MAX = 12 * 3_600_000;

export const freshState = (): QueueState => ({
  generation: 0,
  paused: false,
  draining: false,
  cursor: 0,
  plain: 0,
  ready: 0,
  delayed: 0,
  retrying: 0,
  blocked: 0,
  dying: 0,
  keyed: 0,
  awaiting: 0,
  children: 0,
  orphansBelow: 0,
  orphansFrom: 0,
  fullAtUs: 0,
  enqueuedTotal: 0,
  completedTotal: 0,
  cancelledTotal: 0,
  failedTotal: 0,
  deadTotal: 0,
});

export class QueueCell {
  readonly queueNo: number;
  readonly tenant: number;
  readonly name: string;
  readonly createdAtMs: number;
  readonly log: PartitionLog;
  readonly keys: QueueKeys;
  readonly life: LifeKeys;
  readonly limitKeys: LimitKeys;
  readonly ready: Window<JobMeta>;
  readonly due: Window<JobMeta>;
  readonly dying: Window<JobMeta>;
  readonly ring: Window<true>;
  readonly parked: Window<true>;
  /** Leases by limit key. */
  readonly running = new Map<string, number>();
  /** Limit keys at their concurrency, and perhaps others with leases: they return when one of these ends. */
  readonly full = new Set<string>();
  readonly leases = new Map<number, Grant>();
  readonly holders = new Holders();
  readonly meter = new Meter();
  readonly sessions = new Map<string, SessionRecord>();
  readonly exceptions = new Map<number, number>();
  /** Epochs under which single jobs were acked lately: a repeated ack is answered as done. */
  readonly recentAcks = new Map<number, number>();
  /** Leases that have a row on disk. */
  readonly persistedLeases = new Map<number, Grant>();
  spec: ResolvedSpec;
  state: QueueState;
  /** Priorities that ready jobs have, or had. Not stored: after a restart those that were are found again. */
  readonly readyLevels = new Set<number>();
  /** Cancelled jobs that the cursor has not passed yet; those behind it mean nothing. */
  readonly holes: Set<number>;
  /** Cancelled jobs that are still links of their lane: in their turn they only let the next one go. */
  readonly tombs: Set<number>;
  /** The newest redrive task of a dead-letter queue. */
  redrive: RedriveTask | null;
  /** What is remembered of each schedule of the declaration. */
  schedules: Map<string, ScheduleState>;
  /** Who declares it; null: whoever may. */
  ownership: Ownership | null;
  /** Journal positions of its first declaration, and of the last change of what people see of it but jobs. */
  readonly bornAt: number;
  changedAt: number;
  /** When the first waiting job behind the cursor was enqueued. Not stored: oldest.ts finds it again. */
  front = { cursor: -1, cancelled: 0, atMs: 0 };
  isDirty = true;

  constructor(rows: Rows, log: PartitionLog, queueNo: number, row: QueueRow) {
    this.queueNo = queueNo;
    this.tenant = row.tenant;
    this.name = row.name;
    this.createdAtMs = row.createdAtMs;
    this.spec = row.spec;
    this.redrive = row.redrive ?? null;
    this.ownership = row.ownership ?? null;
    this.bornAt = row.bornAt ?? 0;
    this.changedAt = row.changedAt ?? 0;
    this.schedules = new Map(row.schedules);
    this.holes = new Set(row.holes);
    this.tombs = new Set(row.tombs);
    // Counters of later versions are absent in older rows.
    this.state = { ...freshState(), ...row.state };
    this.log = log;
    this.keys = new QueueKeys(row.tenant, queueNo, row.state.generation);
    this.life = new LifeKeys(row.tenant, queueNo);
    this.ready = rows.window(READY, this.keys.ready, after(this.keys.ready));
    this.due = rows.window(DUE, this.keys.due, after(this.keys.due));
    this.dying = rows.window(DYING, this.keys.dying, after(this.keys.dying));
    const limitKeys = new LimitKeys(row.tenant, queueNo, row.state.generation);
    this.limitKeys = limitKeys;
    this.ring = rows.window(RING, limitKeys.ring, after(limitKeys.ring));
    this.parked = rows.window(PARKED, limitKeys.parked, after(limitKeys.parked));
    for (const s of row.sessions) this.sessions.set(s.id, { ...s });
    for (const [offset, epoch] of row.recentAcks) this.recentAcks.set(offset, epoch);
    for (const [bucket, count] of row.exceptions) this.exceptions.set(bucket, count);
  }

  get waiting(): number {
    return this.state.plain + this.state.ready + this.state.keyed;
  }

  get depth(): number {
    const s = this.state;
    return this.waiting + s.delayed + s.retrying + s.blocked + s.dying + s.awaiting + this.leases.size;
  }

  /** The grant that holds `offset` under exactly this epoch. */
  held(offset: number, epoch: number): Grant | undefined {
    const grant = this.leases.get(offset);
    return grant !== undefined && grant.firstEpoch + offset - grant.firstOffset === epoch ? grant : undefined;
  }

  hold(grant: Grant): void {
    const end = grant.firstOffset + grant.count;
    for (let offset = grant.firstOffset; offset < end; offset++) this.leases.set(offset, grant);
    this.countRunning(grant.meta, 1);
    this.holders.take(grant.holder, grant.count);
  }

  /** Renewals of its session push it on, but not for ever. */
  deadlineOf(grant: Grant): number {
    const session = this.sessions.get(grant.sessionId);
    if (session === undefined || session.untilMs <= grant.deadlineMs) return grant.deadlineMs;
    return Math.max(grant.deadlineMs, Math.min(session.untilMs, grant.leasedAtMs + VISIBILITY_MS_MAX));
  }

  rememberAck(offset: number, epoch: number): void {
    this.recentAcks.set(offset, epoch);
    if (this.recentAcks.size <= RECENT_ACKS_MAX) return;
    for (const oldest of this.recentAcks.keys()) {
      this.recentAcks.delete(oldest);
      return;
    }
  }

  countException(offset: number, change: 1 | -1): void {
    const bucket = Math.floor(offset / BUCKET);
    const count = (this.exceptions.get(bucket) ?? 0) + change;
    if (count === 0) this.exceptions.delete(bucket);
    else this.exceptions.set(bucket, count);
  }

  /** Everything below is finished. */
  floor(): number {
    let floor = this.state.cursor;
    for (const offset of this.leases.keys()) if (offset < floor) floor = offset;
    for (const bucket of this.exceptions.keys()) if (bucket * BUCKET < floor) floor = bucket * BUCKET;
    return floor;
  }

  /** Counts a lease by its limit key. */
  countRunning(meta: JobMeta | null, change: 1 | -1): void {
    const limitKey = meta === null ? '' : limitKeyOf(meta);
    if (limitKey === '') return;
    const count = (this.running.get(limitKey) ?? 0) + change;
    if (count === 0) this.running.delete(limitKey);
    else this.running.set(limitKey, count);
  }

  setGeneration(generation: number): void {
    this.state.generation = generation;
    this.keys.setGeneration(generation);
    this.ready.reset(this.keys.ready, after(this.keys.ready));
    this.due.reset(this.keys.due, after(this.keys.due));
    this.dying.reset(this.keys.dying, after(this.keys.dying));
    this.limitKeys.setGeneration(generation);
    this.ring.reset(this.limitKeys.ring, after(this.limitKeys.ring));
    this.parked.reset(this.limitKeys.parked, after(this.limitKeys.parked));
  }

  /** Jobs from `cursor` on that were not cancelled, at most `max`. */
  untilHole(cursor: number, max: number): number {
    if (this.holes.size === 0) return max;
    let n = 0;
    while (n < max && !this.holes.has(cursor + n)) n++;
    return n;
  }

  /** Holes that the cursor has passed go. */
  pruneHoles(): void {
    for (const offset of this.holes) if (offset < this.state.cursor) this.holes.delete(offset);
  }

  /** The row of a checkpoint. Sessions without leases that nobody renews are left behind. */
  row(nowMs: number): QueueRow {
    this.pruneHoles();
    const inUse = new Set<string>();
    for (const grant of this.leases.values()) inUse.add(grant.sessionId);
    for (const [id, s] of this.sessions) if (!inUse.has(id) && s.untilMs < nowMs) this.sessions.delete(id);
    return {
      name: this.name,
      tenant: this.tenant,
      spec: this.spec,
      createdAtMs: this.createdAtMs,
      state: { ...this.state },
      sessions: [...this.sessions.values()],
      exceptions: [...this.exceptions],
      recentAcks: [...this.recentAcks],
      redrive: this.redrive,
      schedules: [...this.schedules],
      holes: [...this.holes],
      tombs: [...this.tombs],
      ownership: this.ownership,
      bornAt: this.bornAt,
      changedAt: this.changedAt,
    };
  }
}

export { QUEUE };
