// Decisions about streams as a whole and their partitions: declare, delete, publish, and what time does to
// them.
import { FlowError, patchHead, readEntries, readHead } from '@flowmesh/protocol';
import { changesBetween } from '../admin/changes.ts';
import { type Claim, type Claimed, checkOwner, decideClaim } from '../admin/ownership.ts';
import type { ConsumerGroupSpec } from '../scaling/spec.ts';
import { type Refusal, type SchemaRef, type Schemas, violationOf } from '../schema/check.ts';
import type { Emit, Moment } from '../shard/state-machine.ts';
import { readEntry } from '../storage/compacted-batch.ts';
import type { PartitionCell, StreamCell } from './cells.ts';
import type {
  ClaimedReply,
  Declare,
  Delete,
  DeletedReply,
  Done,
  Publish,
  Published,
  ReleasedReply,
  ReleaseOwner,
  Seal,
} from './commands.ts';
import { DONE } from './commands.ts';
import {
  type Appended,
  type CleanupSet,
  type Declared,
  type Deleted,
  type ConsumerGroupsSet as GroupsSet,
  type Owned,
  type SchemaRefSet,
  STREAM_EVENT,
  type Swept,
  type Trimmed,
} from './events.ts';
import { placementOf, shardOfPartition } from './placement.ts';
import type { StreamState } from './state.ts';
import { NO_COMPACTION, type StreamRow } from './tables.ts';

const SOON = { retryAfterMs: 100 };
/** Rows that one event of a sweep takes. */
const SWEEP_ROWS_MAX = 256;

export const streamNotFound = (name: string) =>
  new FlowError('STREAM_NOT_FOUND', `there is no stream ${name}; declare it first`);

export function partitionNotFound(stream: StreamCell, partition: number): FlowError {
  const { name, partitions } = stream.cell.value;
  return new FlowError(
    'INVALID_ARGUMENT',
    `stream ${name} has partitions 0 to ${partitions - 1}, not ${partition}`,
  );
}

export function needStream(
  state: StreamState,
  command: { caller: { tenant: number }; stream: string },
): StreamCell {
  const stream = state.find(command.caller.tenant, command.stream);
  if (stream === undefined) throw streamNotFound(command.stream);
  return stream;
}

export function needPartition(stream: StreamCell, partition: number): PartitionCell {
  const cell = stream.partitions.get(partition);
  if (cell === undefined) throw partitionNotFound(stream, partition);
  return cell;
}

export function decidePublish(
  state: StreamState,
  schemas: Schemas,
  command: Publish,
  at: Moment,
  emit: Emit,
): Published {
  const stream = needStream(state, command);
  const { log, isSealed } = needPartition(stream, command.partition);
  if (isSealed) throw new FlowError('UNAVAILABLE', `stream ${command.stream} is being deleted`, SOON);
  const { cleanup, schemaRef } = stream.cell.value;
  if (cleanup !== 'delete') checkKeys(stream, command.batch);
  const { partition } = command;
  const written: Written =
    schemaRef === null
      ? { batch: command.batch, count: command.count }
      : checkedValues(schemas, stream.tenant, schemaRef, command);
  const { batch, count } = written;
  const firstOffset = log.endOffset;
  if (count > 0) {
    patchHead(batch, firstOffset, at.nowMs);
    const event: Appended = { type: STREAM_EVENT.appended, no: stream.no, partition, batch };
    emit(event);
  }
  const reply = { kind: 'published', partition, firstOffset, count, appendTimeMs: at.nowMs } as const;
  return written.refused === undefined ? reply : { ...reply, refused: written.refused };
}

interface Written {
  readonly batch: Buffer;
  readonly count: number;
  readonly refused?: readonly Refusal[];
}

/** What matches, with its version. */
function checkedValues(schemas: Schemas, tenant: number, ref: SchemaRef, command: Publish): Written {
  const { batch, head, refused } = schemas.check(tenant, ref, command.batch, readHead(command.batch));
  if (refused.length === 0) return { batch, count: head.count };
  if (!command.isPartial) throw violationOf('record', inRequest(command, refused));
  return { batch, count: head.count, refused };
}

