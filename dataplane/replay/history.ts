// What happened, for the adapters: effects of messages, and queues at earlier moments.
import { FlowError, shardOf } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AsOf } from '../queue/past.ts';
import { countsAt, entryAt } from '../queue/past.ts';
import { listJobsAt, type PastCursor } from '../queue/past-jobs.ts';
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
        const parts = find(caller, request.queue);
        const { state, limit } = request;
        const cursor = request.cursor === '' ? undefined : readCursor(request.cursor);
        const at = await entryAt(parts.shard, cursor ?? asOf(request));
        const { jobs, next } = await listJobsAt(parts, { at, state, limit, from: cursor?.from });
        return { jobs, position: at, cursor: next === undefined ? '' : writeCursor(at, next) };
      }),
  };
}

const asOf = ({ at, timeMs, position }: pb.GetQueueAtRequest | pb.ListJobsAtRequest): AsOf => ({
  timeMs: at === 'timeMs' ? (timeMs ?? undefined) : undefined,
  position: at === 'position' ? (position ?? undefined) : undefined,
});

/** cursor = position "-" ("x" | "f" | "n") offset; n: finished jobs, the newest first. */
const writeCursor = (at: number, { phase, offset }: PastCursor): string =>
  `${at}-${phase === 'open' ? 'x' : offset === -1 ? 'n' : 'f'}${Math.max(0, offset)}`;

function readCursor(text: string): AsOf & { from: PastCursor } {
  const [, position, phase, offset] = /^(\d{1,15})-([xfn])(\d{1,15})$/.exec(text) ?? [];
  if (offset === undefined)
    throw new FlowError('INVALID_ARGUMENT', 'cursor: pass back what the last page gave');
  const from = {
    phase: phase === 'x' ? ('open' as const) : ('finished' as const),
    offset: phase === 'n' ? -1 : Number(offset),
  };
  return { timeMs: undefined, position: Number(position), from };
}
