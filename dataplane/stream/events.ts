// What happens to streams, and how it is written to the journal. Event types 112-159.
//   V1. A layout never changes: a new meaning is a new type. test/stream/events.test.ts holds the bytes of
//       each.
//   V2. Every event touches O(1) rows. `no` is the stream's number on this shard.
import assert from 'node:assert/strict';
import { type Ownership, readOwnership, writeOwnership } from '../admin/ownership.ts';
import { type ConsumerGroupSpec, readConsumerGroupRows, writeConsumerGroups } from '../scaling/spec.ts';
import type { SchemaRef } from '../schema/check.ts';
import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import {
  type Cleanup,
  readCleanup,
  readSchemaRef,
  type StartFrom,
  writeCleanup,
  writeSchemaRef,
} from './tables.ts';

export const EVENT_RANGE = [112, 159] as const;

export const STREAM_EVENT = {
  declared: 112,
  partitionOpened: 113,
  appended: 114,
  trimmed: 115,
  deleted: 116,
  swept: 117,
  groupCreated: 118,
  memberJoined: 119,
  memberLeft: 120,
  assigned: 121,
  revoking: 122,
  cursorGranted: 123,
  committed: 124,
  cursorMoved: 125,
  cleanupSet: 126,
  owned: 127,
  schemaRefSet: 128,
  consumerGroupsSet: 129,
} as const;

/** A stream was declared or its declaration changed. */
export interface Declared extends Event {
  readonly type: typeof STREAM_EVENT.declared;
  readonly no: number;
  readonly tenant: number;
  readonly name: string;
  readonly uid: number;
  readonly partitions: number;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly createdAtMs: number;
}

export interface PartitionOpened extends Event {
  readonly type: typeof STREAM_EVENT.partitionOpened;
  readonly no: number;
  readonly partition: number;
  readonly logId: number;
}

/**
 * The head of `batch` carries offset and time already, so that journal, log and replay hold the same bytes.
 */
export interface Appended extends Event {
  readonly type: typeof STREAM_EVENT.appended;
  readonly no: number;
  readonly partition: number;
  /** In replay a view of the journal entry. */
  readonly batch: Buffer;
}

export interface Trimmed extends Event {
  readonly type: typeof STREAM_EVENT.trimmed;
  readonly no: number;
  readonly partition: number;
  readonly offset: number;
}

export interface Deleted extends Event {
  readonly type: typeof STREAM_EVENT.deleted;
  readonly no: number;
}

/** Rows of a deleted stream are gone for good. */
export interface Swept extends Event {
  readonly type: typeof STREAM_EVENT.swept;
  readonly no: number;
  readonly keys: readonly string[];
}

export interface GroupCreated extends Event {
  readonly type: typeof STREAM_EVENT.groupCreated;
  readonly no: number;
  readonly group: string;
  readonly initialPartitions: number;
}

/** Also when a member comes back with other options. */
export interface MemberJoined extends Event {
  readonly type: typeof STREAM_EVENT.memberJoined;
  readonly no: number;
  readonly group: string;
  readonly member: string;
  readonly client: string;
  readonly startFrom: StartFrom;
}

/** It left, or its session timed out. */
export interface MemberLeft extends Event {
  readonly type: typeof STREAM_EVENT.memberLeft;
  readonly no: number;
  readonly group: string;
  readonly member: string;
}

export interface Assigned extends Event {
  readonly type: typeof STREAM_EVENT.assigned;
  readonly no: number;
  readonly group: string;
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
}

/** The owner is asked to stop; `target` is next. */
export interface Revoking extends Event {
  readonly type: typeof STREAM_EVENT.revoking;
  readonly no: number;
  readonly group: string;
  readonly partition: number;
  readonly target: string;
}

/** The partition's shard learned who may commit from now on. `offset` -1: nothing is pinned. */
export interface CursorGranted extends Event {
  readonly type: typeof STREAM_EVENT.cursorGranted;
  readonly no: number;
  readonly group: string;
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  readonly offset: number;
}

