// Rows of the kv view and how their keys are made. A KV key has one META row; members are rows of their own.
//
//   META      ks key                          -> what the key is (Meta)
//   FIELD     ks key generation field         -> value             (hash)
//   ELEMENT   ks key generation member        -> nothing           (set)
//   SCORE     ks key generation member        -> score             (sorted set)
//   ORDER     ks key generation score member  -> nothing           (sorted set, by score)
//   EXPIRY    time ks key                     -> generation and kind of the key that ends then
//   GARBAGE   ks key generation               -> members of a dead generation that are still to be deleted
//   KEYSPACE  ks                              -> count of META rows
//   DECLARATION ks                            -> how the keyspace is kept (on shard 0)
//   COUNTER   (tenant 0)                      -> last revision given out, tenants seen
//
//   T1. All rows of a key share the bytes `part(ks) part(key)`, so that one key string gives all others by
//       slicing.
//   T2. A key has an EXPIRY row exactly when its META row says so, with the generation and kind of that row:
//       the expiry needs no look at META.
//   T3. A generation is never used twice; a collection never sees members of an earlier one.
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Table } from '../storage/contract.ts';
import { f64be, part, readPart, readU53be, textToByteString, u32be, u53be } from '../storage/keys.ts';

export const STRING = 1;
export const HASH = 2;
export const SET = 3;
export const ZSET = 4;
export type Kind = typeof STRING | typeof HASH | typeof SET | typeof ZSET;

/** As in KvResult.type. */
export const TYPE_NAMES = ['', 'string', 'hash', 'set', 'zset'] as const;

/** One shape for strings and collections: the hot path stays monomorphic. */
export interface Meta {
  readonly kind: Kind;
  /** Changes with every change of the key; never used twice on a shard. */
  readonly revision: number;
  /** Names the member rows of a collection; 0 for strings. */
  readonly generation: number;
  /** 0: none. */
  readonly expireAtMs: number;
  /** Members of a collection; 0 for strings. */
  readonly count: number;
  readonly contentType: string;
  /** May be a view on somebody's buffer (Table.own). */
  readonly value: Buffer;
}

const EMPTY = Buffer.alloc(0);

export interface StringParts {
  readonly revision: number;
  readonly expireAtMs: number;
  readonly contentType: string;
  readonly value: Buffer;
}

export const stringMeta = ({ revision, expireAtMs, contentType, value }: StringParts): Meta => ({
  kind: STRING,
  revision,
  generation: 0,
  expireAtMs,
  count: 0,
  contentType,
  value,
});

export interface CollectionParts {
  readonly kind: Kind;
  readonly revision: number;
  readonly generation: number;
  readonly expireAtMs: number;
  readonly count: number;
}

export const collectionMeta = (parts: CollectionParts): Meta => ({
  kind: parts.kind,
  revision: parts.revision,
  generation: parts.generation,
  expireAtMs: parts.expireAtMs,
  count: parts.count,
  contentType: '',
  value: EMPTY,
});

/** meta = kind(u8) revision expireAtMs (contentType value | generation count) */
export function encodeMeta(meta: Meta, into: ByteWriter): void {
  into.u8(meta.kind);
  into.varint(meta.revision);
  into.varint(meta.expireAtMs);
  if (meta.kind === STRING) {
    into.text(meta.contentType);
    into.bytes(meta.value);
  } else {
    into.varint(meta.generation);
    into.varint(meta.count);
  }
}

/** The value is a view on the reader's buffer. */
export const decodeMeta = (from: ByteReader): Meta => decoded(from, true);

/** Without content type and value. */
const decodeTerms = (from: ByteReader): Meta => decoded(from, false);

function decoded(from: ByteReader, hasValue: boolean): Meta {
  const kind = from.u8() as Kind;
  const revision = from.varint();
  const expireAtMs = from.varint();
  if (kind !== STRING) {
    return collectionMeta({ kind, revision, expireAtMs, generation: from.varint(), count: from.varint() });
  }
  if (!hasValue) return stringMeta({ revision, expireAtMs, contentType: '', value: EMPTY });
  return stringMeta({ revision, expireAtMs, contentType: from.text(), value: from.bytes() });
}

function ownMeta(meta: Meta): Meta {
  const { revision, expireAtMs, contentType, value } = meta;
  if (value.length === 0) return meta;
  return stringMeta({ revision, expireAtMs, contentType, value: Buffer.from(value) });
}

/** The object, and the head of its Buffer. */
const META_BYTES = 176;

export const META: Table<Meta> = {
  id: 16,
  name: 'kv-meta',
  encode: encodeMeta,
  decode: (from) => ownMeta(decodeMeta(from)),
  view: decodeMeta,
  own: ownMeta,
  // Told, not guessed: the store asks at every put, and for deletions with undefined.
  sizeOf: (meta: Meta | undefined) =>
    META_BYTES + (meta === undefined ? 0 : meta.contentType.length + meta.value.length),
};

export const FIELD: Table<Buffer> = {
  id: 17,
  name: 'kv-field',
  encode: (value, into) => into.bytes(value),
  decode: (from) => Buffer.from(from.bytes()),
};

const marker = (id: number, name: string): Table<true> => ({
  id,
  name,
  encode: () => {},
  decode: () => true,
});

export const ELEMENT = marker(18, 'kv-element');

