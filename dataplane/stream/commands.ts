// What the stream view is asked, what it replies, and how replies of mutations are kept for repeats.
import assert from 'node:assert/strict';
import { type BatchHead, type ErrorCode, FlowError } from '@flowmesh/protocol';
import type { Claim, Claimed, Owner } from '../admin/ownership.ts';
import type { ConsumerGroupSpec } from '../scaling/spec.ts';
import type { Refusal, SchemaRef } from '../schema/check.ts';
import { causingMessages } from '../shard/batch-causes.ts';
import type { Caller, Command, MutationId } from '../shard/state-machine.ts';
import { ByteReader, type ByteWriter } from '../storage/bytes.ts';
import type { Cleanup, StartFrom } from './tables.ts';

export const VIEW = 'stream';

interface Base<K extends string> extends Command {
  readonly view: typeof VIEW;
  readonly kind: K;
  readonly stream: string;
}

/** Comes to every shard that holds a partition, to the home shard last: what home knows exists everywhere. */
export interface Declare extends Base<'declare'> {
  readonly uid: number;
  readonly partitions: number;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly createdAtMs: number;
  readonly cleanup: Cleanup;
  readonly minCompactionLagMs: number;
  readonly tombstoneRetentionMs: number;
  readonly schemaRef: SchemaRef | null;
  readonly consumerGroups: readonly ConsumerGroupSpec[];
  /** In whose name; only to home. */
  readonly claim?: Claim | undefined;
}

export interface Delete extends Base<'delete'> {
  /** Only the stream with this uid; 0: whichever has the name now. */
  readonly uid: number;
  /** Only if its partitions on this shard have no records. */
  readonly ifEmpty?: boolean;
  /** Only if this is its owner. */
  readonly owner?: Owner | undefined;
}

/** Before an empty stream is deleted, to the shards that are not its home: no records any more, or again. */
export interface Seal extends Base<'seal'> {
  readonly isSealed: boolean;
}

export interface ReleaseOwner extends Base<'disown'> {
  /** Only if this is its owner; absent: whoever it is. */
  readonly owner?: Owner | undefined;
}

export interface Publish extends Base<'publish'> {
  readonly partition: number;
  /** Validated; the view takes ownership and patches the head. */
  readonly batch: Buffer;
  readonly count: number;
  /** Records that do not match do not keep the others back. */
  readonly isPartial?: boolean;
  /** Where its records were in the request, if they came apart. */
  readonly places?: readonly number[] | undefined;
}

export interface Join extends Base<'join'> {
  readonly group: string;
  readonly member: string;
  readonly client: string;
  readonly startFrom: StartFrom;
}

export interface Leave extends Base<'leave'> {
  readonly group: string;
  readonly member: string;
}

/** The member has stopped handling what it was asked to give up. */
export interface Release extends Base<'release'> {
  readonly group: string;
  readonly member: string;
  readonly partitions: readonly number[];
}

/** First half of a seek, at home: new epochs, so that commits of the old position are refused. */
export interface Reposition extends Base<'reposition'> {
  readonly group: string;
  readonly partitions: readonly number[];
}

export interface GrantItem {
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  /** Where reading starts when nothing is committed; `latest` is pinned. */
  readonly startFrom: StartFrom;
}

/** Tells a partition's shard who may commit; replies where reading starts. */
export interface Grant extends Base<'grant'> {
  readonly group: string;
  readonly items: readonly GrantItem[];
}

export interface MoveItem {
  readonly partition: number;
  readonly owner: string;
  readonly epoch: number;
  /** `latest` is the end when it is decided, not when it was asked. */
  readonly to: number | 'earliest' | 'latest';
}

/** Second half of a seek, on the partition's shard. */
export interface Move extends Base<'move'> {
  readonly group: string;
  readonly items: readonly MoveItem[];
  /** An offset outside of the log is refused; else it is taken to the nearest end. */
  readonly isExact: boolean;
}

export interface OffsetCommit {
  readonly partition: number;
  readonly offset: number;
  readonly epoch: number;
  readonly metadata: string;
}

export interface Commit extends Base<'commit'> {
  readonly group: string;
  readonly member: string;
  readonly offsets: readonly OffsetCommit[];
  /** In transactions one refused offset refuses everything. */
  readonly isAllOrNothing: boolean;
}

export type StreamCommand =
  | Declare
  | Delete
  | Seal
  | ReleaseOwner
  | Publish
  | Join
  | Leave
  | Release
  | Reposition
  | Grant
  | Move
  | Commit;

export interface Published {
  readonly kind: 'published';
  readonly partition: number;
  readonly firstOffset: number;
  /** Of those that were written. */
  readonly count: number;
  readonly appendTimeMs: number;
  /** By index. */
  readonly refused?: readonly Refusal[];
}

export interface CommitFailure {
  readonly code: ErrorCode;
  readonly message: string;
}

export interface CommittedReply {
  readonly kind: 'committed';
  /** One per offset; null: durable. */
  readonly results: readonly (CommitFailure | null)[];
}

export interface CursorPlace {
  readonly partition: number;
  readonly epoch: number;
  /** Where reading starts. */
  readonly offset: number;
}

