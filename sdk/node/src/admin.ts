// fm.admin: declared resources, figures, and what people do to queues and groups by hand. Also what the CLI
// calls.
import type { Envelope } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type {
  AdminClient,
  QueuesClient,
  StreamsClient,
  UnaryClient,
} from '@flowmesh/protocol/gen/services.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import {
  type AdminWatchOptions,
  type Declaration,
  type DeclarationChange,
  type DeclaredKind,
  type Figures,
  type FiguresOptions,
  listFigures,
  type OwnerOptions,
  watchDeclarations,
} from './declarations.ts';
import { decodeHeaders } from './headers.ts';
import { type QueueSettings, queueSpec } from './queue-settings.ts';
import { type ScalingOf, scalingRequest } from './scaling.ts';
import { envelopeFrom } from './stream-record.ts';
import { type StreamSettings, streamSpec } from './stream-settings.ts';
import { decodeValue, utf8 } from './values.ts';

export type KeyspaceSettings =
  | { mode: 'durable' }
  | {
      mode: 'cache';
      maxBytes?: number | undefined;
      /** Which keys go when it is full: used longest ago (default), used least often, or expiring first. */
      eviction?: 'lru' | 'lfu' | 'ttl' | undefined;
    };

export type JobState =
  | 'waiting'
  | 'delayed'
  | 'retrying'
  | 'blocked'
  | 'waiting_children'
  | 'leased'
  | 'completed'
  | 'cancelled'
  | 'dead';

/** A job as it lies in its queue; `payload` and `headers` are decoded. */
export interface JobView
  extends Omit<
    pb.Job,
    'payload' | 'headers' | 'key' | 'limitKey' | 'envelope' | 'state' | 'progress' | 'result'
  > {
  state: JobState;
  payload: unknown;
  /** What `job.progress` said last; undefined: nothing. */
  progress: unknown;
  /** What the handler returned, of workers with `keepResults`. */
  result: unknown;
  key: string | undefined;
  limitKey: string | undefined;
  headers: Record<string, string>;
  envelope: Envelope | undefined;
}

export interface JobPage {
  jobs: JobView[];
  /** Of the next page; undefined: this is the last one. */
  cursor: string | undefined;
}

/** Where a group goes on: a position, a time (ms since the epoch), or an offset of one partition. */
export type SeekTarget =
  | { to: 'earliest' | 'latest' | { timestamp: number }; partition?: number | undefined }
  | { to: { offset: number }; partition: number };

/** Every method throws FlowError; NOT_FOUND codes name what is missing. */
export class Admin {
  readonly #connection: Connection;

