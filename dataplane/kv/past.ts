// Requests as of an earlier moment: which moment, and the answers. Reads the journal, so it is bounded in how
// many run at once.
//   Q1. At most READERS_MAX requests read the history at a time: each reads at most what is retained, in
//       order, a megabyte at a time.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Durability } from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import { toByteString } from '../storage/keys.ts';
import { metasAt } from './as-of.ts';
import { memberResult } from './collections-as-of.ts';
import { checkKey, errorResult, keyspaceOf } from './command.ts';
import { type Mark, type PlaceInHistory, writeMark } from './marks.ts';
import { kvShardOf } from './routing.ts';
import { scanAt } from './scan-as-of.ts';
import type { Place } from './scans.ts';
import { ttlOf } from './strings.ts';
import { keyspacePrefix, type Meta, metaKey, STRING, TYPE_NAMES } from './tables.ts';
import { checkedMark, placeBehind, since } from './watches.ts';

const READERS_MAX = 4;
/** Of one request: what they answer may have a megabyte each. */
const OPS_MAX = 100;
const RETRY_MS = 200;

/** What names a key. */
type Lookup = pb.KvOp & {
  op:
    | 'get'
    | 'inspect'
    | 'hashGet'
    | 'hashScan'
    | 'setContains'
    | 'setScan'
    | 'sortedSetScore'
    | 'sortedSetRange';
};
const LOOKUPS: readonly unknown[] = [
  'get',
  'inspect',
  'hashGet',
  'hashScan',
  'setContains',
  'setScan',
  'sortedSetScore',
  'sortedSetRange',
] satisfies Lookup['op'][];
type Past = (caller: Caller, request: pb.KvRequest, asOf: pb.KvAsOf) => Promise<pb.KvResponseInput>;

export function createPast(places: readonly Place[]): Past {
  let readers = 0;
  return async (caller, request, asOf) => {
    checkOps(request, asOf);
    if (readers >= READERS_MAX) {
      const message = `${READERS_MAX} requests are reading the history`;
      throw new FlowError('RESOURCE_EXHAUSTED', message, { retryAfterMs: RETRY_MS });
    }
    readers++;
    try {
      const mark = await markOf(places, request, asOf);
      const results = new Array<pb.KvResultInput>(request.ops.length);
      await lookUp({ places, caller, mark }, request, results);
      for (const [i, op] of request.ops.entries()) {
        if (op.op !== 'scan') continue;
        const parts = { places, caller, keyspace: keyspaceOf(request) };
        results[i] = await scanAt(parts, op.scan, mark).catch(errorResult);
      }
      const cursor = writeMark(mark.timeMs, mark.places);
      return { results, durability: Durability.DURABILITY_FSYNC, asOf: cursor };
    } finally {
      readers--;
    }
  };
}

function checkOps({ ops }: pb.KvRequest, { at }: pb.KvAsOf): void {
  if (at === undefined) throw invalid('as_of names no moment');
  if (ops.length > OPS_MAX)
    throw new FlowError(
      'BATCH_TOO_LARGE',
      `${ops.length} operations; as of an earlier moment at most ${OPS_MAX}`,
    );
  let names = 0;
  for (const each of ops) {
    const { op } = each;
    if (op === 'hashGet') names += each.hashGet.fields.length;
    else if (op === 'setContains' || op === 'sortedSetScore')
      names += (each[op] as pb.SetContains).members.length;
    if (names > LIMITS.batchRecords)
      throw new FlowError('BATCH_TOO_LARGE', `more than ${LIMITS.batchRecords} members; split the request`);
    if (op !== 'scan' && !LOOKUPS.includes(op))
      throw invalid('as of an earlier moment keys and members are read: the operation changes them');
    if (op === 'scan' && at === 'revision')
      throw invalid('a revision is of one shard: scan as of a cursor or a time');
  }
}