/** Of Grant and Move. */
export interface Placed {
  readonly kind: 'placed';
  readonly places: readonly CursorPlace[];
}

export interface DeletedReply {
  readonly kind: 'deleted';
  readonly uid: number;
}

export interface ReleasedReply {
  readonly kind: 'released';
  readonly released: boolean;
}

/** Of Declare with a claim. */
export interface ClaimedReply {
  readonly kind: 'claimed';
  readonly claimed: Claimed;
}

/** Epoch of the group. */
export interface GroupReply {
  readonly kind: 'group';
  readonly epoch: number;
}

/** Of Reposition. */
export interface Repositioned {
  readonly kind: 'repositioned';
  readonly items: readonly { readonly partition: number; readonly owner: string; readonly epoch: number }[];
}

/** Of commands whose outcome says all. */
export interface Done {
  readonly kind: 'done';
}

export type StreamReply =
  | Published
  | CommittedReply
  | Placed
  | DeletedReply
  | ReleasedReply
  | ClaimedReply
  | GroupReply
  | Repositioned
  | Done;

export const DONE: Done = { kind: 'done' };

export const publishCommand = (
  caller: Caller,
  to: {
    stream: string;
    partition: number;
    batch: Buffer;
    head: BatchHead;
    isPartial?: boolean;
    places?: number[];
  },
  mutation?: MutationId,
): Publish => ({
  view: VIEW,
  kind: 'publish',
  caller,
  mutation,
  grows: true,
  stream: to.stream,
  partition: to.partition,
  batch: to.batch,
  count: to.head.count,
  isPartial: to.isPartial === true,
  places: to.places,
  causes: causingMessages(to.batch, to.head),
});

export const commitCommand = (
  caller: Caller,
  of: { stream: string; group: string; member: string; offsets: readonly OffsetCommit[] },
  options: { mutation?: MutationId | undefined; isAllOrNothing: boolean },
): Commit => ({
  view: VIEW,
  kind: 'commit',
  caller,
  mutation: options.mutation,
  stream: of.stream,
  group: of.group,
  member: of.member,
  offsets: of.offsets,
  isAllOrNothing: options.isAllOrNothing,
});

// Kept replies: u8 kind, then the fields. Only commands that carry a mutation have one.
// Behind partlyPublished, the refusals: count, then index and message of each.
const REPLY = {
  published: 1,
  committed: 2,
  placed: 3,
  deleted: 4,
  released: 5,
  partlyPublished: 6,
} as const;

export function encodeReply(reply: StreamReply, w: ByteWriter): void {
  if (reply.kind === 'published') {
    const { refused } = reply;
    w.u8(refused === undefined ? REPLY.published : REPLY.partlyPublished);
    w.varint(reply.partition);
    w.varint(reply.firstOffset);
    w.varint(reply.count);
    w.varint(reply.appendTimeMs);
    if (refused === undefined) return;
    w.varint(refused.length);
    for (const { index, message } of refused) {
      w.varint(index);
      w.text(message);
    }
  } else if (reply.kind === 'committed') {
    w.u8(REPLY.committed);
    w.varint(reply.results.length);
    for (const result of reply.results) {
      w.text(result?.code ?? '');
      if (result !== null) w.text(result.message);
    }
  } else if (reply.kind === 'placed') {
    w.u8(REPLY.placed);
    w.varint(reply.places.length);
    for (const place of reply.places) {
      w.varint(place.partition);
      w.varint(place.epoch);
      w.varint(place.offset);
    }
  } else if (reply.kind === 'released') {
    w.u8(REPLY.released);
    w.u8(reply.released ? 1 : 0);
  } else {
    assert(reply.kind === 'deleted', `commands that reply ${reply.kind} carry no mutation`);
    w.u8(REPLY.deleted);
    w.varint(reply.uid);
  }
}

export function decodeReply(bytes: Uint8Array): StreamReply {
  const r = new ByteReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const kind = r.u8();
  if (kind === REPLY.published || kind === REPLY.partlyPublished) {
    const published = {
      kind: 'published',
      partition: r.varint(),
      firstOffset: r.varint(),
      count: r.varint(),
      appendTimeMs: r.varint(),
    } as const;
    if (kind === REPLY.published) return published;
    const refusal = () => ({ index: r.varint(), message: r.text() });
    return { ...published, refused: Array.from({ length: r.varint() }, refusal) };
  }
  if (kind === REPLY.committed) {
    const results = Array.from({ length: r.varint() }, () => {
      const code = r.text();
      return code === '' ? null : { code: code as ErrorCode, message: r.text() };
    });
    return { kind: 'committed', results };
  }
  if (kind === REPLY.placed) {
    const place = () => ({ partition: r.varint(), epoch: r.varint(), offset: r.varint() });
    return { kind: 'placed', places: Array.from({ length: r.varint() }, place) };
  }
  if (kind === REPLY.released) return { kind: 'released', released: r.u8() === 1 };
  if (kind === REPLY.deleted) return { kind: 'deleted', uid: r.varint() };
  throw new FlowError('DATA_DAMAGED', `a stored stream reply has the unknown kind ${kind}`);
}
