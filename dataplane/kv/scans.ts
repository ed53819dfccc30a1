// Walks over keys and members, a page per call, without any state on the server.
//   N1. What is present during the whole walk is returned at least once; what is expired is never returned.
//   N2. A page may be short or empty; only an empty cursor ends the walk.
//   N3. Nothing leaves that is not durable: rows are read as of now, and the answer waits for `settled`.
//   N4. A page costs at most ROWS_MAX rows and about PAGE_BYTES_MAX in memory and on the wire.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import type { Rows } from '../storage/contract.ts';
import { after, f64be, fromByteString, part, readF64be, toByteString } from '../storage/keys.ts';
import { checkKey, peekCommand } from './command.ts';
import { kvShardOf } from './routing.ts';
import {
  ELEMENT,
  FIELD,
  HASH,
  type Kind,
  keyspacePrefix,
  META_HEAD,
  type Meta,
  memberPrefix,
  metaKey,
  nameOfKey,
  ORDER,
  SET,
  TYPE_NAMES,
  ZSET,
} from './tables.ts';

const ROWS_DEFAULT = 100;
export const ROWS_MAX = 1000;
/** Rows that bring values of up to 1 MiB along are read in small portions. */
export const VALUES_MAX = 100;
export const PAGE_BYTES_MAX = 1024 * 1024;
/** Rows that a range may skip; further on, start at a score. */
const OFFSET_MAX = 100_000;
const CURSOR = 1;
const RANGE_ATTEMPTS_MAX = 3;

export interface Place {
  readonly shard: ShardPort;
  readonly rows: Rows;
}

export interface ScanParts {
  readonly places: readonly Place[];
  readonly caller: Caller;
  readonly keyspace: string;
}

export function runScan(parts: ScanParts, op: pb.KvOp): Promise<pb.KvResultInput> {
  switch (op.op) {
    case 'scan':
      return scanKeys(parts, op.scan);
    case 'hashScan':
      return scanMembers(parts, op.hashScan, HASH);
    case 'setScan':
      return scanMembers(parts, op.setScan, SET);
    case 'sortedSetRange':
      return range(parts, op.sortedSetRange);
    default:
      throw new FlowError('INTERNAL', 'only scans come here');
  }
}

/** Where a page of keys begins, and what it takes. */
export function planScan({ places, caller, keyspace }: ScanParts, scan: pb.KvScan) {
  const wanted = scan.type === '' ? 0 : TYPE_NAMES.indexOf(scan.type as 'hash');
  if (wanted === -1) throw invalid('type must be string, hash, set or zset');
  if (scan.prefix.length > LIMITS.keyBytes) throw invalid(`prefix is longer than ${LIMITS.keyBytes} bytes`);
  const keyspaceStart = keyspacePrefix(caller.tenant, keyspace);
  const prefix = keyspaceStart + part(toByteString(scan.prefix)).slice(0, -2);
  const { shard, last } = readKeyCursor(scan.cursor, places.length);
  const from = last === undefined ? prefix : `${keyspaceStart}${part(last)}\0`;
  return { keyspaceStart, prefix, wanted, limit: pageSize(scan.limit, ROWS_MAX), shard, last, from };
}

async function scanKeys(parts: ScanParts, scan: pb.KvScan): Promise<pb.KvResultInput> {
  const { places } = parts;
  const plan = planScan(parts, scan);
  const { keyspaceStart, prefix, wanted } = plan;
  const entries: pb.KvEntryInput[] = [];
  let { shard: at, last, limit: left } = plan;
  /** The latest time that an expired key shows. */
  let shownMs = 0;
  while (left > 0 && at < places.length) {
    const { shard, rows } = places[at] as Place;
    const from = last === undefined ? prefix : `${keyspaceStart}${part(last)}\0`;
    const page = await rows.scan(META_HEAD, { from, to: after(prefix), limit: Math.min(left, VALUES_MAX) });
    const nowMs = shard.nowMs();
    for (const { key, value } of page) {
      last = nameOfKey(key, keyspaceStart.length);
      if (wanted !== 0 && value.kind !== wanted) continue;
      if (value.expireAtMs !== 0 && value.expireAtMs <= nowMs) {
        shownMs = Math.max(shownMs, value.expireAtMs);
        continue;
      }
      entries.push({ name: fromByteString(last), type: TYPE_NAMES[value.kind] });
    }
    if (page.length < Math.min(left, VALUES_MAX)) {
      await shard.settled(shownMs);
      shownMs = 0;
      at++;
      last = undefined;
    }
    left -= page.length;
  }
  if (at === places.length) return { entries };
  await (places[at] as Place).shard.settled(shownMs);
  return { entries, cursor: keyCursor(at, last) };
}

async function scanMembers(
  parts: ScanParts,
  scan: pb.HashScan | pb.SetScan,
  kind: typeof HASH | typeof SET,
): Promise<pb.KvResultInput> {
  const { place, key } = locate(parts, scan.key);
  const last = readCursor(scan.cursor);
  const meta = await peek(parts, place, key, kind);
  if (meta === undefined) return { found: false };
  const table = kind === HASH ? FIELD : ELEMENT;
  const prefix = memberPrefix(key, table, meta.generation);
  const limit = pageSize(scan.limit, kind === HASH ? VALUES_MAX : ROWS_MAX);
  const from = last === undefined ? prefix : `${prefix}${last}\0`;
  const rows = await place.rows.scan<Buffer | true>(table, { from, to: after(prefix), limit });
  const entries: pb.KvEntryInput[] = [];
  let bytes = 0;
  for (const row of rows) {
    const name = fromByteString(row.key.slice(prefix.length));
    const value = row.value === true ? undefined : row.value;
    bytes += name.length + (value?.length ?? 0);
    entries.push({ name, value, found: true });
    if (bytes >= PAGE_BYTES_MAX) break;
  }
  await place.shard.settled();
  const isEnd = entries.length === rows.length && rows.length < limit;
  const cursor = isEnd ? undefined : memberCursor(entries.at(-1)?.name as Buffer);
  return { found: true, revision: meta.revision, entries, cursor };
}