export const SCORE: Table<number> = {
  id: 19,
  name: 'kv-score',
  encode: (value, into) => into.f64(value),
  decode: (from) => from.f64(),
};

export const ORDER = marker(20, 'kv-order');

export interface Expiry {
  readonly generation: number;
  readonly kind: Kind;
}

export const EXPIRY: Table<Expiry> = {
  id: 21,
  name: 'kv-expiry',
  encode: (value, into) => {
    into.varint(value.generation);
    into.u8(value.kind);
  },
  decode: (from) => ({ generation: from.varint(), kind: from.u8() as Kind }),
  sizeOf: () => 40,
};

export interface Garbage {
  readonly kind: Kind;
  /** Members up to here are deleted; the next slice starts behind it, not at their tombstones. */
  readonly cursor: string;
}

export const GARBAGE: Table<Garbage> = {
  id: 22,
  name: 'kv-garbage',
  encode: (value, into) => {
    into.u8(value.kind);
    into.latin1(value.cursor);
  },
  decode: (from) => ({ kind: from.u8() as Kind, cursor: from.latin1() }),
};

export const KEYSPACE: Table<number> = {
  id: 23,
  name: 'kv-keyspace',
  encode: (value, into) => into.varint(value),
  decode: (from) => from.varint(),
};

export const POLICIES = ['lru', 'lfu', 'ttl'] as const;

/** How a keyspace is kept. */
export interface Declaration {
  readonly isCache: boolean;
  /** Of a cache: bound of its memory, and which keys go first. */
  readonly maxBytes: number;
  readonly eviction: (typeof POLICIES)[number];
}

/** declaration = isCache(u8) maxBytes eviction(u8) */
export function encodeDeclaration(given: Declaration, into: ByteWriter): void {
  into.u8(given.isCache ? 1 : 0);
  into.varint(given.maxBytes);
  into.u8(POLICIES.indexOf(given.eviction));
}

export const decodeDeclaration = (from: ByteReader): Declaration => ({
  isCache: from.u8() === 1,
  maxBytes: from.varint(),
  eviction: POLICIES[from.u8()] ?? 'lru',
});

export const DECLARATION: Table<Declaration> = {
  id: 25,
  name: 'kv-declaration',
  encode: encodeDeclaration,
  decode: decodeDeclaration,
};

export interface Counter {
  readonly revision: number;
  readonly tenants: readonly number[];
}

export const COUNTER: Table<Counter> = {
  id: 24,
  name: 'kv-counter',
  encode: (value, into) => {
    into.varint(value.revision);
    into.varint(value.tenants.length);
    for (const tenant of value.tenants) into.varint(tenant);
  },
  decode: (from) => ({
    revision: from.varint(),
    tenants: Array.from({ length: from.varint() }, () => from.varint()),
  }),
};

/** Tenant 0 is the shard itself. */
export const COUNTER_KEY = u32be(0) + String.fromCharCode(COUNTER.id);

/** META where only what the key is counts: without its value. */
export const META_TERMS: Table<Meta> = { ...META, view: decodeTerms };

/** META for walks: a page of keys needs no copies of their values. */
export const META_HEAD: Table<Meta> = { ...META, decode: decodeMeta };

/** Where member rows of a kind live. */
export const memberTable = (kind: Kind): Table<unknown> =>
  kind === HASH ? FIELD : kind === SET ? ELEMENT : SCORE;

type TableId = { readonly id: number };

export const tablePrefix = (tenant: number, table: TableId): string =>
  u32be(tenant) + String.fromCharCode(table.id);

/** What META keys of a keyspace start with. */
export const keyspacePrefix = (tenant: number, keyspace: string): string =>
  tablePrefix(tenant, META) + part(textToByteString(keyspace));

/** `key` as a byte string. */
export const metaKey = (prefix: string, key: string): string => prefix + part(key);

const sibling = (key: string, table: TableId): string =>
  key.slice(0, 4) + String.fromCharCode(table.id) + key.slice(5);

/** What keys of one generation's member rows start with; `key` is the META key here and below. */
export const memberPrefix = (key: string, table: TableId, generation: number): string =>
  sibling(key, table) + u53be(generation);

export const orderKey = (prefix: string, score: number, member: string): string =>
  prefix + f64be(score) + member;

export const expiryKey = (key: string, atMs: number): string =>
  key.slice(0, 4) + String.fromCharCode(EXPIRY.id) + u53be(atMs) + key.slice(5);

export const expiryTime = (expiry: string): number => readU53be(expiry, 5);

export const keyOfExpiry = (expiry: string): string =>
  expiry.slice(0, 4) + String.fromCharCode(META.id) + expiry.slice(12);

export const garbageKey = (key: string, generation: number): string => memberPrefix(key, GARBAGE, generation);

export const generationOfGarbage = (garbage: string): number => readU53be(garbage, garbage.length - 7);

export const keyOfGarbage = (garbage: string): string =>
  garbage.slice(0, 4) + String.fromCharCode(META.id) + garbage.slice(5, -7);

/** Where `part(key)` begins in a META key. */
export function keyspaceEnd(key: string): number {
  let end = key.indexOf('\0', 5);
  while (key.charCodeAt(end + 1) === 255) end = key.indexOf('\0', end + 2);
  return end + 2;
}

/** The caller's key, as a byte string. */
export const nameOfKey = (key: string, from: number): string => readPart(key, from).bytes;
