// The queue half of the admin API: declare, show, delete.

import { FlowError, shardOf } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FigureSources } from '../admin/figures.ts';
import {
  type Claim,
  isSameOwner,
  type Owner,
  ownershipMessage,
  readClaim,
  readOwner,
  renamed,
} from '../admin/ownership.ts';
import type { SchemaHolder } from '../schema/registry.ts';
import type { AdminService } from '../services.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import type { QueueCommand } from './commands.ts';
import type { DeclareReply } from './declare.ts';
import { declaredQueues } from './declared.ts';
import { checkName } from './messages.ts';
import { oldestReadyAt } from './oldest.ts';
import { resolveSpec, specMessage } from './policy.ts';
import { type QueueTarget, speedFigures, workerFigures } from './scaling.ts';
import type { Schedule } from './schedule-spec.ts';
import type { Queues } from './service.ts';
import { queueSummary } from './summary.ts';
import type { QueueView } from './view.ts';

export type QueueAdmin = Pick<
  AdminService,
  'applyQueue' | 'getQueue' | 'listQueues' | 'deleteQueue' | 'declareQueue'
> & {
  release(caller: Caller, request: pb.ReleaseOwnerRequest): Promise<pb.ReleaseOwnerResponseInput>;
  readonly figures: FigureSources['queue'];
};

export function createQueueAdmin(
  queues: Queues,
  views: readonly QueueView[],
  schemas: SchemaHolder,
  wanted: (target: QueueTarget) => number | null,
): QueueAdmin {
  const describe = async (caller: Caller, name: string): Promise<pb.QueueInput> => {
    const { shard, view } = queues.at(name);
    const message = await queueMessage(view, view.cell(caller.tenant, name), wanted);
    // Looked at first, then settled: what is shown is durable when it leaves.
    await shard.settled();
    return message;
  };
  const declare = (caller: Caller, spec: pb.QueueSpec, claim?: Claim): Promise<DeclareReply> => {
    const { shard } = queues.at(spec.name);
    checkDeadLetters(spec, shard);
    const resolved = resolveSpec(spec);
    const command = {
      view: 'queue',
      kind: 'declare',
      caller,
      name: spec.name,
      spec: resolved,
      ifAbsent: false,
      claim,
      mutation: mutationOf(spec.mutation),
    };
    const call = () => shard.call<DeclareReply>(command as QueueCommand);
    return schemas.holding(caller.tenant, resolved.schemaRef, call);
  };
  /** One object is one queue: under another name its jobs would be left behind. */
  const refuseRename = (caller: Caller, name: string, owner: Owner) => {
    for (const { state } of views) {
      for (const cell of state.byName.values()) {
        if (cell.tenant !== caller.tenant || cell.name === name) continue;
        if (cell.ownership !== null && isSameOwner(cell.ownership.owner, owner))
          throw renamed('queue', cell.name);
      }
    }
  };
  return {
    async applyQueue(caller, spec) {
      await declare(caller, spec);
      return describe(caller, spec.name);
    },
    async declareQueue(caller, request) {
      if (request.spec === null) throw new FlowError('INVALID_ARGUMENT', 'spec is missing');
      const claim = readClaim(request);
      refuseRename(caller, request.spec.name, claim.owner);
      const { result, changes, drifted } = await declare(caller, request.spec, claim);
      return {
        queue: await describe(caller, request.spec.name),
        result,
        changes: [...(changes ?? [])],
        drifted,
      };
    },
    release: (caller, { name, owner, mutation }) =>
      queues.at(name).shard.call({
        ...{ view: 'queue', kind: 'release', caller, name },
        ...{ owner: owner === null ? undefined : readOwner(owner), mutation: mutationOf(mutation) },
      } as QueueCommand),
    figures: {
      names: (tenant) =>
        views.flatMap(({ state }) => [...declaredQueues(state).all(tenant)].map(({ name }) => name)),
      summary(tenant, name) {
        const { view } = queues.at(name);
        const cell = view.state.cell(tenant, name);
        return cell && queueSummary(view, cell, wanted);
      },
    },
    getQueue: (caller, request) => describe(caller, request.name),
    async listQueues(caller) {
      const found: pb.QueueInput[] = [];
      for (const view of views) {
        const cells = [...view.state.byName.values()].filter((cell) => cell.tenant === caller.tenant);
        for (const cell of cells) found.push(await queueMessage(view, cell, wanted));
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
        owner: request.owner === null ? undefined : readOwner(request.owner),
        mutation: mutationOf(request.mutation),
      };
      await queues.at(request.name).shard.call(command as QueueCommand);
      return {};
    },
  };
}

function checkDeadLetters({ name, deadLetterQueue: dead }: pb.QueueSpec, shard: ShardPort): void {
  if (dead === '') return;
  checkName(dead, 'dead-letter queue');
  if (dead === name)
    throw new FlowError('INVALID_ARGUMENT', `queue ${dead} cannot be its own dead-letter queue`);
  if (shardOf(dead, shard.shards) === shard.id) return;
  throw new FlowError(
    'CROSS_SHARD',
    `dead-letter queue ${dead} lives on another shard than ${name}: ` +
      `call it ${name}.dead, or give both the same {tag}`,
  );
}

async function queueMessage(
  view: QueueView,
  cell: QueueCell,
  wanted: (target: QueueTarget) => number | null,
): Promise<pb.QueueInput> {
  const oldestReadyAtMs = await oldestReadyAt(view, cell);
  const s = cell.state;
  return {
    spec: specMessage(cell.name, cell.spec),
    paused: s.paused,
    draining: s.draining,
    shard: view.context.shard,
    createdAtMs: cell.createdAtMs,
    ...ownershipMessage(cell.ownership),
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
      ...workerFigures(cell, wanted),
      ...speedFigures(cell),
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
