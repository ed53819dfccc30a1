// Key-value operations as data: what is sent, and how the result is read. Used by fm.kv and by transactions.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Duration, durationMs } from './durations.ts';
import { contentTypeOf, decodeMember, decodeValue, encodeMember, encodeValue, utf8 } from './values.ts';

/** Keys, fields and members: text (UTF-8) or bytes, at most 1 KiB. */
export type Name = string | Uint8Array;

export interface KvCommand<T> {
  readonly op: pb.KvOpInput;
  readonly isMutation: boolean;
  /** Size on the wire, about. */
  readonly bytes: number;
  readonly read: (result: pb.KvResult) => T;
}

export interface SetOptions {
  /** The key goes away after this long. Default: never; an existing expiry is cleared unless `keepTtl`. */
  ttl?: Duration | undefined;
  keepTtl?: boolean | undefined;
  /** Only if there is no such key. */
  ifAbsent?: boolean | undefined;
  /** Only if there is such a key. */
  ifPresent?: boolean | undefined;
  /** Compare-and-set: only if the key has this revision; 0: only if there is no such key. */
  ifRevision?: number | undefined;
}

export interface SetOutcome {
  /** False: a condition did not hold, nothing was changed. */
  applied: boolean;
  /** Revision of the key now; 0: there is no such key. */
  revision: number;
}

export interface KvEntry<T = unknown> {
  value: T;
  contentType: string;
  /** Changes with every write to the key; for `ifRevision`. */
  revision: number;
  /** Time left in ms; undefined: the key does not expire. */
  ttlMs: number | undefined;
}

export type KeyType = 'string' | 'hash' | 'set' | 'zset';

export interface KeyState {
  type: KeyType;
  revision: number;
  /** Time left in ms; undefined: the key does not expire. */
  ttlMs: number | undefined;
  /** Bytes of a string; fields or members of a collection. */
  size: number;
}

/** Beside key and value. */
const OVERHEAD_BYTES = 32;

const command = <T>(
  op: pb.KvOpInput,
  read: (result: pb.KvResult) => T,
  isMutation: boolean,
  bytes: number,
): KvCommand<T> => ({ op, read, isMutation, bytes: bytes + OVERHEAD_BYTES });

/** Checked here, because a request with one bad operation may fail its neighbours. */
export function nameBytes(name: Name): Uint8Array {
  const bytes = typeof name === 'string' ? Buffer.from(name) : name;
  if (bytes.length > 0 && bytes.length <= LIMITS.keyBytes) return bytes;
  if (bytes.length === 0)
    throw new FlowError('INVALID_ARGUMENT', 'the name of a key, field or member is empty');
  throw new FlowError(
    'KEY_TOO_LARGE',
    `key of ${bytes.length} bytes, at most ${LIMITS.keyBytes} are accepted`,
  );
}

function valueBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= LIMITS.valueBytes) return bytes;
  throw new FlowError(
    'VALUE_TOO_LARGE',
    `value of ${bytes.length} bytes, at most ${LIMITS.valueBytes} are accepted`,
  );
}

const found = (r: pb.KvResult): boolean => r.found;
const integer = (r: pb.KvResult): number => r.integer;
const number = (r: pb.KvResult): number => r.number;
const value = (r: pb.KvResult): unknown => (r.found ? decodeValue(r.value, r.contentType) : undefined);
const ttl = (r: pb.KvResult): number | undefined => (r.ttlMs > 0 ? r.ttlMs : undefined);
const outcome = (r: pb.KvResult): SetOutcome => ({ applied: r.found, revision: r.revision });
const unconditional = (r: pb.KvResult): SetOutcome => ({ applied: true, revision: r.revision });

const entry = (r: pb.KvResult): KvEntry | undefined =>
  r.found
    ? {
        value: decodeValue(r.value, r.contentType),
        contentType: r.contentType,
        revision: r.revision,
        ttlMs: ttl(r),
      }
    : undefined;

const state = (r: pb.KvResult): KeyState | undefined =>
  r.found ? { type: r.type as KeyType, revision: r.revision, ttlMs: ttl(r), size: r.integer } : undefined;

