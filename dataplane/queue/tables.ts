// Rows of the queue view. A waiting plain job has none: it is an offset of the queue's log behind the cursor.
//   JOB     exceptions by offset: why a job is not simply waiting in the log (delayed, retrying, ready,
//   blocked, dying) READY   exceptions that may be leased, by (priority, offset); DUE: those that wait for a
//   time, by (time, offset) LANE    jobs of one key: head is the job that may run, the others are chained by
//   NEXT DYING   exhausted jobs on their way to the dead-letter queue LEASE   leases that are held, written
//   at checkpoints; DEDUP and DEDUP_EXPIRY: deduplication keys
// A purge raises the queue's generation, which is part of the keys of READY, DUE, LANE, NEXT, JOB and DYING.
import type { Ownership } from '../admin/ownership.ts';
import type { ScalingSpec } from '../scaling/spec.ts';
import type { SchemaRef } from '../schema/check.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Table } from '../storage/contract.ts';
import { part, u32be, u53be } from '../storage/keys.ts';
import type { SessionRecord } from './cell.ts';
import { type ParentLink, packLink, unpackLink } from './flow-tables.ts';
import type { DispatchSpec } from './limits.ts';
import type { RedriveTask } from './redrive-decide.ts';
import type { Schedule, ScheduleState } from './schedule-spec.ts';

export const PRIORITY_MAX = 255;

/** What is known of a job beyond its place in the log. */
export interface JobMeta {
  readonly generation: number;
  readonly priority: number;
  /** Order key as a byte string; empty: none. */
  readonly key: string;
  /** When it becomes, or became, ready. */
  readonly readyAtMs: number;
  readonly acquired: number;
  readonly failed: number;
  readonly timedOut: number;
  readonly released: number;
  readonly lastError: string;
  /** Key of limits and turns where the job names one; empty: they go by `key`. */
  readonly limitKey: string;
  /** In a flow: whose child it is. */
  readonly parent: ParentLink | null;
}

export const freshMeta = (generation: number, readyAtMs: number): JobMeta => ({
  generation,
  priority: 0,
  key: '',
  readyAtMs,
  acquired: 0,
  failed: 0,
  timedOut: 0,
  released: 0,
  lastError: '',
  limitKey: '',
  parent: null,
});

/** `keyed`: ready, and waiting by limit key; `awaiting`: its children are not finished. */
export const JOB_STATES = ['delayed', 'retrying', 'ready', 'blocked', 'dying', 'keyed', 'awaiting'] as const;
export type ExceptionState = (typeof JOB_STATES)[number];

export interface JobRow {
  readonly state: ExceptionState;
  readonly meta: JobMeta;
}

export interface Lane {
  readonly head: number;
  readonly tail: number;
}

export interface LeaseRow {
  readonly epoch: number;
  readonly deadlineMs: number;
  readonly sessionId: string;
  readonly worker: string;
  readonly leasedAtMs: number;
  readonly meta: JobMeta | null;
}

export interface DedupRow {
  readonly offset: number;
  readonly untilMs: number;
}

/**
 * Added to the generation of a meta that is followed by extensions: a list of (tag, bytes). Readers skip tags
 * that they do not know.
 */
const META_EXTENDED = 2 ** 45;
const META_TAGS = { limitKey: 1, parent: 2 } as const;

export function encodeMeta(m: JobMeta, w: ByteWriter): void {
  const extensions = (m.limitKey === '' ? 0 : 1) + (m.parent === null ? 0 : 1);
  const isExtended = extensions > 0;
  w.varint(isExtended ? META_EXTENDED + m.generation : m.generation);
  w.u8(m.priority);
  w.latin1(m.key);
  w.varint(m.readyAtMs);
  w.varint(m.acquired);
  w.varint(m.failed);
  w.varint(m.timedOut);
  w.varint(m.released);
  w.text(m.lastError);
  if (!isExtended) return;
  w.varint(extensions);
  if (m.limitKey !== '') {
    w.varint(META_TAGS.limitKey);
    w.latin1(m.limitKey);
  }
  if (m.parent !== null) {
    w.varint(META_TAGS.parent);
    w.latin1(packLink(m.parent));
  }
}

