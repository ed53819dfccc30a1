// Which jobs of a queue have moved since a moment, and where they were: the first move behind it says.
//   V1. At most MOVED_MAX jobs are remembered: where more have moved, what is covered ends earlier.
//   V2. A purge names no jobs, so nothing is told over one.
import { ENTRY_INDEXED, readEntries } from '@flowmesh/protocol';
import type { ShardPort } from '../shard/state-machine.ts';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import type * as life from './life-events.ts';
import { COUNTED } from './life-events.ts';
import { OUTCOME } from './life-tables.ts';
import { type JobPlace, movesOf, UNKNOWN } from './moves.ts';
import { trimmed } from './past.ts';
import { loadEntry } from './sources.ts';
import type { QueueView } from './view.ts';

export const MOVED_MAX = 8192;

export interface Page {
  /** Where jobs were. */
  readonly places: Map<number, JobPlace>;
  /** Offsets below it are covered. */
  end: number;
}

interface Asked {
  /** In front of which entry. */
  readonly at: number;
  readonly from: number;
  /** Plain jobs at most, of each part of the log. */
  readonly limit: number;
}

/** Plain jobs of the log. */
export async function readPlain(
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
export async function readMoves(
  shard: ShardPort,
  view: QueueView,
  cell: QueueCell,
  page: Page,
  { at, from, limit }: Asked,
): Promise<number> {
  const moved = new Map<number, JobPlace>();
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
    if (e.type === COUNTED && e.queueNo === queueNo) counted = e;
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
  if (from >= Math.min(to, page.end)) return;
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
function shorten(moved: Map<number, JobPlace>, page: Page): void {
  const offsets = [...moved.keys()].sort((a, b) => a - b);
  page.end = offsets[MOVED_MAX / 2] as number;
  for (const offset of offsets.slice(MOVED_MAX / 2)) moved.delete(offset);
}
