// The stream API as plain functions (services.ts), on top of the shards and their stream views. No state of
// its own but sessions: what must survive is in the views.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ScalingSource } from '../scaling/source.ts';
import type { StreamService } from '../services.ts';
import type { Caller } from '../shard/state-machine.ts';
import { createStreamAdmin, type StreamAdmin } from './admin.ts';
import type { StreamCell } from './cells.ts';
import { type Commit, type CommittedReply, commitCommand, type Publish, type Published } from './commands.ts';
import { commitOffsets } from './commits.ts';
import { groupNotFound } from './coordinator.ts';
import { streamNotFound } from './declare.ts';
import { type AnyGroup, DeclaredGroups } from './declared-groups.ts';
import { Follow } from './follow-session.ts';
import { groupFigures, partitionFigures } from './group-figures.ts';
import { Groups } from './groups.ts';
import { type GroupTarget, Locator, type LocatorParts } from './locator.ts';
import { Publisher } from './publish.ts';
import { checkOffset, readRecords } from './read.ts';
import { groupScaling } from './scaling.ts';
import { seekGroup } from './seek.ts';
import { groupSummary } from './summary.ts';

export type { StreamAdmin } from './admin.ts';
export { STREAM_DEFAULTS } from './locator.ts';

/** Commands for one shard that a transaction runs together with others. */
export interface TransactionPart<Response> {
  readonly shard: number;
  readonly commands: readonly (Publish | Commit)[];
  readonly respond: (replies: readonly unknown[]) => Response;
}

export interface StreamTransactions {
  publish(caller: Caller, request: pb.PublishRequest): Promise<TransactionPart<pb.PublishResponseInput>>;
  commit(caller: Caller, request: pb.CommitRequest): TransactionPart<pb.CommitResponseInput>;
}

export interface Streams {
  readonly service: StreamService;
  readonly admin: StreamAdmin;
  readonly transactions: StreamTransactions;
  /** Removes what a crash in the middle of a declaration or deletion left. Once, after the start. */
  reconcile(): Promise<void>;
  readonly scaling: ScalingSource<GroupTarget>;
}

/** The shards must have recovered: from now on their views are live. */
export function createStreamService(parts: LocatorParts): Streams {
  const locator = new Locator(parts);
  const groups = new Groups(locator);
  const publisher = new Publisher(locator, parts.random);
  const follows = new Set<Follow>();

  parts.views.forEach((view, i) => {
    const shard = parts.shards[i];
    if (shard === undefined)
      throw new FlowError('INTERNAL', `there is a stream view for shard ${i}, but no shard`);
    view.attach(shard, ({ stream, group }) => {
      groups.changed({ tenant: stream.tenant, stream: stream.cell.value.name, group });
    });
  });

  const onDeleted = (tenant: number, name: string) => {
    groups.deleted(tenant, name);
    for (const follow of [...follows]) {
      const { tenant: of, cell } = follow.stream;
      if (of === tenant && cell.value.name === name && cell.value.isDeleted) follow.end(streamNotFound(name));
    }
  };

  const needGroup = (caller: Caller, request: { stream: string; group: string }) => {
    const group = needStream(locator, caller, request.stream).groups.get(request.group);
    if (group === undefined) throw groupNotFound(request.stream, request.group);
    return group;
  };
  /** What was looked at is durable when it leaves: looked at first, then settled. */
  const shown = async <R>(stream: StreamCell, answer: R): Promise<R> => {
    await locator.settled(stream);
    return answer;
  };

  const declared = new DeclaredGroups();
  const shownGroup = async (group: AnyGroup): Promise<pb.GroupInput> => ({
    ...groupFigures(locator, group),
    figures: await groupSummary(locator, groups, group),
  });

  const service: StreamService = {
    publish: (caller, request) => publisher.publish(caller, request),
    publishBatch: (caller, request, done) => publisher.publishBatch(caller, request, done),
    read: (caller, request) => readRecords(locator, caller, request),

    async openFollow(caller, request, send, fail) {
      const stream = await locator.need(caller, request.stream);
      const partition = locator.partition(stream, request.partition);
      const offset = checkOffset(partition, request.offset);
      const onEnd = (error: FlowError) => {
        follows.delete(follow);
        fail(error);
      };
      const follow: Follow = new Follow(partition, offset, send, onEnd);
      follows.add(follow);
      const close = () => {
        follows.delete(follow);
        follow.close();
      };
      return { resume: () => follow.resume(), close };
    },

    openConsume: (caller, hello, send, fail) => groups.open(caller, hello, send, fail),
    commit: async (caller, request) => ({ results: await commitOffsets(locator, caller, request) }),

    async seek(caller, request) {
      const stream = await seekGroup(locator, groups, caller, request);
      const group = needGroup(caller, request);
      const cells = [...locator.partitions(stream)];
      const asked =
        request.partition === null ? cells : cells.slice(request.partition, request.partition + 1);
      return shown(stream, { partitions: asked.map((partition) => partitionFigures(group, partition)) });
    },

    async getGroup(caller, request) {
      const stream = needStream(locator, caller, request.stream);
      const group = declared.find(stream, request.group) ?? needGroup(caller, request);
      return shown(stream, await shownGroup(group));
    },

    async listGroups(caller, request) {
      const stream = needStream(locator, caller, request.stream);
      const all = [...stream.groups.values(), ...declared.of(stream)];
      all.sort((a, b) => (a.group < b.group ? -1 : 1));
      return shown(stream, { groups: await Promise.all(all.map(shownGroup)) });
    },
  };

  return {
    service,
    admin: createStreamAdmin(locator, groups, declared, onDeleted),
    transactions: transactionsOf(locator, publisher),
    reconcile: () => locator.reconcile(),
    scaling: groupScaling(locator, groups, declared),
  };
}

function transactionsOf(locator: Locator, publisher: Publisher): StreamTransactions {
  const oneShard = (stream: string, partitions: readonly number[]): number => {
    const shards = new Set(partitions.map((partition) => locator.shardOf(stream, partition).id));
    const [shard] = shards;
    if (shards.size === 1 && shard !== undefined) return shard;
    const what = `partitions ${partitions.join(', ')} of stream ${stream} live on ${shards.size} shards`;
    throw new FlowError('CROSS_SHARD', `${what}; give the stream a {tag}, or name one partition`);
  };
  return {
    async publish(caller, request) {
      const { commands, respond } = await publisher.plan(caller, request);
      const shard = oneShard(
        request.stream,
        commands.map(({ partition }) => partition),
      );
      return { shard, commands, respond: (replies) => respond(replies as Published[]) };
    },
    commit(caller, request) {
      const { stream, group, memberId: member, offsets } = request;
      needStream(locator, caller, stream);
      if (offsets.length === 0) throw new FlowError('INVALID_ARGUMENT', 'a commit needs offsets');
      const shard = oneShard(
        stream,
        offsets.map(({ partition }) => partition),
      );
      const command = commitCommand(caller, { stream, group, member, offsets }, { isAllOrNothing: true });
      const respond = (replies: readonly unknown[]) => ({
        results: ((replies[0] as CommittedReply | undefined)?.results ?? []).map((failure) => failure ?? {}),
      });
      return { shard, commands: [command], respond };
    },
  };
}

function needStream(locator: Locator, caller: Caller, name: string): StreamCell {
  const stream = locator.find(caller.tenant, name);
  if (stream === undefined) throw streamNotFound(name);
  return stream;
}
