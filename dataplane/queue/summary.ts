// A queue in one line: counters that are there anyway, and the age of its oldest ready job.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { QueueCell } from './cell.ts';
import { oldestReadyAt } from './oldest.ts';
import { type QueueTarget, workerFigures } from './scaling.ts';
import type { QueueView } from './view.ts';

/** Undefined: it has gone meanwhile. As evolved, so maybe not durable. */
export async function queueSummary(
  view: QueueView,
  cell: QueueCell,
  wanted: (target: QueueTarget) => number | null,
): Promise<pb.QueueSummaryInput | undefined> {
  const isThere = () => view.state.cell(cell.tenant, cell.name) === cell;
  const oldestReadyAtMs = await oldestReadyAt(view, cell).catch((error: unknown) => {
    if (isThere()) throw error;
    return 0;
  });
  if (!isThere()) return undefined;
  const { state: s, ownership, name, spec } = cell;
  return {
    name,
    waiting: cell.waiting,
    delayed: s.delayed + s.retrying,
    blocked: Math.max(0, s.blocked - cell.tombs.size),
    leased: cell.leases.size,
    waitingChildren: s.awaiting,
    dead: view.state.cell(cell.tenant, spec.deadLetterQueue || `${name}.dead`)?.depth ?? 0,
    oldestReadyAtMs,
    ...workerFigures(cell, wanted),
    enqueuedTotal: s.enqueuedTotal,
    completedTotal: s.completedTotal,
    failedTotal: s.failedTotal,
    deadTotal: s.deadTotal,
    paused: s.paused,
    draining: s.draining,
    ownerUid: ownership?.owner.uid ?? '',
    generation: ownership?.generation ?? 0,
    drifted: ownership?.isDrifted ?? false,
  };
}
