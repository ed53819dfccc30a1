// What keys were at a mark, from the rows as they are and the journal. Writers pay nothing: no versions are
// kept.
//   O1. A key without a change behind the mark is what its row says now.
//   O2. The first change behind the mark says whether there was the key, and of which type. What it held is
//       in the last change in front of the mark; if the journal does not reach back to that one, the answer
//       is HISTORY_TRIMMED, never a guess.
//   O3. Rows are read before the history, so a change that comes meanwhile is in one of the two.
//   O4. Time stands still at the mark: what expired later is there, with the time that it had left.
import { FlowError } from '@flowmesh/protocol';
import type { Caller, Event, HistoryEntry, HistorySubject, ShardPort } from '../shard/state-machine.ts';
import { changedKey } from './changes.ts';
import { peekCommand } from './command.ts';
import { isGone, type KeyPut, MEMBERS_REMOVED, SWEPT, type Swept } from './events.ts';
import type { PlaceInHistory } from './marks.ts';
import { type Kind, type Meta, STRING } from './tables.ts';

export interface Moment {
  readonly place: PlaceInHistory;
  readonly timeMs: number;
}

const isAlive = ({ expireAtMs }: { expireAtMs: number }, timeMs: number): boolean =>
  expireAtMs === 0 || expireAtMs > timeMs;

/** The type of the key in front of its first change behind the mark; 0: there was none. */
export function kindBefore(event: Event, timeMs: number): Kind | 0 {
  if (isGone(event)) return isAlive(event, timeMs) ? event.kind : 0;
  const { isNew, beforeExpireAtMs, staleGeneration, staleKind, meta } = event as KeyPut;
  if (isNew || !isAlive({ expireAtMs: beforeExpireAtMs }, timeMs)) return 0;
  if (staleGeneration !== 0) return staleKind;
  // A collection that began with this change left nothing stale behind: what it replaced was a string.
  return meta.kind === STRING || meta.generation === meta.revision ? STRING : meta.kind;
}

/** Tells changes in front of a mark from those behind it: an entry may have both. */
export function subjectAt(
  place: PlaceInHistory,
  side: 'front' | 'behind',
  wanted: (key: string) => boolean,
  withSwept = false,
): HistorySubject {
  let entry = 0;
  let events = 0;
  const matches = (event: Event, position: number) => {
    events = position === entry ? events + 1 : 1;
    entry = position;
    const isBehind = position > place.position || (position === place.position && events > place.events);
    const key = withSwept && event.type === SWEPT ? (event as Swept).key : changedKey(event);
    return isBehind === (side === 'behind') && key !== undefined && wanted(key);
  };
  return { view: 'kv', matches };
}

/** In order, to the end of what is durable. `withSwept`: and what the sweeper has taken of the keys. */
export const changesBehind = (
  shard: ShardPort,
  place: PlaceInHistory,
  wanted: (key: string) => boolean,
  withSwept = false,
): AsyncIterable<HistoryEntry> =>
  shard.history(subjectAt(place, 'behind', wanted, withSwept), place.position);

/** By META key: what the key was; undefined: there was none; an error: that cannot be said any more (O2). */
export async function metasAt(
  caller: Caller,
  shard: ShardPort,
  { place, timeMs }: Moment,
  keys: ReadonlySet<string>,
): Promise<Map<string, Meta | FlowError | undefined>> {
  const found = new Map<string, Meta | FlowError | undefined>();
  await Promise.all(
    [...keys].map(async (key) => {
      const row = await shard.call<Meta | undefined>(peekCommand(caller, key, true));
      found.set(key, row && isAlive(row, timeMs) ? row : undefined);
    }),
  );
  const changed = new Set<string>();
  const lost = new Set<string>();
  for await (const { event } of changesBehind(shard, place, (key) => keys.has(key) && !changed.has(key))) {
    const key = changedKey(event) as string;
    changed.add(key);
    found.set(key, undefined);
    if (kindBefore(event, timeMs) !== 0) lost.add(key);
  }
  if (lost.size === 0) return found;
  const { first } = shard.timeline.window;
  for (const key of lost) found.set(key, forgotten(shard, first, 'what the key was'));
  const front = subjectAt(place, 'front', (key) => lost.has(key));
  for await (const { event } of shard.history(front, first, place.position + 1)) {
    found.set(changedKey(event) as string, metaAfter(event, timeMs));
  }
  return found;
}

function metaAfter(event: Event, timeMs: number): Meta | undefined {
  if (isGone(event)) return undefined;
  const { meta } = event as KeyPut;
  const isEmpty = event.type === MEMBERS_REMOVED && meta.count === 0;
  return isEmpty || !isAlive(meta, timeMs) ? undefined : meta;
}

export const forgotten = ({ id }: ShardPort, first: number, what: string): FlowError =>
  new FlowError(
    'HISTORY_TRIMMED',
    `${what} is in front of position ${first}, where the history of shard ${id} begins`,
  );