export function decodeMeta(r: ByteReader): JobMeta {
  const first = r.varint();
  const isExtended = first >= META_EXTENDED;
  const meta = {
    generation: isExtended ? first - META_EXTENDED : first,
    priority: r.u8(),
    key: r.latin1(),
    readyAtMs: r.varint(),
    acquired: r.varint(),
    failed: r.varint(),
    timedOut: r.varint(),
    released: r.varint(),
    lastError: r.text(),
    limitKey: '',
    parent: null as ParentLink | null,
  };
  for (let left = isExtended ? r.varint() : 0; left > 0; left--) {
    const tag = r.varint();
    if (tag === META_TAGS.limitKey) meta.limitKey = r.latin1();
    else if (tag === META_TAGS.parent) meta.parent = unpackLink(r.latin1());
    else r.bytes();
  }
  return meta;
}

/** About what a job with this takes in an event. */
export const metaBytes = (meta: JobMeta | null): number =>
  48 + (meta === null ? 0 : meta.key.length + meta.limitKey.length + 3 * meta.lastError.length);

const metaTable = (id: number, name: string): Table<JobMeta> => ({
  id,
  name,
  encode: encodeMeta,
  decode: decodeMeta,
});

const jsonTable = <V>(id: number, name: string): Table<V> => ({
  id,
  name,
  encode: (v, w) => w.text(JSON.stringify(v)),
  decode: (r) => JSON.parse(r.text()) as V,
});

/** Declaration and counters of one queue; see cell.ts. */
export interface QueueRow {
  readonly name: string;
  readonly tenant: number;
  readonly spec: ResolvedSpec;
  readonly createdAtMs: number;
  readonly state: QueueState;
  readonly sessions: readonly SessionRecord[];
  readonly exceptions: readonly (readonly [number, number])[];
  readonly recentAcks: readonly (readonly [number, number])[];
  readonly redrive?: RedriveTask | null;
  readonly schedules?: readonly (readonly [string, ScheduleState])[];
  readonly holes?: readonly number[];
  readonly tombs?: readonly number[];
  readonly ownership?: Ownership | null;
  readonly bornAt?: number;
  readonly changedAt?: number;
}

export interface ResolvedSpec extends DispatchSpec {
  /** Absent: payloads are whatever they are. */
  readonly schemaRef?: SchemaRef;
  readonly schedules?: readonly Schedule[];
  /** Absent: its workers are not scaled. */
  readonly scaling?: ScalingSpec;
  readonly visibilityTimeoutMs: number;
  readonly maxAttempts: number;
  readonly maxDeliveries: number;
  readonly backoff: {
    type: 'exponential' | 'fixed';
    initialMs: number;
    maxMs: number;
    jitter: 'full' | 'none';
  };
  readonly deadLetterQueue: string;
  readonly deduplicationWindowMs: number;
  readonly maxDepth: number;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly timeoutMs: number;
}

/** Counters and positions; copied whole when a transaction may take them back. */
export interface QueueState {
  generation: number;
  paused: boolean;
  draining: boolean;
  /** Next offset of the log that has not been looked at. */
  cursor: number;
  /** Unindexed jobs at or behind the cursor. */
  plain: number;
  ready: number;
  delayed: number;
  retrying: number;
  blocked: number;
  dying: number;
  /** Ready by limit key. */
  keyed: number;
  /** Parents whose children are not finished. */
  awaiting: number;
  /** Children that have not ended. */
  children: number;
  /** A purge took children below this; those from `orphansFrom` on have not been looked at. 0: none. */
  orphansBelow: number;
  orphansFrom: number;
  /** The queue's own token bucket (limits.ts). */
  fullAtUs: number;
  enqueuedTotal: number;
  completedTotal: number;
  cancelledTotal: number;
  failedTotal: number;
  deadTotal: number;
}

export const QUEUE = jsonTable<QueueRow>(48, 'queue');
export const COUNTERS = jsonTable<{ nextQueue: number; nextEpoch: number; deletedAt?: number }>(
  49,
  'queue-counters',
);

