// What events do to jobs that wait by limit key (evolve.ts calls; V1 and V2 hold here, too).
//   K1. A key with a job to give has a RING row, unless it is parked until a time or at its concurrency.
//   K2. A key that is in `full` comes back to the ring when one of its leases ends. After a restart every key
//       with leases counts as one: a RING row too many is found without a job to give and goes.
import type { Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import * as ke from './key-events.ts';
import { BUCKET, BUCKET_FULL, KEYED, LimitKeys, PARKED, RING, slotOf } from './key-tables.ts';
import { limitKeyOf } from './limits.ts';
import { JOB, type JobMeta, READY } from './tables.ts';

export type ReadyPlace = 'ready' | 'keyed';

/** Index row of a job that may be leased. */
export function putReady(rows: Rows, cell: QueueCell, offset: number, meta: JobMeta, to: ReadyPlace): void {
  if (to === 'ready') {
    cell.readyLevels.add(meta.priority);
    rows.put(READY, cell.keys.readyKey(offset, meta.priority), meta);
    return;
  }
  const limitKey = limitKeyOf(meta);
  rows.put(KEYED, cell.limitKeys.jobKey(limitKey, offset, meta.priority), meta);
  rows.put(RING, cell.limitKeys.ringKey(limitKey), true);
}

export function delReady(rows: Rows, cell: QueueCell, offset: number, meta: JobMeta, from: ReadyPlace): void {
  if (from === 'ready') rows.del(READY, cell.keys.readyKey(offset, meta.priority));
  else rows.del(KEYED, cell.limitKeys.jobKey(limitKeyOf(meta), offset, meta.priority));
}

/** A lease of a job with this meta is over. */
export function leaseEnded(rows: Rows, cell: QueueCell, meta: JobMeta | null): void {
  if (meta === null) return;
  cell.countRunning(meta, -1);
  const limitKey = limitKeyOf(meta);
  if (!cell.full.has(limitKey)) return;
  rows.put(RING, cell.limitKeys.ringKey(limitKey), true);
  cell.full.delete(limitKey);
  rows.onRollback(() => cell.full.add(limitKey));
}

export function evolveKeyEvent(
  rows: Rows,
  cell: QueueCell,
  e: Exclude<ke.KeyEvent, ke.Refilled>,
  countException: (offset: number) => void,
): void {
  const { limitKeys } = cell;
  switch (e.type) {
    case ke.METERED:
      if (e.fullAtUs > 0) cell.state.fullAtUs = e.fullAtUs;
      for (const { limitKey, fullAtUs, replacesSlotMs } of e.keys) {
        rows.put(BUCKET, limitKeys.bucketKey(limitKey), fullAtUs);
        const slotMs = slotOf(fullAtUs);
        if (slotMs === replacesSlotMs) continue;
        if (replacesSlotMs > 0) rows.del(BUCKET_FULL, limitKeys.bucketFullKey(limitKey, replacesSlotMs));
        rows.put(BUCKET_FULL, limitKeys.bucketFullKey(limitKey, slotMs), true);
      }
      return;
    case ke.LEFT:
      for (const { limitKey, why, untilMs } of e.keys) {
        rows.del(RING, limitKeys.ringKey(limitKey));
        if (why === 'rate') rows.put(PARKED, limitKeys.parkedKey(limitKey, untilMs), true);
        else if (why === 'concurrency') cell.full.add(limitKey);
      }
      return;
    case ke.RESUMED:
      for (const { limitKey, untilMs } of e.keys) {
        if (untilMs > 0) rows.del(PARKED, limitKeys.parkedKey(limitKey, untilMs));
        else cell.full.delete(limitKey);
        rows.put(RING, limitKeys.ringKey(limitKey), true);
      }
      return;
    case ke.SORTED:
      cell.state.cursor = e.cursor;
      cell.state.plain -= e.jobs.length;
      cell.state.keyed += e.jobs.length;
      for (const { offset, meta } of e.jobs) {
        rows.put(JOB, cell.keys.jobKey(offset), { state: 'keyed', meta });
        putReady(rows, cell, offset, meta, 'keyed');
        countException(offset);
      }
  }
}

/** Buckets that are full need no rows. The queue may be gone; its rows are not. */
export function forgetBuckets(rows: Rows, tenant: number, e: ke.Refilled): void {
  for (const { queueNo, limitKey, slotMs } of e.keys) {
    const keys = new LimitKeys(tenant, queueNo, 0);
    rows.del(BUCKET_FULL, keys.bucketFullKey(limitKey, slotMs));
    rows.del(BUCKET, keys.bucketKey(limitKey));
  }
}
