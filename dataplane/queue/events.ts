// Events of the queue view and their bytes in the journal. A type never changes its meaning (M3).
// What an event says is complete: evolve writes rows from it and reads none.

import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import {
  type DedupRow,
  decodeMeta,
  encodeMeta,
  type JobMeta,
  type Lane,
  type ResolvedSpec,
} from './tables.ts';

export const DECLARED = 64;
export const DELETED = 65;
export const ENQUEUED = 66;
export const LEASED = 67;
export const ACKED = 68;
export const RETURNED = 69;
export const EXTENDED = 70;
export const BECAME_DUE = 71;
export const DEAD_LETTERED = 72;
export const REMOVED = 73;
export const PURGED = 74;
export const PAUSED = 75;
export const SESSION_RENEWED = 76;
export const DEDUP_EXPIRED = 77;
export const TRIMMED = 78;

interface OfQueue extends Event {
  readonly queueNo: number;
}

export interface Declared extends OfQueue {
  readonly type: typeof DECLARED;
  readonly tenant: number;
  readonly name: string;
  readonly spec: ResolvedSpec;
}

export interface Deleted extends OfQueue {
  readonly type: typeof DELETED;
}

/** Where an exception goes. */
export type Destination = 'ready' | 'delayed' | 'retrying' | 'blocked' | 'dying';
const DESTINATIONS: readonly Destination[] = ['ready', 'delayed', 'retrying', 'blocked', 'dying'];

export interface PlacedJob {
  readonly offset: number;
  readonly meta: JobMeta;
  readonly to: Destination;
}

/** Changes to lanes, complete: the new rows. */
export interface LaneChange {
  readonly key: string;
  readonly lane: Lane | null;
}

export interface Enqueued extends OfQueue {
  readonly type: typeof ENQUEUED;
  /** Head already patched with offset and time. */
  readonly batch: Buffer;
  readonly firstOffset: number;
  readonly count: number;
  /** Jobs that get a row, in order; all others are plain. */
  readonly placed: readonly PlacedJob[];
  readonly lanes: readonly LaneChange[];
  readonly nexts: readonly { offset: number; next: number }[];
  /** `replacesUntilMs`: the expiry of a forgotten row of the same key; 0: none. */
  readonly dedups: readonly ({ key: string; replacesUntilMs: number } & DedupRow)[];
}

/** Consecutive offsets with consecutive epochs. */
export interface Run {
  readonly offset: number;
  readonly count: number;
  readonly epoch: number;
}

export interface SingleLease {
  readonly offset: number;
  readonly epoch: number;
  readonly meta: JobMeta;
  /** It was in READY; otherwise the cursor passed it. */
  readonly wasReady: boolean;
}

export interface Leased extends OfQueue {
  readonly type: typeof LEASED;
  readonly sessionId: string;
  readonly worker: string;
  readonly deadlineMs: number;
  /** Where the cursor stands afterwards. */
  readonly cursor: number;
  readonly runs: readonly Run[];
  readonly singles: readonly SingleLease[];
}

/** What the end of a keyed job does to its lane. */
export interface Unblocked {
  readonly change: LaneChange;
  /** Offset whose NEXT row goes; -1: none. */
  readonly dropNext: number;
  readonly released: PlacedJob | null;
}

export interface Acked extends OfQueue {
  readonly type: typeof ACKED;
  readonly ranges: readonly Run[];
  readonly unblocked: readonly Unblocked[];
}

export type ReturnReason = 'nacked' | 'released' | 'timed_out';
const REASONS: readonly ReturnReason[] = ['nacked', 'released', 'timed_out'];

export interface Returned extends OfQueue {
  readonly type: typeof RETURNED;
  readonly reason: ReturnReason;
  readonly jobs: readonly PlacedJob[];
}

export interface Extended extends OfQueue {
  readonly type: typeof EXTENDED;
  readonly offset: number;
  readonly epoch: number;
  readonly deadlineMs: number;
}

export interface BecameDue extends OfQueue {
  readonly type: typeof BECAME_DUE;
  readonly jobs: readonly { offset: number; meta: JobMeta; wasRetry: boolean }[];
}

export interface DeadLettered extends OfQueue {
  readonly type: typeof DEAD_LETTERED;
  readonly offset: number;
  readonly generation: number;
  readonly deadQueueNo: number;
  readonly batch: Buffer;
  readonly unblocked: readonly Unblocked[];
}

/** Waiting jobs taken out of a queue (redrive). */
export interface Removed extends OfQueue {
  readonly type: typeof REMOVED;
  readonly cursor: number;
  readonly plain: number;
  readonly ready: readonly { offset: number; meta: JobMeta }[];
}

