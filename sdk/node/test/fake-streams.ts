// Streams and consumer groups of the fake server.
import { decodeBatch, FlowError, patchHead, validateBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type grpc from '@grpc/grpc-js';

type ConsumeCall = grpc.ServerDuplexStream<pb.ConsumeRequest, pb.ConsumeResponseInput>;

interface Partition {
  batches: Buffer[];
  firstOffsets: number[];
  end: number;
}

interface Member {
  id: string;
  call: ConsumeCall | undefined;
  credit: number;
}

interface Owned {
  owner: string;
  target: string;
  epoch: number;
  committed: number;
  /** Where sending goes on. */
  sent: number;
}

interface Group {
  stream: string;
  members: Map<string, Member>;
  partitions: Owned[];
}

export class FakeStreams {
  readonly byName = new Map<string, Partition[]>();
  readonly groups = new Map<string, Group>();
  readonly commits: pb.CommitOffset[] = [];
  /** The answer to every commit, instead of taking it. */
  refuseCommits: pb.ErrorInput | undefined;
  revoked: number[] = [];
  left: string[] = [];
  partitionsOfNew = 0;
  /** What came by unary calls. */
  readonly published: { stream: string; record: pb.NewRecord }[] = [];

  create(name: string, partitions: number): void {
    const make = () => ({ batches: [], firstOffsets: [], end: 0 });
    this.byName.set(name, Array.from({ length: partitions }, make));
  }

  close(): void {}

  admin() {
    return {
      getStream: ({ name }: pb.GetStreamRequest) => {
        const partitions = this.byName.get(name);
        if (partitions === undefined) throw new FlowError('STREAM_NOT_FOUND', `no stream ${name}`);
        return { spec: { name, partitions: partitions.length } };
      },
      getCluster: () => ({ version: 'fake' }),
      applyQueue: (spec: pb.QueueSpec) => ({ spec }),
    };
  }

  handlers() {
    return {
      publish: ({ stream, records }: pb.PublishRequest) => {
        if (this.partitionsOfNew === 0) throw new FlowError('STREAM_NOT_FOUND', `no stream ${stream}`);
        if (!this.byName.has(stream)) this.create(stream, this.partitionsOfNew);
        for (const record of records) this.published.push({ stream, record });
        return { offsets: records.map(() => ({ partition: 0, offset: 0 })) };
      },
    };
  }

  /** Numbers of a partition, in order. */
  values(stream: string, partition: number): number[] {
    const batches = this.byName.get(stream)?.[partition]?.batches ?? [];
    return batches.flatMap((bytes) =>
      decodeBatch(bytes).map(({ value }) => Number(Buffer.from(value ?? []).toString())),
    );
  }

  publish({ stream, partition, batch, mutation }: pb.PublishBatch): pb.PublishBatchReplyInput {
    const log = this.byName.get(stream)?.[partition];
    if (log === undefined) throw new Error(`no ${stream}/${partition}`);
    const bytes = Buffer.from(batch);
    const { count } = validateBatch(bytes);
    patchHead(bytes, log.end, 1000 + log.end);
    const firstOffset = log.end;
    log.batches.push(bytes);
    log.firstOffsets.push(firstOffset);
    log.end += count;
    for (const group of this.groups.values()) if (group.stream === stream) this.#feed(group);
    return { seq: mutation?.seq, firstOffset, count };
  }

  follow(call: grpc.ServerWritableStream<pb.FollowRequest, pb.RecordChunkInput>): void {
    const { stream, partition, offset } = call.request;
    const log = this.byName.get(stream)?.[partition];
    if (log === undefined) return void call.end();
    for (const chunk of chunksOf(log, partition, offset)) call.write(chunk);
  }

  consume(call: ConsumeCall): void {
    let group: Group | undefined;
    let member: Member | undefined;
    call.on('error', () => {});
    call.on('cancelled', () => {
      if (member?.call === call) member.call = undefined;
    });
    call.on('end', () => call.end());
    call.on('data', (message: pb.ConsumeRequest) => {
      if (message.hello !== null) {
        group = this.#group(message.hello);
        member = { id: message.hello.memberId, call, credit: message.hello.creditBytes };
        group.members.set(member.id, member);
        for (const owned of group.partitions) if (owned.owner === member.id) owned.sent = owned.committed;
        call.write({ welcome: { memberId: member.id, memberEpoch: 1, heartbeatMs: 50 } });
        this.#rebalance(group);
        this.#assign(group);
        this.#feed(group);
        return;
      }
      if (group === undefined || member === undefined) return;
      if (message.commit !== null) this.#commit(group, member, message.commit);
      else if (message.revoked !== null) this.#onRevoked(group, member, message.revoked.partitions);
      else if (message.leave !== null) this.#leave(group, member);
      else member.credit += message.creditBytes ?? 0;
      this.#feed(group);
    });
  }

  #group(hello: pb.ConsumeHello): Group {
    const key = `${hello.stream}/${hello.group}`;
    let group = this.groups.get(key);
    if (group === undefined) {
      const partitions = (this.byName.get(hello.stream) ?? []).map(() => ({
        owner: '',
        target: '',
        epoch: 0,
        committed: 0,
        sent: 0,
      }));
      group = { stream: hello.stream, members: new Map(), partitions };
      this.groups.set(key, group);
    }
    return group;
  }

  #rebalance({ members, partitions }: Group): void {
    const ids = [...members.keys()].sort();
    partitions.forEach((owned, p) => {
      owned.target = ids[p % ids.length] ?? '';
      if (members.has(owned.owner) && owned.owner !== owned.target) return;
      if (owned.owner !== owned.target) this.#give(owned);
    });
  }

  #give(owned: Owned): void {
    owned.owner = owned.target;
    owned.epoch++;
    owned.sent = owned.committed;
  }

  #assign({ members, partitions }: Group): void {
    for (const member of members.values()) {
      const own = partitions.flatMap((owned, partition) =>
        owned.owner === member.id ? [{ partition, epoch: owned.epoch, offset: owned.committed }] : [],
      );
      const revoking = own
        .filter(({ partition }) => partitions[partition]?.target !== member.id)
        .map((p) => p.partition);
      const kept = own.filter(({ partition }) => !revoking.includes(partition));
      member.call?.write({ assignment: { memberEpoch: 1, partitions: kept, revoking } });
    }
  }

  #commit(group: Group, member: Member, { seq, offsets }: pb.ConsumeCommit): void {
    const results = offsets.map((commit) => {
      if (this.refuseCommits !== undefined) return this.refuseCommits;
      const owned = group.partitions[commit.partition];
      if (owned?.owner !== member.id || owned.epoch !== commit.epoch) return { code: 'MEMBER_FENCED' };
      owned.committed = commit.offset;
      this.commits.push(commit);
      return {};
    });
    member.call?.write({ committed: { seq, results } });
  }

  #onRevoked(group: Group, member: Member, partitions: number[]): void {
    for (const partition of partitions) {
      const owned = group.partitions[partition];
      if (owned?.owner !== member.id || owned.target === member.id) continue;
      this.revoked.push(partition);
      this.#give(owned);
    }
    this.#assign(group);
  }

  #leave(group: Group, member: Member): void {
    this.left.push(member.id);
    group.members.delete(member.id);
    this.#rebalance(group);
    this.#assign(group);
  }

  /** Moves a partition of a group, as a seek does. */
  seek(stream: string, group: string, partition: number, offset: number): void {
    const found = this.groups.get(`${stream}/${group}`);
    const owned = found?.partitions[partition];
    if (found === undefined || owned === undefined) return;
    owned.committed = owned.sent = offset;
    owned.epoch++;
    this.#assign(found);
    this.#feed(found);
  }

  #feed(group: Group): void {
    const logs = this.byName.get(group.stream) ?? [];
    group.partitions.forEach((owned, partition) => {
      const member = group.members.get(owned.owner);
      const log = logs[partition];
      if (member?.call === undefined || log === undefined || owned.owner !== owned.target) return;
      for (const chunk of chunksOf(log, partition, owned.sent)) {
        if (member.credit <= 0) return;
        member.credit -= (chunk.batches as Buffer).length;
        member.call.write({ chunk });
        owned.sent = chunk.nextOffset as number;
      }
    });
  }
}

/** One chunk per batch that has something at or behind `from`. */
function chunksOf(log: Partition, partition: number, from: number): pb.RecordChunkInput[] {
  return log.batches.flatMap((batches, i) => {
    const nextOffset = log.firstOffsets[i + 1] ?? log.end;
    return nextOffset <= from
      ? []
      : [{ partition, batches, firstOffset: log.firstOffsets[i], nextOffset, endOffset: log.end }];
  });
}