export function getCommand(key: Name): KvCommand<unknown> {
  const bytes = nameBytes(key);
  return command({ get: { key: bytes } }, value, false, bytes.length);
}

export function getEntryCommand(key: Name): KvCommand<KvEntry | undefined> {
  const bytes = nameBytes(key);
  return command({ get: { key: bytes } }, entry, false, bytes.length);
}

export function setCommand(key: Name, given: unknown, o?: SetOptions): KvCommand<SetOutcome> {
  const bytes = nameBytes(key);
  const encoded = valueBytes(encodeValue(given));
  const set: pb.KvSetInput = { key: bytes, value: encoded, contentType: contentTypeOf(given) };
  let isConditional = false;
  if (o !== undefined) {
    if (o.ttl !== undefined) set.ttlMs = positiveMs(o.ttl);
    set.keepTtl = o.keepTtl;
    set.ifAbsent = o.ifAbsent || o.ifRevision === 0;
    set.ifPresent = o.ifPresent;
    set.ifRevision = o.ifRevision;
    isConditional = o.ifAbsent || o.ifPresent || o.ifRevision !== undefined;
  }
  const read = isConditional ? outcome : unconditional;
  return command({ set }, read, true, bytes.length + encoded.length);
}

/** 0 would mean "for ever" on the wire. */
function positiveMs(duration: Duration): number {
  const ms = durationMs(duration, 'ttl');
  if (ms > 0) return ms;
  throw new FlowError('INVALID_ARGUMENT', 'a ttl of 0: give a positive duration, or delete the key');
}

export function deleteCommand(key: Name, ifRevision?: number): KvCommand<boolean> {
  const bytes = nameBytes(key);
  return command({ delete: { key: bytes, ifRevision } }, found, true, bytes.length);
}

/** `duration` undefined removes the expiry. */
export function expireCommand(key: Name, duration: Duration | undefined): KvCommand<boolean> {
  const bytes = nameBytes(key);
  const ttlMs = duration === undefined ? 0 : positiveMs(duration);
  return command({ expire: { key: bytes, ttlMs } }, found, true, bytes.length);
}

export function incrementCommand(key: Name, delta: number): KvCommand<number> {
  const bytes = nameBytes(key);
  if (!Number.isSafeInteger(delta)) {
    throw new FlowError('INVALID_ARGUMENT', `increment by ${delta}: give a whole number`);
  }
  return command({ increment: { key: bytes, delta } }, integer, true, bytes.length);
}

export function inspectCommand(key: Name): KvCommand<KeyState | undefined> {
  const bytes = nameBytes(key);
  return command({ inspect: { key: bytes } }, state, false, bytes.length);
}

export interface Page<T> {
  items: T[];
  /** Where the next page begins; empty: there is none. */
  cursor: Uint8Array;
}

const keys = (r: pb.KvResult): Page<{ key: string; type: KeyType }> => ({
  items: r.entries.map((e) => ({ key: utf8(e.name), type: e.type as KeyType })),
  cursor: r.cursor,
});

export function scanCommand(scan: pb.KvScanInput): KvCommand<Page<{ key: string; type: KeyType }>> {
  return command({ scan }, keys, false, OVERHEAD_BYTES);
}

const fields = (r: pb.KvResult): Page<[string, unknown]> => ({
  items: r.entries.map((e) => [utf8(e.name), decodeMember(e.value)]),
  cursor: r.cursor,
});

export function hashScanCommand(
  key: Name,
  cursor: Uint8Array,
  limit: number,
): KvCommand<Page<[string, unknown]>> {
  return command({ hashScan: { key: nameBytes(key), cursor, limit } }, fields, false, OVERHEAD_BYTES);
}

export function hashSetCommand(key: Name, given: Readonly<Record<string, unknown>>): KvCommand<number> {
  let bytes = 0;
  const encoded = Object.entries(given).map(([name, v]) => {
    const pair = { field: nameBytes(name), value: valueBytes(encodeMember(v)) };
    bytes += pair.field.length + pair.value.length + 8;
    return pair;
  });
  return command({ hashSet: { key: nameBytes(key), fields: encoded } }, integer, true, bytes);
}

