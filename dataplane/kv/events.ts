// What happens to keys, and its bytes in the journal. Types 16 to 24; the golden test pins every layout.
//   E1. An event carries all that evolve writes: the whole new META row, and of the row before what other
//       rows hang on (its expiry, its generation), because evolve reads nothing.
//   E2. The subject is the META key itself (tenant, table, keyspace, key): decoding one needs no second
//       escape.
//   E3. A change of members whose META row has count 0 deletes the key: empty collections do not exist.

import type { Event, HistorySubject } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import { toByteString } from '../storage/keys.ts';
import {
  type Declaration,
  decodeDeclaration,
  decodeMeta,
  encodeDeclaration,
  encodeMeta,
  type Kind,
  keyspacePrefix,
  type Meta,
  metaKey,
  ZSET,
} from './tables.ts';

export const STRING_PUT = 16;
export const DELETED = 17;
export const EXPIRED = 18;
export const EXPIRY_SET = 19;
export const FIELDS_PUT = 20;
export const ELEMENTS_ADDED = 21;
export const SCORES_PUT = 22;
export const MEMBERS_REMOVED = 23;
export const SWEPT = 24;
/** Only in caches, so never journaled. */
export const EVICTED = 25;
export const KEYSPACE_DECLARED = 26;

/** STRING_PUT, EXPIRY_SET, and the head of every change of members. */
export interface KeyPut extends Event {
  /** META key. */
  readonly key: string;
  /** There was no META row before. */
  readonly isNew: boolean;
  readonly beforeExpireAtMs: number;
  /** Generation that this change leaves behind; 0: none. */
  readonly staleGeneration: number;
  readonly staleKind: Kind | 0;
  readonly meta: Meta;
}

/** DELETED and EXPIRED: the row before. */
export interface KeyGone extends Event {
  readonly key: string;
  readonly expireAtMs: number;
  readonly generation: number;
  readonly kind: Kind;
}

export interface FieldsPut extends KeyPut {
  readonly names: readonly string[];
  readonly values: readonly Buffer[];
}

export interface ElementsAdded extends KeyPut {
  readonly names: readonly string[];
}

export interface ScoresPut extends KeyPut {
  readonly names: readonly string[];
  readonly scores: readonly number[];
  /** Scores before, whose order rows go; NaN: the member is new. */
  readonly befores: readonly number[];
}

export interface MembersRemoved extends KeyPut {
  readonly names: readonly string[];
  /** Sorted sets only: the scores they had. */
  readonly scores: readonly number[];
}

/** Members of a dead generation are gone. */
export interface Swept extends Event {
  readonly key: string;
  readonly generation: number;
  readonly kind: Kind;
  readonly isDone: boolean;
  readonly names: readonly string[];
  readonly scores: readonly number[];
}

export const isGone = (event: Event): event is KeyGone =>
  event.type === DELETED || event.type === EXPIRED || event.type === EVICTED;

/** How a keyspace is kept; one that is not declared is durable. */
export interface KeyspaceDeclared extends Event, Declaration {
  readonly tenant: number;
  readonly name: string;
}

const IS_NEW = 1;
const HAD_EXPIRY = 2;
const HAS_STALE = 4;

export function encodeEvent(event: Event, into: ByteWriter): void {
  switch (event.type) {
    case STRING_PUT:
    case EXPIRY_SET:
      encodePut(event as KeyPut, into);
      return;
    case KEYSPACE_DECLARED: {
      const { tenant, name } = event as KeyspaceDeclared;
      into.varint(tenant);
      into.text(name);
      encodeDeclaration(event as KeyspaceDeclared, into);
      return;
    }
    case DELETED:
    case EXPIRED:
    case EVICTED:
      encodeGone(event as KeyGone, into);
      return;
    case FIELDS_PUT: {
      const { names, values } = event as FieldsPut;
      encodePut(event as KeyPut, into);
      encodeNames(names, into);
      for (const value of values) into.bytes(value);
      return;
    }
    case ELEMENTS_ADDED:
      encodePut(event as KeyPut, into);
      encodeNames((event as ElementsAdded).names, into);
      return;
    case SCORES_PUT: {
      const { names, scores, befores } = event as ScoresPut;
      encodePut(event as KeyPut, into);
      encodeNames(names, into);
      encodeScores(scores, into);
      encodeScores(befores, into);
      return;
    }
    case MEMBERS_REMOVED: {
      const { names, scores, meta } = event as MembersRemoved;
      encodePut(event as KeyPut, into);
      encodeNames(names, into);
      if (meta.kind === ZSET) encodeScores(scores, into);
      return;
    }
    default: {
      const { key, generation, kind, isDone, names, scores } = event as Swept;
      into.latin1(key);
      into.varint(generation);
      into.u8(kind);
      into.u8(isDone ? 1 : 0);
      encodeNames(names, into);
      if (kind === ZSET) encodeScores(scores, into);
    }
  }
}

