// Checkpoint: what the queue view keeps in cells becomes rows.
import type { QueueState } from './evolve.ts';
import { COUNTERS, QUEUE } from './tables.ts';

/** Cells, leases and counters. */
export function flushQueues(state: QueueState, nowMs: number, tenantKey: string): void {
  const { rows } = state.context;
  const { nextQueue, nextEpoch, deletedAt } = state;
  rows.put(COUNTERS, tenantKey, { nextQueue, nextEpoch, deletedAt });
  for (const cell of state.deleted.splice(0)) {
    rows.del(QUEUE, cell.keys.queueKey);
    for (const offset of cell.persistedLeases.keys()) rows.del(QUEUE, cell.keys.leaseKey(offset));
  }
  for (const cell of state.byNumber.values()) {
    if (!cell.isDirty) continue;
    cell.isDirty = false;
    rows.put(QUEUE, cell.keys.queueKey, cell.row(nowMs));
    state.leaseClock.flush(rows, cell);
  }
}
