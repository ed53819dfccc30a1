// fm.history: what happened, looked at from its cause.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { decodeValue } from './values.ts';

/**
 * A job, a record, or one delivery of either: `<job id>@<lease epoch>`,
 * `<stream>/<partition>/<offset>@<group>/<epoch>`.
 */
export type EffectsOf =
  | { job: string }
  | { stream: string; partition: number; offset: number }
  | { delivery: string };

export interface EffectsOptions extends CallOptions {
  /** With payloads of jobs and records, and values of keys. */
  values?: boolean | undefined;
  /** Effects per request. Default: 100. */
  pageSize?: number | undefined;
}

/** Something that the handling of a message did. */
export interface Effect {
  /** The delivery that did it. */
  deliveryId: string;
  /** As what number of its effects, from 1. */
  ordinal: number;
  kind:
    | 'enqueued'
    | 'acked'
    | 'nacked'
    | 'released'
    | 'extended'
    | 'cancelled'
    | 'purged'
    | 'redriven'
    | 'written'
    | 'committed'
    | 'set'
    | 'delete';
  /** Where and when; a transaction has one position. */
  shard: number;
  position: number;
  timeMs: number;
  queue?: string | undefined;
  jobId?: string | undefined;
  stream?: string | undefined;
  partition?: number | undefined;
  offset?: number | undefined;
  group?: string | undefined;
  keyspace?: string | undefined;
  key?: string | undefined;
  /** Of the key afterwards; 0: it is gone. */
  revision?: number | undefined;
  /** With `values`: payload of the job or record, value of the string. */
  value?: unknown;
}

/** A time, or a position: in front of that journal entry of the queue's shard. */
export type QueueMoment = { time: Date } | { position: number };

/** How many jobs were in which state. */
export interface QueueCounts {
  /** Of the moment, for lists of the same. */
  position: number;
  waiting: number;
  delayed: number;
  retrying: number;
  blocked: number;
  leased: number;
  /** On their way to the dead-letter queue. */
  dead: number;
  /** Parents of flows whose children were not finished. */
  waitingChildren: number;
}

export interface PastJob<T = unknown> {
  id: string;
  state:
    | 'waiting'
    | 'delayed'
    | 'retrying'
    | 'blocked'
    | 'leased'
    | 'dead'
    | 'waiting_children'
    | 'completed'
    | 'cancelled';
  priority: number;
  key: Uint8Array | undefined;
  enqueuedAtMs: number;
  /** Undefined: the job has left the retention of its queue. */
  payload: T | undefined;
}

export interface PastJobsOptions extends CallOptions {
  /** Default: all that were not finished. */
  state?: PastJob['state'] | undefined;
  /** Jobs per request. Default: 500. */
  pageSize?: number | undefined;
}

const PAGE_SIZE = 500;

export class History {
  readonly #connection: Connection;

  /** @internal */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * What the handling of a job or record did, on all shards, by time: jobs enqueued, records written, keys
   * changed, and what its transactions settled and committed. Handlers of workers and of `fm.stream.handle`,
   * and what runs in `event.run`, leave these tracks by themselves; what is older than the history is
   * forgotten.
   */
  async *effects(of: EffectsOf, options: EffectsOptions = {}): AsyncGenerator<Effect, void, void> {
    const { history } = this.#connection;
    const { values: withValues, pageSize: limit } = options;
    let cursor = '';
    do {
      const request = { ...placeOf(of), withValues, limit, cursor };
      const page = await this.#connection.call(history, history.listEffects, request, options);
      for (const effect of page.effects) yield effectOf(effect, withValues === true);
      cursor = page.cursor;
    } while (cursor !== '');
  }

  /**
   * How many jobs of a queue were in which state at an earlier moment.
   * @throws FlowError HISTORY_TRIMMED: the moment is older than the history
   */
  async queueAt(queue: string, moment: QueueMoment, options?: CallOptions): Promise<QueueCounts> {
    const { history } = this.#connection;
    const request = { queue, ...momentOf(moment) };
    const then = await this.#connection.call(history, history.getQueueAt, request, options);
    const { position, waiting, delayed, retrying, blocked, leased, dead, waitingChildren } = then;
    return { position, waiting, delayed, retrying, blocked, leased, dead, waitingChildren };
  }

  /**
   * The jobs that were in a queue at an earlier moment, each once, in the order in which they were enqueued;
   * those that were finished then the newest first.
   * @throws FlowError HISTORY_TRIMMED: the moment is older than the history, or the queue was purged since
   */
  async *jobsAt<T = unknown>(
    queue: string,
    moment: QueueMoment,
    options: PastJobsOptions = {},
  ): AsyncGenerator<PastJob<T>, void, void> {
    const { history } = this.#connection;
    const { state, pageSize: limit = PAGE_SIZE } = options;
    let cursor = '';
    do {
      const at = cursor === '' ? momentOf(moment) : {};
      const request = { queue, state, limit, cursor, ...at };
      const page = await this.#connection.call(history, history.listJobsAt, request, options);
      for (const job of page.jobs) yield pastJob(job) as PastJob<T>;
      cursor = page.cursor;
    } while (cursor !== '');
  }
}

const momentOf = (moment: QueueMoment) =>
  'time' in moment ? { timeMs: moment.time.getTime() } : { position: moment.position };

const pastJob = ({ id, state, priority, key, enqueuedAtMs, payload, contentType }: pb.Job): PastJob => ({
  id,
  state: state as PastJob['state'],
  priority,
  key: key.length > 0 ? key : undefined,
  enqueuedAtMs,
  payload: enqueuedAtMs > 0 ? decodeValue(payload, contentType) : undefined,
});

function placeOf(of: EffectsOf): pb.ListEffectsRequestInput {
  if ('job' in of) return { jobId: of.job };
  if ('delivery' in of) return { deliveryId: of.delivery };
  return { record: { stream: of.stream, partition: of.partition, offset: of.offset } };
}

function effectOf(effect: pb.Effect, withValues: boolean): Effect {
  const { deliveryId, ordinal, kind, shard, position, timeMs, change } = effect;
  const common = { deliveryId, ordinal, kind: kind as Effect['kind'], shard, position, timeMs };
  if (change) {
    const key = Buffer.from(change.key).toString();
    const isString = withValues && change.type === 'string' && change.reason === 'set';
    const value = isString ? { value: decodeValue(change.value, change.contentType) } : {};
    return { ...common, keyspace: effect.keyspace, key, revision: change.revision, ...value };
  }
  const content = effect.contentType ? { value: decodeValue(effect.payload, effect.contentType) } : {};
  const { stream, partition, offset, group, queue, jobId } = effect;
  if (stream !== '')
    return { ...common, stream, partition, offset, ...(group === '' ? {} : { group }), ...content };
  return { ...common, queue, ...(jobId === '' ? {} : { jobId }), ...content };
}
