// The queue half of the admin API: declare, show, delete.
import { FlowError, shardOf } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AdminService } from '../services.ts';
import type { Caller } from '../shard/state-machine.ts';
import { after } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { QueueCommand } from './commands.ts';
import { checkName, mutationOf } from './messages.ts';
import { resolveSpec, specMessage } from './policy.ts';
import type { Schedule } from './schedule-spec.ts';
import type { Queues } from './service.ts';
import { loadEntry } from './sources.ts';
import { JOB } from './tables.ts';
import type { QueueView } from './view.ts';

const OLDEST_ROWS = 64;

export type QueueAdmin = Pick<AdminService, 'applyQueue' | 'getQueue' | 'listQueues' | 'deleteQueue'>;

export function createQueueAdmin(queues: Queues, views: readonly QueueView[]): QueueAdmin {
  const describe = async (caller: Caller, name: string): Promise<pb.QueueInput> => {
    const { shard, view } = queues.at(name);
    const message = await queueMessage(view, view.cell(caller.tenant, name));
    // Looked at first, then settled: what is shown is durable when it leaves.
    await shard.settled();
    return message;
  };
  return {
    async applyQueue(caller, spec) {
      const { shard } = queues.at(spec.name);
      const dead = spec.deadLetterQueue;
      if (dead !== '') {
        checkName(dead, 'dead-letter queue');
        if (dead === spec.name)
          throw new FlowError('INVALID_ARGUMENT', `queue ${dead} cannot be its own dead-letter queue`);
        if (shardOf(dead, shard.shards) !== shard.id) {
          throw new FlowError(
            'CROSS_SHARD',
            `dead-letter queue ${dead} lives on another shard than ${spec.name}: ` +
              `call it ${spec.name}.dead, or give both the same {tag}`,
          );
        }
      }
      const command = {
        view: 'queue',
        kind: 'declare',
        caller,
        name: spec.name,
        spec: resolveSpec(spec),
        ifAbsent: false,
        mutation: mutationOf(spec.mutation),
      };
      await shard.call(command as QueueCommand);
      return describe(caller, spec.name);
    },
    getQueue: (caller, request) => describe(caller, request.name),
    async listQueues(caller) {
      const found: pb.QueueInput[] = [];
      for (const view of views) {
        const cells = [...view.state.byName.values()].filter((cell) => cell.tenant === caller.tenant);
        for (const cell of cells) found.push(await queueMessage(view, cell));
      }
      await queues.settled();
      return { queues: found.sort((a, b) => ((a.spec?.name ?? '') < (b.spec?.name ?? '') ? -1 : 1)) };
    },
    async deleteQueue(caller, request) {
      const command = {
        view: 'queue',
        kind: 'delete',
        caller,
        name: request.name,
        ifEmpty: request.ifEmpty,
        mutation: mutationOf(request.mutation),
      };
      await queues.at(request.name).shard.call(command as QueueCommand);
      return {};
    },
  };
}

async function queueMessage(view: QueueView, cell: QueueCell): Promise<pb.QueueInput> {
  const oldestReadyAtMs = await oldestReadyAt(view, cell);
  const s = cell.state;
  return {
    spec: specMessage(cell.name, cell.spec),
    paused: s.paused,
    draining: s.draining,
    shard: view.context.shard,
    createdAtMs: cell.createdAtMs,
    schedules: (cell.spec.schedules ?? []).map((schedule) => scheduleState(view, cell, schedule)),
    figures: {
      waiting: cell.waiting,
      delayed: s.delayed + s.retrying,
      blocked: Math.max(0, s.blocked - cell.tombs.size),
      leased: cell.leases.size,
      enqueuedTotal: s.enqueuedTotal,
      completedTotal: s.completedTotal,
      cancelledTotal: s.cancelledTotal,
      failedTotal: s.failedTotal,
      deadTotal: s.deadTotal,
      oldestReadyAtMs,
      workers: view.workers(cell),
      waitingChildren: s.awaiting,
    },
  };
}

function scheduleState(view: QueueView, cell: QueueCell, schedule: Schedule): pb.ScheduleStateInput {
  const state = cell.schedules.get(schedule.name);
  if (state === undefined) return { name: schedule.name };
  const { firedMs, offset, bufferedMs, skippedTotal } = state;
  const nextMs = view.schedules.nextMs(schedule, state);
  const jobId = offset < 0 ? '' : view.idPrefix(cell) + offset.toString(36);
  const shownNextMs = Number.isFinite(nextMs) ? nextMs : 0;
  return { name: schedule.name, nextMs: shownNextMs, firedMs, jobId, bufferedMs, skippedTotal };
}

/** When the oldest ready job became ready; 0: none is ready. */
async function oldestReadyAt(view: QueueView, cell: QueueCell): Promise<number> {
  const { cursor, plain } = cell.state;
  const enqueued =
    plain > 0 ? (await loadEntry(cell.log, cursor)).head.appendTimeMs : Number.POSITIVE_INFINITY;
  const oldest = Math.min(enqueued, await oldestException(view, cell));
  return Number.isFinite(oldest) ? oldest : 0;
}

/**
 * Of the jobs that are ready with a priority, after a retry, or by limit key; by offset: exact unless many
 * delayed or blocked ones are older.
 */
async function oldestException({ context }: QueueView, { state, keys }: QueueCell): Promise<number> {
  let oldest = Number.POSITIVE_INFINITY;
  if (state.keyed + state.ready === 0) return oldest;
  const rows = await context.rows.scan(JOB, { from: keys.job, to: after(keys.job), limit: OLDEST_ROWS });
  for (const { value } of rows)
    if (value.state === 'keyed' || value.state === 'ready') oldest = Math.min(oldest, value.meta.readyAtMs);
  return oldest;
}
