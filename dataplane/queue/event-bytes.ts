// Bytes of the queue view's events in the journal: one event, one layout, one encode and one decode.
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import {
  ACKED,
  BECAME_DUE,
  type BecameDue,
  DEAD_LETTERED,
  DECLARED,
  DEDUP_EXPIRED,
  DELETED,
  DESTINATIONS,
  ENQUEUED,
  EXTENDED,
  type LaneChange,
  LEASED,
  PAUSED,
  type PlacedJob,
  PURGED,
  type QueueEvent,
  REASONS,
  REMOVED,
  RETURNED,
  type Run,
  SESSION_RENEWED,
  SOURCES,
  TRIMMED,
  type Unblocked,
} from './events.ts';
import { decodeKeyEvent, encodeKeyEvent, isKeyEvent } from './key-events.ts';
import { decodeTicked, encodeTicked, isScheduleEvent } from './schedule-events.ts';
import { decodeMeta, encodeMeta, type ResolvedSpec } from './tables.ts';

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

export const writePlaced = (w: ByteWriter, job: PlacedJob): void => {
  w.varint(job.offset);
  w.u8(DESTINATIONS.indexOf(job.to));
  encodeMeta(job.meta, w);
};
export const readPlaced = (r: ByteReader): PlacedJob => {
  const offset = r.varint();
  const to = DESTINATIONS[r.u8()] ?? 'ready';
  return { offset, to, meta: decodeMeta(r) };
};

export const writeLane = (w: ByteWriter, change: LaneChange): void => {
  w.latin1(change.key);
  w.u8(change.lane === null ? 0 : 1);
  if (change.lane === null) return;
  w.varint(change.lane.head);
  w.varint(change.lane.tail);
};
export const readLane = (r: ByteReader): LaneChange => {
  const key = r.latin1();
  return { key, lane: r.u8() === 0 ? null : { head: r.varint(), tail: r.varint() } };
};

export const writeUnblocked = (w: ByteWriter, u: Unblocked): void => {
  writeLane(w, u.change);
  w.varint(u.dropNext + 1);
  w.u8(u.released === null ? 0 : 1);
  if (u.released !== null) writePlaced(w, u.released);
};
export const readUnblocked = (r: ByteReader): Unblocked => ({
  change: readLane(r),
  dropNext: r.varint() - 1,
  released: r.u8() === 0 ? null : readPlaced(r),
});

export function encodeEvent(e: QueueEvent, w: ByteWriter): void {
  if (isScheduleEvent(e)) {
    encodeTicked(e, w);
    return;
  }
  if (isKeyEvent(e)) {
    encodeKeyEvent(e, w);
    return;
  }
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
        w.u8(SOURCES.indexOf(single.from));
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
        w.u8((job.wasRetry ? 1 : 0) + (job.to === 'keyed' ? 2 : 0));
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

const readDue = (r: ByteReader): BecameDue['jobs'][number] => {
  const offset = r.varint();
  const flags = r.u8();
  const to = (flags & 2) !== 0 ? 'keyed' : 'ready';
  return { offset, wasRetry: (flags & 1) !== 0, to, meta: decodeMeta(r) };
};

export function decodeEvent(type: number, r: ByteReader): QueueEvent {
  if (isScheduleEvent({ type })) return decodeTicked(r);
  if (isKeyEvent({ type })) return decodeKeyEvent(type, r);
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
        batch: r.bytes(),
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
          from: SOURCES[r.u8()] ?? 'ready',
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
        jobs: readList(r, () => readDue(r)),
      };
    case DEAD_LETTERED:
      return {
        type,
        queueNo,
        offset: r.varint(),
        generation: r.varint(),
        deadQueueNo: r.varint(),
        batch: r.bytes(),
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