  /** @internal */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Creates or changes a queue. Idempotent. */
  applyQueue(name: string, settings: QueueSettings = {}, options?: CallOptions): Promise<pb.Queue> {
    const spec = { ...queueSpec(name, settings), mutation: this.#connection.mutation() };
    return this.#admin((s) => s.applyQueue, spec, options);
  }

  /** Specification and figures of a queue. */
  getQueue(name: string, options?: CallOptions): Promise<pb.Queue> {
    return this.#admin((s) => s.getQueue, { name }, options);
  }

  async listQueues(options?: CallOptions): Promise<pb.Queue[]> {
    return (await this.#admin((s) => s.listQueues, {}, options)).queues;
  }

  /** @throws FlowError NOT_EMPTY if `ifEmpty` is set and there are jobs */
  async deleteQueue(name: string, options?: OwnerOptions & { ifEmpty?: boolean }): Promise<void> {
    const { ifEmpty, owner } = options ?? {};
    const mutation = this.#connection.mutation();
    await this.#admin((s) => s.deleteQueue, { name, ifEmpty, owner, mutation }, options);
  }

  /**
   * Makes a queue what its owner declares, and says what that changed. Idempotent.
   * @throws FlowError STALE_GENERATION, OWNED_BY_OTHER, ADOPTION_REFUSED, IMMUTABLE
   */
  declareQueue(
    name: string,
    settings: QueueSettings,
    by: Declaration,
    options?: CallOptions,
  ): Promise<pb.DeclareQueueResponse> {
    const spec = { ...queueSpec(name, settings), mutation: this.#connection.mutation() };
    return this.#admin((s) => s.declareQueue, { spec, ...by }, options);
  }

  /** Lets go of a queue, schema or stream: it stays, and nobody owns it. False: nobody did. */
  async releaseOwner(kind: DeclaredKind, name: string, options?: OwnerOptions): Promise<boolean> {
    const request = { kind, name, owner: options?.owner, mutation: this.#connection.mutation() };
    return (await this.#admin((s) => s.releaseOwner, request, options)).released;
  }

  /** Figures of all queues, schemas and streams: cheap, whatever they hold. */
  figures(options: FiguresOptions = {}): Promise<Figures> {
    return listFigures(this.#connection, options);
  }

  /**
   * What becomes of queues, schemas and streams, whoever changes them. Reconnects by itself; changes that
   * come close together are told as one.
   * @throws FlowError HISTORY_TRIMMED: list them, and watch anew
   */
  watch(options: AdminWatchOptions = {}): AsyncGenerator<DeclarationChange, void, void> {
    return watchDeclarations(this.#connection, options);
  }

  /** Deletes every waiting job; returns how many. */
  async purgeQueue(queue: string, options?: CallOptions): Promise<number> {
    const request = { queue, mutation: this.#connection.mutation() };
    return (await this.#queues((s) => s.purge, request, options)).purged;
  }

  /** No more jobs are handed out; enqueuing and settling go on. */
  async pauseQueue(queue: string, options?: CallOptions): Promise<void> {
    await this.#queues(
      (s) => s.setPaused,
      { queue, paused: true, mutation: this.#connection.mutation() },
      options,
    );
  }

  /**
   * New jobs are refused (QUEUE_DRAINING) while those that are there are finished; `false` takes jobs again.
   * Returns how many are not finished.
   */
  async drainQueue(queue: string, draining = true, options?: CallOptions): Promise<number> {
    const request = { queue, draining, mutation: this.#connection.mutation() };
    return (await this.#queues((s) => s.setDraining, request, options)).unfinished;
  }

  async resumeQueue(queue: string, options?: CallOptions): Promise<void> {
    await this.#queues(
      (s) => s.setPaused,
      { queue, paused: false, mutation: this.#connection.mutation() },
      options,
    );
  }

  /** Moves dead jobs back to where they came from, or to `target`, oldest first, at most 1,000 a call. */
  redrive(
    deadLetterQueue: string,
    options?: CallOptions & { max?: number; target?: string },
  ): Promise<pb.RedriveResponse> {
    const request: pb.RedriveRequestInput = {
      queue: deadLetterQueue,
      max: options?.max,
      targetQueue: options?.target,
      mutation: this.#connection.mutation(),
    };
    return this.#queues((s) => s.redrive, request, options);
  }

  /**
   * Starts a task of the server that moves dead jobs back to where they came from, or to `target`, oldest
   * first. It goes on by itself, also after a restart of the server. Jobs that came back `parkAfter` times
   * (default: 3) go to `<queue>.parked` instead.
   * @throws FlowError ALREADY_EXISTS if one is running
   */
  startRedrive(
    deadLetterQueue: string,
    options?: CallOptions & { max?: number; target?: string; perSecond?: number; parkAfter?: number },
  ): Promise<pb.RedriveTask> {
    const request: pb.StartRedriveRequestInput = {
      queue: deadLetterQueue,
      max: options?.max,
      targetQueue: options?.target,
      perSecond: options?.perSecond,
      parkAfter: options?.parkAfter,
      mutation: this.#connection.mutation(),
    };
    return this.#queues((s) => s.startRedrive, request, options);
  }

  /** How far the newest redrive task of the queue is. @throws FlowError NOT_FOUND if there was none */
  redriveTask(deadLetterQueue: string, options?: CallOptions): Promise<pb.RedriveTask> {
    return this.#queues((s) => s.getRedrive, { queue: deadLetterQueue }, options);
  }

  /** Stops it; what has not been moved stays where it is. */
  cancelRedrive(deadLetterQueue: string, options?: CallOptions): Promise<pb.RedriveTask> {
    const request = { queue: deadLetterQueue, mutation: this.#connection.mutation() };
    return this.#queues((s) => s.cancelRedrive, request, options);
  }

  /** One job, finished or not. @throws FlowError JOB_NOT_FOUND */
  async getJob(queue: string, id: string, options?: CallOptions): Promise<JobView> {
    return jobView(await this.#queues((s) => s.getJob, { queue, id }, options));
  }

  /** A page of jobs in a state; without one: every unfinished state. Takes no lease. */
  async listJobs(
    queue: string,
    options?: CallOptions & { state?: JobState; limit?: number; cursor?: string },
  ): Promise<JobPage> {
    const request = { queue, state: options?.state, limit: options?.limit, cursor: options?.cursor };
    const page = await this.#queues((s) => s.listJobs, request, options);
    return { jobs: page.jobs.map(jobView), cursor: page.cursor || undefined };
  }

  /** What would be handed out next, without taking it. */
  async peekJobs(queue: string, limit = 10, options?: CallOptions): Promise<JobView[]> {
    return (await this.listJobs(queue, { ...options, state: 'waiting', limit })).jobs;
  }

  /** Every retained transition of one job, oldest first. */
  jobHistory(queue: string, id: string, options?: CallOptions): Promise<pb.JobHistoryResponse> {
    return this.#queues((s) => s.jobHistory, { queue, id }, options);
  }

  /** Creates or changes a stream. Idempotent. */
  applyStream(name: string, settings: StreamSettings = {}, options?: CallOptions): Promise<pb.Stream> {
    const spec = { ...streamSpec(name, settings), mutation: this.#connection.mutation() };
    return this.#admin((s) => s.applyStream, spec, options);
  }

  /** As declareQueue. */
  declareStream(
    name: string,
    settings: StreamSettings,
    by: Declaration,
    options?: CallOptions,
  ): Promise<pb.DeclareStreamResponse> {
    const spec = { ...streamSpec(name, settings), mutation: this.#connection.mutation() };
    return this.#admin((s) => s.declareStream, { spec, ...by }, options);
  }

  /** Specification of a stream, and start, end and size of its partitions. */
  getStream(name: string, options?: CallOptions): Promise<pb.Stream> {
    return this.#admin((s) => s.getStream, { name }, options);
  }

  /**
   * How many workers a queue or a consumer group needs now, and why: signals, advice, and who works.
   * @throws FlowError SCALING_NOT_DECLARED, SCALING_UNKNOWN (ask again, and change nothing until then)
   */
  scaling(of: ScalingOf, options?: CallOptions): Promise<pb.GetScalingResponse> {
    return this.#admin((s) => s.getScaling, scalingRequest(of), options);
  }

  async listStreams(options?: CallOptions): Promise<pb.Stream[]> {
    return (await this.#admin((s) => s.listStreams, {}, options)).streams;
  }

  /** @throws FlowError NOT_EMPTY if `ifEmpty` is set and there are records */
  async deleteStream(name: string, options?: OwnerOptions & { ifEmpty?: boolean }): Promise<void> {
    const { ifEmpty, owner } = options ?? {};
    const mutation = this.#connection.mutation();
    await this.#admin((s) => s.deleteStream, { name, ifEmpty, owner, mutation }, options);
  }

  /** Members, offsets and lag of a consumer group. */
  getGroup(stream: string, group: string, options?: CallOptions): Promise<pb.Group> {
    return this.#streams((s) => s.getGroup, { stream, group }, options);
  }

  async listGroups(stream: string, options?: CallOptions): Promise<pb.Group[]> {
    return (await this.#streams((s) => s.listGroups, { stream }, options)).groups;
  }

  /** Moves a consumer group, also while it runs; without `partition`: all of them. */
  async seek(
    stream: string,
    group: string,
    target: SeekTarget,
    options?: CallOptions,
  ): Promise<pb.GroupPartition[]> {
    const request: pb.SeekRequestInput = {
      stream,
      group,
      partition: target.partition,
      mutation: this.#connection.mutation(),
    };
    const { to } = target;
    if (typeof to === 'string') request.position = to;
    else if ('offset' in to) request.offset = to.offset;
    else request.timestampMs = to.timestamp;
    return (await this.#streams((s) => s.seek, request, options)).partitions;
  }

  /**
   * Declares how a keyspace is kept; one that nobody declares is durable. A cache lives in memory only,
   * within `maxBytes` (default: 64 MiB), without history and without a part in transactions.
   * @throws FlowError IMMUTABLE (the mode never changes), NOT_EMPTY (it holds durable keys)
   */
  applyKeyspace(name: string, settings: KeyspaceSettings, options?: CallOptions): Promise<pb.Keyspace> {
    const spec = { name, ...settings, mutation: this.#connection.mutation() };
    return this.#admin((s) => s.applyKeyspace, spec, options);
  }

  async listKeyspaces(options?: CallOptions): Promise<pb.Keyspace[]> {
    return (await this.#admin((s) => s.listKeyspaces, {}, options)).keyspaces;
  }

  /** Version, shards and their state. */
  getCluster(options?: CallOptions): Promise<pb.Cluster> {
    return this.#admin((s) => s.getCluster, {}, options);
  }

  #admin<Request, Response>(
    method: (stub: AdminClient) => UnaryClient<Request, Response>,
    request: Request,
    options: CallOptions | undefined,
  ): Promise<Response> {
    const { admin } = this.#connection;
    return this.#connection.call(admin, method(admin), request, options);
  }

  #queues<Request, Response>(
    method: (stub: QueuesClient) => UnaryClient<Request, Response>,
    request: Request,
    options: CallOptions | undefined,
  ): Promise<Response> {
    const { queues } = this.#connection;
    return this.#connection.call(queues, method(queues), request, options);
  }

  #streams<Request, Response>(
    method: (stub: StreamsClient) => UnaryClient<Request, Response>,
    request: Request,
    options: CallOptions | undefined,
  ): Promise<Response> {
    const { streams } = this.#connection;
    return this.#connection.call(streams, method(streams), request, options);
  }
}

function jobView(job: pb.Job): JobView {
  const { payload, contentType, key, limitKey, headers, envelope, state } = job;
  return {
    ...job,
    state: state as JobState,
    payload: decodeValue(payload, contentType),
    progress: job.progress === '' ? undefined : JSON.parse(job.progress),
    result: job.resultContentType === '' ? undefined : decodeValue(job.result, job.resultContentType),
    key: key.length === 0 ? undefined : utf8(key),
    limitKey: limitKey.length === 0 ? undefined : utf8(limitKey),
    headers: decodeHeaders(new Map(Object.entries(headers))),
    envelope: envelopeFrom(envelope),
  };
}
