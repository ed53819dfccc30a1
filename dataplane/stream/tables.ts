// Rows of the stream view. Tables 80-111; ids and layouts never change their meaning, new fields go to the
// end.
//
//   counters    tenant 0, one row a shard          what numbers come next; survives deletions, so no number
//   is used twice tenants     tenant 0, one row a tenant         whose rows to load at start stream      no
//                                 declaration; on every shard that holds a partition, and at home partition
//   no, partition                      which log holds it cursor      no, partition, group
//   committed offset and who may commit; on the partition's shard group       no, group
//      membership epoch; at home member      no, group, member                  at home assignment  no,
//   group, partition               owner, epoch and where it is going; at home
import { type Ownership, readOwnership, writeOwnership } from '../admin/ownership.ts';
import { type ConsumerGroupSpec, readConsumerGroupRows, writeConsumerGroups } from '../scaling/spec.ts';
import type { SchemaRef } from '../schema/check.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Table } from '../storage/contract.ts';
import { fromByteString, part, readPart, readU32be, textToByteString, u32be } from '../storage/keys.ts';

/** Rows that belong to the shard and not to a tenant. */
export const SYSTEM_TENANT = 0;

export interface CountersRow {
  readonly nextStream: number;
  readonly nextLog: number;
  /** Journal position of the last deletion of a stream. */
  readonly deletedAt: number;
}

export interface StreamRow {
  readonly name: string;
  /** The same on all shards; another stream of the same name has another one. */
  readonly uid: number;
  readonly partitions: number;
  readonly retentionMs: number;
  /** Per partition; 0: no limit. */
  readonly retentionBytes: number;
  readonly createdAtMs: number;
  /** Its rows are being swept; nobody finds it any more. */
  readonly isDeleted: boolean;
  readonly cleanup: Cleanup;
  readonly minCompactionLagMs: number;
  readonly tombstoneRetentionMs: number;
  /** What values must match; null: they are whatever they are. */
  readonly schemaRef: SchemaRef | null;
  /** Those about which something is declared. */
  readonly consumerGroups: readonly ConsumerGroupSpec[];
  /** Who declares it; only at home. Null: whoever may. */
  readonly ownership: Ownership | null;
  /** Journal positions of the first declaration, and of the last change that people see. */
  readonly bornAt: number;
  readonly changedAt: number;
}

/** What happens to records in time: see StreamSpec. The place in the list is what is stored. */
export const CLEANUPS = ['delete', 'compact', 'both'] as const;
export type Cleanup = (typeof CLEANUPS)[number];

/** As rows of before there was a choice. */
export const NO_COMPACTION = { cleanup: 'delete', minCompactionLagMs: 0, tombstoneRetentionMs: 0 } as const;

interface CleanupFields {
  readonly cleanup: Cleanup;
  readonly minCompactionLagMs: number;
  readonly tombstoneRetentionMs: number;
}

export function writeCleanup(v: CleanupFields, w: ByteWriter): void {
  w.u8(CLEANUPS.indexOf(v.cleanup));
  w.varint(v.minCompactionLagMs);
  w.varint(v.tombstoneRetentionMs);
}

export const readCleanup = (r: ByteReader): CleanupFields => ({
  cleanup: CLEANUPS[r.u8()] ?? 'delete',
  minCompactionLagMs: r.varint(),
  tombstoneRetentionMs: r.varint(),
});

/** Bytes: name (empty: none), version. */
export function writeSchemaRef(ref: SchemaRef | null, w: ByteWriter): void {
  w.text(ref?.name ?? '');
  w.varint(ref?.version ?? 0);
}

export function readSchemaRef(r: ByteReader): SchemaRef | null {
  const ref = { name: r.text(), version: r.varint() };
  return ref.name === '' ? null : ref;
}

export interface PartitionRow {
  readonly logId: number;
}

export interface CursorRow {
  /** Next offset to read; -1: nothing is committed. */
  readonly offset: number;
  /** Member that may commit; empty: nobody. */
  readonly owner: string;
  readonly epoch: number;
  readonly metadata: string;
  /** When the offset was committed, sought or pinned; 0: never, or before this was noted. */
  readonly committedAtMs: number;
}

export interface GroupRow {
  /** Grows with each change of the membership. */
  readonly epoch: number;
  readonly createdAtMs: number;
  /**
   * Partitions when the group was made: `latest` is only for these, later ones are read from their beginning.
   */
  readonly initialPartitions: number;
  /** When the last member left; 0: it has members, or it was before this was noted. */
  readonly emptySinceMs: number;
}

export type StartFrom = 'earliest' | 'latest';

export interface MemberRow {
  readonly client: string;
  readonly startFrom: StartFrom;
  /** Epoch of the group when it joined. */
  readonly epoch: number;
}

export interface AssignmentRow {
  /** Empty: nobody. */
  readonly owner: string;
  /** Grows with each assignment of the partition and each seek; a commit must carry the newest. */
  readonly epoch: number;
  /** The owner was asked to stop, and the partition goes to this member then; null: it stays. */
  readonly target: string | null;
}

const table = <V>(
  id: number,
  name: string,
  encode: (v: V, w: ByteWriter) => void,
  decode: (r: ByteReader) => V,
): Table<V> => ({ id, name, encode, decode });

const writeFlag = (w: ByteWriter, flag: boolean) => w.u8(flag ? 1 : 0);

export const COUNTERS = table<CountersRow>(
  80,
  'stream-counters',
  (v, w) => {
    w.varint(v.nextStream);
    w.varint(v.nextLog);
    w.varint(v.deletedAt);
  },
  (r) => ({ nextStream: r.varint(), nextLog: r.varint(), deletedAt: r.done ? 0 : r.varint() }),
);

