// Decides what an enqueued batch becomes: plain jobs cost nothing but their bytes, the others get rows.
//   E1. A PLAIN batch is decided without looking at its entries.
//   E2. Jobs of one key run in enqueue order, one at a time: the lane's head may run, the rest is blocked.
//   E3. A dedup key that is remembered gives the earlier job (dedup.ts).
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
import { COMMAND_BYTES_MAX } from '../shard/bounds.ts';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueueCommand, EnqueueReply } from './commands.ts';
import {
  type DedupOptions,
  deduplicate,
  dedupModeAt,
  dedupReads,
  type Replaced,
  rememberedUntilMs,
} from './dedup.ts';
import * as ev from './events.ts';
import type { ParentLink } from './flow-tables.ts';
import * as life from './life-events.ts';
import { readyPlace } from './limits.ts';
import { DEDUP, freshMeta, LANE, type Lane, metaBytes } from './tables.ts';

interface JobOptions extends DedupOptions {
  priority: number;
  limitKey: string;
}

/** Options of every entry of a batch that is not PLAIN. */
export function readOptions(batch: Buffer, spans: readonly EntrySpan[]): JobOptions[] {
  return spans.map((span) => {
    const options: JobOptions = {
      ...{ key: '', delayMs: 0, priority: 0, limitKey: '' },
      ...{ dedupKey: '', dedupMode: 'throttle', dedupWindowMs: 0 },
    };
    if (span.extLength === 0) return options;
    readExt(batch, span, (tag, from, to) => {
      if (tag === EXT.key) options.key = batch.toString('latin1', from, to);
      else if (tag === EXT.delayMs) options.delayMs = readNumber(batch, from, to);
      else if (tag === EXT.priority) options.priority = Math.min(255, readNumber(batch, from, to));
      else if (tag === EXT.limitKey) options.limitKey = batch.toString('latin1', from, to);
      else if (tag === EXT.dedupMode) options.dedupMode = dedupModeAt(readNumber(batch, from, to));
      else if (tag === EXT.dedupWindowMs) options.dedupWindowMs = readNumber(batch, from, to);
      else if (tag === EXT.dedupKey) options.dedupKey = batch.toString('latin1', from, to);
    });
    if (options.dedupKey === '') options.dedupMode = 'throttle';
    return options;
  });
}

/** Rows that deciding needs: the lanes and dedup keys of the batch. */
export function enqueueReads(
  rows: Rows,
  cell: QueueCell,
  command: Pick<EnqueueCommand, 'batch' | 'head'>,
): RowRef[] {
  if (command.head.plain) return [];
  const refs: RowRef[] = [];
  for (const o of readOptions(command.batch, readEntries(command.batch, 0, command.head))) {
    if (o.key !== '') refs.push({ table: LANE, key: cell.keys.laneKey(o.key) });
    refs.push(...dedupReads(rows, cell, o));
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
  const { kept, offsets, replaced } = deduplicate(rows, cell, options, at);
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
  if (replaced.length > 0) checkRoom(batch, plan, replaced);
  const reply = emitEnqueued(cell, batch, kept.length, idPrefix, emit, plan);
  for (const { offset, row, by } of replaced) {
    const { state: from, meta } = row;
    const reason = `replaced by ${idPrefix}${by.toString(36)}`;
    const event = { queueNo: cell.queueNo, offset, from, meta, reason, unblocked: [] };
    emit({ type: life.CANCELLED, ...event } as life.Cancelled);
  }
  return kept.length === options.length && replaced.length === 0 ? reply : { ...reply, offsets };
}

/** All of it must fit before the first event, because nothing can be taken back afterwards. */
function checkRoom(batch: Buffer, { placed, dedups }: Plan, replaced: readonly Replaced[]): void {
  let bytes = batch.length;
  for (const { meta } of placed) bytes += 32 + metaBytes(meta);
  for (const { key } of dedups) bytes += 32 + key.length;
  for (const { row } of replaced) bytes += 96 + metaBytes(row.meta);
  if (bytes > COMMAND_BYTES_MAX - 64 * 1024)
    throw new FlowError('BATCH_TOO_LARGE', `${placed.length} jobs that replace others: split them`);
}

export type Plan = Pick<ev.Enqueued, 'placed' | 'lanes' | 'nexts' | 'dedups'>;
const NOTHING: Plan = { placed: [], lanes: [], nexts: [], dedups: [] };

export function emitEnqueued(
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

/** What a job is in its flow. */
interface FlowPlace {
  readonly parent: ParentLink | null;
  /** For its children, outside of its lane. */
  readonly waits: boolean;
}

/** Rows of the jobs that are not plain, and what they do to their lanes (E2). */
export function place(
  rows: Rows,
  cell: QueueCell,
  options: readonly JobOptions[],
  at: Moment,
  inFlow?: (index: number) => FlowPlace,
): Plan {
  const placed: ev.PlacedJob[] = [];
  const nexts: { offset: number; next: number }[] = [];
  const dedups: Plan['dedups'][number][] = [];
  const lanes = new Map<string, Lane>();
  options.forEach((o, i) => {
    const offset = cell.log.endOffset + i;
    if (o.dedupKey !== '') {
      const untilMs = rememberedUntilMs(cell, o, at);
      const replacesUntilMs = rows.get(DEDUP, cell.keys.dedupKey(o.dedupKey))?.untilMs ?? 0;
      dedups.push({ key: o.dedupKey, offset, untilMs, replacesUntilMs });
    }
    const flow = inFlow?.(i);
    const meta = {
      ...freshMeta(cell.state.generation, at.nowMs + o.delayMs),
      priority: o.priority,
      key: o.key,
      limitKey: o.limitKey,
      parent: flow?.parent ?? null,
    };
    if (flow?.waits) {
      placed.push({ offset, meta: { ...meta, readyAtMs: at.nowMs }, to: 'awaiting' });
      return;
    }
    const lane = o.key === '' ? undefined : (lanes.get(o.key) ?? rows.get(LANE, cell.keys.laneKey(o.key)));
    if (o.key !== '') lanes.set(o.key, { head: lane?.head ?? offset, tail: offset });
    if (lane !== undefined) {
      nexts.push({ offset: lane.tail, next: offset });
      placed.push({ offset, meta, to: 'blocked' });
    } else if (o.delayMs > 0) placed.push({ offset, meta, to: 'delayed' });
    else if (readyPlace(cell.spec, meta) === 'keyed') placed.push({ offset, meta, to: 'keyed' });
    else if (o.priority > 0 || o.dedupMode !== 'throttle' || flow !== undefined)
      placed.push({ offset, meta, to: 'ready' });
  });
  return { placed, nexts, dedups, lanes: Array.from(lanes, ([key, lane]) => ({ key, lane })) };
}

/** The cursor skips entries that have rows: the flag says so in the log itself. */
export function markIndexed(batch: Buffer, placed: readonly ev.PlacedJob[], firstOffset: number): void {
  if (placed.length === 0) return;
  const head: BatchHead = readHead(batch);
  const spans = readEntries(batch, 0, head);
  for (const { offset } of placed) {
    const span = spans[offset - firstOffset];
    if (span !== undefined) batch[span.flagsAt] = ENTRY_INDEXED;
  }
  sealBody(batch);
}
