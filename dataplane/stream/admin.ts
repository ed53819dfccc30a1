// The stream half of the admin API.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FigureSources } from '../admin/figures.ts';
import {
  isSameOwner,
  type Owner,
  ownershipMessage,
  readClaim,
  readOwner,
  renamed,
} from '../admin/ownership.ts';
import { consumerGroupMessage } from '../scaling/spec.ts';
import type { AdminService } from '../services.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller } from '../shard/state-machine.ts';
import type { StreamCell } from './cells.ts';
import { streamNotFound } from './declare.ts';
import type { DeclaredGroups } from './declared-groups.ts';
import type { Groups } from './groups.ts';
import type { Locator } from './locator.ts';
import { streamSummary } from './summary.ts';

export type StreamAdmin = Pick<
  AdminService,
  'applyStream' | 'getStream' | 'listStreams' | 'deleteStream' | 'declareStream'
> & {
  release(caller: Caller, request: pb.ReleaseOwnerRequest): Promise<pb.ReleaseOwnerResponseInput>;
  readonly figures: FigureSources['stream'];
};

/** `onDeleted` ends the sessions of a stream that is no more. */
export function createStreamAdmin(
  locator: Locator,
  groups: Groups,
  declared: DeclaredGroups,
  onDeleted: (tenant: number, name: string) => void,
): StreamAdmin {
  const describe = async (caller: Caller, name: string): Promise<pb.StreamInput> => {
    const stream = locator.find(caller.tenant, name);
    if (stream === undefined) throw streamNotFound(name);
    const message = toStream(locator, stream);
    await locator.settled(stream);
    return message;
  };
  const refuseRename = (caller: Caller, name: string, owner: Owner) => {
    for (const view of locator.views) {
      for (const { cell } of view.streams(caller.tenant)) {
        const { ownership, name: has } = cell.value;
        if (has !== name && ownership !== null && isSameOwner(ownership.owner, owner))
          throw renamed('stream', has);
      }
    }
  };
  return {
    async applyStream(caller, spec) {
      await locator.declare(caller, spec);
      return describe(caller, spec.name);
    },
    async declareStream(caller, request) {
      if (request.spec === null) throw new FlowError('INVALID_ARGUMENT', 'spec is missing');
      const { spec } = request;
      const claim = readClaim(request);
      refuseRename(caller, spec.name, claim.owner);
      const claimed = await locator.declare(caller, spec, claim);
      const { result, changes = [], drifted } = claimed ?? {};
      return { stream: await describe(caller, spec.name), result, changes: [...changes], drifted };
    },
    async release(caller, { name, owner, mutation }) {
      const asking = owner === null ? undefined : readOwner(owner);
      return { released: await locator.release(caller, name, asking, mutationOf(mutation)) };
    },
    figures: {
      names: (tenant) => locator.views.flatMap(({ declared }) => [...declared.all(tenant)].map(nameOf)),
      summary(tenant, name) {
        const stream = locator.find(tenant, name);
        return stream && streamSummary(locator, groups, declared, stream);
      },
    },
    getStream: (caller, request) => describe(caller, request.name),
    async listStreams(caller) {
      const streams: StreamCell[] = [];
      for (const view of locator.views) {
        for (const stream of view.streams(caller.tenant)) {
          if (locator.find(caller.tenant, stream.cell.value.name) === stream) streams.push(stream);
        }
      }
      const byName = (a: StreamCell, b: StreamCell) => (a.cell.value.name < b.cell.value.name ? -1 : 1);
      const messages = streams.sort(byName).map((stream) => toStream(locator, stream));
      await Promise.all(locator.shards.map((shard) => shard.settled()));
      return { streams: messages };
    },
    async deleteStream(caller, request) {
      const { ifEmpty, owner, mutation } = request;
      const terms = { ifEmpty, owner: owner === null ? undefined : readOwner(owner) };
      await locator.delete(caller, request.name, { ...terms, mutation: mutationOf(mutation) });
      onDeleted(caller.tenant, request.name);
      return {};
    },
  };
}

const nameOf = ({ name }: { readonly name: string }) => name;

function toStream(locator: Locator, stream: StreamCell): pb.StreamInput {
  const { name, partitions, retentionMs, retentionBytes, createdAtMs } = stream.cell.value;
  const { cleanup, minCompactionLagMs, tombstoneRetentionMs, schemaRef } = stream.cell.value;
  const consumerGroups = stream.cell.value.consumerGroups.map(consumerGroupMessage);
  const compaction = { cleanup, minCompactionLagMs, tombstoneRetentionMs };
  const figures = [...locator.partitions(stream)].map(({ partition, log, visibleEnd }) => ({
    partition,
    logStart: log.startOffset,
    end: visibleEnd,
    bytes: log.byteLength,
    shard: locator.shardOf(name, partition).id,
  }));
  const spec = { name, partitions, retentionMs, retentionBytes, ...compaction, schemaRef, consumerGroups };
  return { spec, partitions: figures, createdAtMs, ...ownershipMessage(stream.cell.value.ownership) };
}
