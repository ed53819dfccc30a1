// Jobs that were in a queue at an earlier moment, by offset: those that are there now and those that have
// moved since; the first move behind the moment says where a job was.
//   J1. Rows and cells are read before the history, so a job that moves meanwhile is in one of the two.
//   J2. A page covers the offsets below its end: as far as the rows, the log and the memory for moved jobs
//       (MOVED_MAX) reach. A page may be short or empty; only an empty cursor is the end.
//   J3. A purge names no jobs, so lists do not reach over one.
import { decodeEntry, ENTRY_INDEXED, FlowError, readEntries } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ShardPort } from '../shard/state-machine.ts';
import { after, readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import * as life from './life-events.ts';
import { OUTCOME } from './life-tables.ts';
import { type JobPlace, movesOf, UNKNOWN } from './moves.ts';
import { SHOWN, type ShownState, trimmed } from './past.ts';
import { loadEntry } from './sources.ts';
import { JOB } from './tables.ts';
import type { QueueView } from './view.ts';

const LIMIT_MAX = 1000;
const ROWS_MAX = 1000;
const MOVED_MAX = 8192;
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

export interface PastList {
  /** In front of which entry. */
  readonly at: number;
  /** Empty: all. */
  readonly state: string;
  readonly from: number;
  readonly limit: number;
}

interface Page {
  /** Where jobs were; null or a tomb: not to be listed. */
  readonly places: Map<number, JobPlace | null>;
  /** Offsets below it are covered. */
  end: number;
}

export async function listJobsAt(
  shard: ShardPort,
  view: QueueView,
  cell: QueueCell,
  asked: PastList,
): Promise<{ jobs: pb.JobInput[]; next: number | undefined }> {
  const { state, from } = asked;
  if (state !== '' && !(SHOWN as readonly string[]).includes(state))
    throw new FlowError('INVALID_ARGUMENT', `state is one of ${SHOWN.join(', ')}, not ${state}`);
  const limit = Math.min(asked.limit || 100, LIMIT_MAX);
  const page: Page = { places: new Map(), end: Number.POSITIVE_INFINITY };
  await readPresent(view, cell, page, { from, limit, withPlain: state === '' || state === 'waiting' });
  const logEnd = await readMoves(shard, view, cell, page, asked);
  const offsets = [...page.places]
    .filter(([offset, place]) => {
      const shown = place === null ? undefined : STATE_OF[place];
      const isCovered = offset >= from && offset < page.end && offset < logEnd;
      return isCovered && shown !== undefined && (state === '' || state === shown);
    })
    .map(([offset]) => offset)
    .sort((a, b) => a - b);
  let next = page.end < logEnd ? page.end : undefined;
  if (offsets.length > limit) next = offsets[limit];
  const jobs: pb.JobInput[] = [];
  let bytes = 0;
  for (const offset of offsets.slice(0, limit)) {
    if (bytes >= PAGE_BYTES_MAX) {
      next = offset;
      break;
    }
    const job = await describe(view, cell, offset, STATE_OF[page.places.get(offset) as JobPlace] as string);
    bytes += 256 + (job.payload?.length ?? 0);
    jobs.push(job);
  }
  return { jobs, next };
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

/** Plain jobs of the log. */
async function readPlain(
  cell: QueueCell,
  page: Page,
  {
    from,
    limit,
    holes,
    to = cell.log.endOffset,
  }: { from: number; limit: number; holes: ReadonlySet<number>; to?: number },
): Promise<void> {
  let found = 0;
  let offset = Math.max(from, cell.log.startOffset);
  while (offset < Math.min(to, page.end) && found < limit) {
    const { bytes, head, index } = await loadEntry(cell.log, offset);
    const spans = head.plain ? null : readEntries(bytes, 0, head);
    for (let i = index; i < head.count && offset < to && found < limit; i++, offset++) {
      const flags = bytes[spans?.[i]?.flagsAt ?? -1] ?? 0;
      if ((flags & ENTRY_INDEXED) !== 0 || holes.has(offset) || page.places.has(offset)) continue;
      page.places.set(offset, 'plain');
      found++;
    }
  }
  if (offset < to) page.end = Math.min(page.end, offset);
}

/** What has moved since; returns where the log ended then. */
async function readMoves(
  shard: ShardPort,
  view: QueueView,
  cell: QueueCell,
  page: Page,
  { at, from, limit }: PastList,
): Promise<number> {
  const moved = new Map<number, JobPlace | null>();
  const removed: { from: number; to: number }[] = [];
  let logEnd = Number.POSITIVE_INFINITY;
  let counted: life.Counted | undefined;
  const move = (offset: number, count: number, place: JobPlace | null) => {
    if (place === null) {
      logEnd = Math.min(logEnd, offset);
      return;
    }
    const end = Math.min(offset + count, page.end, logEnd);
    for (let each = Math.max(offset, from); each < end; each++) if (!moved.has(each)) moved.set(each, place);
    if (moved.size > MOVED_MAX) shorten(moved, page);
  };
  const { queueNo } = cell;
  for await (const { event } of shard.history({ view: 'queue', matches: () => true }, at)) {
    const e = event as ev.QueueEvent | life.LifeEvent;
    if (e.type === life.COUNTED && e.queueNo === queueNo) counted = e;
    if (e.type === ev.PURGED && e.queueNo === queueNo) throw trimmed(shard, 'which jobs the purge took');
    movesOf(event, queueNo, (offset, count, place) => {
      if (offset !== UNKNOWN) return move(offset, count, place);
      if (counted === undefined) throw trimmed(shard, 'which jobs an earlier version took out');
      removed.push({ from: Math.max(from, counted.cursor), to: (e as ev.Removed).cursor });
    });
  }
  for (const [offset, place] of moved) page.places.set(offset, place);
  for (const each of removed) await readRemoved(shard, view, cell, page, { ...each, limit });
  return logEnd;
}

/** Plain jobs that were taken out in front of the cursor; who was cancelled before is not among them. */
async function readRemoved(
  shard: ShardPort,
  view: QueueView,
  cell: QueueCell,
  page: Page,
  { from, to, limit }: { from: number; to: number; limit: number },
): Promise<void> {
  // The log says which of them had rows.
  if (from < Math.min(to, cell.log.startOffset)) throw trimmed(shard, 'which jobs were taken out');
  const { life: keys } = cell;
  const range = {
    from: keys.key(OUTCOME, from),
    to: keys.key(OUTCOME, Math.max(from, to)),
    limit: MOVED_MAX,
  };
  const ended = await view.context.rows.scan(OUTCOME, range);
  const holes = new Set(ended.map(({ key }) => readU53be(key, key.length - 7)));
  const last = ended.at(-1);
  if (last !== undefined && ended.length === MOVED_MAX)
    page.end = Math.min(page.end, readU53be(last.key, last.key.length - 7) + 1);
  await readPlain(cell, page, { from, to, limit, holes });
}

/** Keeps the first half. */
function shorten(moved: Map<number, JobPlace | null>, page: Page): void {
  const offsets = [...moved.keys()].sort((a, b) => a - b);
  page.end = offsets[MOVED_MAX / 2] as number;
  for (const offset of offsets.slice(MOVED_MAX / 2)) moved.delete(offset);
}

/** What the log says of a job does not change; what has left the retention is known by its id. */
async function describe(
  view: QueueView,
  cell: QueueCell,
  offset: number,
  state: string,
): Promise<pb.JobInput> {
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
