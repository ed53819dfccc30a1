// From jobs that were picked to what a worker gets: whole stored batches where possible, slices otherwise.
import { patchHead, sliceBatch } from '@flowmesh/protocol';
import type { SingleLease } from './events.ts';
import { type Source, spansOf } from './sources.ts';
import type { JobMeta } from './tables.ts';

/** Jobs of one stored batch granted together. */
export interface Granted {
  readonly batch: Buffer;
  readonly count: number;
  /** Offsets of the entries when they are not consecutive from the batch's base offset. */
  readonly offsets: readonly number[] | null;
  readonly firstEpoch: number;
  /** Attempt of each entry; null: all first attempts. */
  readonly attempts: readonly number[] | null;
  /** Places of the entries that are children of a flow; null: none is. */
  readonly children: readonly number[] | null;
  readonly deadlineMs: number;
}

/** Consecutive entries of a source. */
export interface Pick {
  readonly source: Source;
  readonly index: number;
  count: number;
  readonly meta: JobMeta | null;
  readonly from: SingleLease['from'];
}

export function grantedOf(picks: readonly Pick[], firstEpoch: number, deadlineMs: number): Granted {
  const { source } = picks[0] as Pick;
  const { head } = source;
  const attempts = picks.some((p) => p.meta !== null && p.meta.acquired > 0) ? attemptsOf(picks) : null;
  const children = picks.some((p) => p.meta !== null && p.meta.parent !== null) ? childrenOf(picks) : null;
  const count = picks.reduce((sum, p) => sum + p.count, 0);
  if (count === head.count && picks[0]?.index === 0 && isDense(picks)) {
    return { batch: source.bytes, count, offsets: null, firstEpoch, attempts, children, deadlineMs };
  }
  const spans = spansOf(source);
  const chosen = picks.flatMap((p) => spans.slice(p.index, p.index + p.count));
  const batch = sliceBatch(source.bytes, head, chosen);
  const firstOffset = head.baseOffset + (picks[0]?.index ?? 0);
  patchHead(batch, firstOffset, head.appendTimeMs);
  const offsets = isDense(picks)
    ? null
    : picks.flatMap((p) => Array.from({ length: p.count }, (_, i) => head.baseOffset + p.index + i));
  return { batch, count, offsets, firstEpoch, attempts, children, deadlineMs };
}

const isDense = (picks: readonly Pick[]): boolean =>
  picks.every((p, i) => i === 0 || p.index === (picks[i - 1]?.index ?? 0) + (picks[i - 1]?.count ?? 0));

const attemptsOf = (picks: readonly Pick[]): number[] =>
  picks.flatMap((p) => new Array<number>(p.count).fill((p.meta?.acquired ?? 0) + 1));

/** Picks with a meta hold one entry. */
function childrenOf(picks: readonly Pick[]): number[] {
  const children: number[] = [];
  let at = 0;
  for (const { meta, count } of picks) {
    if (meta !== null && meta.parent !== null) children.push(at);
    at += count;
  }
  return children;
}