export const LEASE: Table<LeaseRow> = {
  id: 50,
  name: 'lease',
  encode(v, w) {
    w.varint(v.epoch);
    w.varint(v.deadlineMs);
    w.text(v.sessionId);
    w.text(v.worker);
    w.varint(v.leasedAtMs);
    w.u8(v.meta === null ? 0 : 1);
    if (v.meta !== null) encodeMeta(v.meta, w);
  },
  decode: (r) => ({
    epoch: r.varint(),
    deadlineMs: r.varint(),
    sessionId: r.text(),
    worker: r.text(),
    leasedAtMs: r.varint(),
    meta: r.u8() === 1 ? decodeMeta(r) : null,
  }),
};

export const JOB: Table<JobRow> = {
  id: 51,
  name: 'job',
  encode(v, w) {
    w.u8(JOB_STATES.indexOf(v.state));
    encodeMeta(v.meta, w);
  },
  decode: (r) => ({ state: JOB_STATES[r.u8()] ?? 'ready', meta: decodeMeta(r) }),
};

export const READY = metaTable(52, 'ready');
export const DUE = metaTable(53, 'due');
export const DYING = metaTable(54, 'dying');

export const LANE: Table<Lane> = {
  id: 55,
  name: 'lane',
  encode(v, w) {
    w.varint(v.head);
    w.varint(v.tail);
  },
  decode: (r) => ({ head: r.varint(), tail: r.varint() }),
};

export const NEXT: Table<number> = {
  id: 56,
  name: 'next',
  encode: (v, w) => w.varint(v),
  decode: (r) => r.varint(),
};

export const DEDUP: Table<DedupRow> = {
  id: 57,
  name: 'dedup',
  encode(v, w) {
    w.varint(v.offset);
    w.varint(v.untilMs);
  },
  decode: (r) => ({ offset: r.varint(), untilMs: r.varint() }),
};
export const DEDUP_EXPIRY: Table<true> = {
  id: 58,
  name: 'dedup-expiry',
  encode: () => {},
  decode: () => true,
};

/** tenant, table: what every key begins with. */
export const tablePrefix = (tenant: number, table: { id: number }): string =>
  u32be(tenant) + String.fromCharCode(table.id);

/** Key prefixes of one queue generation, made once. */
export class QueueKeys {
  readonly #tenant: number;
  readonly #queue: string;
  readonly queueKey: string;
  readonly lease: string;
  readonly dedup: string;
  job = '';
  ready = '';
  due = '';
  dying = '';
  lane = '';
  next = '';

  constructor(tenant: number, queueNo: number, generation: number) {
    this.#tenant = tenant;
    this.#queue = u32be(queueNo);
    this.queueKey = tablePrefix(tenant, QUEUE) + this.#queue;
    this.lease = tablePrefix(tenant, LEASE) + this.#queue;
    this.dedup = tablePrefix(tenant, DEDUP) + this.#queue;
    this.setGeneration(generation);
  }

  setGeneration(generation: number): void {
    const rest = this.#queue + u32be(generation);
    this.job = tablePrefix(this.#tenant, JOB) + rest;
    this.ready = tablePrefix(this.#tenant, READY) + rest;
    this.due = tablePrefix(this.#tenant, DUE) + rest;
    this.dying = tablePrefix(this.#tenant, DYING) + rest;
    this.lane = tablePrefix(this.#tenant, LANE) + rest;
    this.next = tablePrefix(this.#tenant, NEXT) + rest;
  }

  jobKey = (offset: number): string => this.job + u53be(offset);
  /** Higher priorities first. */
  readyKey = (offset: number, priority: number): string => this.readyLevel(priority) + u53be(offset);
  readyLevel = (priority: number): string => this.ready + String.fromCharCode(PRIORITY_MAX - priority);
  dueKey = (offset: number, atMs: number): string => this.due + u53be(atMs) + u53be(offset);
  dyingKey = (offset: number): string => this.dying + u53be(offset);
  laneKey = (key: string): string => this.lane + part(key);
  nextKey = (offset: number): string => this.next + u53be(offset);
  leaseKey = (offset: number): string => this.lease + u53be(offset);
  dedupKey = (key: string): string => this.dedup + part(key);
  dedupExpiryKey = (key: string, untilMs: number): string =>
    tablePrefix(this.#tenant, DEDUP_EXPIRY) + u53be(untilMs) + this.#queue + part(key);
}
