// Jobs that a queue had at an earlier moment. Those in the queue by offset: those that are there now and
// those that have moved since. Finished ones the newest first, like the lists of now.
//   J1. Rows and cells are read before the history, so a job that moves meanwhile is in one of the two.
//   J2. A page covers offsets as far as the rows, the log and the memory for moved jobs reach. It may be
//       short or empty; only an empty cursor is the end.
import { decodeEntry, FlowError, readEntries } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ShardPort } from '../shard/state-machine.ts';
import { after, readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import { finishedIn } from './finished.ts';
import type { JobPlace } from './moves.ts';
import { SHOWN, type ShownState } from './past.ts';
import { MOVED_MAX, type Page, readMoves, readPlain } from './past-moves.ts';
import { loadEntry } from './sources.ts';
import { JOB } from './tables.ts';
import type { QueueView } from './view.ts';

const LIMIT_MAX = 1000;
const ROWS_MAX = 1000;
const PAGE_BYTES_MAX = 1024 * 1024;

const STATE_OF: Readonly<Partial<Record<JobPlace, ShownState>>> = {
  plain: 'waiting',
  ready: 'waiting',
  keyed: 'waiting',
  delayed: 'delayed',
  retrying: 'retrying',
  blocked: 'blocked',
  leased: 'leased',
  dying: 'dead',
  awaiting: 'waiting_children',
};

const FINISHED: readonly string[] = ['completed', 'cancelled', 'dead'];
const STATES: readonly string[] = [...SHOWN, 'completed', 'cancelled'];

export interface PastList {
  /** In front of which entry. */
  readonly at: number;
  /** Empty: all that were not finished. */
  readonly state: string;
  readonly limit: number;
  readonly from: PastCursor | undefined;
}

/** In the queue: from this offset on. Finished: below it; -1: the newest first. */
export interface PastCursor {
  readonly phase: 'open' | 'finished';
  readonly offset: number;
}

export interface Parts {
  readonly shard: ShardPort;
  readonly view: QueueView;
  readonly cell: QueueCell;
}

interface Listed {
  readonly found: readonly (readonly [offset: number, state: string])[];
  readonly next: PastCursor | undefined;
}

export async function listJobsAt(
  parts: Parts,
  asked: PastList,
): Promise<{ jobs: pb.JobInput[]; next: PastCursor | undefined }> {
  const { state } = asked;
  if (state !== '' && !STATES.includes(state))
    throw new FlowError('INVALID_ARGUMENT', `state is one of ${STATES.join(', ')}, not ${state}`);
  const limit = Math.min(asked.limit || 100, LIMIT_MAX);
  const isOpen = state === '' || (SHOWN as readonly string[]).includes(state);
  const { phase, offset } = asked.from ?? { phase: isOpen ? 'open' : 'finished', offset: isOpen ? 0 : -1 };
  const list = phase === 'open' ? openAt : finishedAt;
  const { found, next: follows } = await list(parts, { ...asked, limit }, offset);
  // Those on their way to the dead-letter queue first, then those that have arrived.
  let next =
    follows ?? (phase === 'open' && state === 'dead' ? { phase: 'finished', offset: -1 } : undefined);
  const jobs: pb.JobInput[] = [];
  let bytes = 0;
  for (const [each, shown] of found) {
    if (bytes >= PAGE_BYTES_MAX) {
      next = { phase, offset: phase === 'open' ? each : each + 1 };
      break;
    }
    const job = await describe(parts, each, shown);
    bytes += 256 + (job.payload?.length ?? 0);
    jobs.push(job);
  }
  return { jobs, next };
}

async function openAt({ shard, view, cell }: Parts, asked: PastList, from: number): Promise<Listed> {
  const { state, limit, at } = asked;
  const page: Page = { places: new Map(), end: Number.POSITIVE_INFINITY };
  await readPresent(view, cell, page, { from, limit, withPlain: state === '' || state === 'waiting' });
  const logEnd = await readMoves(shard, view, cell, page, { at, from, limit });
  const found: [number, string][] = [];
  for (const [offset, place] of page.places) {
    const shown = STATE_OF[place];
    const isCovered = offset >= from && offset < page.end && offset < logEnd;
    if (isCovered && shown !== undefined && (state === '' || state === shown)) found.push([offset, shown]);
  }
  found.sort(([a], [b]) => a - b);
  const end = found[limit]?.[0] ?? (page.end < logEnd ? page.end : undefined);
  return {
    found: found.slice(0, limit),
    next: end === undefined ? undefined : { phase: 'open', offset: end },
  };
}

/** What is finished now and has not moved since was finished then, and as what. */
async function finishedAt({ shard, view, cell }: Parts, asked: PastList, below: number): Promise<Listed> {
  const { state, limit, at } = asked;
  const everything = { at, from: Number.POSITIVE_INFINITY, limit };
  const none: Page = { places: new Map(), end: 0 };
  const to =
    below === -1
      ? Math.min(cell.log.endOffset, await readMoves(shard, view, cell, none, everything))
      : Math.min(below, cell.log.endOffset);
  const first = Math.max(cell.log.startOffset, to - MOVED_MAX);
  const finished = await finishedIn(view, cell, first, to);
  const page: Page = { places: new Map(), end: to };
  await readMoves(shard, view, cell, page, { at, from: first, limit: Number.POSITIVE_INFINITY });
  const found: [number, string][] = [];
  for (let offset = to - 1; offset >= first; offset--) {
    const place = page.places.get(offset);
    const isMark = place === 'tomb' || place === 'buried';
    const was = isMark ? 'cancelled' : place === undefined ? finished.get(offset) : undefined;
    if (was !== state || !FINISHED.includes(was)) continue;
    if (found.length === limit) return { found, next: { phase: 'finished', offset: offset + 1 } };
    found.push([offset, was]);
  }
  return { found, next: first > cell.log.startOffset ? { phase: 'finished', offset: first } : undefined };
}

/** Jobs as they are now. */
async function readPresent(
  view: QueueView,
  cell: QueueCell,
  page: Page,
  { from, limit, withPlain }: { from: number; limit: number; withPlain: boolean },
): Promise<void> {
  const { places } = page;
  const cursor = cell.state.cursor;
  const holes = new Set(cell.holes);
  const tombs = new Set(cell.tombs);
  const leased = [...cell.leases.keys()].filter((offset) => offset >= from);
  const range = { from: cell.keys.jobKey(from), to: after(cell.keys.job), limit: ROWS_MAX };
  const rows = await view.context.rows.scan(JOB, range);
  for (const { key, value } of rows) {
    const offset = readU53be(key, key.length - 7);
    places.set(offset, tombs.has(offset) ? 'tomb' : value.state);
  }
  const last = rows.at(-1);
  if (last !== undefined && rows.length === ROWS_MAX) page.end = readU53be(last.key, last.key.length - 7) + 1;
  for (const offset of leased) places.set(offset, 'leased');
  if (withPlain) await readPlain(cell, page, { from: Math.max(from, cursor), limit, holes });
}

/** What the log says of a job does not change; what has left the retention is known by its id. */
async function describe({ view, cell }: Parts, offset: number, state: string): Promise<pb.JobInput> {
  const common = { id: view.idPrefix(cell) + offset.toString(36), queue: cell.name, state };
  if (offset < cell.log.startOffset) return common;
  const { bytes, head, index } = await loadEntry(cell.log, offset);
  const span = readEntries(bytes, 0, head)[index];
  if (span === undefined)
    throw new FlowError('DATA_DAMAGED', `queue ${cell.name}: no entry at offset ${offset}`);
  const record = decodeEntry(bytes, head, span, offset);
  return {
    ...common,
    priority: record.priority ?? 0,
    key: record.key ?? new Uint8Array(),
    dedupKey: record.dedupKey ?? '',
    limitKey: record.limitKey ?? new Uint8Array(),
    enqueuedAtMs: record.appendTimeMs,
    payload: record.value ?? new Uint8Array(),
    contentType: record.contentType,
    sourceQueue: record.sourceQueue ?? '',
    sourceId: record.sourceId ?? '',
  };
}
