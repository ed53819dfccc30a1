// Runs redrive tasks: step by step, at their rate, until they are done, cancelled, or fail; after a restart
// it goes on with those that were running. The state of a task is the queue's (redrive-decide.ts).
//   T1. Within one shard a step is one transaction: enqueue there, remove here, progress. Nothing is lost or
//       doubled, whenever it is cut short.
//   T2. To another shard the jobs are leased first, so that nobody else takes them; then each is enqueued
//       under an idempotency key made of its id; then all are acked with the progress. What a crash leaves
//       leased is brought to its end at the start, to the same target, whatever becomes of the task, and
//       before another one begins: the key makes the second enqueueing the first one. At least once, and
//       once if the restart comes within the 12 h for which they are leased.
//   T3. A job that came back `parkAfter` times goes to `<queue>.parked` instead.

import { type DecodedRecord, encodeBatch, FlowError, shardOf, validateBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, Command, ShardPort } from '../shard/state-machine.ts';
import { decodeLife } from './attempts.ts';
import type { QueueCell } from './cell.ts';
import type { DeclareCommand, EnqueueCommand, RemoveCommand, SettleCommand } from './commands.ts';
import { aliveAgain } from './dead-job.ts';
import type { LifeCommand, RedriveNoteCommand, RedriveStartCommand, TakeCommand } from './life-commands.ts';
import { checkName } from './messages.ts';
import { defaultsFor } from './policy.ts';
import { nextWaiting, recordAt } from './redrive.ts';
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

interface Held {
  readonly offset: number;
  readonly epoch: number;
}

interface Step {
  readonly jobs: readonly { readonly record: DecodedRecord; readonly target: string }[];
  readonly looked: Pick<RemoveCommand, 'fromCursor' | 'toCursor' | 'plain' | 'ready'>;
  readonly plainOffsets: readonly number[];
  readonly note: RedriveNoteCommand;
}

export class RedriveTasks {
  readonly #ports: TaskPorts;
  readonly #running = new Map<QueueCell, Promise<void>>();
  #isClosed = false;

  constructor(ports: TaskPorts) {
    this.#ports = ports;
  }

  async start(caller: Caller, request: pb.StartRedriveRequest): Promise<pb.RedriveTaskInput> {
    const { queue, targetQueue: target, max, perSecond, parkAfter } = request;
    const { shard, view } = this.#ports.at(queue);
    await this.#finished(caller, queue);
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

  /** Goes on with the task of the queue, if it has one that is running or was cut short. */
  resume(cell: QueueCell): void {
    const isAtWork = cell.redrive?.state === 'running' || this.#taken(cell).length > 0;
    if (!isAtWork || this.#running.has(cell)) return;
    const run = this.#run(cell).finally(() => {
      this.#running.delete(cell);
      // Another may have been started in the meantime.
      if (!this.#isClosed && this.#current(cell) !== null) this.resume(cell);
    });
    this.#running.set(cell, run);
  }

  /** A task that is over may have a step that is not (T2). */
  async #finished(caller: Caller, name: string): Promise<void> {
    const cell = this.#ports.at(name).view.state.cell(caller.tenant, name);
    if (cell !== undefined && cell.redrive?.state !== 'running') await this.#running.get(cell);
  }

  close(): void {
    this.#isClosed = true;
  }

  #current(cell: QueueCell): RedriveTask | null {
    const { view } = this.#ports.at(cell.name);
    if (this.#isClosed || view.state.byNumber.get(cell.queueNo) !== cell) return null;
    return cell.redrive?.state === 'running' ? cell.redrive : null;
  }