export function hashGetCommand<T>(
  key: Name,
  names: readonly Name[],
  read: (result: pb.KvResult) => T,
): KvCommand<T> {
  const encoded = names.map(nameBytes);
  return command({ hashGet: { key: nameBytes(key), fields: encoded } }, read, false, sizeOf(encoded));
}

export function hashDeleteCommand(key: Name, names: readonly Name[]): KvCommand<number> {
  const encoded = names.map(nameBytes);
  return command({ hashDelete: { key: nameBytes(key), fields: encoded } }, integer, true, sizeOf(encoded));
}

export function hashIncrementCommand(key: Name, field: Name, by: number): KvCommand<number> {
  const hashIncrement: pb.HashIncrementInput = { key: nameBytes(key), field: nameBytes(field) };
  const isWhole = Number.isSafeInteger(by);
  if (isWhole) hashIncrement.integer = by;
  else hashIncrement.number = by;
  return command({ hashIncrement }, isWhole ? integer : number, true, OVERHEAD_BYTES);
}

export function setAddCommand(key: Name, names: readonly Name[]): KvCommand<number> {
  const members = names.map(nameBytes);
  return command({ setAdd: { key: nameBytes(key), members } }, integer, true, sizeOf(members));
}

export function setRemoveCommand(key: Name, names: readonly Name[]): KvCommand<number> {
  const members = names.map(nameBytes);
  return command({ setRemove: { key: nameBytes(key), members } }, integer, true, sizeOf(members));
}

const contained = (r: pb.KvResult): boolean[] => r.entries.map((e) => e.found);

export function setContainsCommand(key: Name, names: readonly Name[]): KvCommand<boolean[]> {
  const members = names.map(nameBytes);
  return command({ setContains: { key: nameBytes(key), members } }, contained, false, sizeOf(members));
}

const memberPage = (r: pb.KvResult): Page<string> => ({
  items: r.entries.map((e) => utf8(e.name)),
  cursor: r.cursor,
});

export function setScanCommand(key: Name, cursor: Uint8Array, limit: number): KvCommand<Page<string>> {
  return command({ setScan: { key: nameBytes(key), cursor, limit } }, memberPage, false, OVERHEAD_BYTES);
}

export function sortedSetAddCommand(key: Name, scored: Iterable<readonly [Name, number]>): KvCommand<number> {
  let bytes = 0;
  const members: pb.ScoredMemberInput[] = [];
  for (const [name, score] of scored) {
    const member = nameBytes(name);
    bytes += member.length + 12;
    members.push({ member, score });
  }
  return command({ sortedSetAdd: { key: nameBytes(key), members } }, integer, true, bytes);
}

export function sortedSetRemoveCommand(key: Name, names: readonly Name[]): KvCommand<number> {
  const members = names.map(nameBytes);
  return command({ sortedSetRemove: { key: nameBytes(key), members } }, integer, true, sizeOf(members));
}

const score = (r: pb.KvResult): number | undefined => (r.entries[0]?.found ? r.entries[0].score : undefined);

export function sortedSetScoreCommand(key: Name, name: Name): KvCommand<number | undefined> {
  const members = [nameBytes(name)];
  return command({ sortedSetScore: { key: nameBytes(key), members } }, score, false, sizeOf(members));
}

export function sortedSetIncrementCommand(key: Name, name: Name, delta: number): KvCommand<number> {
  const sortedSetIncrement = { key: nameBytes(key), member: nameBytes(name), delta };
  return command({ sortedSetIncrement }, number, true, OVERHEAD_BYTES);
}

export interface Scored {
  member: string;
  score: number;
}

const scored = (r: pb.KvResult): Scored[] => r.entries.map((e) => ({ member: utf8(e.name), score: e.score }));

export function sortedSetRangeCommand(range: pb.SortedSetRangeInput): KvCommand<Scored[]> {
  return command({ sortedSetRange: range }, scored, false, OVERHEAD_BYTES);
}

const sizeOf = (parts: readonly Uint8Array[]): number =>
  parts.reduce((bytes, part) => bytes + part.length + 4, 0);
