// What an application says to a worker, and hears from it.
import type { FlowError } from '@flowmesh/protocol';
import type { Duration } from './durations.ts';
import type { Job } from './job.ts';

export type JobHandler<T = unknown> = (job: Job<T>) => unknown;

export interface WorkerOptions {
  /** Handlers that run at a time. Default: 16. */
  concurrency?: number | undefined;
  /**
   * Jobs that wait here for a handler. Default: as many as were finished in the last 100 ms, at most 1,000:
   * none for slow jobs, which other workers may as well have, and enough for fast ones.
   */
  prefetch?: number | undefined;
  /** How long a lease lasts without renewal. Default: the queue's. */
  visibility?: Duration | undefined;
  /**
   * Shown where leases are shown; what has one name counts as one worker when workers are scaled. Default:
   * POD_NAME, in a pod its host name, else `<host>:<process id>`.
   */
  name?: string | undefined;
  /** The version of the program that runs; kept with each attempt. Default: FLOWMESH_BUILD. */
  build?: string | undefined;
  /**
   * Keep what handlers return with their finished jobs, at most 64 KiB of each. Default: only of children in
   * flows.
   */
  keepResults?: boolean | undefined;
  /** Trace what handlers do to the job (AsyncLocalStorage, about 0.4 us per job). Default: true. */
  trackEffects?: boolean | undefined;
}

export interface WorkerEvents<T = unknown> {
  /** The handler returned. The ack is on its way. */
  completed: [job: Job<T>];
  /** The handler threw, or timed out. The nack is on its way. */
  failed: [job: Job<T>, error: unknown];
  /** The lease ended before the job was settled. */
  lost: [job: Job<T>];
  /** The session is open, for the first time or again. */
  connected: [];
  /** The connection broke or was refused; the worker tries again by itself. Needs no listener. */
  error: [error: FlowError];
  /** drain() is done. */
  drained: [];
}

export interface DrainOptions {
  /**
   * How long handlers may still run. After that their signals abort and their jobs are given back, uncounted.
   * Default: no limit.
   */
  timeout?: Duration | undefined;
}
