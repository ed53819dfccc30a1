// Events of a job's life beyond events.ts: types 90 to 99, under the same rules. What events.ts has cannot
// grow, because events lie one behind the other in a journal entry and do not say where they end.
import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import { readUnblocked, writeUnblocked } from './event-bytes.ts';
import type { Unblocked } from './events.ts';
import type { RedriveTask } from './redrive-decide.ts';
import { decodeMeta, encodeMeta, type JobMeta } from './tables.ts';

export const SESSION_OPENED = 90;
export const REDRIVE_CHANGED = 91;
export const CANCELLED = 92;
export const KEPT = 93;
export const REPORTED = 95;
export const COUNTED = 97;
export const FORGOTTEN = 98;
export const DRAINING = 99;

interface OfQueue extends Event {
  readonly queueNo: number;
}

/** A worker (re)connected: what it says of itself counts until its next connection. */
export interface SessionOpened extends OfQueue {
  readonly type: typeof SESSION_OPENED;
  readonly sessionId: string;
  readonly worker: string;
  readonly build: string;
  readonly untilMs: number;
  readonly visibilityMs: number;
  readonly concurrency: number;
}

/** The dead-letter queue's redrive task as it is now. */
export interface RedriveChanged extends OfQueue {
  readonly type: typeof REDRIVE_CHANGED;
  readonly task: RedriveTask;
}

/** Where a job was when it was cancelled; `dying`: a blocked one whose turn has come. */
export type CancelledFrom =
  | 'plain'
  | 'leased'
  | 'ready'
  | 'keyed'
  | 'delayed'
  | 'retrying'
  | 'blocked'
  | 'dying'
  | 'awaiting';
const PLACES: readonly CancelledFrom[] = [
  'plain',
  'leased',
  'ready',
  'keyed',
  'delayed',
  'retrying',
  'blocked',
  'dying',
  'awaiting',
];

export interface Cancelled extends OfQueue {
  readonly type: typeof CANCELLED;
  readonly offset: number;
  readonly from: CancelledFrom;
  /** Of jobs with a row. */
  readonly meta: JobMeta | null;
  readonly reason: string;
  readonly unblocked: readonly Unblocked[];
}

/** The result of a job that has just been acked. */
export interface Kept extends OfQueue {
  readonly type: typeof KEPT;
  readonly offset: number;
  readonly contentType: string;
  readonly value: Buffer;
}

/** What a handler says of its job: new lines of its log, and its progress as it is now. */
export interface Reported extends OfQueue {
  readonly type: typeof REPORTED;
  readonly offset: number;
  /** Number of the first line. */
  readonly firstLine: number;
  readonly lines: readonly string[];
  readonly progress: string;
  readonly progressAtMs: number;
}

/**
 * How the queue stood right before jobs were taken out of it that the next event does not name: what looks
 * back counts from here.
 */
export interface Counted extends OfQueue {
  readonly type: typeof COUNTED;
  readonly cursor: number;
  /** As past.ts counts; more may follow. */
  readonly counts: readonly number[];
}

/** Rows of jobs that have left the log. The queue may be gone. */
export interface Forgotten extends OfQueue {
  readonly type: typeof FORGOTTEN;
  readonly table: number;
  readonly keys: readonly string[];
}

/** Whether the queue refuses new jobs from now on. */
export interface Draining extends OfQueue {
  readonly type: typeof DRAINING;
  readonly draining: boolean;
}

export type LifeEvent =
  | SessionOpened
  | RedriveChanged
  | Cancelled
  | Kept
  | Reported
  | Counted
  | Forgotten
  | Draining;

export const isLifeEvent = (event: Event): event is LifeEvent => event.type >= 90 && event.type <= 99;

export function encodeLifeEvent(e: LifeEvent, w: ByteWriter): void {
  w.varint(e.queueNo);
  switch (e.type) {
    case SESSION_OPENED:
      w.text(e.sessionId);
      w.text(e.worker);
      w.text(e.build);
      w.varint(e.untilMs);
      w.varint(e.visibilityMs);
      w.varint(e.concurrency);
      return;
    case REDRIVE_CHANGED:
      w.text(JSON.stringify(e.task));
      return;
    case CANCELLED:
      w.varint(e.offset);
      w.u8(PLACES.indexOf(e.from));
      w.u8(e.meta === null ? 0 : 1);
      if (e.meta !== null) encodeMeta(e.meta, w);
      w.text(e.reason);
      w.varint(e.unblocked.length);
      for (const u of e.unblocked) writeUnblocked(w, u);
      return;
    case KEPT:
      w.varint(e.offset);
      w.text(e.contentType);
      w.bytes(e.value);
      return;
    case REPORTED:
      w.varint(e.offset);
      w.varint(e.firstLine);
      w.varint(e.lines.length);
      for (const line of e.lines) w.text(line);
      w.text(e.progress);
      w.varint(e.progressAtMs);
      return;
    case COUNTED:
      w.varint(e.cursor);
      w.varint(e.counts.length);
      for (const count of e.counts) w.varint(count);
      return;
    case DRAINING:
      w.u8(e.draining ? 1 : 0);
      return;
    case FORGOTTEN:
      w.u8(e.table);
      w.varint(e.keys.length);
      for (const key of e.keys) w.latin1(key);
  }
}

export function decodeLifeEvent(type: number, r: ByteReader): LifeEvent {
  const queueNo = r.varint();
  switch (type) {
    case SESSION_OPENED:
      return {
        type,
        queueNo,
        sessionId: r.text(),
        worker: r.text(),
        build: r.text(),
        untilMs: r.varint(),
        visibilityMs: r.varint(),
        concurrency: r.varint(),
      };
    case REDRIVE_CHANGED:
      return { type, queueNo, task: JSON.parse(r.text()) as RedriveTask };
    case CANCELLED:
      return {
        type,
        queueNo,
        offset: r.varint(),
        from: PLACES[r.u8()] ?? 'plain',
        meta: r.u8() === 1 ? decodeMeta(r) : null,
        reason: r.text(),
        unblocked: Array.from({ length: r.varint() }, () => readUnblocked(r)),
      };
    case KEPT: {
      const [offset, contentType] = [r.varint(), r.text()];
      return { type, queueNo, offset, contentType, value: Buffer.from(r.bytes()) };
    }
    case REPORTED:
      return {
        type,
        queueNo,
        offset: r.varint(),
        firstLine: r.varint(),
        lines: Array.from({ length: r.varint() }, () => r.text()),
        progress: r.text(),
        progressAtMs: r.varint(),
      };
    case COUNTED:
      return {
        type,
        queueNo,
        cursor: r.varint(),
        counts: Array.from({ length: r.varint() }, () => r.varint()),
      };
    case DRAINING:
      return { type, queueNo, draining: r.u8() === 1 };
    default:
      return {
        type: FORGOTTEN,
        queueNo,
        table: r.u8(),
        keys: Array.from({ length: r.varint() }, () => r.latin1()),
      };
  }
}
