// Events of dispatch by limit key, and their bytes in the journal: types 80 to 89.
//   METERED   tokens were spent: the new state of the buckets
//   LEFT      limit keys left the ring: without a job, at their concurrency, or at their rate until a time
//   RESUMED   limit keys are back in the ring
//   SORTED    jobs that lay in the log without rows went to their limit keys (limits were declared later)
//   REFILLED  buckets that are full were forgotten
import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import { decodeMeta, encodeMeta, type JobMeta } from './tables.ts';

export const METERED = 80;
export const LEFT = 81;
export const RESUMED = 82;
export const SORTED = 83;
export const REFILLED = 84;

interface OfQueue extends Event {
  readonly queueNo: number;
}

export interface Metered extends OfQueue {
  readonly type: typeof METERED;
  /** Of the whole queue; 0: unchanged. */
  readonly fullAtUs: number;
  /** `replacesSlotMs`: the minute it stood under before; 0: under none. */
  readonly keys: readonly { limitKey: string; fullAtUs: number; replacesSlotMs: number }[];
}

export interface Left extends OfQueue {
  readonly type: typeof LEFT;
  readonly keys: readonly { limitKey: string; why: 'empty' | 'concurrency' | 'rate'; untilMs: number }[];
}

export interface Resumed extends OfQueue {
  readonly type: typeof RESUMED;
  /** `untilMs`: as they were parked; 0: they were at their concurrency. */
  readonly keys: readonly { limitKey: string; untilMs: number }[];
}

export interface Sorted extends OfQueue {
  readonly type: typeof SORTED;
  readonly cursor: number;
  readonly jobs: readonly { offset: number; meta: JobMeta }[];
}

export interface Refilled extends Event {
  readonly type: typeof REFILLED;
  readonly keys: readonly { queueNo: number; limitKey: string; slotMs: number }[];
}

export type KeyEvent = Metered | Left | Resumed | Sorted | Refilled;

export const isKeyEvent = (e: Event): e is KeyEvent => e.type >= METERED && e.type <= REFILLED;

const WHYS = ['empty', 'concurrency', 'rate'] as const;

function list<T>(w: ByteWriter, items: readonly T[], write: (item: T) => void): void {
  w.varint(items.length);
  for (const item of items) write(item);
}
const readList = <T>(r: ByteReader, read: () => T): T[] => Array.from({ length: r.varint() }, read);

export function encodeKeyEvent(e: KeyEvent, w: ByteWriter): void {
  if (e.type !== REFILLED) w.varint(e.queueNo);
  switch (e.type) {
    case METERED:
      w.varint(e.fullAtUs);
      list(w, e.keys, (k) => {
        w.latin1(k.limitKey);
        w.varint(k.fullAtUs);
        w.varint(k.replacesSlotMs);
      });
      return;
    case LEFT:
      list(w, e.keys, (k) => {
        w.latin1(k.limitKey);
        w.u8(WHYS.indexOf(k.why));
        w.varint(k.untilMs);
      });
      return;
    case RESUMED:
      list(w, e.keys, (k) => {
        w.latin1(k.limitKey);
        w.varint(k.untilMs);
      });
      return;
    case SORTED:
      w.varint(e.cursor);
      list(w, e.jobs, (job) => {
        w.varint(job.offset);
        encodeMeta(job.meta, w);
      });
      return;
    case REFILLED:
      list(w, e.keys, (k) => {
        w.varint(k.queueNo);
        w.latin1(k.limitKey);
        w.varint(k.slotMs);
      });
      return;
  }
}

export function decodeKeyEvent(type: number, r: ByteReader): KeyEvent {
  if (type === REFILLED) {
    const keys = readList(r, () => ({ queueNo: r.varint(), limitKey: r.latin1(), slotMs: r.varint() }));
    return { type, keys };
  }
  const queueNo = r.varint();
  switch (type) {
    case METERED: {
      const fullAtUs = r.varint();
      const keys = readList(r, () => ({
        limitKey: r.latin1(),
        fullAtUs: r.varint(),
        replacesSlotMs: r.varint(),
      }));
      return { type, queueNo, fullAtUs, keys };
    }
    case LEFT: {
      const keys = readList(r, () => ({
        limitKey: r.latin1(),
        why: WHYS[r.u8()] ?? 'empty',
        untilMs: r.varint(),
      }));
      return { type, queueNo, keys };
    }
    case RESUMED:
      return { type, queueNo, keys: readList(r, () => ({ limitKey: r.latin1(), untilMs: r.varint() })) };
    default: {
      const cursor = r.varint();
      return {
        type: SORTED,
        queueNo,
        cursor,
        jobs: readList(r, () => ({ offset: r.varint(), meta: decodeMeta(r) })),
      };
    }
  }
}
