// Looking at jobs without touching them: one job, lists by state, the timeline. Reads only; may read the
// disk.
import { decodeEntry, FlowError, readEntries, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Event, HistorySubject, ShardPort } from '../shard/state-machine.ts';
import { after, readU53be } from '../storage/keys.ts';
import { ATTEMPTS_MAX, attemptReads, attemptsOf, decodeLife } from './attempts.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import { listFinished } from './finished.ts';
import { isFlowEvent } from './flow-events.ts';
import { flowTransitionOf, kinMessage, kinOf, kinReads, waitReason } from './flow-read.ts';
import { parseJobId } from './ids.ts';
import { REFILLED } from './key-events.ts';
import * as life from './life-events.ts';
import type { Outcome } from './life-tables.ts';
import { limitKeyOf } from './limits.ts';
import { envelopeMessage, headersMessage } from './messages.ts';
import { loadLines, remainReads, remainsOf } from './reports.ts';
import { TICKED } from './schedule-events.ts';
import { heldMeta } from './settle.ts';
import { loadEntry } from './sources.ts';
import { type ExceptionState, JOB, type JobMeta } from './tables.ts';
import type { QueueView } from './view.ts';

const LIST_MAX = 1000;
const NO_KIN: Partial<ReturnType<typeof kinOf>> = {};
const FINISHED = ['completed', 'cancelled', 'dead'];
/** Where a state is shown by another name than its row has. */
const SHOWN_STATES: Partial<Record<ExceptionState, string>> = {
  ready: 'waiting',
  keyed: 'waiting',
  dying: 'dead',
  awaiting: 'waiting_children',
};

export function offsetIn(view: QueueView, cell: QueueCell, id: string): number {
  const place = parseJobId(id);
  if (
    place.shard !== view.context.shard ||
    place.queueNo !== cell.queueNo ||
    place.offset >= cell.log.endOffset
  ) {
    throw new FlowError('JOB_NOT_FOUND', `there is no job ${id} in queue ${cell.name}`);
  }
  if (place.offset < cell.log.startOffset) {
    throw new FlowError(
      'JOB_NOT_FOUND',
      `job ${id} finished and has left the retention of queue ${cell.name}`,
    );
  }
  return place.offset;
}

/** A job that is in the log, and what the log says of it. */
export async function jobOf(view: QueueView, cell: QueueCell, id: string) {
  const offset = offsetIn(view, cell, id);
  const { bytes, head, index } = await loadEntry(cell.log, offset);
  const span = readEntries(bytes, 0, head)[index];
  if (span === undefined)
    throw new FlowError('DATA_DAMAGED', `queue ${cell.name}: no entry at offset ${offset}`);
  const { indexed: isIndexed, key } = decodeEntry(bytes, head, span, offset);
  return { offset, isIndexed, key: key === undefined ? '' : Buffer.from(key).toString('latin1') };
}

export async function getJob(
  view: QueueView,
  cell: QueueCell,
  id: string,
  nowMs: number,
): Promise<pb.JobInput> {
  return describe(view, cell, offsetIn(view, cell, id), nowMs, true);
}

