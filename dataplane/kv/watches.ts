// The watches of a server: where each begins, and how many there are.
//   B1. At most WATCHES_MAX: each costs a little for every entry of every shard.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { KvService } from '../services.ts';
import type { Caller, Event, ShardPort } from '../shard/state-machine.ts';
import { changedKey, type Selection, selectKeys } from './changes.ts';
import { checkKey, keyspaceOf, peekCommand } from './command.ts';
import { isGone, type KeyPut } from './events.ts';
import { type Mark, type PlaceInHistory, readMark } from './marks.ts';
import { kvShardOf } from './routing.ts';
import type { Meta } from './tables.ts';
import { trimmed, Watch } from './watch.ts';

const WATCHES_MAX = 1000;
const RETRY_MS = 1000;
/** Below this a search reads on instead of halving. */
const SEARCH_ENTRIES = 32;

export function createWatches(shards: readonly ShardPort[]): KvService['openWatch'] {
  let open = 0;
  return async (caller, request, send, fail) => {
    const selection = selectionOf(caller, request);
    if (open >= WATCHES_MAX) {
      const message = `${WATCHES_MAX} watches are open; close some, or watch a prefix instead of many keys`;
      throw new FlowError('RESOURCE_EXHAUSTED', message, { retryAfterMs: RETRY_MS });
    }
    open++;
    const onClose = () => void open--;
    try {
      const from = await beginning(shards, caller, request, selection);
      const watch = new Watch({ shards, selection, from, send, fail, onClose });
      watch.start();
      return watch;
    } catch (error) {
      onClose();
      throw error;
    }
  };
}

function selectionOf({ tenant }: Caller, request: pb.KvWatchRequest): Selection {
  const { key, prefix, cursor, afterRevision, fromTimeMs } = request;
  if (key.length > 0 && prefix.length > 0) throw invalid('key and prefix exclude each other');
  if (prefix.length > LIMITS.keyBytes) throw invalid(`prefix is longer than ${LIMITS.keyBytes} bytes`);
  const places = [cursor !== '', afterRevision !== 0, fromTimeMs !== 0].filter(Boolean).length;
  if (places > 1) throw invalid('cursor, after_revision and from_time_ms exclude each other');
  if (afterRevision !== 0 && key.length === 0) throw invalid('after_revision needs a key');
  if (key.length > 0) checkKey(key);
  return selectKeys(tenant, keyspaceOf(request), key.length > 0 ? { key } : { prefix });
}

async function beginning(
  shards: readonly ShardPort[],
  caller: Caller,
  { key, cursor, afterRevision, fromTimeMs }: pb.KvWatchRequest,
  { prefix }: Selection,
): Promise<Mark> {
  if (cursor !== '') return checkedMark(cursor, shards);
  const timeMs = Math.max(...shards.map((shard) => shard.nowMs()));
  const places = shards.map(nowOn);
  if (fromTimeMs !== 0)
    return { timeMs: fromTimeMs, places: await Promise.all(shards.map((s) => since(s, fromTimeMs))) };
  if (afterRevision !== 0) {
    const home = kvShardOf(key, shards.length);
    const shard = shards[home] as ShardPort;
    const meta = await shard.call<Meta | undefined>(peekCommand(caller, prefix));
    // Nothing has happened to the key since: the place taken before it was looked at will do.
    if (meta?.revision !== afterRevision) places[home] = await placeBehind(shard, afterRevision);
  }
  return { timeMs, places };
}

const nowOn = ({ timeline }: ShardPort): PlaceInHistory => ({ position: timeline.window.next, events: 0 });

/** The mark, if it is within the history of these shards. */
export function checkedMark(cursor: string, shards: readonly ShardPort[]): Mark {
  const mark = readMark(cursor, shards.length);
  for (const [i, shard] of shards.entries()) {
    const { first, next } = shard.timeline.window;
    const { position } = mark.places[i] as PlaceInHistory;
    if (position > next) throw invalid('the cursor is ahead of the journal: it is from other data');
    if (position < first) throw trimmed(shard);
  }
  return mark;
}

/** In front of the first entry at or after the time. */
export async function since(shard: ShardPort, timeMs: number): Promise<PlaceInHistory> {
  const position = await shard.timeline.positionAt(timeMs);
  // What the first retained entry says nothing of may be lost, unless it is the very first.
  if (position === shard.timeline.window.first && position > 1) throw trimmed(shard);
  return { position, events: 0 };
}

const ALL = { view: 'kv', matches: () => true };

const revisionOf = (event: Event): number | undefined =>
  changedKey(event) === undefined || isGone(event) ? undefined : (event as KeyPut).meta.revision;

/** Behind the change that has the revision, or the last one below it. Revisions grow with positions. */
export async function placeBehind(
  shard: ShardPort,
  revision: number,
): Promise<PlaceInHistory & { timeMs: number }> {
  let { first: low, next: high } = shard.timeline.window;
  while (high - low > SEARCH_ENTRIES) {
    const middle = Math.floor((low + high) / 2);
    const found = await revisionFrom(shard, middle, high);
    if (found === undefined || found > revision) high = middle;
    else low = middle;
  }
  let place: (PlaceInHistory & { timeMs: number }) | undefined;
  let events = 0;
  let entry = 0;
  for await (const { position, event, timeMs } of shard.history(ALL, low)) {
    events = position === entry ? events + 1 : 1;
    entry = position;
    const found = revisionOf(event);
    if (found === undefined) continue;
    if (found > revision) break;
    place = { position, events, timeMs };
  }
  if (place !== undefined) return place;
  if (low > 1) throw trimmed(shard);
  return { position: 1, events: 0, timeMs: 0 };
}

async function revisionFrom(shard: ShardPort, from: number, to: number): Promise<number | undefined> {
  for await (const { position, event } of shard.history(ALL, from)) {
    if (position >= to) return undefined;
    const revision = revisionOf(event);
    if (revision !== undefined) return revision;
  }
  return undefined;
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
