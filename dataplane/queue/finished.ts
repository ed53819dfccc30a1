// Finished jobs by state, the newest first. They have no rows of their own: what lies in the log and is not
// anything else is finished (C2 of cell.ts).
import { ENTRY_INDEXED, readEntries } from '@flowmesh/protocol';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import { OUTCOME } from './life-tables.ts';
import { loadEntry } from './sources.ts';
import { JOB } from './tables.ts';
import type { QueueView } from './view.ts';

const WINDOW = 500;
/** Offsets that one page looks at: a page may be empty although more follow. */
const LOOKED_MAX = 20_000;

export async function listFinished(
  view: QueueView,
  cell: QueueCell,
  { state, from, limit }: { state: string; from: number | undefined; limit: number },
): Promise<{ offsets: number[]; next: string }> {
  const offsets: number[] = [];
  let to = Math.min(from ?? Number.POSITIVE_INFINITY, cell.log.endOffset);
  const { startOffset } = cell.log;
  const stopAt = Math.max(startOffset, to - LOOKED_MAX);
  while (to > stopAt) {
    const first = Math.max(stopAt, to - WINDOW);
    const found = await finishedIn(view, cell, first, to);
    for (let offset = to - 1; offset >= first; offset--) {
      if (found.get(offset) !== state) continue;
      offsets.push(offset);
      if (offsets.length === limit) return { offsets, next: offset > startOffset ? `f${offset}` : '' };
    }
    to = first;
  }
  return { offsets, next: to > startOffset ? `f${to}` : '' };
}

/** The state of every finished job in the range. */
export async function finishedIn(
  view: QueueView,
  cell: QueueCell,
  first: number,
  to: number,
): Promise<Map<number, string>> {
  const { rows } = view.context;
  const { keys, life, state, log } = cell;
  const limit = to - first;
  const [open, ended] = await Promise.all([
    rows.scan(JOB, { from: keys.jobKey(first), to: keys.jobKey(to), limit }),
    rows.scan(OUTCOME, { from: life.key(OUTCOME, first), to: life.key(OUTCOME, to), limit }),
  ]);
  const isOpen = new Set(open.map(({ key }) => readU53be(key, key.length - 7)));
  for (const offset of cell.tombs) isOpen.delete(offset);
  const outcomes = new Map(ended.map(({ key, value }) => [readU53be(key, key.length - 7), value.kind]));
  const found = new Map<number, string>();
  for (let offset = first; offset < to; ) {
    const isPassed = offset < state.cursor;
    const entry = isPassed ? undefined : await loadEntry(log, offset);
    const spans =
      entry === undefined || entry.head.plain ? undefined : readEntries(entry.bytes, 0, entry.head);
    const end = entry === undefined ? offset + 1 : offset + entry.head.count - entry.index;
    for (let i = entry?.index ?? 0; offset < Math.min(end, to); offset++, i++) {
      const flags = entry?.bytes[spans?.[i]?.flagsAt ?? -1] ?? 0;
      const isEnded = isPassed || (flags & ENTRY_INDEXED) !== 0 || outcomes.has(offset);
      if (isEnded && !isOpen.has(offset) && !cell.leases.has(offset))
        found.set(offset, outcomes.get(offset) ?? 'completed');
    }
  }
  return found;
}
