// Builders and collectors for tests of the stream service.
import { decodeBatch, encodeBatch, type FlowError, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ConsumeSession, FollowSession } from '../../dataplane/services.ts';
import type { Streams } from '../../dataplane/stream/service.ts';
import { caller } from './fake.ts';

export const batchOf = (...values: string[]): Buffer =>
  encodeBatch(values.map((value) => ({ value: Buffer.from(value), contentType: 'text/plain' })));

export const aRecord = (value: string, more: Partial<pb.NewRecord> = {}): pb.NewRecord => ({
  key: Buffer.alloc(0),
  value: Buffer.from(value),
  contentType: 'text/plain',
  headers: {},
  envelope: null,
  timeMs: 0,
  partition: null,
  tombstone: false,
  ...more,
});

export const aSpec = (
  name: string,
  partitions: number,
  more: Partial<pb.StreamSpec> = {},
): pb.StreamSpec => ({
  name,
  partitions,
  retentionMs: 0,
  retentionBytes: 0,
  cleanup: '',
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
  schemaRef: null,
  consumerGroups: [],
  mutation: null,
  ...more,
});

export const aHello = (member: string, more: Partial<pb.ConsumeHello> = {}): pb.ConsumeHello => ({
  stream: 's',
  group: 'g',
  memberId: member,
  creditBytes: 1024 * 1024,
  startFrom: '',
  client: '',
  ...more,
});

export function publishBatch(
  streams: Streams,
  stream: string,
  partition: number,
  batch: Buffer,
  mutation: pb.Mutation | null = null,
  afterSeq = 0,
): Promise<pb.PublishBatchReplyInput> {
  // A connection of its own: on a shared one a reply waits for those of earlier requests.
  const own = { ...caller };
  return new Promise((resolve) => {
    streams.service.publishBatch(
      own,
      { stream, partition, batch, mutation, afterSeq, partial: false },
      resolve,
    );
  });
}

export const readFrom = (streams: Streams, stream: string, partition: number, offset: number, max = 0) =>
  streams.service.read(caller, { stream, partition, offset, timestampMs: null, max, from: 'offset' });

export const valuesOf = (response: pb.ReadResponseInput): string[] =>
  (response.records ?? []).map(({ value }) => Buffer.from(value ?? []).toString());

/** Records of a chunk from `offset` on, as [offset, value]. */
export function recordsOf(chunk: pb.RecordChunkInput, offset = 0): [number, string][] {
  const bytes = chunk.batches as Buffer;
  const records: [number, string][] = [];
  for (let at = 0; at < bytes.length; at += readHead(bytes, at, 'all').length) {
    for (const record of decodeBatch(bytes, at)) {
      if (record.offset >= offset) records.push([record.offset, Buffer.from(record.value ?? []).toString()]);
    }
  }
  return records;
}

/** A follower that keeps what it is sent. */
export class Follower {
  readonly chunks: pb.RecordChunkInput[] = [];
  error: FlowError | null = null;
  accepts = true;
  session!: FollowSession;

  static async open(streams: Streams, stream: string, partition: number, offset: number, accepts = true) {
    const follower = new Follower();
    follower.accepts = accepts;
    const send = (chunk: pb.RecordChunkInput) => {
      follower.chunks.push(chunk);
      return follower.accepts;
    };
    const fail = (error: FlowError) => {
      follower.error = error;
    };
    follower.session = await streams.service.openFollow(caller, { stream, partition, offset }, send, fail);
    return follower;
  }

  get values(): string[] {
    return this.chunks.flatMap((chunk) => recordsOf(chunk).map(([, value]) => value));
  }
}

/** A member that keeps what it is sent; it answers nothing by itself. */
export class Member {
  readonly id: string;
  readonly messages: pb.ConsumeResponseInput[] = [];
  error: FlowError | null = null;
  session!: ConsumeSession;
  /** As last assigned. */
  assigned = new Map<number, { epoch: number; offset: number }>();
  revoking: number[] = [];
  /** What came under the current epoch of each partition, from where it starts. */
  readonly records = new Map<number, [number, string][]>();
  readonly #committed = new Map<number, pb.ErrorInput[]>();
  #seq = 0;

  constructor(id: string) {
    this.id = id;
  }

  static async join(streams: Streams, id: string, more: Partial<pb.ConsumeHello> = {}): Promise<Member> {
    const member = new Member(id);
    const fail = (error: FlowError) => {
      member.error = error;
    };
    const send = (message: pb.ConsumeResponseInput) => member.#take(message);
    member.session = await streams.service.openConsume(caller, aHello(id, more), send, fail);
    return member;
  }

  get partitions(): number[] {
    return [...this.assigned.keys()].sort((a, b) => a - b);
  }

  /** One past the last record that came, or where the partition starts. */
  next(partition: number): number {
    const last = this.records.get(partition)?.at(-1);
    return last === undefined ? (this.assigned.get(partition)?.offset ?? 0) : last[0] + 1;
  }

  values(partition: number): string[] {
    return (this.records.get(partition) ?? []).map(([, value]) => value);
  }

  tell(message: Partial<pb.ConsumeRequest> & { message: string }): void {
    this.session.receive(message as unknown as pb.ConsumeRequest);
  }

  heartbeat(): void {
    this.tell({ message: 'heartbeat', heartbeat: {} });
  }

  revoked(partitions = this.revoking): void {
    this.tell({ message: 'revoked', revoked: { partitions: [...partitions] } });
  }

  leave(): void {
    this.tell({ message: 'leave', leave: {} });
  }

  /** Seq of the commit; its results come later. */
  commit(
    partition: number,
    offset: number,
    epoch = this.assigned.get(partition)?.epoch ?? 0,
    metadata = '',
  ): number {
    const seq = ++this.#seq;
    const commit = { seq, offsets: [{ partition, offset, epoch, metadata }], mutation: null };
    this.tell({ message: 'commit', commit });
    return seq;
  }

  results(seq: number): pb.ErrorInput[] | undefined {
    return this.#committed.get(seq);
  }

  #take(message: pb.ConsumeResponseInput): boolean {
    this.messages.push(message);
    const { assignment, chunk, committed } = message;
    if (assignment) {
      const before = this.assigned;
      this.assigned = new Map();
      for (const { partition = 0, epoch = 0, offset = 0 } of assignment.partitions ?? []) {
        const p = partition ?? 0;
        this.assigned.set(p, { epoch: epoch ?? 0, offset: offset ?? 0 });
        if (before.get(p)?.epoch !== epoch) this.records.set(p, []);
      }
      this.revoking = [...(assignment.revoking ?? [])];
    }
    if (chunk) {
      const partition = chunk.partition ?? 0;
      if (!this.assigned.has(partition))
        throw new Error(`a chunk of partition ${partition}, which is not assigned`);
      const records = this.records.get(partition) ?? [];
      records.push(...recordsOf(chunk, this.next(partition)));
    }
    if (committed) this.#committed.set(committed.seq ?? 0, [...(committed.results ?? [])]);
    return true;
  }
}