async function markOf(places: readonly Place[], { ops }: pb.KvRequest, asOf: pb.KvAsOf): Promise<Mark> {
  const shards = places.map(({ shard }) => shard);
  if (asOf.at === 'cursor') return checkedMark(asOf.cursor, shards);
  if (asOf.at === 'timeMs') {
    const timeMs = asOf.timeMs;
    return { timeMs, places: await Promise.all(shards.map((shard) => since(shard, timeMs + 1))) };
  }
  const nowMs = Math.max(...shards.map((shard) => shard.nowMs()));
  await Promise.all(shards.map((shard) => shard.settled(nowMs)));
  const now = shards.map(({ timeline }): PlaceInHistory => ({ position: timeline.window.next, events: 0 }));
  if (asOf.at !== 'revision') return { timeMs: nowMs, places: now };
  const homes = new Set(ops.map((op) => kvShardOf(bodyOf(op as Lookup).key, shards.length)));
  const [home = 0] = homes;
  if (homes.size > 1) throw invalid('the keys live on several shards, and a revision is of one');
  const { timeMs, ...place } = await placeBehind(shards[home] as ShardPort, asOf.revision);
  return { timeMs, places: now.with(home, place) };
}

const bodyOf = (op: Lookup): { key: Buffer } => op[op.op] as { key: Buffer };

interface LookupParts {
  readonly places: readonly Place[];
  readonly caller: Caller;
  readonly mark: Mark;
}

/** All keys of a shard in one pass over its history. */
async function lookUp(
  { places, caller, mark }: LookupParts,
  request: pb.KvRequest,
  results: pb.KvResultInput[],
): Promise<void> {
  const prefix = keyspacePrefix(caller.tenant, keyspaceOf(request));
  const asked = places.map(() => new Map<string, number[]>());
  for (const [i, op] of request.ops.entries()) {
    if (op.op === 'scan') continue;
    const { key } = bodyOf(op as Lookup);
    try {
      checkKey(key);
    } catch (error) {
      results[i] = errorResult(error);
      continue;
    }
    const byKey = asked[kvShardOf(key, places.length)] as Map<string, number[]>;
    const row = metaKey(prefix, toByteString(key));
    byKey.set(row, [...(byKey.get(row) ?? []), i]);
  }
  let bytesLeft = LIMITS.batchBytes;
  for (const [n, byKey] of asked.entries()) {
    if (byKey.size === 0) continue;
    const moment = { place: mark.places[n] as PlaceInHistory, timeMs: mark.timeMs };
    const place = places[n] as Place;
    const metas = await metasAt(caller, place.shard, moment, new Set(byKey.keys()));
    for (const [key, indexes] of byKey) {
      for (const i of indexes) {
        const meta = metas.get(key);
        const op = request.ops[i] as Lookup;
        const result =
          bytesLeft < 0 || meta instanceof FlowError
            ? errorResult(bytesLeft < 0 ? tooLarge() : meta)
            : op.op === 'get' || op.op === 'inspect'
              ? keyResult(op.op, meta, mark.timeMs)
              : await memberResult(op, meta, { place, moment, key }).catch(errorResult);
        bytesLeft -= sizeOf(result);
        results[i] = bytesLeft < 0 ? errorResult(tooLarge()) : result;
      }
    }
  }
}

function keyResult(op: 'get' | 'inspect', meta: Meta | undefined, timeMs: number): pb.KvResultInput {
  if (meta === undefined) return { found: false };
  const { kind, revision, value, contentType, count } = meta;
  const common = { found: true, revision, ttlMs: ttlOf(meta, timeMs) };
  if (op === 'inspect')
    return { ...common, type: TYPE_NAMES[kind], integer: kind === STRING ? value.length : count };
  if (kind === STRING) return { ...common, value, contentType };
  return errorResult(new FlowError('WRONG_TYPE', `the key held a ${TYPE_NAMES[kind]}, not a string`));
}

function sizeOf({ value, entries }: pb.KvResultInput): number {
  let bytes = value?.length ?? 0;
  for (const entry of entries ?? []) bytes += (entry.name?.length ?? 0) + (entry.value?.length ?? 0);
  return bytes;
}

const tooLarge = () =>
  new FlowError('BATCH_TOO_LARGE', `the answers together pass ${LIMITS.batchBytes} bytes; split the request`);

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