/** A request of records is taken apart by partition. */
export const inRequest = ({ places }: Publish, refused: readonly Refusal[]): Refusal[] =>
  refused.map(({ index, message }) => ({ index: places?.[index] ?? index, message }));

/** What has no key could never be cleaned. */
function checkKeys(stream: StreamCell, batch: Buffer): void {
  for (const [i, span] of readEntries(batch).entries()) {
    if (readEntry(batch, span).key !== null) continue;
    const { name, cleanup } = stream.cell.value;
    throw new FlowError(
      'KEY_REQUIRED',
      `record ${i} has no key; stream ${name} is cleaned by key (${cleanup})`,
    );
  }
}

export interface Place {
  readonly shard: number;
  readonly shards: number;
}

export function decideDeclare(
  state: StreamState,
  command: Declare,
  place: Place,
  emit: Emit,
): Done | ClaimedReply {
  const { stream: name, uid, retentionMs, retentionBytes, createdAtMs } = command;
  const placement = placementOf(name, place.shards);
  let stream = state.find(command.caller.tenant, name);
  if (stream !== undefined && stream.cell.value.uid !== uid) {
    // Left over from a deletion that did not reach this shard; home has forgotten that stream already.
    emit({ type: STREAM_EVENT.deleted, no: stream.no } as Deleted);
    stream = undefined;
  }
  const known = stream?.cell.value;
  // Another shard may know more partitions than home, from a growth that did not get that far: home is right,
  // and nobody has reached them.
  const isHome = placement.home === place.shard;
  const partitions = isHome ? command.partitions : Math.max(command.partitions, known?.partitions ?? 0);
  if (known !== undefined && partitions < known.partitions) {
    throw new FlowError(
      'IMMUTABLE',
      `stream ${name} has ${known.partitions} partitions: their number can grow, not shrink to ${partitions}`,
    );
  }
  const isSameCleanup = sameCleanup(known ?? NO_COMPACTION, command);
  const isSameRef = sameRef(known?.schemaRef ?? null, command.schemaRef);
  const isSameGroups = sameGroups(known?.consumerGroups ?? [], command.consumerGroups);
  const isSame =
    known?.partitions === partitions &&
    known.retentionMs === retentionMs &&
    known.retentionBytes === retentionBytes &&
    isSameCleanup &&
    isSameGroups &&
    isSameRef;
  const claimed = command.claim && claimOf(known, command, command.claim);
  const reply = claimed === undefined ? DONE : ({ kind: 'claimed', claimed } as const);
  const own = () => {
    const ownership = claimed?.ownership ?? null;
    if (ownership !== null) emit({ type: STREAM_EVENT.owned, no, ownership } as Owned);
  };
  const no = stream?.no ?? state.nextNumbers().nextStream;
  if (isSame) {
    own();
    return reply;
  }
  const { tenant } = command.caller;
  const type = STREAM_EVENT.declared;
  emit({ type, no, tenant, name, uid, partitions, retentionMs, retentionBytes, createdAtMs } as Declared);
  if (!isSameCleanup) {
    const { cleanup, minCompactionLagMs, tombstoneRetentionMs } = command;
    const set = { type: STREAM_EVENT.cleanupSet, no, cleanup, minCompactionLagMs, tombstoneRetentionMs };
    emit(set as CleanupSet);
  }
  if (!isSameRef) emit({ type: STREAM_EVENT.schemaRefSet, no, schemaRef: command.schemaRef } as SchemaRefSet);
  if (!isSameGroups)
    emit({ type: STREAM_EVENT.consumerGroupsSet, no, consumerGroups: command.consumerGroups } as GroupsSet);
  for (let partition = known?.partitions ?? 0; partition < partitions; partition++) {
    if (shardOfPartition(placement, partition, place.shards) !== place.shard) continue;
    emit({ type: STREAM_EVENT.partitionOpened, no, partition, logId: state.nextNumbers().nextLog } as never);
  }
  own();
  return reply;
}

/** What a declaration in the name of an owner comes to. Throws if it is refused. */
export function claimOf(known: StreamRow | undefined, command: Terms, claim: Claim): Claimed {
  const what = `stream ${command.stream}`;
  if (known === undefined) return decideClaim(what, undefined, claim);
  const changes = changesBetween(termsOf(known), termsOf(command));
  return decideClaim(what, { ownership: known.ownership, changes }, claim);
}

