// The queue API on messages: finds the shard, builds commands, turns replies into messages. No decisions of
// its own.

import { encodeBatch, FlowError, LIMITS, shardOf, validateBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import type { QueueService, WorkSession } from '../services.ts';
import { causingMessages } from '../shard/batch-causes.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, MutationId, ShardPort } from '../shard/state-machine.ts';
import { type CancelReply, REASON_CHARS_MAX } from './cancel.ts';
import { type QueueCell, VISIBILITY_MS_MAX } from './cell.ts';
import type {
  EnqueueCommand,
  EnqueueReply,
  FlowReply,
  QueueCommand,
  SettleCommand,
  SettleReply,
} from './commands.ts';
import { flowCommand } from './flow-plan.ts';
import { listChildren } from './flow-read.ts';
import { FullQueues } from './full-queues.ts';
import { type JobPlace, parseJobId } from './ids.ts';
import { getJob, jobHistory, jobOf, listJobs, offsetIn } from './inspect.ts';
import { longPoll } from './long-poll.ts';
import { checkName, enqueuedJobs, settleResponse, toBatchRecord } from './messages.ts';
import { defaultsFor } from './policy.ts';
import { redrive } from './redrive.ts';
import { RedriveTasks } from './redrive-tasks.ts';
import { checkReport, checkResult } from './reports.ts';
import type { QueueView } from './view.ts';
import { errorMessage, nackTerms, WorkerSession } from './worker-session.ts';

/** Credits are bounded by the same number. */
const SESSION_LEASES_MAX = 100_000;

export interface QueueServiceOptions {
  readonly shards: readonly ShardPort[];
  readonly views: readonly QueueView[];
  readonly autoCreate: boolean;
  readonly runtime: Runtime;
}

export class Queues implements QueueService {
  readonly #o: QueueServiceOptions;
  readonly #full: FullQueues;

  readonly #redrives: RedriveTasks;

  constructor(options: QueueServiceOptions) {
    this.#o = options;
    this.#full = new FullQueues(options.runtime);
    this.#redrives = new RedriveTasks({
      runtime: options.runtime,
      at: (name) => this.at(name),
      ensure: (caller, name) => this.#ensure(caller, name),
    });
  }

  /** Goes on with what was under way when the server ended. */
  start(): void {
    for (const view of this.#o.views)
      for (const cell of view.state.byNumber.values()) this.#redrives.resume(cell);
  }

  close(): void {
    this.#redrives.close();
  }

  /** Shard and view of a queue; checks the name. */
  at(name: string): { shard: ShardPort; view: QueueView } {
    checkName(name, 'queue');
    const index = shardOf(name, this.#o.shards.length);
    const shard = this.#o.shards[index];
    const view = this.#o.views[index];
    if (shard === undefined || view === undefined)
      throw new FlowError('INTERNAL', `shard ${index} is not here`);
    return { shard, view };
  }

  async settled(): Promise<void> {
    await Promise.all(this.#o.shards.map((shard) => shard.settled()));
  }

  async enqueue(caller: Caller, request: pb.EnqueueRequest): Promise<pb.EnqueueResponseInput> {
    const { shard, view } = this.at(request.queue);
    const command = this.enqueueCommand(caller, request);
    const cell = view.state.cell(caller.tenant, request.queue);
    const reply = await this.#full.enqueue(shard, cell, command);
    return { jobs: enqueuedJobs(reply), durability: 1 };
  }

  enqueueCommand(caller: Caller, request: pb.EnqueueRequest): EnqueueCommand {
    if (request.jobs.length === 0)
      throw new FlowError('INVALID_ARGUMENT', 'jobs is empty: name at least one');
    const cause = request.mutation?.cause ?? undefined;
    const batch = encodeBatch(request.jobs.map((job, i) => toBatchRecord(job, cause, i)));
    return this.#batchCommand(caller, request.queue, batch, request.mutation);
  }

  async enqueueFlow(caller: Caller, request: pb.EnqueueFlowRequest): Promise<pb.EnqueueFlowResponseInput> {
    const { shard } = this.at(request.nodes[0]?.queue ?? '');
    const command = flowCommand(caller, request, shard.shards);
    for (const { name } of command.parts) this.#ensure(caller, name);
    const { ids, deduplicated } = await shard.call<FlowReply>(command);
    return { jobs: ids.map((id) => ({ id, deduplicated })), durability: 1 };
  }

  #batchCommand(
    caller: Caller,
    name: string,
    batch: Buffer,
    mutation: pb.Mutation | null,
    isPartial = false,
  ): EnqueueCommand {
    const head = validateBatch(batch);
    this.#ensure(caller, name);
    return {
      view: 'queue',
      kind: 'enqueue',
      caller,
      name,
      batch,
      head,
      isPartial,
      grows: true,
      mutation: mutationOf(mutation),
      causes: causingMessages(batch, head),
    };
  }

  /**
   * Where autoCreate is on, a queue appears on first use: its declaration is decided before what is submitted
   * next.
   */
  #ensure(caller: Caller, name: string): void {
    const { shard, view } = this.at(name);
    if (!this.#o.autoCreate || view.state.cell(caller.tenant, name) !== undefined) return;
    shard.submit({ ...declareCommand(caller, name), ifAbsent: true } as QueueCommand, () => {});
  }

  enqueueBatch(
    caller: Caller,
    request: pb.EnqueueBatch,
    done: (reply: pb.EnqueueBatchReplyInput) => void,
  ): void {
    const seq = request.mutation?.seq ?? 0;
    try {
      const { shard } = this.at(request.queue);
      const command = this.#batchCommand(
        caller,
        request.queue,
        request.batch as Buffer,
        request.mutation,
        request.partial,
      );
      shard.submit(command, (error, reply) => {
        if (error !== null) return done({ seq, error: errorMessage(error) });
        const { idPrefix, firstOffset, count, offsets, refused } = reply as EnqueueReply;
        if (offsets === undefined && refused === undefined)
          return done({ seq, idPrefix, firstOffset, count });
        done({ seq, idPrefix, firstOffset, count, jobs: enqueuedJobs(reply as EnqueueReply) });
      });
    } catch (error) {
      done({ seq, error: errorMessage(error) });
    }
  }

  async lease(caller: Caller, request: pb.LeaseRequest, signal: AbortSignal, address = '') {
    const { view, shard } = this.at(request.queue);
    const cell = await this.#cellFor(caller, request.queue, shard, view);
    const { runtime } = this.#o;
    const release = (jobs: readonly pb.LeasedJobInput[]) =>
      this.releaseUndelivered(caller, request.queue, jobs);
    return longPoll({ view, cell, runtime, request, caller, address, signal, release });
  }

  releaseUndelivered(caller: Caller, queue: string, jobs: readonly pb.LeasedJobInput[]): void {
    if (jobs.length === 0) return;
    const nacks = jobs.map((job) => ({
      offset: parseJobId(job.id ?? '').offset,
      epoch: job.leaseEpoch ?? 0,
      ...nackTerms({ error: '', retryAfterMs: null, unrecoverable: false, release: true } as pb.Nack),
    }));
    this.at(queue).shard.submit(settleCommand(caller, queue, { nacks }), () => {});
  }

  async settle(caller: Caller, request: pb.SettleRequest): Promise<pb.SettleResponseInput> {
    const { shard } = this.at(request.queue);
    const reply = await shard.call<SettleReply>(this.settleCommand(caller, request, false));
    return settleResponse(request, reply);
  }

  settleCommand(caller: Caller, request: pb.SettleRequest, strict: boolean): SettleCommand {
    const cell = this.at(request.queue).view.cell(caller.tenant, request.queue);
    const command = {
      acks: [] as SettleCommand['acks'][number][],
      nacks: [] as SettleCommand['nacks'][number][],
      extends: [] as SettleCommand['extends'][number][],
      results: [] as NonNullable<SettleCommand['results']>[number][],
    };
    for (const s of request.settlements) {
      const { offset } = this.#place(caller, request.queue, s.id);
      const epoch = s.leaseEpoch;
      if (s.ack) {
        command.acks.push({ offset, epoch, count: 1 });
        const { result: value, resultContentType: contentType } = s.ack;
        checkResult(value);
        if (value.length > 0) command.results.push({ offset, epoch, contentType, value: Buffer.from(value) });
      } else if (s.nack) command.nacks.push({ offset, epoch, ...nackTerms(s.nack) });
      else if (s.extend)
        command.extends.push({
          offset,
          epoch,
          visibilityMs: s.extend.visibilityMs || cell.spec.visibilityTimeoutMs,
        });
      else
        throw new FlowError('INVALID_ARGUMENT', `settlement of job ${s.id}: name one of ack, nack, extend`);
    }
    return settleCommand(caller, request.queue, { ...command, strict }, mutationOf(request.mutation));
  }

  async openWork(
    caller: Caller,
    hello: pb.WorkHello,
    send: (message: pb.WorkResponseInput) => boolean,
  ): Promise<WorkSession> {
    if (hello.sessionId === '' || hello.sessionId.length > LIMITS.nameBytes)
      throw new FlowError('INVALID_ARGUMENT', `sessionId has 1 to ${LIMITS.nameBytes} characters`);
    const { shard, view } = this.at(hello.queue);
    const cell = await this.#cellFor(caller, hello.queue, shard, view);
    const heldCount = hello.held.reduce((sum, range) => sum + range.count, 0);
    if (heldCount > SESSION_LEASES_MAX) {
      const most = `a worker holds at most ${SESSION_LEASES_MAX} leases, not ${heldCount}`;
      throw new FlowError('BATCH_TOO_LARGE', most);
    }
    if (hello.held.some((range) => !Number.isSafeInteger(range.epoch + range.count)))
      throw new FlowError('INVALID_ARGUMENT', 'a held range ends beyond 2^53: no lease is there');
    view.removeSession(cell, hello.sessionId);
    const renew = {
      kind: 'renew',
      held: hello.held,
      sessionId: hello.sessionId,
      worker: hello.worker || hello.sessionId,
      visibilityMs: Math.min(hello.visibilityMs, VISIBILITY_MS_MAX),
      build: hello.build.slice(0, LIMITS.nameBytes),
      concurrency: hello.concurrency,
    };
    while ((await this.#call<{ more: boolean }>(caller, hello.queue, renew)).more);
    return new WorkerSession(caller, shard, view, cell, hello, send);
  }

  async renewSession(caller: Caller, request: pb.RenewSessionRequest): Promise<pb.RenewSessionResponseInput> {
    const reply = await this.#call<{ untilMs: number }>(caller, request.queue, {
      kind: 'renew',
      sessionId: request.sessionId,
      worker: '',
      visibilityMs: 0,
      build: '',
      concurrency: 0,
      held: null,
    });
    return { deadlineMs: reply.untilMs };
  }

  async endSession(caller: Caller, request: pb.EndSessionRequest): Promise<pb.EndSessionResponseInput> {
    const goodbye = { kind: 'end-session', sessionId: request.sessionId };
    for (let released = 0; ; ) {
      const step = await this.#call<{ released: number; more: boolean }>(caller, request.queue, goodbye);
      released += step.released;
      if (!step.more) return { released };
    }
  }

  async report(caller: Caller, request: pb.ReportRequest): Promise<pb.ReportResponseInput> {
    checkReport(request);
    const { queue, leaseEpoch: epoch, progress, log: lines } = request;
    const { offset } = this.#place(caller, queue, request.id);
    const mutation = mutationOf(request.mutation);
    return this.#call(caller, queue, { kind: 'report', offset, epoch, progress, lines, mutation });
  }

  async getJob(caller: Caller, request: pb.GetJobRequest): Promise<pb.JobInput> {
    const { shard, view } = this.at(request.queue);
    const job = await getJob(view, view.cell(caller.tenant, request.queue), request.id, shard.nowMs());
    await shard.settled();
    return job;
  }

  async listJobs(caller: Caller, request: pb.ListJobsRequest): Promise<pb.ListJobsResponseInput> {
    const { shard, view } = this.at(request.queue);
    const page = await listJobs(view, view.cell(caller.tenant, request.queue), request, shard.nowMs());
    await shard.settled();
    return page;
  }

  async listChildren(caller: Caller, request: pb.ListChildrenRequest): Promise<pb.ListChildrenResponseInput> {
    const { shard, view } = this.at(request.queue);
    const cell = view.cell(caller.tenant, request.queue);
    const page = await listChildren(view, cell, offsetIn(view, cell, request.id), request);
    await shard.settled();
    return page;
  }

  async jobHistory(caller: Caller, request: pb.GetJobRequest): Promise<pb.JobHistoryResponseInput> {
    const { shard, view } = this.at(request.queue);
    return jobHistory(shard, view.cell(caller.tenant, request.queue), request.id);
  }

  async cancelJob(caller: Caller, request: pb.CancelJobRequest): Promise<pb.CancelJobResponseInput> {
    const { queue } = request;
    const { view } = this.at(queue);
    const cell = view.cell(caller.tenant, queue);
    const { offset, key, isIndexed } = await jobOf(view, cell, request.id);
    const reason = request.reason.slice(0, REASON_CHARS_MAX);
    const part = { kind: 'cancel', offset, key, isIndexed, reason, mutation: mutationOf(request.mutation) };
    const { state, sessionId, epoch } = await this.#call<CancelReply>(caller, queue, part);
    if (epoch > 0) view.waiterOf(cell, sessionId)?.lost([offset], [epoch], 'CANCELLED');
    return { cancelled: state !== 'finished', state: state === 'awaiting' ? 'waiting_children' : state };
  }

  purge(caller: Caller, request: pb.PurgeRequest): Promise<pb.PurgeResponseInput> {
    return this.#call(caller, request.queue, { kind: 'purge', mutation: mutationOf(request.mutation) });
  }

  setDraining(caller: Caller, request: pb.SetDrainingRequest): Promise<pb.SetDrainingResponseInput> {
    const part = { draining: request.draining, mutation: mutationOf(request.mutation) };
    return this.#call(caller, request.queue, { kind: 'drain', ...part });
  }

  setPaused(caller: Caller, request: pb.SetPausedRequest): Promise<pb.SetPausedResponseInput> {
    const part = { paused: request.paused, mutation: mutationOf(request.mutation) };
    return this.#call(caller, request.queue, { kind: 'pause', ...part });
  }

  redrive(caller: Caller, request: pb.RedriveRequest): Promise<pb.RedriveResponseInput> {
    return redrive(this, caller, request);
  }

  startRedrive(caller: Caller, request: pb.StartRedriveRequest): Promise<pb.RedriveTaskInput> {
    return this.#redrives.start(caller, request);
  }

  getRedrive(caller: Caller, request: pb.GetRedriveRequest): Promise<pb.RedriveTaskInput> {
    return this.#redrives.get(caller, request);
  }

  cancelRedrive(caller: Caller, request: pb.CancelRedriveRequest): Promise<pb.RedriveTaskInput> {
    return this.#redrives.cancel(caller, request);
  }

  /** Where a job of the queue lies. */
  #place(caller: Caller, queue: string, id: string): JobPlace {
    const { shard, view } = this.at(queue);
    const place = parseJobId(id);
    if (place.shard !== shard.id || place.queueNo !== view.cell(caller.tenant, queue).queueNo)
      throw new FlowError('JOB_NOT_FOUND', `job ${id} is not of queue ${queue}`);
    return place;
  }

  /** The queue's cell; created with defaults where autoCreate is on. */
  async #cellFor(caller: Caller, name: string, shard: ShardPort, view: QueueView): Promise<QueueCell> {
    this.#ensure(caller, name);
    await shard.settled();
    return view.cell(caller.tenant, name);
  }

  #call<R>(caller: Caller, name: string, part: object): Promise<R> {
    return this.at(name).shard.call<R>({ view: 'queue', caller, name, ...part } as QueueCommand);
  }
}

const declareCommand = (caller: Caller, name: string) => ({
  view: 'queue',
  kind: 'declare',
  caller,
  name,
  spec: defaultsFor(name),
});

const settleCommand = (
  caller: Caller,
  name: string,
  part: Partial<SettleCommand>,
  mutation?: MutationId,
): SettleCommand => ({
  view: 'queue',
  kind: 'settle',
  caller,
  name,
  acks: [],
  nacks: [],
  extends: [],
  strict: false,
  mutation,
  ...part,
});