async function range(parts: ScanParts, query: pb.SortedSetRange): Promise<pb.KvResultInput> {
  const { place, key } = locate(parts, query.key);
  checkRange(query);
  for (let attempt = 0; attempt < RANGE_ATTEMPTS_MAX; attempt++) {
    const meta = await peek(parts, place, key, ZSET);
    if (meta === undefined) return { found: false };
    const entries = await readRange(parts, place, { key, meta, query });
    if (entries === undefined) continue;
    await place.shard.settled();
    return { found: true, revision: meta.revision, entries };
  }
  throw new FlowError('UNAVAILABLE', 'the sorted set is replaced again and again', { retryAfterMs: 100 });
}

export function checkRange({ minScore, maxScore, offset }: pb.SortedSetRange): void {
  if (Number.isNaN(minScore) || Number.isNaN(maxScore)) throw invalid('scores must be numbers, not NaN');
  if (offset > OFFSET_MAX)
    throw invalid(`offset is at most ${OFFSET_MAX}; go on from the last score instead`);
}

interface RangeOf {
  readonly key: string;
  readonly meta: Meta;
  readonly query: pb.SortedSetRange;
}

/** Undefined: the collection was replaced between two portions, and its rows may be on their way out. */
async function readRange(
  parts: ScanParts,
  place: Place,
  of: RangeOf,
): Promise<pb.KvEntryInput[] | undefined> {
  const { key, meta, query } = of;
  const { minScore, maxScore, reverse } = query;
  const prefix = memberPrefix(key, ORDER, meta.generation);
  let from = prefix + f64be(minScore ?? Number.NEGATIVE_INFINITY);
  let to = after(prefix + f64be(maxScore ?? Number.POSITIVE_INFINITY));
  const limit = query.limit === 0 ? ROWS_MAX : Math.min(query.limit, ROWS_MAX);
  const entries: pb.KvEntryInput[] = [];
  let skip = query.offset;
  while (entries.length < limit && from < to) {
    const size = Math.min(skip + limit - entries.length, ROWS_MAX);
    const rows = await place.rows.scan(ORDER, { from, to, limit: size, reverse });
    for (const row of rows.slice(skip)) {
      const name = fromByteString(row.key.slice(prefix.length + 8));
      entries.push({ name, score: readF64be(row.key, prefix.length), found: true });
    }
    skip = Math.max(0, skip - rows.length);
    const last = rows.at(-1);
    if (last === undefined || rows.length < size || entries.length >= limit) break;
    if (reverse) to = last.key;
    else from = `${last.key}\0`;
    const now = await peek(parts, place, key, ZSET);
    if (now?.generation !== meta.generation) return undefined;
  }
  return entries;
}

function locate({ places, caller, keyspace }: ScanParts, key: Buffer): { place: Place; key: string } {
  checkKey(key);
  const place = places[kvShardOf(key, places.length)] as Place;
  return { place, key: metaKey(keyspacePrefix(caller.tenant, keyspace), toByteString(key)) };
}

async function peek({ caller }: ScanParts, place: Place, key: string, kind: Kind): Promise<Meta | undefined> {
  const meta = await place.shard.call<Meta | undefined>(peekCommand(caller, key));
  if (meta === undefined || meta.kind === kind) return meta;
  throw new FlowError('WRONG_TYPE', `the key holds a ${TYPE_NAMES[meta.kind]}, not a ${TYPE_NAMES[kind]}`);
}

export const pageSize = (limit: number, max: number): number =>
  Math.min(limit === 0 ? ROWS_DEFAULT : limit, max);

/** cursor of members = version(u8) member; of keys = version(u8) shard(u16be) isStarted(u8) key */
export const memberCursor = (last: Uint8Array): Buffer => Buffer.concat([Buffer.of(CURSOR), last]);

export function readCursor(cursor: Buffer): string | undefined {
  if (cursor.length === 0) return undefined;
  if (cursor[0] !== CURSOR) throw invalid('cursor is not from this server');
  return toByteString(cursor.subarray(1));
}

export const keyCursor = (shard: number, last: string | undefined): Buffer =>
  Buffer.concat([
    Buffer.of(CURSOR, shard >>> 8, shard & 255, last === undefined ? 0 : 1),
    fromByteString(last ?? ''),
  ]);

function readKeyCursor(cursor: Buffer, shards: number): { shard: number; last: string | undefined } {
  const text = readCursor(cursor);
  if (text === undefined) return { shard: 0, last: undefined };
  const shard = text.charCodeAt(0) * 256 + text.charCodeAt(1);
  // NaN when it is cut short.
  if (!(shard < shards) || text.length < 3) throw invalid('cursor is not from this server');
  return { shard, last: text.charCodeAt(2) === 1 ? text.slice(3) : undefined };
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