export const TENANTS = table<true>(
  81,
  'stream-tenants',
  () => {},
  () => true,
);

export const STREAMS = table<StreamRow>(
  82,
  'stream',
  (v, w) => {
    w.text(v.name);
    w.varint(v.uid);
    w.varint(v.partitions);
    w.varint(v.retentionMs);
    w.varint(v.retentionBytes);
    w.varint(v.createdAtMs);
    writeFlag(w, v.isDeleted);
    writeCleanup(v, w);
    writeOwnership(v.ownership, w);
    w.varint(v.bornAt);
    w.varint(v.changedAt);
    writeSchemaRef(v.schemaRef, w);
    writeConsumerGroups(v.consumerGroups, w);
  },
  (r) => ({
    name: r.text(),
    uid: r.varint(),
    partitions: r.varint(),
    retentionMs: r.varint(),
    retentionBytes: r.varint(),
    createdAtMs: r.varint(),
    isDeleted: r.u8() === 1,
    ...(r.done ? NO_COMPACTION : readCleanup(r)),
    ownership: r.done ? null : readOwnership(r),
    bornAt: r.done ? 0 : r.varint(),
    changedAt: r.done ? 0 : r.varint(),
    schemaRef: r.done ? null : readSchemaRef(r),
    consumerGroups: r.done ? [] : readConsumerGroupRows(r),
  }),
);

export const PARTITIONS = table<PartitionRow>(
  83,
  'stream-partition',
  (v, w) => w.varint(v.logId),
  (r) => ({ logId: r.varint() }),
);

export const CURSORS = table<CursorRow>(
  84,
  'stream-cursor',
  (v, w) => {
    w.varint(v.offset + 1);
    w.text(v.owner);
    w.varint(v.epoch);
    w.text(v.metadata);
    w.varint(v.committedAtMs);
  },
  (r) => ({
    offset: r.varint() - 1,
    owner: r.text(),
    epoch: r.varint(),
    metadata: r.text(),
    committedAtMs: r.done ? 0 : r.varint(),
  }),
);

export const GROUPS = table<GroupRow>(
  85,
  'stream-group',
  (v, w) => {
    w.varint(v.epoch);
    w.varint(v.createdAtMs);
    w.varint(v.initialPartitions);
    w.varint(v.emptySinceMs);
  },
  (r) => ({
    epoch: r.varint(),
    createdAtMs: r.varint(),
    initialPartitions: r.varint(),
    emptySinceMs: r.done ? 0 : r.varint(),
  }),
);

export const MEMBERS = table<MemberRow>(
  86,
  'stream-member',
  (v, w) => {
    w.text(v.client);
    writeFlag(w, v.startFrom === 'latest');
    w.varint(v.epoch);
  },
  (r) => ({ client: r.text(), startFrom: r.u8() === 1 ? 'latest' : 'earliest', epoch: r.varint() }),
);

export const ASSIGNMENTS = table<AssignmentRow>(
  87,
  'stream-assignment',
  (v, w) => {
    w.text(v.owner);
    w.varint(v.epoch);
    writeFlag(w, v.target !== null);
    if (v.target !== null) w.text(v.target);
  },
  (r) => ({ owner: r.text(), epoch: r.varint(), target: r.u8() === 1 ? r.text() : null }),
);

/** What all keys of a tenant's table start with. */
export const tablePrefix = (tenant: number, of: { readonly id: number }): string =>
  u32be(tenant) + String.fromCharCode(of.id);

const textPart = (text: string) => part(textToByteString(text));

export const countersKey = () => tablePrefix(SYSTEM_TENANT, COUNTERS);
export const tenantKey = (tenant: number) => tablePrefix(SYSTEM_TENANT, TENANTS) + u32be(tenant);
export const streamKey = (tenant: number, no: number) => tablePrefix(tenant, STREAMS) + u32be(no);
export const partitionKey = (tenant: number, no: number, partition: number) =>
  tablePrefix(tenant, PARTITIONS) + u32be(no) + u32be(partition);
export const cursorKey = (tenant: number, no: number, partition: number, group: string) =>
  tablePrefix(tenant, CURSORS) + u32be(no) + u32be(partition) + textPart(group);
export const groupKey = (tenant: number, no: number, group: string) =>
  tablePrefix(tenant, GROUPS) + u32be(no) + textPart(group);
export const memberKey = (tenant: number, no: number, group: string, member: string) =>
  tablePrefix(tenant, MEMBERS) + u32be(no) + textPart(group) + textPart(member);
export const assignmentKey = (tenant: number, no: number, group: string, partition: number) =>
  tablePrefix(tenant, ASSIGNMENTS) + u32be(no) + textPart(group) + u32be(partition);

/** Where the parts of a key begin: behind tenant and table. */
const PARTS_AT = 5;

export const readTenant = (key: string) => readU32be(key, PARTS_AT);
export const readNo = (key: string) => readU32be(key, PARTS_AT);
/** The number behind the stream's. */
export const readPartition = (key: string) => readU32be(key, PARTS_AT + 4);
export const readCursorGroup = (key: string) => readText(key, PARTS_AT + 8).text;

export const readU32 = readU32be;

/** Group, and where the next part begins. */
export const readGroup = (key: string) => readText(key, PARTS_AT + 4);

export function readText(key: string, at: number): { text: string; next: number } {
  const { bytes, next } = readPart(key, at);
  return { text: fromByteString(bytes).toString('utf8'), next };
}
