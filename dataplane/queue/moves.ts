// What each event does to where jobs are: the one place from which the past of a queue is computed. Whoever
// adds an event that moves jobs says it here; the compiler asks.
//   M1. The sum of all moves is what evolve.ts does to the counters of the queue.
//   M2. A move says where the job was, so the first one behind a moment tells where it was at that moment.
import { readHead } from '@flowmesh/protocol';
import type { Event } from '../shard/state-machine.ts';
import * as ev from './events.ts';
import * as fe from './flow-events.ts';
import * as ke from './key-events.ts';
import * as life from './life-events.ts';
import { TICKED } from './schedule-events.ts';

/**
 * `tomb`: cancelled in the middle of its lane, counted as blocked until its turn; `buried`: its turn has
 * come, counted as dying.
 */
export type JobPlace =
  | 'plain'
  | 'ready'
  | 'keyed'
  | 'delayed'
  | 'retrying'
  | 'blocked'
  | 'leased'
  | 'dying'
  | 'awaiting'
  | 'tomb'
  | 'buried';

/** `offset` UNKNOWN: the event does not name the jobs. null: not in the queue, not yet or not any more. */
export type Move = (offset: number, count: number, from: JobPlace | null, to: JobPlace | null) => void;

export const UNKNOWN = -1;

/** Not of PURGED: it takes all that are not leased, and names none. */
export function movesOf(event: Event, queueNo: number, move: Move): void {
  const e = event as ev.QueueEvent | life.LifeEvent | fe.FlowEvent;
  if (e.type === ev.DEDUP_EXPIRED || e.type === ke.REFILLED) return;
  if (e.type === ev.DEAD_LETTERED && e.deadQueueNo === queueNo && e.queueNo !== queueNo) {
    move(readHead(e.batch).baseOffset, 1, null, 'plain');
    return;
  }
  if (e.queueNo !== queueNo) return;
  switch (e.type) {
    case ev.ENQUEUED:
      move(e.firstOffset, e.count, null, 'plain');
      for (const { offset, to } of e.placed) move(offset, 1, 'plain', to);
      return;
    case TICKED:
      if (e.batch.length > 0) move(readHead(e.batch).baseOffset, 1, null, 'plain');
      return;
    case ev.LEASED:
      for (const { offset, count } of e.runs) move(offset, count, 'plain', 'leased');
      for (const { offset, from } of e.singles) move(offset, 1, from === 'cursor' ? 'plain' : from, 'leased');
      return;
    case ev.ACKED:
      for (const { offset, count } of e.ranges) move(offset, count, 'leased', null);
      unblock(e.unblocked, move);
      return;
    case ev.RETURNED:
      for (const { offset, to } of e.jobs) move(offset, 1, 'leased', to);
      return;
    case ev.BECAME_DUE:
      for (const { offset, wasRetry, to } of e.jobs) move(offset, 1, wasRetry ? 'retrying' : 'delayed', to);
      return;
    case ev.DEAD_LETTERED:
      move(e.offset, 1, 'dying', null);
      unblock(e.unblocked, move);
      return;
    case ev.REMOVED:
      if (e.plain > 0) move(UNKNOWN, e.plain, 'plain', null);
      for (const { offset } of e.ready) move(offset, 1, 'ready', null);
      return;
    case ke.SORTED:
      for (const { offset } of e.jobs) move(offset, 1, 'plain', 'keyed');
      return;
    case life.CANCELLED:
      move(e.offset, 1, e.from === 'dying' ? 'buried' : e.from, e.from === 'blocked' ? 'tomb' : null);
      unblock(e.unblocked, move);
      return;
    case fe.CHILD_ENDED:
      if (e.letGo !== null) move(e.offset, 1, 'awaiting', e.letGo.job.to);
      return;
    case fe.PLANNED:
    case fe.ORPHANED:
    case fe.DISOWNED:
    case ev.DECLARED:
    case ev.DELETED:
    case ev.EXTENDED:
    case ev.PURGED:
    case ev.PAUSED:
    case ev.SESSION_RENEWED:
    case ev.TRIMMED:
    case ke.METERED:
    case ke.LEFT:
    case ke.RESUMED:
    case life.SESSION_OPENED:
    case life.REDRIVE_CHANGED:
    case life.KEPT:
    case life.REPORTED:
    case life.COUNTED:
    case life.FORGOTTEN:
    case life.DRAINING:
      return;
    default:
      unheardOf(e);
  }
}

/** A dead job of a lane has nothing of it: who is released to die was cancelled before (settle.ts). */
function unblock(unblocked: readonly ev.Unblocked[], move: Move): void {
  for (const { released } of unblocked) {
    if (released === null) continue;
    const isTomb = released.to === 'dying';
    move(released.offset, 1, isTomb ? 'tomb' : 'blocked', isTomb ? 'buried' : released.to);
  }
}

/** Does not compile where an event is missing above. */
const unheardOf = (_event: never): void => {};
