// What the ends of children and the events of flow-events.ts do to the state: the rules of evolve.ts
// hold.
//   F1. Whatever ends a child (ack, death, cancel, purge, redrive) puts one ENDED row blindly; everything
//       else is decided from it by flow-keeper.ts, in the same journal entry if nothing has to be read.
import type { Moment } from '../shard/state-machine.ts';
import type { Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { QueueState } from './evolve.ts';
import * as fe from './flow-events.ts';
import {
  CANCELLING,
  CHILD,
  childKey,
  ENDED,
  type EndedRow,
  FLOW,
  flowKey,
  LINK,
  type ParentLink,
} from './flow-tables.ts';
import { NEXT } from './tables.ts';

const ERROR_CHARS_MAX = 1024;

/** A job that is the child of another has ended (F1). */
export function childEnded(
  rows: Rows,
  cell: QueueCell,
  offset: number,
  parent: ParentLink,
  { state, error }: Pick<EndedRow, 'state' | 'error'>,
): void {
  const { tenant, queueNo } = cell;
  cell.state.children--;
  rows.put(LINK, flowKey(tenant, LINK, queueNo, offset), { ...parent, hasEnded: true });
  rows.put(ENDED, flowKey(tenant, ENDED, queueNo, offset), {
    parent,
    state,
    error: error.slice(0, ERROR_CHARS_MAX),
  });
}

/** The children of a parent that was cancelled while it waited for them are cancelled one by one. */
export function disown(rows: Rows, { tenant, queueNo }: QueueCell, offset: number): void {
  rows.put(CANCELLING, flowKey(tenant, CANCELLING, queueNo, offset), 0);
}

export function evolveFlow(state: QueueState, e: fe.FlowEvent, at: Moment, tenant: number): void {
  const { rows } = state.context;
  const cell = state.byNumber.get(e.queueNo);
  if (cell !== undefined) keep(state, cell);
  switch (e.type) {
    case fe.PLANNED:
      plan(state, e, at, tenant);
      return;
    case fe.CHILD_ENDED: {
      rows.del(ENDED, flowKey(tenant, ENDED, e.childQueueNo, e.childOffset));
      if (e.flow === null) return;
      rows.put(FLOW, flowKey(tenant, FLOW, e.queueNo, e.offset), e.flow);
      const key = childKey(tenant, e);
      if (e.child === null) rows.del(CHILD, key);
      else rows.put(CHILD, key, e.child);
      if (cell !== undefined && e.letGo !== null) letGo(state, cell, e.letGo);
      return;
    }
    case fe.ORPHANED:
      if (cell === undefined) return;
      for (const { offset, parent } of e.children)
        childEnded(rows, cell, offset, parent, { state: 'cancelled', error: 'its queue was purged' });
      cell.state.orphansFrom = e.from;
      if (e.isDone) cell.state.orphansBelow = cell.state.orphansFrom = 0;
      return;
    case fe.DISOWNED: {
      const key = flowKey(tenant, CANCELLING, e.queueNo, e.offset);
      if (e.next < 0) rows.del(CANCELLING, key);
      else rows.put(CANCELLING, key, e.next);
    }
  }
}

/** V2 of evolve.ts. */
function keep({ context: { rows } }: QueueState, cell: QueueCell): void {
  cell.isDirty = true;
  if (!rows.isStaging) return;
  const before = { ...cell.state };
  rows.onRollback(() => {
    cell.state = before;
  });
}

function plan(state: QueueState, e: fe.Planned, at: Moment, tenant: number): void {
  const { rows } = state.context;
  const { queueNo, offset, delayMs, children } = e;
  const count = children.length;
  rows.put(FLOW, flowKey(tenant, FLOW, queueNo, offset), {
    ...{ count, open: count, failed: 0, removed: 0, delayMs },
  });
  const fresh = { state: 'open', atMs: at.nowMs, error: '', contentType: '', result: NOTHING } as const;
  const kept = new Set<QueueCell>();
  children.forEach((child, no) => {
    const link = { queueNo, offset, no };
    rows.put(CHILD, childKey(tenant, link), { ...child, ...fresh });
    rows.put(LINK, flowKey(tenant, LINK, child.queueNo, child.offset), { ...link, hasEnded: false });
    const cell = state.byNumber.get(child.queueNo);
    if (cell === undefined) return;
    if (!kept.has(cell)) keep(state, cell);
    kept.add(cell);
    cell.state.children++;
  });
}

function letGo(state: QueueState, cell: QueueCell, { job, lane, behind }: fe.LetGo): void {
  cell.state.awaiting--;
  state.countException(cell, job.offset, -1);
  state.place(cell, job);
  if (lane !== null) state.changeLane(cell.keys, lane);
  if (behind >= 0) state.context.rows.put(NEXT, cell.keys.nextKey(behind), job.offset);
}

const NOTHING = Buffer.alloc(0);