export interface Committed extends Event {
  readonly type: typeof STREAM_EVENT.committed;
  readonly no: number;
  readonly group: string;
  readonly partition: number;
  readonly offset: number;
  readonly metadata: string;
}

/** A seek. */
export interface CursorMoved extends Event {
  readonly type: typeof STREAM_EVENT.cursorMoved;
  readonly no: number;
  readonly group: string;
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  readonly offset: number;
}

/** How records of a stream go in time, where it is not by retention alone or was not. */
export interface CleanupSet extends Event {
  readonly type: typeof STREAM_EVENT.cleanupSet;
  readonly no: number;
  readonly cleanup: Cleanup;
  readonly minCompactionLagMs: number;
  readonly tombstoneRetentionMs: number;
}

/** What values must match from now on, where it is something or was. */
export interface SchemaRefSet extends Event {
  readonly type: typeof STREAM_EVENT.schemaRefSet;
  readonly no: number;
  readonly schemaRef: SchemaRef | null;
}

/** What is declared about consumer groups from now on, where it is something or was. */
export interface ConsumerGroupsSet extends Event {
  readonly type: typeof STREAM_EVENT.consumerGroupsSet;
  readonly no: number;
  readonly consumerGroups: readonly ConsumerGroupSpec[];
}

/** Who declares the stream from now on; behind `declared` where both happen. Only at home. */
export interface Owned extends Event {
  readonly type: typeof STREAM_EVENT.owned;
  readonly no: number;
  /** Null: nobody. */
  readonly ownership: Ownership | null;
}

export type StreamEvent =
  | Declared
  | PartitionOpened
  | Appended
  | Trimmed
  | Deleted
  | Swept
  | GroupCreated
  | MemberJoined
  | MemberLeft
  | Assigned
  | Revoking
  | CursorGranted
  | Committed
  | CursorMoved
  | CleanupSet
  | SchemaRefSet
  | ConsumerGroupsSet
  | Owned;

interface Codec<E extends StreamEvent> {
  /** Behind the type and the stream's number. */
  readonly encode: (event: E, w: ByteWriter) => void;
  readonly decode: (r: ByteReader) => Omit<E, 'type' | 'no'>;
}

const declared: Codec<Declared> = {
  encode: (e, w) => {
    w.varint(e.tenant);
    w.text(e.name);
    w.varint(e.uid);
    w.varint(e.partitions);
    w.varint(e.retentionMs);
    w.varint(e.retentionBytes);
    w.varint(e.createdAtMs);
  },
  decode: (r) => ({
    tenant: r.varint(),
    name: r.text(),
    uid: r.varint(),
    partitions: r.varint(),
    retentionMs: r.varint(),
    retentionBytes: r.varint(),
    createdAtMs: r.varint(),
  }),
};

const appended: Codec<Appended> = {
  encode: (e, w) => {
    w.varint(e.partition);
    w.bytes(e.batch);
  },
  decode: (r) => ({ partition: r.varint(), batch: r.bytes() }),
};

const cursor: Codec<CursorGranted | CursorMoved> = {
  encode: (e, w) => {
    w.text(e.group);
    w.varint(e.partition);
    w.text(e.owner);
    w.varint(e.epoch);
    w.varint(e.offset + 1);
  },
  decode: (r) => ({
    group: r.text(),
    partition: r.varint(),
    owner: r.text(),
    epoch: r.varint(),
    offset: r.varint() - 1,
  }),
};

const joined: Codec<MemberJoined> = {
  encode: (e, w) => {
    w.text(e.group);
    w.text(e.member);
    w.text(e.client);
    w.u8(e.startFrom === 'latest' ? 1 : 0);
  },
  decode: (r) => ({
    group: r.text(),
    member: r.text(),
    client: r.text(),
    startFrom: r.u8() === 1 ? 'latest' : 'earliest',
  }),
};

