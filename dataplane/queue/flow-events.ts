// Events of flows, and their bytes in the journal: types 100 to 103.
//   PLANNED     a parent and its children were enqueued (ENQUEUED events of the same entry have the jobs)
//   CHILD_ENDED a parent knows of a child's end: the new rows, and where the parent goes if that lets it
//               go
//   ORPHANED    children that a purge took have ended
//   DISOWNED    one more child of a cancelled parent was seen to
import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import { readLane, readPlaced, writeLane, writePlaced } from './event-bytes.ts';
import type { LaneChange, PlacedJob } from './events.ts';
import {
  type ChildRow,
  FAILURE_POLICIES,
  type FailurePolicy,
  type FlowRow,
  type ParentLink,
  packLink,
  readChild,
  readFlow,
  unpackLink,
  writeChild,
  writeFlow,
} from './flow-tables.ts';

export const PLANNED = 100;
export const CHILD_ENDED = 101;
export const ORPHANED = 102;
export const DISOWNED = 103;

interface OfQueue extends Event {
  readonly queueNo: number;
}

export interface PlannedChild {
  readonly queueNo: number;
  readonly offset: number;
  readonly name: string;
  readonly onFailure: FailurePolicy;
}

export interface Planned extends OfQueue {
  readonly type: typeof PLANNED;
  readonly offset: number;
  readonly delayMs: number;
  /** In the order of their numbers. */
  readonly children: readonly PlannedChild[];
}

/** Where a parent goes whose wait is over. */
export interface LetGo {
  readonly job: PlacedJob;
  readonly lane: LaneChange | null;
  /** The job of its lane that it follows; -1: none. */
  readonly behind: number;
}

/** `queueNo` is that of the parent, and may be gone. */
export interface ChildEnded extends OfQueue {
  readonly type: typeof CHILD_ENDED;
  readonly offset: number;
  readonly no: number;
  readonly childQueueNo: number;
  readonly childOffset: number;
  /** Null: nothing is known of the flow any more. */
  readonly flow: FlowRow | null;
  /** Null: taken out. */
  readonly child: ChildRow | null;
  readonly letGo: LetGo | null;
}

export interface Orphaned extends OfQueue {
  readonly type: typeof ORPHANED;
  readonly children: readonly { offset: number; parent: ParentLink }[];
  /** What lies below has been looked at. */
  readonly from: number;
  readonly isDone: boolean;
}

export interface Disowned extends OfQueue {
  readonly type: typeof DISOWNED;
  readonly offset: number;
  /** The child that comes next; -1: that was the last. */
  readonly next: number;
}

export type FlowEvent = Planned | ChildEnded | Orphaned | Disowned;

export const isFlowEvent = (event: Event): event is FlowEvent =>
  event.type >= PLANNED && event.type <= DISOWNED;

export function encodeFlowEvent(e: FlowEvent, w: ByteWriter): void {
  w.varint(e.queueNo);
  switch (e.type) {
    case PLANNED:
      w.varint(e.offset);
      w.varint(e.delayMs);
      w.varint(e.children.length);
      for (const { queueNo, offset, name, onFailure } of e.children) {
        w.varint(queueNo);
        w.varint(offset);
        w.text(name);
        w.u8(FAILURE_POLICIES.indexOf(onFailure));
      }
      return;
    case CHILD_ENDED:
      for (const n of [e.offset, e.no, e.childQueueNo, e.childOffset]) w.varint(n);
      w.u8((e.flow === null ? 0 : 1) + (e.child === null ? 0 : 2) + (e.letGo === null ? 0 : 4));
      if (e.flow !== null) writeFlow(w, e.flow);
      if (e.child !== null) writeChild(w, e.child);
      if (e.letGo !== null) writeLetGo(w, e.letGo);
      return;
    case ORPHANED:
      w.varint(e.children.length);
      for (const { offset, parent } of e.children) {
        w.varint(offset);
        w.latin1(packLink(parent));
      }
      w.varint(e.from);
      w.u8(e.isDone ? 1 : 0);
      return;
    case DISOWNED:
      w.varint(e.offset);
      w.varint(e.next + 1);
  }
}

function writeLetGo(w: ByteWriter, { job, lane, behind }: LetGo): void {
  writePlaced(w, job);
  w.u8(lane === null ? 0 : 1);
  if (lane !== null) writeLane(w, lane);
  w.varint(behind + 1);
}

export function decodeFlowEvent(type: number, r: ByteReader): FlowEvent {
  const queueNo = r.varint();
  switch (type) {
    case PLANNED: {
      const [offset, delayMs] = [r.varint(), r.varint()];
      const children = Array.from({ length: r.varint() }, () => ({
        queueNo: r.varint(),
        offset: r.varint(),
        name: r.text(),
        onFailure: FAILURE_POLICIES[r.u8()] ?? 'fail-parent',
      }));
      return { type, queueNo, offset, delayMs, children };
    }
    case CHILD_ENDED: {
      const place = { offset: r.varint(), no: r.varint(), childQueueNo: r.varint(), childOffset: r.varint() };
      const has = r.u8();
      return {
        type,
        queueNo,
        ...place,
        flow: (has & 1) === 0 ? null : readFlow(r),
        child: (has & 2) === 0 ? null : readChild(r),
        letGo: (has & 4) === 0 ? null : readLetGo(r),
      };
    }
    case ORPHANED: {
      const children = Array.from({ length: r.varint() }, () => ({
        offset: r.varint(),
        parent: unpackLink(r.latin1()),
      }));
      return { type, queueNo, children, from: r.varint(), isDone: r.u8() === 1 };
    }
    default:
      return { type: DISOWNED, queueNo, offset: r.varint(), next: r.varint() - 1 };
  }
}

const readLetGo = (r: ByteReader): LetGo => ({
  job: readPlaced(r),
  lane: r.u8() === 0 ? null : readLane(r),
  behind: r.varint() - 1,
});
