// Decides what an enqueued batch becomes: plain jobs cost nothing but their bytes, the others get rows.
//   E1. A PLAIN batch is decided without looking at its entries.
//   E2. Jobs of one key run in enqueue order, one at a time: the lane's head may run, the rest is blocked.
//   E3. A dedup key that is remembered gives the earlier job; it outlives the job.
import {
  type BatchHead,
  ENTRY_INDEXED,
  type EntrySpan,
  EXT,
  FlowError,
  patchHead,
  readEntries,
  readExt,
  readHead,
  readNumber,
  sealBody,
  sliceBatch,
} from '@flowmesh/protocol';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueueCommand, EnqueueReply } from './commands.ts';
import * as ev from './events.ts';
import { readyPlace } from './limits.ts';
import { DEDUP, freshMeta, LANE, type Lane, type QueueKeys } from './tables.ts';

interface JobOptions {
  key: string;
  delayMs: number;
  priority: number;
  dedupKey: string;
  limitKey: string;
}

/** Options of every entry of a batch that is not PLAIN. */
export function readOptions(batch: Buffer, spans: readonly EntrySpan[]): JobOptions[] {
  return spans.map((span) => {
    const options: JobOptions = { key: '', delayMs: 0, priority: 0, dedupKey: '', limitKey: '' };
    if (span.extLength === 0) return options;
    readExt(batch, span, (tag, from, to) => {
      if (tag === EXT.key) options.key = batch.toString('latin1', from, to);
      else if (tag === EXT.delayMs) options.delayMs = readNumber(batch, from, to);
      else if (tag === EXT.priority) options.priority = Math.min(255, readNumber(batch, from, to));
      else if (tag === EXT.limitKey) options.limitKey = batch.toString('latin1', from, to);
      else if (tag === EXT.dedupKey) options.dedupKey = batch.toString('latin1', from, to);
    });
    return options;
  });
}

/** Rows that deciding needs: the lanes and dedup keys of the batch. */
export function enqueueReads(keys: QueueKeys, command: EnqueueCommand): RowRef[] {
  if (command.head.plain) return [];
  const refs: RowRef[] = [];
  for (const o of readOptions(command.batch, readEntries(command.batch, 0, command.head))) {
    if (o.key !== '') refs.push({ table: LANE, key: keys.laneKey(o.key) });
    if (o.dedupKey !== '') refs.push({ table: DEDUP, key: keys.dedupKey(o.dedupKey) });
  }
  return refs;
}

export function decideEnqueue(
  rows: Rows,
  cell: QueueCell,
  command: EnqueueCommand,
  at: Moment,
  idPrefix: string,
  emit: Emit,
): EnqueueReply {
  const { maxDepth } = cell.spec;
  if (maxDepth > 0 && cell.depth + command.head.count > maxDepth) {
    throw new FlowError('QUEUE_FULL', `queue ${cell.name} holds ${cell.depth} jobs of at most ${maxDepth}`, {
      retryAfterMs: 1000,
    });
  }
  if (command.head.plain) {
    patchHead(command.batch, cell.log.endOffset, at.nowMs);
    return emitEnqueued(cell, command.batch, command.head.count, idPrefix, emit, NOTHING);
  }
  const spans = readEntries(command.batch, 0, command.head);
  const options = readOptions(command.batch, spans);
  const { kept, offsets } = deduplicate(rows, cell, options, at);
  if (kept.length === 0) return { idPrefix, firstOffset: 0, count: 0, offsets };
  const batch =
    kept.length === options.length
      ? command.batch
      : sliceBatch(
          command.batch,
          command.head,
          kept.map((i) => spans[i] as EntrySpan),
        );
  const plan = place(
    rows,
    cell,
    kept.map((i) => options[i] as JobOptions),
    at,
  );
  markIndexed(batch, plan.placed, cell.log.endOffset);
  patchHead(batch, cell.log.endOffset, at.nowMs);
  const reply = emitEnqueued(cell, batch, kept.length, idPrefix, emit, plan);
  return kept.length === options.length ? reply : { ...reply, offsets };
}