export function decodeEvent(type: number, from: ByteReader): Event {
  switch (type) {
    case STRING_PUT:
    case EXPIRY_SET:
      return decodePut(type, from);
    case KEYSPACE_DECLARED:
      return {
        type,
        tenant: from.varint(),
        name: from.text(),
        ...decodeDeclaration(from),
      } as KeyspaceDeclared;
    case DELETED:
    case EXPIRED:
    case EVICTED:
      return decodeGone(type, from);
    case FIELDS_PUT: {
      const put = decodePut(type, from);
      const names = decodeNames(from);
      return { ...put, names, values: names.map(() => from.bytes()) } as FieldsPut;
    }
    case ELEMENTS_ADDED:
      return { ...decodePut(type, from), names: decodeNames(from) } as ElementsAdded;
    case SCORES_PUT: {
      const put = decodePut(type, from);
      const names = decodeNames(from);
      return {
        ...put,
        names,
        scores: decodeScores(names, from),
        befores: decodeScores(names, from),
      } as ScoresPut;
    }
    case MEMBERS_REMOVED: {
      const put = decodePut(type, from);
      const names = decodeNames(from);
      return {
        ...put,
        names,
        scores: put.meta.kind === ZSET ? decodeScores(names, from) : [],
      } as MembersRemoved;
    }
    default: {
      const key = from.latin1();
      const generation = from.varint();
      const kind = from.u8() as Kind;
      const isDone = from.u8() === 1;
      const names = decodeNames(from);
      return {
        type,
        key,
        generation,
        kind,
        isDone,
        names,
        scores: kind === ZSET ? decodeScores(names, from) : [],
      } as Swept;
    }
  }
}

/** put = flags(u8) key [beforeExpireAtMs] [staleGeneration staleKind(u8)] meta */
function encodePut(put: KeyPut, into: ByteWriter): void {
  const flags =
    (put.isNew ? IS_NEW : 0) |
    (put.beforeExpireAtMs === 0 ? 0 : HAD_EXPIRY) |
    (put.staleGeneration === 0 ? 0 : HAS_STALE);
  into.u8(flags);
  into.latin1(put.key);
  if (flags & HAD_EXPIRY) into.varint(put.beforeExpireAtMs);
  if (flags & HAS_STALE) {
    into.varint(put.staleGeneration);
    into.u8(put.staleKind);
  }
  encodeMeta(put.meta, into);
}

function decodePut(type: number, from: ByteReader): KeyPut {
  const flags = from.u8();
  return {
    type,
    key: from.latin1(),
    isNew: (flags & IS_NEW) !== 0,
    beforeExpireAtMs: flags & HAD_EXPIRY ? from.varint() : 0,
    staleGeneration: flags & HAS_STALE ? from.varint() : 0,
    staleKind: flags & HAS_STALE ? (from.u8() as Kind) : 0,
    meta: decodeMeta(from),
  };
}

/** gone = kind(u8) key expireAtMs generation */
function encodeGone(gone: KeyGone, into: ByteWriter): void {
  into.u8(gone.kind);
  into.latin1(gone.key);
  into.varint(gone.expireAtMs);
  into.varint(gone.generation);
}

function decodeGone(type: number, from: ByteReader): KeyGone {
  const kind = from.u8() as Kind;
  return { type, key: from.latin1(), expireAtMs: from.varint(), generation: from.varint(), kind };
}

function encodeNames(names: readonly string[], into: ByteWriter): void {
  into.varint(names.length);
  for (const name of names) into.latin1(name);
}

const decodeNames = (from: ByteReader): string[] =>
  Array.from({ length: from.varint() }, () => from.latin1());

function encodeScores(scores: readonly number[], into: ByteWriter): void {
  for (const score of scores) into.f64(score);
}

const decodeScores = (names: readonly string[], from: ByteReader): number[] => names.map(() => from.f64());

/** The timeline of one key: everything but housekeeping. */
export function kvHistorySubject(tenant: number, keyspace: string, key: Uint8Array): HistorySubject {
  const subject = metaKey(keyspacePrefix(tenant, keyspace), toByteString(key));
  return {
    view: 'kv',
    matches: (event) =>
      event.type !== SWEPT && event.type !== KEYSPACE_DECLARED && (event as KeyPut).key === subject,
  };
}