async function describe(
  view: QueueView,
  cell: QueueCell,
  offset: number,
  nowMs: number,
  withLog = false,
): Promise<pb.JobInput> {
  const { bytes, head, index } = await loadEntry(cell.log, offset);
  const span = readEntries(bytes, 0, head)[index];
  if (span === undefined)
    throw new FlowError('DATA_DAMAGED', `queue ${cell.name}: no entry at offset ${offset}`);
  const record = decodeEntry(bytes, head, span, offset);
  const { rows } = view.context;
  const ref = { table: JOB, key: cell.keys.jobKey(offset) };
  const look = () => {
    const row = rows.get(JOB, ref.key);
    const grant = cell.leases.get(offset);
    const meta = grant !== undefined ? heldMeta(cell, grant) : row?.meta;
    const isWaiting = offset >= cell.state.cursor && !record.indexed && !cell.holes.has(offset);
    const isFresh = !cell.tombs.has(offset) && (meta === undefined ? isWaiting : meta.acquired === 0);
    return { row, grant, meta, isWaiting, isFresh };
  };
  // Every job of a flow has a row from the beginning.
  const kin = record.indexed ? kinReads(cell, offset) : [];
  await rows.fetch([ref, ...kin]);
  let now = look();
  const isFresh = now.isFresh;
  const log = withLog && !isFresh ? await loadLines(rows, cell, offset) : [];
  if (!isFresh) {
    await rows.fetch([ref, ...kin, ...remainReads(cell, offset), ...attemptReads(cell, offset)]);
    // Nothing is awaited any more: what is told of the job is told of one moment.
    now = look();
  }
  const { row, grant, meta, isWaiting } = now;
  const life = decodeLife(record.life);
  const attempts = isFresh ? [] : attemptsOf(rows, cell, offset);
  const remains = isFresh ? undefined : remainsOf(rows, cell, offset);
  const state = row?.state ?? (isWaiting ? 'ready' : undefined);
  const ties = record.indexed ? kinOf(rows, cell, offset) : NO_KIN;
  const status =
    state === 'awaiting'
      ? { state: 'waiting_children', reason: waitReason(ties.flow) }
      : statusOf(cell, offset, state, nowMs, meta, remains?.outcome);
  return {
    id: view.idPrefix(cell) + offset.toString(36),
    queue: cell.name,
    ...status,
    priority: record.priority ?? 0,
    key: record.key ?? new Uint8Array(),
    dedupKey: record.dedupKey ?? '',
    limitKey: record.limitKey ?? new Uint8Array(),
    enqueuedAtMs: record.appendTimeMs,
    readyAtMs: meta?.readyAtMs ?? record.appendTimeMs,
    leaseEpoch: grant === undefined ? 0 : grant.firstEpoch + offset - grant.firstOffset,
    leaseDeadlineMs: grant === undefined ? 0 : cell.deadlineOf(grant),
    worker: grant?.worker ?? '',
    counters:
      meta === undefined
        ? {}
        : { acquired: meta.acquired, failed: meta.failed, timedOut: meta.timedOut, released: meta.released },
    lastError: meta?.lastError || (record.lastError ?? ''),
    payload: record.value ?? new Uint8Array(),
    contentType: record.contentType,
    headers: headersMessage(record),
    envelope: envelopeMessage(record),
    sourceQueue: record.sourceQueue ?? '',
    sourceId: record.sourceId ?? '',
    attempts: [...life.attempts, ...attempts].slice(-ATTEMPTS_MAX),
    redrives: life.redrives,
    firstEnqueuedAtMs: life.enqueuedAtMs,
    firstId: life.firstId,
    progress: remains?.report?.progress,
    progressAtMs: remains?.report?.progressAtMs,
    log,
    logLines: remains?.report?.lines,
    result: remains?.result?.value,
    resultContentType: remains?.result?.contentType,
    finishedAtMs: remains?.outcome?.atMs ?? remains?.result?.atMs,
    ...kinMessage(view, ties),
  };
}

/** In which state a job is, and why it is not being delivered. */
function statusOf(
  cell: QueueCell,
  offset: number,
  row: string | undefined,
  nowMs: number,
  meta: JobMeta | undefined,
  outcome: Outcome | undefined,
): { state: string; reason: string } {
  const grant = cell.leases.get(offset);
  if (grant !== undefined)
    return {
      state: 'leased',
      reason: `held by ${grant.worker} until ${new Date(cell.deadlineOf(grant)).toISOString()}`,
    };
  if (outcome?.kind === 'cancelled') return { state: 'cancelled', reason: outcome.note || 'cancelled' };
  const waits = cell.state.paused ? 'the queue is paused' : 'waits for a free worker';
  const dueIn = `${Math.max(0, Math.ceil(((meta?.readyAtMs ?? nowMs) - nowMs) / 1000))} s`;
  if (row === 'ready') return { state: 'waiting', reason: waits };
  if (row === 'keyed' && meta !== undefined)
    return { state: 'waiting', reason: cell.state.paused ? waits : turnReason(cell, meta) };
  if (row === 'delayed') return { state: 'delayed', reason: `delayed: ready in ${dueIn}` };
  if (row === 'retrying')
    return {
      state: 'retrying',
      reason: `attempt ${meta?.acquired ?? 0} failed; the next is ready in ${dueIn}`,
    };
  if (row === 'blocked')
    return { state: 'blocked', reason: 'an earlier job of the same key is not finished' };
  if (row === 'dying')
    return { state: 'dead', reason: 'out of attempts: on its way to the dead-letter queue' };
  if (outcome?.kind === 'dead') {
    const [queue = '', id = ''] = outcome.note.split(' ');
    return { state: 'dead', reason: `moved to ${queue}, where it is ${id}` };
  }
  return { state: 'completed', reason: 'finished: acked, redriven or purged; its history says which' };
}

/** Why a job that waits by limit key has not started. */
function turnReason(cell: QueueCell, meta: JobMeta): string {
  const { concurrencyPerKey = Number.POSITIVE_INFINITY, ratePerKey } = cell.spec.limits ?? {};
  const running = cell.running.get(limitKeyOf(meta)) ?? 0;
  if (running >= concurrencyPerKey) return `${running} jobs of its limit key are leased, as many as may be`;
  if (ratePerKey === undefined) return 'waits for the turn of its limit key and a free worker';
  const { count, periodMs } = ratePerKey;
  return `waits for the turn of its limit key; ${count} of it may start in ${periodMs} ms`;
}

