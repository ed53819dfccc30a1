// What happened, for the adapters: effects of messages, and queues at earlier moments.
import { FlowError, shardOf } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AsOf } from '../queue/past.ts';
import { countsAt, entryAt } from '../queue/past.ts';
import { listJobsAt } from '../queue/past-jobs.ts';
import type { HistoryService } from '../services.ts';
import { Readers } from '../shard/readers.ts';
import type { Caller } from '../shard/state-machine.ts';
import { listEffects, type ShardParts } from './effects.ts';

export function createHistory(shards: readonly ShardParts[]): HistoryService {
  const readers = new Readers();
  const find = ({ tenant }: Caller, queue: string) => {
    const { shard, queues: view } = shards[shardOf(queue, shards.length)] as ShardParts;
    return { shard, view, cell: view.cell(tenant, queue) };
  };
  return {
    listEffects: (caller, request) => readers.run(() => listEffects(shards, caller, request)),
    getQueueAt: (caller, request) =>
      readers.run(async () => {
        const { shard, cell } = find(caller, request.queue);
        const position = await entryAt(shard, asOf(request));
        const { waiting_children: waitingChildren, ...counts } = await countsAt(shard, cell, position);
        return { queue: request.queue, position, ...counts, waitingChildren };
      }),
    listJobsAt: (caller, request) =>
      readers.run(async () => {
        const { shard, view, cell } = find(caller, request.queue);
        const { state, limit } = request;
        const cursor = request.cursor === '' ? undefined : readCursor(request.cursor);
        const at = await entryAt(shard, cursor ?? asOf(request));
        const { jobs, next } = await listJobsAt(shard, view, cell, {
          at,
          state,
          limit,
          from: cursor?.from ?? 0,
        });
        return { jobs, position: at, cursor: next === undefined ? '' : `${at}-${next}` };
      }),
  };
}

const asOf = ({ at, timeMs, position }: pb.GetQueueAtRequest | pb.ListJobsAtRequest): AsOf => ({
  timeMs: at === 'timeMs' ? (timeMs ?? undefined) : undefined,
  position: at === 'position' ? (position ?? undefined) : undefined,
});

function readCursor(text: string): AsOf & { from: number } {
  const [, position, from] = /^(\d{1,15})-(\d{1,15})$/.exec(text) ?? [];
  if (from === undefined)
    throw new FlowError('INVALID_ARGUMENT', 'cursor: pass back what the last page gave');
  return { timeMs: undefined, position: Number(position), from: Number(from) };
}