type Plan = Pick<ev.Enqueued, 'placed' | 'lanes' | 'nexts' | 'dedups'>;
const NOTHING: Plan = { placed: [], lanes: [], nexts: [], dedups: [] };

function emitEnqueued(
  cell: QueueCell,
  batch: Buffer,
  count: number,
  idPrefix: string,
  emit: Emit,
  plan: Plan,
): EnqueueReply {
  const firstOffset = cell.log.endOffset;
  const event: ev.Enqueued = { type: ev.ENQUEUED, queueNo: cell.queueNo, batch, firstOffset, count, ...plan };
  emit(event);
  return { idPrefix, firstOffset, count };
}

/** Which entries are new (E3), and the offset every entry ends up with. */
function deduplicate(rows: Rows, cell: QueueCell, options: readonly JobOptions[], at: Moment) {
  const kept: number[] = [];
  const offsets: { offset: number; deduplicated: boolean }[] = [];
  const here = new Map<string, number>();
  options.forEach((o, i) => {
    const earlier =
      o.dedupKey === '' ? undefined : (here.get(o.dedupKey) ?? remembered(rows, cell, o.dedupKey, at.nowMs));
    if (earlier !== undefined) {
      offsets.push({ offset: earlier, deduplicated: true });
      return;
    }
    const offset = cell.log.endOffset + kept.length;
    if (o.dedupKey !== '') here.set(o.dedupKey, offset);
    offsets.push({ offset, deduplicated: false });
    kept.push(i);
  });
  return { kept, offsets };
}

function remembered(rows: Rows, cell: QueueCell, key: string, nowMs: number): number | undefined {
  const row = rows.get(DEDUP, cell.keys.dedupKey(key));
  return row !== undefined && row.untilMs > nowMs ? row.offset : undefined;
}

/** Rows of the jobs that are not plain, and what they do to their lanes (E2). */
function place(rows: Rows, cell: QueueCell, options: readonly JobOptions[], at: Moment): Plan {
  const placed: ev.PlacedJob[] = [];
  const nexts: { offset: number; next: number }[] = [];
  const dedups: Plan['dedups'][number][] = [];
  const lanes = new Map<string, Lane>();
  options.forEach((o, i) => {
    const offset = cell.log.endOffset + i;
    if (o.dedupKey !== '') {
      const untilMs = at.nowMs + cell.spec.deduplicationWindowMs;
      const replacesUntilMs = rows.get(DEDUP, cell.keys.dedupKey(o.dedupKey))?.untilMs ?? 0;
      dedups.push({ key: o.dedupKey, offset, untilMs, replacesUntilMs });
    }
    const meta = {
      ...freshMeta(cell.state.generation, at.nowMs + o.delayMs),
      priority: o.priority,
      key: o.key,
      limitKey: o.limitKey,
    };
    const lane = o.key === '' ? undefined : (lanes.get(o.key) ?? rows.get(LANE, cell.keys.laneKey(o.key)));
    if (o.key !== '') lanes.set(o.key, { head: lane?.head ?? offset, tail: offset });
    if (lane !== undefined) {
      nexts.push({ offset: lane.tail, next: offset });
      placed.push({ offset, meta, to: 'blocked' });
    } else if (o.delayMs > 0) placed.push({ offset, meta, to: 'delayed' });
    else if (readyPlace(cell.spec, meta) === 'keyed') placed.push({ offset, meta, to: 'keyed' });
    else if (o.priority > 0) placed.push({ offset, meta, to: 'ready' });
  });
  return { placed, nexts, dedups, lanes: Array.from(lanes, ([key, lane]) => ({ key, lane })) };
}

/** The cursor skips entries that have rows: the flag says so in the log itself. */
function markIndexed(batch: Buffer, placed: readonly ev.PlacedJob[], firstOffset: number): void {
  if (placed.length === 0) return;
  const head: BatchHead = readHead(batch);
  const spans = readEntries(batch, 0, head);
  for (const { offset } of placed) {
    const span = spans[offset - firstOffset];
    if (span !== undefined) batch[span.flagsAt] = ENTRY_INDEXED;
  }
  sealBody(batch);
}
