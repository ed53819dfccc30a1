// The age of a queue: since when its oldest ready job has been ready.
//   A1. The front of the log is read once for each place of the cursor: who polls a thousand queues that
//       stand still reads nothing.
import { ENTRY_INDEXED } from '@flowmesh/protocol';
import type { Table } from '../storage/contract.ts';
import { after } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import { KEYED } from './key-tables.ts';
import { loadSource, type Source, spansOf } from './sources.ts';
import { JOB, READY } from './tables.ts';
import type { QueueView } from './view.ts';

const OLDEST_ROWS = 64;
const BATCHES_MAX = 16;

/** When the oldest ready job became ready; 0: none is ready. */
export async function oldestReadyAt(view: QueueView, cell: QueueCell): Promise<number> {
  const { cursor, plain } = cell.state;
  const enqueued = plain > 0 ? await frontOf(cell, cursor) : Number.POSITIVE_INFINITY;
  const oldest = Math.min(enqueued, await oldestException(view, cell));
  return Number.isFinite(oldest) ? oldest : 0;
}

/** When the first waiting job behind the cursor was enqueued; of many batches without one, of the last. */
async function frontOf(cell: QueueCell, cursor: number): Promise<number> {
  const cancelled = cell.holes.size;
  const known = cell.front;
  if (known.cursor === cursor && known.cancelled === cancelled) return known.atMs;
  let atMs = 0;
  let isFound = false;
  for (let offset = cursor, i = 0; !isFound && i < BATCHES_MAX && offset < cell.log.endOffset; i++) {
    const source = await loadSource(cell.log, offset);
    atMs = source.head.appendTimeMs;
    isFound = hasWaiting(cell, source, offset);
    offset = source.head.baseOffset + source.head.count;
  }
  cell.front = { cursor, cancelled, atMs };
  return atMs;
}

/** Whether any job from `offset` on in the batch has no row of its own and was not cancelled. */
function hasWaiting({ holes }: QueueCell, source: Source, offset: number): boolean {
  const { baseOffset, count, plain } = source.head;
  for (let at = offset; at < baseOffset + count; at++) {
    if (holes.has(at)) continue;
    const span = plain ? undefined : spansOf(source)[at - baseOffset];
    if (span === undefined || ((source.bytes[span.flagsAt] ?? 0) & ENTRY_INDEXED) === 0) return true;
  }
  return false;
}

/**
 * Of the jobs that are ready with a priority, after a retry, or by limit key: exact unless more than
 * OLDEST_ROWS of them come both before it in their turn and before it in the order of their enqueue.
 */
async function oldestException(
  { context: { rows } }: QueueView,
  { state, keys, limitKeys }: QueueCell,
): Promise<number> {
  if (state.keyed + state.ready === 0) return Number.POSITIVE_INFINITY;
  const first = <V>(table: Table<V>, from: string) =>
    rows.scan(table, { from, to: after(from), limit: OLDEST_ROWS });
  const [jobs, ready, keyed] = await Promise.all([
    first(JOB, keys.job),
    state.ready > 0 ? first(READY, keys.ready) : [],
    state.keyed > 0 ? first(KEYED, limitKeys.keyed) : [],
  ]);
  let oldest = Number.POSITIVE_INFINITY;
  for (const { value } of jobs)
    if (value.state === 'keyed' || value.state === 'ready') oldest = Math.min(oldest, value.meta.readyAtMs);
  // Those that are next do not lie behind others that are only waiting for their time.
  for (const { value } of [...ready, ...keyed]) oldest = Math.min(oldest, value.readyAtMs);
  return oldest;
}
