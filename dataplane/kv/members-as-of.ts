// Members of a collection at a mark: the rows as they are, corrected by what the history says of each.
//   C1. The first change of a member behind the mark says whether it was there, and with which score; only of
//       the fields of a hash it does not say which value. That is in the last change in front of the mark;
//       if the journal does not reach back to it, the answer is HISTORY_TRIMMED, never a guess.
//   C2. Members of a collection that is gone by now are in its rows until the sweeper has taken them, and
//       then in what the sweeper has journaled: a generation is never used twice.
//   C3. Rows are read before the history, so a change that comes meanwhile is in one of the two.
import type { FlowError } from '@flowmesh/protocol';
import type { Event, ShardPort } from '../shard/state-machine.ts';
import { changesBehind, forgotten, type Moment, subjectAt } from './as-of.ts';
import { changedKey } from './changes.ts';
import {
  ELEMENTS_ADDED,
  FIELDS_PUT,
  type FieldsPut,
  isGone,
  type KeyPut,
  MEMBERS_REMOVED,
  type MembersRemoved,
  SCORES_PUT,
  type ScoresPut,
  SWEPT,
  type Swept,
} from './events.ts';
import type { Place } from './scans.ts';
import { HASH, type Meta, memberPrefix, memberTable, ZSET } from './tables.ts';

/** A score; the value of a field; true: an element of a set. */
export type Member = number | Buffer | true;
/** A field that was there, with a value that only the history in front of the mark has. */
export const UNKNOWN = 'unknown';
/** `maybe`: whether it was there at all is in front of the mark as well. */
export const MAYBE = 'maybe';
export type Before = Member | undefined | typeof UNKNOWN | typeof MAYBE;

/** Rows with values of up to 1 MiB. */
const FETCH_MAX = 100;

/** A collection as it was at a mark. */
export interface Past {
  readonly place: Place;
  readonly moment: Moment;
  readonly key: string;
  readonly meta: Meta;
}

type Tell = (name: string, before: Before) => void;

/** Reads what happened behind the mark to members of one generation, in order; first from `position` on. */
export async function* changedMembers(
  { place, moment, key, meta }: Past,
  from?: number,
): AsyncGenerator<{ position: number; tell: (each: Tell) => void }, void, void> {
  let { count } = meta;
  const wanted = (each: string) => each === key;
  const start = from === undefined ? moment.place : { position: from, events: 0 };
  for await (const { event, position } of changesBehind(place.shard, start, wanted, true)) {
    if (!isOf(event, meta)) continue;
    // How many of the fields were new is only known of a reading that began at the mark.
    const added = from === undefined ? countAfter(event, count) - count : Number.NaN;
    count = countAfter(event, count);
    yield { position, tell: (each) => tellMembers(event, added, each) };
  }
}

/** Whether members of this generation are what the event is about. */
export function isOf(event: Event, { generation, kind }: Pick<Meta, 'generation' | 'kind'>): boolean {
  if (event.type === SWEPT) return (event as Swept).generation === generation;
  if (isGone(event)) return false;
  const put = (event as KeyPut).meta;
  return put.kind === kind && put.generation === generation;
}

const countAfter = (event: Event, before: number): number =>
  event.type === SWEPT ? before : (event as KeyPut).meta.count;

function tellMembers(event: Event, added: number, tell: Tell): void {
  switch (event.type) {
    case FIELDS_PUT: {
      const { names } = event as FieldsPut;
      const before = added === names.length ? undefined : added === 0 ? UNKNOWN : MAYBE;
      for (const name of names) tell(name, before);
      return;
    }
    case ELEMENTS_ADDED:
      for (const name of (event as ScoresPut).names) tell(name, undefined);
      return;
    case SCORES_PUT: {
      const { names, befores } = event as ScoresPut;
      names.forEach((name, i) => {
        const before = befores[i] as number;
        tell(name, Number.isNaN(before) ? undefined : before);
      });
      return;
    }
    case MEMBERS_REMOVED:
    case SWEPT: {
      const { names, scores } = event as MembersRemoved | Swept;
      const kind = event.type === SWEPT ? (event as Swept).kind : (event as MembersRemoved).meta.kind;
      names.forEach((name, i) => {
        tell(name, kind === ZSET ? (scores[i] as number) : kind === HASH ? UNKNOWN : true);
      });
    }
  }
}

/** What these members were; undefined: not there. */
export async function membersAt(
  past: Past,
  names: ReadonlySet<string>,
): Promise<Map<string, Member | undefined>> {
  const { place, key, meta } = past;
  const table = memberTable(meta.kind);
  const prefix = memberPrefix(key, table, meta.generation);
  const found = new Map<string, Before>();
  const all = [...names];
  for (let i = 0; i < all.length; i += FETCH_MAX) {
    const some = all.slice(i, i + FETCH_MAX);
    await place.rows.fetch(some.map((name) => ({ table, key: prefix + name })));
    for (const name of some) found.set(name, place.rows.get(table, prefix + name) as Member | undefined);
  }
  const changed = new Set<string>();
  for await (const { tell } of changedMembers(past)) {
    tell((name, before) => {
      if (!names.has(name) || changed.has(name)) return;
      changed.add(name);
      found.set(name, before);
    });
  }
  return resolved(past, found);
}

/** Looks in front of the mark for the values of fields that are known nowhere else (C1). */
export async function resolved(
  { place, moment, key, meta }: Past,
  found: Map<string, Before>,
): Promise<Map<string, Member | undefined>> {
  const missing = new Set<string>();
  for (const [name, before] of found) if (before === UNKNOWN || before === MAYBE) missing.add(name);
  if (missing.size === 0) return found as Map<string, Member | undefined>;
  const { shard } = place;
  const { first } = shard.timeline.window;
  const last = new Map<string, Buffer | undefined>();
  let isBornHere = false;
  const front = subjectAt(moment.place, 'front', (each) => each === key);
  for await (const { event } of shard.history(front, first, moment.place.position + 1)) {
    if (changedKey(event) === undefined || !isOf(event, meta)) continue;
    if ((event as KeyPut).meta.revision === meta.generation) isBornHere = true;
    if (event.type === FIELDS_PUT) {
      const { names, values } = event as FieldsPut;
      names.forEach((name, i) => {
        if (missing.has(name)) last.set(name, Buffer.from(values[i] as Buffer));
      });
    } else if (event.type === MEMBERS_REMOVED) {
      for (const name of (event as MembersRemoved).names) if (missing.has(name)) last.set(name, undefined);
    }
  }
  for (const name of missing) {
    if (!last.has(name) && !isBornHere) throw unreachable(shard, first);
    found.set(name, last.get(name));
  }
  return found as Map<string, Member | undefined>;
}

const unreachable = (shard: ShardPort, first: number): FlowError =>
  forgotten(shard, first, 'what a field held');
