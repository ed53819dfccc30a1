// Runs redrive tasks: step by step, at their rate, until they are done, cancelled, or fail; after a restart
// it goes on with those that were running. The state of a task is the queue's (redrive-decide.ts).
//   T1. Within one shard a step is one transaction: enqueue there, remove here, progress. Nothing is lost or
//       doubled, whenever it is cut short.
//   T2. To another shard the jobs are leased first, so that nobody else takes them; then each is enqueued
//       under an idempotency key made of its id; then all are acked with the progress. What a crash leaves
//       leased is taken up again, and the key makes the second enqueueing the first one: at least once, and
//       once if the restart comes within the day for which keys are kept.
//   T3. A job that came back `parkAfter` times goes to `<queue>.parked` instead.
import { type DecodedRecord, encodeBatch, FlowError, shardOf, validateBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import type { Caller, Command, ShardPort } from '../shard/state-machine.ts';
import { decodeLife } from './attempts.ts';
import type { QueueCell } from './cell.ts';
import type { DeclareCommand, EnqueueCommand, RemoveCommand, SettleCommand } from './commands.ts';
import { aliveAgain } from './dead-job.ts';
import type { LifeCommand, RedriveNoteCommand, RedriveStartCommand, TakeCommand } from './life-commands.ts';
import { checkName, mutationOf } from './messages.ts';
import { defaultsFor } from './policy.ts';
import { nextWaiting } from './redrive.ts';
import { type RedriveTask, takerName } from './redrive-decide.ts';
import type { QueueView } from './view.ts';

const STEP = 100;
/** Redrives after which a job is parked. */
const PARK_AFTER = 3;
const RETRY_MS = 500;

export interface TaskPorts {
  readonly runtime: Runtime;
  readonly at: (name: string) => { shard: ShardPort; view: QueueView };
  /** Declares a queue where queues appear on first use. */
  readonly ensure: (caller: Caller, name: string) => void;
}

interface Step {
  readonly jobs: readonly { readonly record: DecodedRecord; readonly target: string }[];
  readonly looked: Pick<RemoveCommand, 'fromCursor' | 'toCursor' | 'plain' | 'ready'>;
  readonly plainOffsets: readonly number[];
  readonly note: RedriveNoteCommand;
}

export class RedriveTasks {
  readonly #ports: TaskPorts;
  readonly #running = new Set<QueueCell>();
  #isClosed = false;

  constructor(ports: TaskPorts) {
    this.#ports = ports;
  }

  async start(caller: Caller, request: pb.StartRedriveRequest): Promise<pb.RedriveTaskInput> {
    const { queue, targetQueue: target, max, perSecond, parkAfter } = request;
    const { shard, view } = this.#ports.at(queue);
    if (target !== '') checkName(target, 'target queue');
    if (target === queue)
      throw new FlowError('INVALID_ARGUMENT', `the jobs of ${queue} are there already: name another target`);
    const part = { target, max, perSecond, parkAfter: parkAfter || PARK_AFTER };
    const mutation = mutationOf(request.mutation);
    const command = { view: 'queue', kind: 'redrive-start', caller, name: queue, mutation, ...part };
    const task = await shard.call<RedriveTask>(command as RedriveStartCommand);
    const cell = view.cell(caller.tenant, queue);
    this.resume(cell);
    return taskMessage(cell, task);
  }

  async get(caller: Caller, { queue }: pb.GetRedriveRequest): Promise<pb.RedriveTaskInput> {
    const { shard, view } = this.#ports.at(queue);
    const cell = view.cell(caller.tenant, queue);
    if (cell.redrive === null)
      throw new FlowError('NOT_FOUND', `queue ${queue} was never redriven by a task`);
    const message = taskMessage(cell, cell.redrive);
    await shard.settled();
    return message;
  }

  async cancel(caller: Caller, request: pb.CancelRedriveRequest): Promise<pb.RedriveTaskInput> {
    const { queue: name } = request;
    const { shard, view } = this.#ports.at(name);
    const mutation = mutationOf(request.mutation);
    const command = { view: 'queue', kind: 'redrive-cancel', caller, name, mutation } as const;
    const task = await shard.call<RedriveTask>(command as LifeCommand);
    return taskMessage(view.cell(caller.tenant, name), task);
  }

  /** Goes on with the task of the queue, if it has one that is running. */
  resume(cell: QueueCell): void {
    if (cell.redrive?.state !== 'running' || this.#running.has(cell)) return;
    this.#running.add(cell);
    void this.#run(cell).finally(() => {
      this.#running.delete(cell);
      // Another may have been started in the meantime.
      if (!this.#isClosed && this.#current(cell) !== null) this.resume(cell);
    });
  }

  close(): void {
    this.#isClosed = true;
  }

  #current(cell: QueueCell): RedriveTask | null {
    const { view } = this.#ports.at(cell.name);
    if (this.#isClosed || view.state.byNumber.get(cell.queueNo) !== cell) return null;
    return cell.redrive?.state === 'running' ? cell.redrive : null;
  }

  /** What a step that was cut short left leased (T2): nobody but the task has it, and it has just begun. */
  async #takeBack(cell: QueueCell): Promise<void> {
    const held: { offset: number; epoch: number }[] = [];
    for (const [offset, grant] of cell.leases) {
      if (grant.sessionId !== '' || grant.worker !== takerName(cell.redrive?.no ?? 0)) continue;
      held.push({ offset, epoch: grant.firstEpoch + offset - grant.firstOffset });
    }
    if (held.length > 0) await this.#release(cell, held).catch(() => {});
  }

  #release(cell: QueueCell, held: readonly { offset: number; epoch: number }[]): Promise<unknown> {
    const release = { error: '', retryAfterMs: null, unrecoverable: false, release: true };
    const nacks = held.map((job) => ({ ...job, ...release }));
    return this.#ports.at(cell.name).shard.call(this.#settle(cell, { nacks }));
  }

  #settle(cell: QueueCell, part: Partial<SettleCommand>): SettleCommand {
    const nothing = { acks: [], nacks: [], extends: [], strict: false };
    return { ...this.#base(cell), kind: 'settle', ...nothing, ...part };
  }

  async #run(cell: QueueCell): Promise<void> {
    await this.#takeBack(cell);
    for (let task = this.#current(cell); task !== null; task = this.#current(cell)) {
      try {
        const count = await this.#step(cell, task);
        if (count === 0) return;
        if (task.perSecond > 0) await this.#pause((count * 1000) / task.perSecond);
      } catch (error) {
        if (!(error instanceof FlowError)) throw error;
        // A worker or a purge took some of them meanwhile, or the task is over: look again.
        if (error.code === 'REVISION_MISMATCH') continue;
        if (error.retry === 'never') await this.#fail(cell, task, error);
        else await this.#pause(error.retryAfterMs ?? RETRY_MS);
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#ports.runtime.after(Math.max(1, Math.round(ms)), resolve));
  }

  async #fail(cell: QueueCell, task: RedriveTask, error: FlowError): Promise<void> {
    const end = { no: task.no, moved: 0, parked: 0, end: 'failed', error: `${error.code}: ${error.message}` };
    const command = { ...this.#base(cell), kind: 'redrive-note', ...end } as RedriveNoteCommand;
    await this.#ports
      .at(cell.name)
      .shard.call(command)
      .catch(() => {});
  }

  #base(cell: QueueCell) {
    const caller: Caller = { identity: 'redrive', tenant: cell.tenant, deadlineMs: 0 };
    return { view: 'queue', caller, name: cell.name } as const;
  }

  /** Moves the next jobs; 0: there are none, and the task is done. */
  async #step(cell: QueueCell, task: RedriveTask): Promise<number> {
    const { shard } = this.#ports.at(cell.name);
    await shard.settled();
    const step = await this.#look(cell, task);
    if (step.jobs.length === 0) {
      await shard.call({ ...step.note, end: 'done' } as Command);
      return 0;
    }
    for (const target of new Set(step.jobs.map((job) => job.target))) this.#prepare(cell, target);
    const isLocal = step.jobs.every(({ target }) => shardOf(target, shard.shards) === shard.id);
    if (isLocal) await this.#moveWithin(shard, cell, step);
    else await this.#moveAcross(shard, cell, step);
    return step.jobs.length;
  }

  async #look(cell: QueueCell, task: RedriveTask): Promise<Step> {
    const { max, moved, parked, perSecond, untilOffset, parkAfter } = task;
    const left = max === 0 ? STEP : max - moved - parked;
    const pace = perSecond === 0 ? STEP : Math.max(1, Math.floor(perSecond / 5));
    const limit = Math.min(STEP, left, pace);
    const found = await nextWaiting(cell, limit, untilOffset);
    const jobs = found.jobs.map((record) => {
      const isParked = decodeLife(record.life).redrives >= parkAfter;
      return { record, target: isParked ? parkedName(cell) : task.target || (record.sourceQueue ?? '') };
    });
    const { fromCursor, toCursor, plain, ready } = found;
    const parkedNow = jobs.filter(({ target }) => target === parkedName(cell)).length;
    const note = { no: task.no, moved: jobs.length - parkedNow, parked: parkedNow, end: null, error: '' };
    return {
      jobs,
      looked: { fromCursor, toCursor, plain, ready },
      plainOffsets: found.jobs.slice(ready.length).map(({ offset }) => offset),
      note: { ...this.#base(cell), kind: 'redrive-note', ...note },
    };
  }

  #prepare(cell: QueueCell, target: string): void {
    const { caller } = this.#base(cell);
    if (target === '') {
      const message = `jobs of ${cell.name} do not say where they came from: name a target queue`;
      throw new FlowError('INVALID_ARGUMENT', message);
    }
    if (target !== parkedName(cell)) {
      this.#ports.ensure(caller, target);
      return;
    }
    const declare = { view: 'queue', kind: 'declare', caller, name: target, spec: defaultsFor(target) };
    this.#ports.at(target).shard.submit({ ...declare, ifAbsent: true } as DeclareCommand, () => {});
  }

  /** T1 */
  async #moveWithin(shard: ShardPort, cell: QueueCell, { jobs, looked, note }: Step): Promise<void> {
    const groups = Map.groupBy(jobs, ({ target }) => target);
    const enqueues = [...groups].map(([name, group]) =>
      this.#enqueue(
        cell,
        name,
        group.map(({ record }) => record),
      ),
    );
    const remove: RemoveCommand = { ...this.#base(cell), kind: 'remove', ...looked };
    await shard.transact([...enqueues, remove, note], undefined);
  }

  /** T2 */
  async #moveAcross(shard: ShardPort, cell: QueueCell, step: Step): Promise<void> {
    const { view } = this.#ports.at(cell.name);
    const { fromCursor, toCursor, ready } = step.looked;
    const taken = { no: step.note.no, fromCursor, toCursor, ready, plain: step.plainOffsets };
    const take = { ...this.#base(cell), kind: 'take', ...taken } as TakeCommand;
    const { firstEpoch } = await shard.call<{ firstEpoch: number }>(take);
    const held = step.jobs.map(({ record }, i) => ({ offset: record.offset, epoch: firstEpoch + i }));
    try {
      const moves = step.jobs.map(({ record, target }) => {
        const producerId = `redrive ${view.idPrefix(cell)}${record.offset.toString(36)}`;
        const enqueue = { ...this.#enqueue(cell, target, [record]), mutation: { producerId, seq: 0 } };
        return this.#ports.at(target).shard.call(enqueue);
      });
      const results = await Promise.allSettled(moves);
      const failed = results.find(({ status }) => status === 'rejected');
      if (failed?.status === 'rejected') throw failed.reason;
    } catch (error) {
      // They go back to the queue; those that arrived are recognised by their keys next time.
      await this.#release(cell, held).catch(() => {});
      throw error;
    }
    const acks = held.map((job) => ({ ...job, count: 1 }));
    try {
      await shard.transact([this.#settle(cell, { acks }), step.note], undefined);
    } catch (error) {
      // The task was cancelled meanwhile: what has arrived is gone from here all the same.
      await shard.call(this.#settle(cell, { acks }));
      throw error;
    }
  }

  #enqueue(cell: QueueCell, name: string, records: readonly DecodedRecord[]): EnqueueCommand {
    const batch = encodeBatch(records.map(aliveAgain));
    return { ...this.#base(cell), kind: 'enqueue', name, batch, head: validateBatch(batch), grows: true };
  }
}

const taskMessage = (cell: QueueCell, task: RedriveTask): pb.RedriveTaskInput => {
  const { no, target, untilOffset: _, ...rest } = task;
  return { queue: cell.name, number: no, targetQueue: target, remaining: cell.waiting, ...rest };
};

export const parkedName = (cell: QueueCell): string => `${cell.name}.parked`;
