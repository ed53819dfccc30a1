// fm.queue: enqueuing and working.
import { type BatchHandler, type BatchOptions, batching, checkBatch } from './batching.ts';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { type EnqueuedJob, type EnqueueOptions, Enqueuer } from './enqueue.ts';
import {
  type ChildJob,
  type ChildrenOptions,
  childrenOf,
  type EnqueuedFlow,
  enqueueFlow,
  type FlowJob,
} from './flows.ts';
import type { Renewal } from './renewal.ts';
import { Worker } from './worker.ts';
import type { JobHandler, WorkerOptions } from './worker-options.ts';

interface Habits {
  readonly tracksEffects: boolean;
  /** There is a worker: the client has work to look after. */
  readonly onWork: () => void;
}

/** Job queues. */
export class Queues {
  /** @internal */
  readonly enqueuer: Enqueuer;
  /** @internal */
  readonly workers = new Set<Worker>();
  readonly #connection: Connection;
  readonly #renewal: Renewal;
  readonly #habits: Habits;

  /** @internal */
  constructor(connection: Connection, renewal: Renewal, habits: Habits) {
    this.#connection = connection;
    this.#renewal = renewal;
    this.#habits = habits;
    this.enqueuer = new Enqueuer(connection);
  }

  /**
   * Enqueues one job; resolves when it is durable. Calls of the same tick travel together.
   * @throws FlowError QUEUE_NOT_FOUND, QUEUE_FULL, VALUE_TOO_LARGE, KEY_TOO_LARGE, HEADERS_TOO_LARGE,
   *   RESOURCE_EXHAUSTED (too many calls unanswered), DISK_FULL, DEADLINE_EXCEEDED (outcome unknown)
   */
  enqueue(queue: string, payload: unknown, options?: EnqueueOptions): Promise<EnqueuedJob> {
    return this.enqueuer.enqueue(queue, payload, options);
  }

  /**
   * Enqueues many jobs in order, all with the same options; waits for room instead of refusing. If it
   * rejects, some may have been enqueued. `deadline` is for all of them together.
   */
  enqueueMany(queue: string, payloads: readonly unknown[], options?: EnqueueOptions): Promise<EnqueuedJob[]> {
    return this.enqueuer.enqueueMany(queue, payloads, options);
  }

  /**
   * Enqueues a tree of jobs, all or nothing. A parent waits (`waiting_children`) until its children are
   * finished; then it is handed out like any job of its queue, its `delay` counts from then, and its handler
   * finds what they returned by `job.childResults()`. All queues must live on one shard: give them the same
   * `{tag}`.
   * @throws FlowError FLOW_TOO_LARGE (1,000 jobs, 32 levels), CROSS_SHARD, QUEUE_NOT_FOUND, QUEUE_FULL,
   *   QUEUE_DRAINING, BATCH_TOO_LARGE
   */
  async flow(root: FlowJob, options?: CallOptions): Promise<EnqueuedFlow> {
    return enqueueFlow(this.#connection, root, options);
  }

  /** The children of a job, in the order of its flow: how far they are, and what they returned. */
  children<T = unknown>(
    queue: string,
    id: string,
    options?: ChildrenOptions,
  ): AsyncGenerator<ChildJob<T>, void, void> {
    return childrenOf<T>(this.#connection, { queue, id }, options);
  }

  /**
   * Cancels a job: one that waits is not handed out any more; the handler of one that is held gets its signal
   * aborted (CANCELLED) and can settle nothing. Answers false if the job was finished already.
   * @throws FlowError JOB_NOT_FOUND
   */
  async cancel(queue: string, id: string, options?: CallOptions & { reason?: string }): Promise<boolean> {
    const { queues } = this.#connection;
    const request = { queue, id, reason: options?.reason, mutation: this.#connection.mutation() };
    return (await this.#connection.call(queues, queues.cancelJob, request, options)).cancelled;
  }

  /**
   * Starts a worker. A handler that returns acks its job, one that throws nacks it (`Unrecoverable`
   * dead-letters, `RetryAfter` sets the delay). On SIGTERM it is drained (see `drainOnSigterm`); before the
   * process ends in other ways, call `worker.drain()`.
   */
  worker<T = unknown>(queue: string, handler: JobHandler<T>, options?: WorkerOptions): Worker<T>;
  /**
   * The same for a handler that takes jobs in batches: `batch.size` of them, or what has come
   * `batch.timeout` after the first; at most `concurrency` batches (default: 1) at a time. Each job has its
   * own outcome: return an array with an Error in the place of a job that failed, or what
   * Promise.allSettled gives.
   */
  worker<T = unknown>(
    queue: string,
    handler: BatchHandler<T>,
    options: WorkerOptions & { batch: BatchOptions },
  ): Worker<T>;
  worker<T>(
    queue: string,
    handler: JobHandler<T> | BatchHandler<T>,
    options: WorkerOptions & { batch?: BatchOptions } = {},
  ): Worker<T> {
    const { batch, ...rest } = options;
    if (batch === undefined) return this.#start<T>(queue, handler as JobHandler<T>, rest);
    const batches = options.concurrency ?? 1;
    const concurrency = checkBatch(batch) * batches;
    const single = batching(handler as BatchHandler<T>, batch, batches);
    return this.#start<T>(queue, single, { ...rest, concurrency });
  }

  #start<T>(queue: string, handler: JobHandler<T>, options: WorkerOptions): Worker<T> {
    const worker = new Worker<T>(this.#connection, this.#renewal, queue, handler, {
      trackEffects: this.#habits.tracksEffects,
      ...options,
    });
    this.workers.add(worker as Worker);
    this.#habits.onWork();
    worker.once('drained', () => this.workers.delete(worker as Worker));
    return worker;
  }
}