type Terms = Omit<Declare, 'view' | 'kind' | 'caller' | 'uid' | 'createdAtMs'>;

const termsOf = (of: Omit<Terms, 'stream'>) => ({
  partitions: of.partitions,
  retentionMs: of.retentionMs,
  retentionBytes: of.retentionBytes,
  cleanup: of.cleanup,
  minCompactionLagMs: of.minCompactionLagMs,
  tombstoneRetentionMs: of.tombstoneRetentionMs,
  schemaRef: of.schemaRef ?? {},
  consumerGroups: of.consumerGroups,
});

type CleanupTerms = Pick<Declare, 'cleanup' | 'minCompactionLagMs' | 'tombstoneRetentionMs'>;

const sameCleanup = (a: CleanupTerms, b: CleanupTerms): boolean =>
  a.cleanup === b.cleanup &&
  a.minCompactionLagMs === b.minCompactionLagMs &&
  a.tombstoneRetentionMs === b.tombstoneRetentionMs;

const sameRef = (a: SchemaRef | null, b: SchemaRef | null): boolean =>
  a?.name === b?.name && a?.version === b?.version;

const sameGroups = (a: readonly ConsumerGroupSpec[], b: readonly ConsumerGroupSpec[]): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

export function decideDelete(state: StreamState, command: Delete, emit: Emit): DeletedReply {
  const stream = needStream(state, command);
  const { uid } = stream.cell.value;
  if (command.uid !== 0 && command.uid !== uid) throw streamNotFound(command.stream);
  const { ownership } = stream.cell.value;
  if (command.owner !== undefined) checkOwner(`stream ${command.stream}`, ownership, command.owner);
  if (command.ifEmpty) checkEmpty(stream);
  emit({ type: STREAM_EVENT.deleted, no: stream.no } as Deleted);
  return { kind: 'deleted', uid };
}

function checkEmpty(stream: StreamCell): void {
  for (const { partition, log } of stream.partitions.values()) {
    if (log.startOffset === log.endOffset) continue;
    const records = log.endOffset - log.startOffset;
    const { name } = stream.cell.value;
    throw new FlowError('NOT_EMPTY', `partition ${partition} of stream ${name} holds ${records} records`);
  }
}

/** No event: what a crash takes back is no deletion either. */
export function decideSeal(state: StreamState, { caller, stream: name, isSealed }: Seal): Done {
  const stream = state.find(caller.tenant, name);
  if (stream === undefined) return DONE;
  if (isSealed) checkEmpty(stream);
  for (const partition of stream.partitions.values()) partition.isSealed = isSealed;
  return DONE;
}

export function decideDisown(state: StreamState, command: ReleaseOwner, emit: Emit): ReleasedReply {
  const { no, cell } = needStream(state, command);
  const { ownership } = cell.value;
  if (ownership === null) return { kind: 'released', released: false };
  if (command.owner !== undefined) checkOwner(`stream ${command.stream}`, ownership, command.owner);
  emit({ type: STREAM_EVENT.owned, no, ownership: null } as Owned);
  return { kind: 'released', released: true };
}

/** Retention: whole segments that are too old or too many. */
export function trim(partition: PartitionCell, at: Moment, emit: Emit): void {
  const { retentionMs, retentionBytes, cleanup } = partition.stream.cell.value;
  if (cleanup === 'compact') return;
  const { log } = partition;
  const limits = { olderThanMs: at.nowMs - retentionMs };
  const offset = log.expiredOffset(retentionBytes === 0 ? limits : { ...limits, bytesMax: retentionBytes });
  if (offset <= Math.max(log.startOffset, partition.trimmedTo)) return;
  const { no } = partition.stream;
  emit({ type: STREAM_EVENT.trimmed, no, partition: partition.partition, offset } as Trimmed);
}

/** One slice of what a deleted stream leaves behind. */
export function sweep(stream: StreamCell, emit: Emit): void {
  const keys: string[] = [];
  for (const key of stream.cells.keys()) if (keys.push(key) >= SWEEP_ROWS_MAX) break;
  emit({ type: STREAM_EVENT.swept, no: stream.no, keys } as Swept);
}