export async function listJobs(
  view: QueueView,
  cell: QueueCell,
  request: pb.ListJobsRequest,
  nowMs: number,
): Promise<pb.ListJobsResponseInput> {
  const limit = Math.min(LIST_MAX, request.limit || 100);
  const [phase, from] = parseCursor(request.cursor);
  const { state } = request;
  const known = ['', 'waiting', 'delayed', 'retrying', 'blocked', 'waiting_children', 'leased', ...FINISHED];
  if (!known.includes(state))
    throw new FlowError('INVALID_ARGUMENT', `state is one of ${known.slice(1).join(', ')}, not ${state}`);
  if (state === 'completed' || state === 'cancelled' || (state === 'dead' && phase === 'f')) {
    const page = await listFinished(view, cell, { state, from: phase === 'f' ? from : undefined, limit });
    const jobs = [];
    for (const offset of page.offsets) jobs.push(await describe(view, cell, offset, nowMs));
    return { jobs, cursor: page.next };
  }
  const { offsets, next: nextException } =
    phase === 'x' ? await listExceptions(view, cell, { state, from, limit }) : { offsets: [], next: '' };
  let next = nextException;
  if (next === '' && (state === '' || state === 'waiting') && offsets.length < limit)
    next = await listPlain(cell, phase === 'p' ? from : 0, limit, offsets);
  else if (next === '' && offsets.length === limit && (state === '' || state === 'waiting')) next = 'p0';
  // Those on their way to the dead-letter queue first, then those that have arrived.
  if (next === '' && state === 'dead') next = `f${cell.log.endOffset}`;
  const jobs = [];
  for (const offset of offsets) jobs.push(await describe(view, cell, offset, nowMs));
  return { jobs, cursor: next };
}

/** Leased jobs and those that have rows, by offset. */
async function listExceptions(
  view: QueueView,
  cell: QueueCell,
  { state, from, limit }: { state: string; from: number; limit: number },
): Promise<{ offsets: number[]; next: string }> {
  const offsets: number[] = [];
  /** Offsets from here on have not been looked at. */
  let horizon = Number.POSITIVE_INFINITY;
  if (state !== 'leased') {
    const range = { from: cell.keys.jobKey(from), to: after(cell.keys.job), limit: LIST_MAX };
    const rows = await view.context.rows.scan(JOB, range);
    for (const { key, value } of rows) {
      const offset = readU53be(key, key.length - 7);
      const shown = SHOWN_STATES[value.state] ?? value.state;
      // A row that was leased meanwhile is listed as such.
      const isHere = !cell.leases.has(offset) && !cell.tombs.has(offset);
      if ((state === '' || state === shown) && isHere) offsets.push(offset);
      if (rows.length === LIST_MAX) horizon = offset + 1;
    }
  }
  if (state === 'leased' || state === '') {
    for (const offset of cell.leases.keys()) if (offset >= from && offset < horizon) offsets.push(offset);
  }
  offsets.sort((a, b) => a - b);
  if (offsets.length <= limit)
    return { offsets, next: horizon < Number.POSITIVE_INFINITY ? `x${horizon}` : '' };
  offsets.length = limit;
  return { offsets, next: `x${(offsets[limit - 1] ?? 0) + 1}` };
}

/** Plain waiting jobs: the log from the cursor on, without entries that have rows. */
async function listPlain(cell: QueueCell, from: number, limit: number, into: number[]): Promise<string> {
  let offset = Math.max(from, cell.state.cursor);
  while (offset < cell.log.endOffset && into.length < limit) {
    const { bytes, head, index } = await loadEntry(cell.log, offset);
    const spans = head.plain ? null : readEntries(bytes, 0, head);
    for (let i = index; i < head.count && into.length < limit; i++, offset++) {
      const flagsAt = spans?.[i]?.flagsAt;
      const isPlain = flagsAt === undefined || bytes[flagsAt] === 0;
      if (isPlain && !cell.holes.has(offset)) into.push(offset);
    }
  }
  return offset < cell.log.endOffset ? `p${offset}` : '';
}

function parseCursor(cursor: string): [string, number] {
  if (cursor === '') return ['x', 0];
  const match = /^([xpf])(\d{1,16})$/.exec(cursor);
  if (match === null) throw new FlowError('INVALID_ARGUMENT', 'cursor: pass back what the last page gave');
  return [match[1] ?? 'x', Number(match[2])];
}

