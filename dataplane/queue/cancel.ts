// Cancelling a job, wherever it is. Owns the decision and what it does to rows and cells.
//   X1. A cancelled job is finished at once: nobody is given it, and who has it loses its lease.
//   X2. One that waits in the log becomes a hole over which the cursor steps; one in the middle of a lane
//       stays a link of it, and only lets the next one go when its turn comes. Both are few (MARKS_MAX).
import { FlowError } from '@flowmesh/protocol';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { QueueState } from './evolve.ts';
import { childEnded, disown } from './flow-evolve.ts';
import { delReady } from './key-state.ts';
import type { CancelCommand } from './life-commands.ts';
import * as life from './life-events.ts';
import { recordOutcome } from './reports.ts';
import { heldMeta, laneReads, unblock } from './settle.ts';
import { DUE, DYING, freshMeta, JOB } from './tables.ts';

const MARKS_MAX = 10_000;
export const REASON_CHARS_MAX = 1024;

export interface CancelReply {
  /** Where it was; `finished`: nothing was left to cancel. */
  readonly state: life.CancelledFrom | 'finished';
  readonly sessionId: string;
  readonly epoch: number;
}

/** Which job, as the log has it, and why. */
export type CancelTerms = Pick<CancelCommand, 'offset' | 'key' | 'isIndexed' | 'reason'>;

export const cancelReads = (rows: Rows, cell: QueueCell, c: CancelTerms): RowRef[] => [
  { table: JOB, key: cell.keys.jobKey(c.offset) },
  ...laneReads(rows, cell, [c.offset], () => c.key),
];

export function decideCancel(
  rows: Rows,
  cell: QueueCell,
  c: CancelTerms,
  at: Moment,
  emit: Emit,
): CancelReply {
  const { offset, reason } = c;
  const grant = cell.leases.get(offset);
  const row = rows.get(JOB, cell.keys.jobKey(offset));
  const isPlain = offset >= cell.state.cursor && !c.isIndexed && !cell.holes.has(offset);
  const none = { state: 'finished', sessionId: '', epoch: 0 } as const;
  if (grant === undefined && row === undefined && !isPlain) return none;
  const from = grant !== undefined ? 'leased' : (row?.state ?? 'plain');
  // On its way to the dead-letter queue, or cancelled before.
  if (from === 'dying' || cell.tombs.has(offset)) return none;
  const isMark = from === 'plain' || from === 'blocked';
  if (isMark && cell.holes.size + cell.tombs.size >= MARKS_MAX)
    throw new FlowError(
      'RESOURCE_EXHAUSTED',
      `${MARKS_MAX} cancelled jobs of ${cell.name} are still in line`,
      {
        retryAfterMs: 1000,
      },
    );
  const held = grant === undefined ? undefined : heldMeta(cell, grant);
  const meta = held ?? row?.meta ?? { ...freshMeta(cell.state.generation, at.nowMs), key: c.key };
  const change = from === 'blocked' ? null : unblock(rows, cell, offset, meta, at);
  emit({
    type: life.CANCELLED,
    queueNo: cell.queueNo,
    ...{ offset, from, reason, meta: row?.meta ?? null },
    unblocked: change === null ? [] : [change],
  } as life.Cancelled);
  const epoch = grant === undefined ? 0 : grant.firstEpoch + offset - grant.firstOffset;
  return { state: from, sessionId: grant?.sessionId ?? '', epoch };
}

export function evolveCancelled(state: QueueState, cell: QueueCell, e: life.Cancelled, at: Moment): void {
  const { rows } = state.context;
  const before = { ...cell.state };
  rows.onRollback(() => {
    cell.state = before;
  });
  const { offset, from, meta } = e;
  cell.pruneHoles();
  let parent = meta?.parent;
  if (from === 'plain') {
    cell.holes.add(offset);
    cell.state.plain--;
  } else if (from === 'leased') parent = state.letGo(cell, offset).meta?.parent;
  else if (from === 'blocked') cell.tombs.add(offset);
  else {
    if (from === 'dying') {
      rows.del(DYING, cell.keys.dyingKey(offset));
      cell.tombs.delete(offset);
    } else if (from === 'awaiting') disown(rows, cell, offset);
    else if (meta !== null) {
      if (from === 'ready' || from === 'keyed') delReady(rows, cell, offset, meta, from);
      else rows.del(DUE, cell.keys.dueKey(offset, meta.readyAtMs));
    }
    rows.del(JOB, cell.keys.jobKey(offset));
    cell.state[from]--;
    state.countException(cell, offset, -1);
  }
  state.unblock(cell, e.unblocked);
  if (from === 'dying') return;
  cell.state.cancelledTotal++;
  if (parent) childEnded(rows, cell, offset, parent, { state: 'cancelled', error: e.reason });
  recordOutcome(rows, cell, offset, { kind: 'cancelled', atMs: at.nowMs, note: e.reason });
}