export interface Purged extends OfQueue {
  readonly type: typeof PURGED;
  readonly generation: number;
  readonly cursor: number;
}

export interface Paused extends OfQueue {
  readonly type: typeof PAUSED;
  readonly paused: boolean;
}

export interface SessionRenewed extends OfQueue {
  readonly type: typeof SESSION_RENEWED;
  readonly sessionId: string;
  readonly worker: string;
  readonly untilMs: number;
}

export interface DedupExpired extends Event {
  readonly type: typeof DEDUP_EXPIRED;
  readonly keys: readonly { queueNo: number; key: string; untilMs: number }[];
}

export interface Trimmed extends OfQueue {
  readonly type: typeof TRIMMED;
  readonly offset: number;
}

export type QueueEvent =
  | Declared
  | Deleted
  | Enqueued
  | Leased
  | Acked
  | Returned
  | Extended
  | BecameDue
  | DeadLettered
  | Removed
  | Purged
  | Paused
  | SessionRenewed
  | DedupExpired
  | Trimmed;

const list = <T>(w: ByteWriter, items: readonly T[], write: (item: T) => void): void => {
  w.varint(items.length);
  for (const item of items) write(item);
};
const readList = <T>(r: ByteReader, read: () => T): T[] => Array.from({ length: r.varint() }, read);

const writeRun = (w: ByteWriter, run: Run): void => {
  w.varint(run.offset);
  w.varint(run.count);
  w.varint(run.epoch);
};
const readRun = (r: ByteReader): Run => ({ offset: r.varint(), count: r.varint(), epoch: r.varint() });

const writePlaced = (w: ByteWriter, job: PlacedJob): void => {
  w.varint(job.offset);
  w.u8(DESTINATIONS.indexOf(job.to));
  encodeMeta(job.meta, w);
};
const readPlaced = (r: ByteReader): PlacedJob => {
  const offset = r.varint();
  const to = DESTINATIONS[r.u8()] ?? 'ready';
  return { offset, to, meta: decodeMeta(r) };
};

const writeLane = (w: ByteWriter, change: LaneChange): void => {
  w.latin1(change.key);
  w.u8(change.lane === null ? 0 : 1);
  if (change.lane === null) return;
  w.varint(change.lane.head);
  w.varint(change.lane.tail);
};
const readLane = (r: ByteReader): LaneChange => {
  const key = r.latin1();
  return { key, lane: r.u8() === 0 ? null : { head: r.varint(), tail: r.varint() } };
};

const writeUnblocked = (w: ByteWriter, u: Unblocked): void => {
  writeLane(w, u.change);
  w.varint(u.dropNext + 1);
  w.u8(u.released === null ? 0 : 1);
  if (u.released !== null) writePlaced(w, u.released);
};
const readUnblocked = (r: ByteReader): Unblocked => ({
  change: readLane(r),
  dropNext: r.varint() - 1,
  released: r.u8() === 0 ? null : readPlaced(r),
});

export function encodeEvent(e: QueueEvent, w: ByteWriter): void {
  if (e.type !== DEDUP_EXPIRED) w.varint(e.queueNo);
  switch (e.type) {
    case DECLARED:
      w.varint(e.tenant);
      w.text(e.name);
      w.text(JSON.stringify(e.spec));
      return;
    case DELETED:
      return;
    case ENQUEUED:
      w.bytes(e.batch);
      w.varint(e.firstOffset);
      w.varint(e.count);
      list(w, e.placed, (job) => writePlaced(w, job));
      list(w, e.lanes, (change) => writeLane(w, change));
      list(w, e.nexts, (next) => {
        w.varint(next.offset);
        w.varint(next.next);
      });
      list(w, e.dedups, (dedup) => {
        w.latin1(dedup.key);
        w.varint(dedup.offset);
        w.varint(dedup.untilMs);
        w.varint(dedup.replacesUntilMs);
      });
      return;
    case LEASED:
      w.text(e.sessionId);
      w.text(e.worker);
      w.varint(e.deadlineMs);
      w.varint(e.cursor);
      list(w, e.runs, (run) => writeRun(w, run));
      list(w, e.singles, (single) => {
        w.varint(single.offset);
        w.varint(single.epoch);
        w.u8(single.wasReady ? 1 : 0);
        encodeMeta(single.meta, w);
      });
      return;
    case ACKED:
      list(w, e.ranges, (run) => writeRun(w, run));
      list(w, e.unblocked, (u) => writeUnblocked(w, u));
      return;
    case RETURNED:
      w.u8(REASONS.indexOf(e.reason));
      list(w, e.jobs, (job) => writePlaced(w, job));
      return;
    case EXTENDED:
      w.varint(e.offset);
      w.varint(e.epoch);
      w.varint(e.deadlineMs);
      return;
    case BECAME_DUE:
      list(w, e.jobs, (job) => {
        w.varint(job.offset);
        w.u8(job.wasRetry ? 1 : 0);
        encodeMeta(job.meta, w);
      });
      return;
    case DEAD_LETTERED:
      w.varint(e.offset);
      w.varint(e.generation);
      w.varint(e.deadQueueNo);
      w.bytes(e.batch);
      list(w, e.unblocked, (u) => writeUnblocked(w, u));
      return;
    case REMOVED:
      w.varint(e.cursor);
      w.varint(e.plain);
      list(w, e.ready, (job) => {
        w.varint(job.offset);
        encodeMeta(job.meta, w);
      });
      return;
    case PURGED:
      w.varint(e.generation);
      w.varint(e.cursor);
      return;
    case PAUSED:
      w.u8(e.paused ? 1 : 0);
      return;
    case SESSION_RENEWED:
      w.text(e.sessionId);
      w.text(e.worker);
      w.varint(e.untilMs);
      return;
    case DEDUP_EXPIRED:
      list(w, e.keys, (k) => {
        w.varint(k.queueNo);
        w.latin1(k.key);
        w.varint(k.untilMs);
      });
      return;
    case TRIMMED:
      w.varint(e.offset);
  }
}

