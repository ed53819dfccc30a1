// What the handling of a message did, on all shards: finds the entries by the index, and reads in the journal
// what they hold.
//   E1. Effects come by time, and of one shard in the order in which they were done. Pages go on exactly
//       where the last one ended, whatever is done meanwhile.
//   E2. A page has at most `limit` effects and about PAGE_BYTES_MAX.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { kvEffects } from '../kv/effects.ts';
import { type PlaceInHistory, readMark, writeMark } from '../kv/marks.ts';
import { queueEffects } from '../queue/effects.ts';
import { parseJobId } from '../queue/ids.ts';
import type { QueueView } from '../queue/view.ts';
import { CAUSED, type Caused, type Effects, messageOf } from '../shard/effects.ts';
import type { Caller, ShardPort, WholeEntry } from '../shard/state-machine.ts';
import { streamEffects } from '../stream/effects.ts';
import type { StreamView } from '../stream/view.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;
const PAGE_BYTES_MAX = 2 * 1024 * 1024;

export interface ShardParts {
  readonly shard: ShardPort;
  readonly effects: Effects;
  readonly queues: QueueView;
  readonly streams: StreamView;
}

interface Wanted {
  readonly tenant: number;
  readonly message: string;
  /** Empty: all deliveries of the message. */
  readonly deliveryId: string;
  readonly withValues: boolean;
}

interface Found {
  readonly effect: pb.EffectInput;
  readonly shard: number;
  /** Behind the effect. */
  readonly place: PlaceInHistory;
}

export function listEffects(
  shards: readonly ShardParts[],
  caller: Caller,
  request: pb.ListEffectsRequest,
): Promise<pb.ListEffectsResponseInput> {
  const wanted = wantedOf(caller, request);
  return list(shards, wanted, { limit: limitOf(request.limit), cursor: request.cursor });
}

function wantedOf({ tenant }: Caller, request: pb.ListEffectsRequest): Wanted {
  const { withValues } = request;
  switch (request.of) {
    case 'jobId':
      parseJobId(request.jobId);
      return { tenant, withValues, message: request.jobId, deliveryId: '' };
    case 'record': {
      const { stream, partition, offset } = request.record;
      if (stream === '') throw invalid('record names no stream');
      return { tenant, withValues, message: `${stream}/${partition}/${offset}`, deliveryId: '' };
    }
    case 'deliveryId':
      if (request.deliveryId === '') throw invalid('delivery_id is empty');
      return {
        tenant,
        withValues,
        message: messageOf(request.deliveryId),
        deliveryId: request.deliveryId,
      };
    default:
      throw invalid('name one of job_id, record, delivery_id');
  }
}

function limitOf(limit: number): number {
  if (limit <= LIMIT_MAX) return limit || LIMIT_DEFAULT;
  throw invalid(`limit is at most ${LIMIT_MAX}, not ${limit}`);
}

async function list(
  shards: readonly ShardParts[],
  wanted: Wanted,
  { limit, cursor }: { limit: number; cursor: string },
): Promise<pb.ListEffectsResponseInput> {
  const from =
    cursor === '' ? shards.map(() => ({ position: 0, events: 0 })) : readMark(cursor, shards.length).places;
  // What is beyond the limit on any shard cannot be on this page.
  const lists = await Promise.all(
    shards.map((parts, i) => effectsOn(parts, wanted, from[i] as PlaceInHistory, limit + 1)),
  );
  // A list that was cut short ends the page: what follows on that shard may come before the others.
  const horizon = Math.min(
    ...lists.map(({ found, isCut }) =>
      isCut ? (found.at(-1)?.effect.timeMs ?? 0) : Number.POSITIVE_INFINITY,
    ),
  );
  const all = lists
    .flatMap(({ found }) => found)
    .sort((a, b) => (a.effect.timeMs ?? 0) - (b.effect.timeMs ?? 0) || a.shard - b.shard);
  const page = all.filter(({ effect }) => (effect.timeMs ?? 0) <= horizon).slice(0, limit);
  const isMore = page.length < all.length || lists.some(({ isCut }) => isCut);
  const places = [...from];
  for (const { shard, place } of page) places[shard] = place;
  const since = await Promise.all(shards.map(({ shard }) => knownSince(shard)));
  return {
    effects: page.map(({ effect }) => effect),
    cursor: isMore ? writeMark(0, places) : '',
    knownSinceMs: Math.max(...since),
  };
}

/** When the oldest retained entry was written; 0: it is the very first. */
async function knownSince(shard: ShardPort): Promise<number> {
  const { first } = shard.timeline.window;
  if (first <= 1) return 0;
  for await (const { timeMs } of shard.timeline.entries([first])) return timeMs;
  return shard.nowMs();
}

async function effectsOn(
  parts: ShardParts,
  wanted: Wanted,
  from: PlaceInHistory,
  max: number,
): Promise<{ found: Found[]; isCut: boolean }> {
  const found: Found[] = [];
  const positions = await parts.effects.positionsOf(wanted.tenant, wanted.message);
  const asked = positions.filter((position) => position >= from.position);
  let bytes = 0;
  for await (const entry of parts.shard.timeline.entries(asked)) {
    let events = 0;
    for (const effect of effectsIn(parts, wanted, entry)) {
      events++;
      if (entry.position === from.position && events <= from.events) continue;
      if (found.length === max || bytes >= PAGE_BYTES_MAX) return { found, isCut: true };
      found.push({ effect, shard: parts.shard.id, place: { position: entry.position, events } });
      bytes += sizeOf(effect);
    }
  }
  return { found, isCut: false };
}

/** Effects of the wanted message in an entry, in order. */
function* effectsIn(parts: ShardParts, wanted: Wanted, entry: WholeEntry): Generator<pb.EffectInput> {
  const { position, timeMs, events } = entry;
  const common = { shard: parts.shard.id, position, timeMs };
  const isWanted = (deliveryId: string) =>
    wanted.deliveryId === '' ? messageOf(deliveryId) === wanted.message : deliveryId === wanted.deliveryId;
  for (const [at, { event }] of events.entries()) {
    if (event.type !== CAUSED) continue;
    const caused = event as Caused;
    if (caused.tenant !== wanted.tenant) continue;
    const mine = events.slice(at - caused.events, at);
    for (const [i, each] of mine.entries()) {
      const ordinal = caused.ordinal + (caused.steps[i] ?? 0);
      for (const effect of described(parts, each, timeMs, wanted.withValues)) {
        const whole = { deliveryId: caused.deliveryId, ordinal, ...effect, ...common };
        if (isWanted(whole.deliveryId ?? '')) yield whole;
      }
    }
  }
}

function described(
  { shard, queues, streams }: ShardParts,
  { view, event }: WholeEntry['events'][number],
  timeMs: number,
  withValues: boolean,
): Iterable<pb.EffectInput> {
  if (view.name === 'kv') return kvEffects(event, timeMs, withValues);
  if (view.name === 'stream') return streamEffects(event, (no) => streams.nameOf(no), withValues);
  if (view.name !== 'queue') return [];
  const place = {
    nameOf: (no: number) => queues.state.byNumber.get(no)?.name ?? '',
    idPrefix: (no: number) => `${shard.id.toString(36)}-${no.toString(36)}-`,
  };
  return queueEffects(event, place, withValues);
}

function sizeOf({ payload, change }: pb.EffectInput): number {
  let bytes = 128 + (payload?.length ?? 0) + (change?.value?.length ?? 0);
  for (const { name, value } of change?.members ?? []) bytes += (name?.length ?? 0) + (value?.length ?? 0);
  return bytes;
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