  /** What a step leased and is not through with. */
  #taken(cell: QueueCell): Held[] {
    const held: Held[] = [];
    const taker = cell.redrive === null ? '' : takerName(cell.redrive.no);
    if (taker === '') return held;
    for (const [offset, grant] of cell.leases) {
      if (grant.sessionId !== '' || grant.worker !== taker) continue;
      held.push({ offset, epoch: grant.firstEpoch + offset - grant.firstOffset });
    }
    return held;
  }

  /** Brings a step to its end that a crash cut short (T2). */
  async #finish(cell: QueueCell): Promise<void> {
    const task = cell.redrive;
    const { shard } = this.#ports.at(cell.name);
    for (let held = this.#taken(cell); task !== null && held.length > 0; held = this.#taken(cell)) {
      if (this.#isClosed) return;
      try {
        const part = held.slice(0, STEP);
        const records = await Promise.all(part.map(({ offset }) => recordAt(cell, offset)));
        const jobs = records.map((record) => ({ record, target: this.#targetOf(cell, task, record) }));
        for (const target of new Set(jobs.map((job) => job.target))) this.#prepare(cell, target);
        await this.#deliver(shard, cell, jobs, part, this.#note(cell, task));
      } catch (error) {
        if (!(error instanceof FlowError)) throw error;
        // Nothing of it is anywhere else, or it would have been recognised.
        if (error.retry === 'never') await this.#release(cell, held).catch(() => {});
        await this.#pause(error.retryAfterMs ?? RETRY_MS);
      }
    }
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
    await this.#finish(cell);
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
    const { max, perSecond, untilOffset } = task;
    const left = max === 0 ? STEP : max - task.moved - task.parked;
    const pace = perSecond === 0 ? STEP : Math.max(1, Math.floor(perSecond / 5));
    const limit = Math.min(STEP, left, pace);
    const found = await nextWaiting(cell, limit, untilOffset);
    const jobs = found.jobs.map((record) => ({ record, target: this.#targetOf(cell, task, record) }));
    const { fromCursor, toCursor, plain, ready } = found;
    const parked = jobs.filter(({ target }) => target === parkedName(cell)).length;
    return {
      jobs,
      looked: { fromCursor, toCursor, plain, ready },
      plainOffsets: found.jobs.slice(ready.length).map(({ offset }) => offset),
      note: { ...this.#note(cell, task), moved: jobs.length - parked, parked },
    };
  }

  #note(cell: QueueCell, { no }: RedriveTask): RedriveNoteCommand {
    return { ...this.#base(cell), kind: 'redrive-note', no, moved: 0, parked: 0, end: null, error: '' };
  }

  #targetOf(cell: QueueCell, { target, parkAfter }: RedriveTask, record: DecodedRecord): string {
    const isParked = decodeLife(record.life).redrives >= parkAfter;
    return isParked ? parkedName(cell) : target || (record.sourceQueue ?? '');
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
    const { fromCursor, toCursor, ready } = step.looked;
    const taken = { no: step.note.no, fromCursor, toCursor, ready, plain: step.plainOffsets };
    const take = { ...this.#base(cell), kind: 'take', ...taken } as TakeCommand;
    const { firstEpoch } = await shard.call<{ firstEpoch: number }>(take);
    const held = step.jobs.map(({ record }, i) => ({ offset: record.offset, epoch: firstEpoch + i }));
    await this.#deliver(shard, cell, step.jobs, held, step.note);
  }

  /** Each that has arrived leaves, with the progress; the others go back, and one error is thrown. */
  async #deliver(
    shard: ShardPort,
    cell: QueueCell,
    jobs: Step['jobs'],
    held: readonly Held[],
    note: RedriveNoteCommand,
  ): Promise<void> {
    const { view } = this.#ports.at(cell.name);
    const moves = jobs.map(async ({ record, target }) => {
      const producerId = `redrive ${view.idPrefix(cell)}${record.offset.toString(36)}`;
      const enqueue = { ...this.#enqueue(cell, target, [record]), mutation: { producerId, seq: 0 } };
      return this.#ports.at(target).shard.call(enqueue);
    });
    const results = await Promise.allSettled(moves);
    const isThere = (_: unknown, i: number) => results[i]?.status === 'fulfilled';
    const acks = held.filter(isThere).map((job) => ({ ...job, count: 1 }));
    const refused = results.find(({ status }) => status === 'rejected');
    const there = jobs.filter(isThere);
    const parked = there.filter(({ target }) => target === parkedName(cell)).length;
    const progress = { ...note, moved: there.length - parked, parked };
    if (acks.length > 0) {
      try {
        await shard.transact([this.#settle(cell, { acks }), progress], undefined);
      } catch {
        // The task was cancelled meanwhile: what has arrived is gone from here all the same.
        await shard.call(this.#settle(cell, { acks }));
      }
    }
    if (refused?.status !== 'rejected') return;
    const left = held.filter((job, i) => !isThere(job, i));
    await this.#release(cell, left).catch(() => {});
    throw refused.reason;
  }

  #enqueue(cell: QueueCell, name: string, records: readonly DecodedRecord[]): EnqueueCommand {
    const batch = encodeBatch(records.map(aliveAgain));
    const head = validateBatch(batch);
    const isReturn = records.every(({ sourceQueue }) => sourceQueue === name);
    return { ...this.#base(cell), kind: 'enqueue', name, batch, head, isReturn, grows: true };
  }
}

const taskMessage = (cell: QueueCell, task: RedriveTask): pb.RedriveTaskInput => {
  const { no, target, untilOffset: _, ...rest } = task;
  return { queue: cell.name, number: no, targetQueue: target, remaining: cell.waiting, ...rest };
};

export const parkedName = (cell: QueueCell): string => `${cell.name}.parked`;