export function decodeEvent(type: number, r: ByteReader): QueueEvent {
  if (type === DEDUP_EXPIRED) {
    const keys = readList(r, () => ({
      queueNo: r.varint(),
      key: r.latin1(),
      untilMs: r.varint(),
    }));
    return { type, keys };
  }
  const queueNo = r.varint();
  switch (type) {
    case DECLARED:
      return {
        type,
        queueNo,
        tenant: r.varint(),
        name: r.text(),
        spec: JSON.parse(r.text()) as ResolvedSpec,
      };
    case DELETED:
      return { type, queueNo };
    case ENQUEUED:
      return {
        type,
        queueNo,
        // The log keeps the batch; the journal's buffer is reused.
        batch: Buffer.from(r.bytes()),
        firstOffset: r.varint(),
        count: r.varint(),
        placed: readList(r, () => readPlaced(r)),
        lanes: readList(r, () => readLane(r)),
        nexts: readList(r, () => ({ offset: r.varint(), next: r.varint() })),
        dedups: readList(r, () => ({
          key: r.latin1(),
          offset: r.varint(),
          untilMs: r.varint(),
          replacesUntilMs: r.varint(),
        })),
      };
    case LEASED:
      return {
        type,
        queueNo,
        sessionId: r.text(),
        worker: r.text(),
        deadlineMs: r.varint(),
        cursor: r.varint(),
        runs: readList(r, () => readRun(r)),
        singles: readList(r, () => ({
          offset: r.varint(),
          epoch: r.varint(),
          wasReady: r.u8() === 1,
          meta: decodeMeta(r),
        })),
      };
    case ACKED:
      return {
        type,
        queueNo,
        ranges: readList(r, () => readRun(r)),
        unblocked: readList(r, () => readUnblocked(r)),
      };
    case RETURNED:
      return { type, queueNo, reason: REASONS[r.u8()] ?? 'nacked', jobs: readList(r, () => readPlaced(r)) };
    case EXTENDED:
      return { type, queueNo, offset: r.varint(), epoch: r.varint(), deadlineMs: r.varint() };
    case BECAME_DUE:
      return {
        type,
        queueNo,
        jobs: readList(r, () => ({ offset: r.varint(), wasRetry: r.u8() === 1, meta: decodeMeta(r) })),
      };
    case DEAD_LETTERED:
      return {
        type,
        queueNo,
        offset: r.varint(),
        generation: r.varint(),
        deadQueueNo: r.varint(),
        batch: Buffer.from(r.bytes()),
        unblocked: readList(r, () => readUnblocked(r)),
      };
    case REMOVED:
      return {
        type,
        queueNo,
        cursor: r.varint(),
        plain: r.varint(),
        ready: readList(r, () => ({ offset: r.varint(), meta: decodeMeta(r) })),
      };
    case PURGED:
      return { type, queueNo, generation: r.varint(), cursor: r.varint() };
    case PAUSED:
      return { type, queueNo, paused: r.u8() === 1 };
    case SESSION_RENEWED:
      return { type, queueNo, sessionId: r.text(), worker: r.text(), untilMs: r.varint() };
    default:
      return { type: TRIMMED, queueNo, offset: r.varint() };
  }
}
