// Decides which jobs of a batch are new, by their dedup keys.
//   P1. throttle: the key is remembered for a window, whatever becomes of the job.
//   P2. simple: the key counts until the job is finished. Such jobs always have a row, which tells.
//   P3. debounce: a job that still waits gives its place to the next one, and the wait begins anew; one that
//       is at work stays, and the next one follows it. Of one batch the last one counts.
import { DEDUP_MODES, type DedupMode, FlowError } from '@flowmesh/protocol';
import type { Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueuedOffset } from './commands.ts';
import type { DedupExpired } from './events.ts';
import { DEDUP, DEDUP_EXPIRY, JOB, type JobRow, QueueKeys } from './tables.ts';

export interface DedupOptions {
  key: string;
  delayMs: number;
  dedupKey: string;
  dedupMode: DedupMode;
  /** 0: the queue's. */
  dedupWindowMs: number;
}

export interface Replaced {
  readonly offset: number;
  readonly by: number;
  readonly row: JobRow;
}

/** How long the key of a simple or debounced job is kept beyond its delay. */
const KEPT_MS = 30 * 24 * 3_600_000;
const WINDOW_MS_MAX = 365 * 24 * 3_600_000;

export const dedupModeAt = (place: number): DedupMode => DEDUP_MODES[place] ?? 'throttle';

const windowMs = (cell: QueueCell, o: DedupOptions): number =>
  Math.min(WINDOW_MS_MAX, o.dedupWindowMs || cell.spec.deduplicationWindowMs);

/** Until when the key of a job is remembered. */
export const rememberedUntilMs = (cell: QueueCell, o: DedupOptions, at: Moment): number =>
  at.nowMs + (o.dedupMode === 'throttle' ? windowMs(cell, o) : Math.min(WINDOW_MS_MAX, o.delayMs) + KEPT_MS);

/** The key's row, and then that of the job it names, where its state matters. */
export function dedupReads(rows: Rows, cell: QueueCell, o: DedupOptions): RowRef[] {
  if (o.dedupKey === '') return [];
  const ref = { table: DEDUP, key: cell.keys.dedupKey(o.dedupKey) };
  if (o.dedupMode === 'throttle' || !rows.isResident(ref)) return [ref];
  const known = rows.get(DEDUP, ref.key);
  return known === undefined ? [ref] : [ref, { table: JOB, key: cell.keys.jobKey(known.offset) }];
}

/** Options of debounced jobs get their delay. */
export function deduplicate(rows: Rows, cell: QueueCell, options: readonly DedupOptions[], at: Moment) {
  const kept: number[] = [];
  const offsets: EnqueuedOffset[] = [];
  const replaced: Replaced[] = [];
  const here = new Map<string, number>();
  const last = new Map<string, number>();
  options.forEach((o, i) => {
    if (o.dedupMode !== 'debounce') return;
    if (o.key !== '') throw new FlowError('INVALID_ARGUMENT', 'a job with a key cannot be debounced');
    o.delayMs ||= windowMs(cell, o);
    last.set(o.dedupKey, i);
  });
  options.forEach((o, i) => {
    const before = o.dedupKey === '' ? undefined : (here.get(o.dedupKey) ?? earlier(rows, cell, o, at));
    if (before !== undefined || (last.get(o.dedupKey) ?? i) > i) {
      offsets.push({ offset: before ?? -1, deduplicated: true });
      return;
    }
    const offset = cell.log.endOffset + kept.length;
    const gone = o.dedupMode === 'debounce' ? replaceable(rows, cell, o.dedupKey) : undefined;
    if (gone !== undefined) replaced.push({ ...gone, by: offset });
    if (o.dedupKey !== '') here.set(o.dedupKey, offset);
    offsets.push({ offset, deduplicated: false, ...(gone === undefined ? {} : { replaced: gone.offset }) });
    kept.push(i);
  });
  // Those that gave way to a later one of the batch are answered with it.
  options.forEach((o, i) => {
    if (offsets[i]?.offset === -1) offsets[i] = { offset: here.get(o.dedupKey) ?? 0, deduplicated: true };
  });
  return { kept, offsets, replaced };
}

function earlier(rows: Rows, cell: QueueCell, o: DedupOptions, at: Moment): number | undefined {
  const known = rows.get(DEDUP, cell.keys.dedupKey(o.dedupKey));
  if (known === undefined || o.dedupMode === 'debounce') return undefined;
  if (o.dedupMode === 'throttle') return known.untilMs > at.nowMs ? known.offset : undefined;
  const { offset } = known;
  const hasRow = rows.get(JOB, cell.keys.jobKey(offset)) !== undefined && !cell.tombs.has(offset);
  return hasRow || cell.leases.has(offset) ? offset : undefined;
}

function replaceable(rows: Rows, cell: QueueCell, key: string): Omit<Replaced, 'by'> | undefined {
  const offset = rows.get(DEDUP, cell.keys.dedupKey(key))?.offset;
  if (offset === undefined || cell.leases.has(offset)) return undefined;
  const row = rows.get(JOB, cell.keys.jobKey(offset));
  const waits = row !== undefined && row.meta.key === '' && ['delayed', 'ready', 'keyed'].includes(row.state);
  return waits && row.meta.acquired === 0 ? { offset, row } : undefined;
}

/** evolve: keys whose time is over. Their queue may be gone; its keys are not. */
export function expireDedups(rows: Rows, queues: ReadonlyMap<number, QueueCell>, e: DedupExpired): void {
  for (const { queueNo, key, untilMs } of e.keys) {
    const keys = queues.get(queueNo)?.keys ?? new QueueKeys(DEFAULT_TENANT, queueNo, 0);
    rows.del(DEDUP_EXPIRY, keys.dedupExpiryKey(key, untilMs));
    rows.del(DEDUP, keys.dedupKey(key));
  }
}
