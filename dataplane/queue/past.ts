// A queue at an earlier moment, counted: the counters as they are, without what happened since. Nothing is
// kept for it but the journal.
//   P1. Counters and the end of the reading are of one moment: the counters have exactly the events in front
//       of it.
//   P2. A purge names no jobs, so what was counted right before it (COUNTED) is where the count starts.
import { FlowError } from '@flowmesh/protocol';
import type { PlaceInHistory } from '../kv/marks.ts';
import { since } from '../kv/watches.ts';
import type { Event, ShardPort } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import * as ev from './events.ts';
import * as life from './life-events.ts';
import { type JobPlace, movesOf } from './moves.ts';

/** As they are told: states of jobs that are in the queue. */
const FIRST_SHOWN = ['waiting', 'delayed', 'retrying', 'blocked', 'leased', 'dead'] as const;
export const SHOWN = [...FIRST_SHOWN, 'waiting_children'] as const;
export type ShownState = (typeof SHOWN)[number];

/** What is counted; jobs that were cancelled in the middle of their lane are among the blocked or dying. */
/** Their order in the journal: new ones come last. */
const COUNTERS = [...FIRST_SHOWN, 'tombs', 'waiting_children'] as const;
type Counts = Record<(typeof COUNTERS)[number], number>;

const COUNTED_AS: Readonly<Record<JobPlace, readonly (keyof Counts)[]>> = {
  plain: ['waiting'],
  ready: ['waiting'],
  keyed: ['waiting'],
  delayed: ['delayed'],
  retrying: ['retrying'],
  blocked: ['blocked'],
  tomb: ['blocked', 'tombs'],
  leased: ['leased'],
  dying: ['dead'],
  awaiting: ['waiting_children'],
  buried: ['dead', 'tombs'],
};

export interface AsOf {
  readonly timeMs: number | undefined;
  readonly position: number | undefined;
}

/** In front of which entry: at the end of the millisecond, or where the position says. */
export async function entryAt(shard: ShardPort, { timeMs, position }: AsOf): Promise<number> {
  if ((timeMs === undefined) === (position === undefined))
    throw new FlowError('INVALID_ARGUMENT', 'name a time or a position');
  if (timeMs !== undefined) return (await since(shard, timeMs + 1)).position;
  await shard.settled();
  const { first, next } = shard.timeline.window;
  const at = position as number;
  if (at > next) throw new FlowError('INVALID_ARGUMENT', `position ${at} is ahead of the journal: ${next}`);
  if (at < first) throw trimmed(shard, `position ${at}`);
  return at;
}

export const trimmed = ({ id, timeline }: ShardPort, what: string): FlowError =>
  new FlowError(
    'HISTORY_TRIMMED',
    `${what} is not in the history of shard ${id}, which begins at position ${timeline.window.first}`,
  );

function countsNow({ state: s, leases, tombs }: QueueCell): Counts {
  return {
    waiting: s.plain + s.ready + s.keyed,
    delayed: s.delayed,
    retrying: s.retrying,
    blocked: s.blocked,
    leased: leases.size,
    dead: s.dying,
    waiting_children: s.awaiting,
    tombs: tombs.size,
  };
}

/** What is journaled in front of an event that does not name the jobs it takes out. */
export function countedNow(cell: QueueCell): life.Counted {
  const counts = countsNow(cell);
  return {
    type: life.COUNTED,
    queueNo: cell.queueNo,
    cursor: cell.state.cursor,
    counts: COUNTERS.map((counter) => counts[counter]),
  };
}

/** In front of the entry `at`. */
export async function countsAt(
  shard: ShardPort,
  cell: QueueCell,
  at: number,
): Promise<Record<ShownState, number>> {
  let counts = countsNow(cell);
  const end = shard.timeline.place();
  const change = zero();
  for await (const event of eventsBetween(shard, at, end)) {
    const e = event as ev.QueueEvent | life.LifeEvent;
    if (e.type === life.COUNTED && e.queueNo === cell.queueNo) {
      // Everything behind it is beside the point.
      counts = zero();
      for (const [i, counter] of COUNTERS.entries()) counts[counter] = e.counts[i] ?? 0;
      break;
    }
    if (e.type === ev.PURGED && e.queueNo === cell.queueNo)
      throw trimmed(shard, 'what an earlier version purged');
    movesOf(event, cell.queueNo, (_offset, count, from, to) => {
      if (from !== null) for (const counter of COUNTED_AS[from]) change[counter] -= count;
      if (to !== null) for (const counter of COUNTED_AS[to]) change[counter] += count;
    });
  }
  for (const counter of COUNTERS) counts[counter] -= change[counter];
  const { tombs, ...shown } = counts;
  return { ...shown, blocked: Math.max(0, shown.blocked - tombs) };
}

const zero = (): Counts => Object.fromEntries(COUNTERS.map((counter) => [counter, 0])) as Counts;

/** Of the queue view, in front of `end`. */
async function* eventsBetween(
  shard: ShardPort,
  from: number,
  end: PlaceInHistory,
): AsyncGenerator<Event, void, void> {
  for await (const { position, events } of shard.timeline.range(from, end.position + 1)) {
    const isLast = position === end.position;
    for (const [i, { view, event }] of events.entries()) {
      if (isLast && i >= end.events) return;
      if (view.name === 'queue') yield event;
    }
  }
}