export async function jobHistory(
  shard: ShardPort,
  cell: QueueCell,
  id: string,
): Promise<pb.JobHistoryResponseInput> {
  const { offset, queueNo } = parseJobId(id);
  if (queueNo !== cell.queueNo || offset >= cell.log.endOffset)
    throw new FlowError('JOB_NOT_FOUND', `there is no job ${id} in queue ${cell.name}`);
  const transitions: pb.JobTransitionInput[] = [];
  const subject: HistorySubject = {
    view: 'queue',
    matches: (event) => transitionOf(event, queueNo, offset) !== null,
  };
  for await (const { event, timeMs, position } of shard.history(subject)) {
    transitions.push({ timeMs, position, shard: shard.id, ...transitionOf(event, queueNo, offset) });
  }
  return { transitions, trimmed: transitions[0]?.kind !== 'enqueued' };
}

/** What an event did to one job; null: nothing. */
export function transitionOf(event: Event, queueNo: number, offset: number): pb.JobTransitionInput | null {
  if (isFlowEvent(event)) return flowTransitionOf(event, queueNo, offset);
  if (life.isLifeEvent(event)) return lifeTransitionOf(event, queueNo, offset);
  const e = event as ev.QueueEvent;
  if (e.type === ev.DEDUP_EXPIRED || e.type === REFILLED) return null;
  // To its dead-letter queue it is the job's beginning there.
  if (e.type === ev.DEAD_LETTERED && e.deadQueueNo === queueNo && e.queueNo !== queueNo)
    return readHead(e.batch).baseOffset === offset ? { kind: 'enqueued', detail: 'as a dead letter' } : null;
  if (e.queueNo !== queueNo) return null;
  const inRun = (run: ev.Run) => offset >= run.offset && offset < run.offset + run.count;
  switch (e.type) {
    case ev.ENQUEUED: {
      if (offset < e.firstOffset || offset >= e.firstOffset + e.count) return null;
      const placed = e.placed.find((job) => job.offset === offset);
      return {
        kind: 'enqueued',
        detail: placed?.to === 'awaiting' ? 'waiting_children' : (placed?.to ?? ''),
      };
    }
    case ev.LEASED: {
      const run = e.runs.find(inRun);
      const epoch =
        run === undefined
          ? e.singles.find((s) => s.offset === offset)?.epoch
          : run.epoch + offset - run.offset;
      return epoch === undefined ? null : { kind: 'leased', worker: e.worker, leaseEpoch: epoch };
    }
    case ev.ACKED: {
      const run = e.ranges.find(inRun);
      if (run !== undefined) return { kind: 'acked', leaseEpoch: run.epoch + offset - run.offset };
      return unblockedHere(e.unblocked, offset);
    }
    case ev.RETURNED: {
      const job = e.jobs.find((j) => j.offset === offset);
      return job === undefined
        ? null
        : { kind: e.reason, detail: [job.to, job.meta.lastError].filter(Boolean).join(': ') };
    }
    case ev.EXTENDED:
      return e.offset === offset ? { kind: 'extended', leaseEpoch: e.epoch } : null;
    case ev.BECAME_DUE:
      return e.jobs.some((j) => j.offset === offset) ? { kind: 'ready' } : null;
    case ev.DEAD_LETTERED:
      return e.offset === offset ? { kind: 'dead_lettered' } : unblockedHere(e.unblocked, offset);
    case ev.REMOVED:
      return e.ready.some((j) => j.offset === offset) ? { kind: 'redriven' } : null;
    case TICKED:
      return e.batch.length > 0 && readHead(e.batch).baseOffset === offset
        ? { kind: 'enqueued', detail: `by schedule ${e.name}` }
        : null;
    case ev.PURGED:
      return offset < e.cursor ? { kind: 'purged', detail: 'if it was still waiting' } : null;
    default:
      return null;
  }
}

function lifeTransitionOf(e: life.LifeEvent, queueNo: number, offset: number): pb.JobTransitionInput | null {
  if (e.queueNo !== queueNo || !('offset' in e) || e.offset !== offset) return null;
  if (e.type === life.CANCELLED) return { kind: 'cancelled', detail: e.reason };
  if (e.type === life.KEPT) return { kind: 'result', detail: `${e.value.length} bytes` };
  return { kind: 'reported', detail: e.progress === '' ? e.lines.at(-1) : e.progress };
}

const unblockedHere = (unblocked: readonly ev.Unblocked[], offset: number): pb.JobTransitionInput | null =>
  unblocked.some((u) => u.released?.offset === offset)
    ? { kind: 'ready', detail: 'the earlier job of its key is finished' }
    : null;