const swept: Codec<Swept> = {
  encode: (e, w) => {
    w.varint(e.keys.length);
    for (const key of e.keys) w.latin1(key);
  },
  decode: (r) => ({ keys: Array.from({ length: r.varint() }, () => r.latin1()) }),
};

const CODECS: { readonly [K in StreamEvent as K['type']]: Codec<K> } = {
  [STREAM_EVENT.declared]: declared,
  [STREAM_EVENT.partitionOpened]: {
    encode: (e, w) => {
      w.varint(e.partition);
      w.varint(e.logId);
    },
    decode: (r) => ({ partition: r.varint(), logId: r.varint() }),
  },
  [STREAM_EVENT.appended]: appended,
  [STREAM_EVENT.trimmed]: {
    encode: (e, w) => {
      w.varint(e.partition);
      w.varint(e.offset);
    },
    decode: (r) => ({ partition: r.varint(), offset: r.varint() }),
  },
  [STREAM_EVENT.deleted]: { encode: () => {}, decode: () => ({}) },
  [STREAM_EVENT.swept]: swept,
  [STREAM_EVENT.groupCreated]: {
    encode: (e, w) => {
      w.text(e.group);
      w.varint(e.initialPartitions);
    },
    decode: (r) => ({ group: r.text(), initialPartitions: r.varint() }),
  },
  [STREAM_EVENT.memberJoined]: joined,
  [STREAM_EVENT.memberLeft]: {
    encode: (e, w) => {
      w.text(e.group);
      w.text(e.member);
    },
    decode: (r) => ({ group: r.text(), member: r.text() }),
  },
  [STREAM_EVENT.assigned]: {
    encode: (e, w) => {
      w.text(e.group);
      w.varint(e.partition);
      w.text(e.owner);
      w.varint(e.epoch);
    },
    decode: (r) => ({ group: r.text(), partition: r.varint(), owner: r.text(), epoch: r.varint() }),
  },
  [STREAM_EVENT.revoking]: {
    encode: (e, w) => {
      w.text(e.group);
      w.varint(e.partition);
      w.text(e.target);
    },
    decode: (r) => ({ group: r.text(), partition: r.varint(), target: r.text() }),
  },
  [STREAM_EVENT.cursorGranted]: cursor as Codec<CursorGranted>,
  [STREAM_EVENT.committed]: {
    encode: (e, w) => {
      w.text(e.group);
      w.varint(e.partition);
      w.varint(e.offset);
      w.text(e.metadata);
    },
    decode: (r) => ({ group: r.text(), partition: r.varint(), offset: r.varint(), metadata: r.text() }),
  },
  [STREAM_EVENT.cursorMoved]: cursor as Codec<CursorMoved>,
  [STREAM_EVENT.cleanupSet]: { encode: writeCleanup, decode: readCleanup },
  [STREAM_EVENT.schemaRefSet]: {
    encode: (e, w) => writeSchemaRef(e.schemaRef, w),
    decode: (r) => ({ schemaRef: readSchemaRef(r) }),
  },
  [STREAM_EVENT.consumerGroupsSet]: {
    encode: (e, w) => writeConsumerGroups(e.consumerGroups, w),
    decode: (r) => ({ consumerGroups: readConsumerGroupRows(r) }),
  },
  [STREAM_EVENT.owned]: {
    encode: (e, w) => writeOwnership(e.ownership, w),
    decode: (r) => ({ ownership: readOwnership(r) }),
  },
};

/** Writes the event behind its type byte, which the shard writes. */
export function encodeEvent(event: Event, into: ByteWriter): void {
  const known = event as StreamEvent;
  into.varint(known.no);
  (CODECS[known.type] as Codec<StreamEvent>).encode(known, into);
}

export function decodeEvent(type: number, from: ByteReader): StreamEvent {
  const codec = (CODECS as unknown as Record<number, Codec<StreamEvent> | undefined>)[type];
  assert(codec !== undefined, `event type ${type} is one of the stream view`);
  const no = from.varint();
  return { type, no, ...codec.decode(from) } as StreamEvent;
}
