// The stream half of the admin API.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AdminService } from '../services.ts';
import type { Caller } from '../shard/state-machine.ts';
import type { StreamCell } from './cells.ts';
import { streamNotFound } from './declare.ts';
import type { Locator } from './locator.ts';
import { mutationOf } from './publish.ts';

export type StreamAdmin = Pick<AdminService, 'applyStream' | 'getStream' | 'listStreams' | 'deleteStream'>;

/** `onDeleted` ends the sessions of a stream that is no more. */
export function createStreamAdmin(
  locator: Locator,
  onDeleted: (tenant: number, name: string) => void,
): StreamAdmin {
  const describe = async (caller: Caller, name: string): Promise<pb.StreamInput> => {
    const stream = locator.find(caller.tenant, name);
    if (stream === undefined) throw streamNotFound(name);
    const message = toStream(locator, stream);
    await locator.settled(stream);
    return message;
  };
  return {
    async applyStream(caller, spec) {
      await locator.declare(caller, spec);
      return describe(caller, spec.name);
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
      await locator.delete(caller, request.name, mutationOf(request.mutation));
      onDeleted(caller.tenant, request.name);
      return {};
    },
  };
}

function toStream(locator: Locator, stream: StreamCell): pb.StreamInput {
  const { name, partitions, retentionMs, retentionBytes, createdAtMs } = stream.cell.value;
  const { cleanup, minCompactionLagMs, tombstoneRetentionMs } = stream.cell.value;
  const compaction = { cleanup, minCompactionLagMs, tombstoneRetentionMs };
  const figures = [...locator.partitions(stream)].map(({ partition, log, visibleEnd }) => ({
    partition,
    logStart: log.startOffset,
    end: visibleEnd,
    bytes: log.byteLength,
    shard: locator.shardOf(name, partition).id,
  }));
  const spec = { name, partitions, retentionMs, retentionBytes, ...compaction };
  return { spec, partitions: figures, createdAtMs };
}
