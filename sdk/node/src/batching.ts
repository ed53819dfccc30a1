// Jobs in batches: collects jobs for a handler that takes many at a time, and gives each job its own outcome.
//   B1. A batch goes when it is full, or `timeout` after its first job; at most `concurrency` are at work.
//   B2. A job fails only by its own outcome: an Error in its place of what the handler returned, or a
//       rejected result of Promise.allSettled. If the handler throws, all fail that it has not acked itself.
import { FlowError } from '@flowmesh/protocol';
import { type Duration, durationMs } from './durations.ts';
import type { Job } from './job.ts';
import type { JobHandler } from './worker-options.ts';

export interface BatchOptions {
  /** Jobs at most. */
  size: number;
  /** How long the first one waits for others. Default: 100 ms. */
  timeout?: Duration | undefined;
}

/**
 * Returns nothing, or one outcome for each job in their order: an Error, or a rejected result of
 * Promise.allSettled, fails that job alone.
 */
export type BatchHandler<T = unknown> = (jobs: readonly Job<T>[]) => unknown;

interface Collected<T> {
  readonly job: Job<T>;
  readonly done: (value: unknown) => void;
  readonly fail: (error: unknown) => void;
}

const SIZE_MAX = 1000;

export function checkBatch({ size }: BatchOptions): number {
  if (Number.isInteger(size) && size >= 1 && size <= SIZE_MAX) return size;
  throw new FlowError('INVALID_ARGUMENT', `batch.size ${size}: give a whole number from 1 to ${SIZE_MAX}`);
}

/** A handler of single jobs that runs `handler` on batches of them. */
export function batching<T>(
  handler: BatchHandler<T>,
  options: BatchOptions,
  concurrency: number,
): JobHandler<T> {
  const size = checkBatch(options);
  const timeoutMs = durationMs(options.timeout ?? '100ms', 'batch.timeout');
  /** Jobs that wait for others, or for a batch at work to end. */
  const waiting: Collected<T>[] = [];
  let atWork = 0;
  let isDue = false;
  let timer: NodeJS.Timeout | undefined;

  const go = (): void => {
    while (atWork < concurrency && (waiting.length >= size || (isDue && waiting.length > 0))) {
      const batch = waiting.splice(0, size);
      atWork++;
      void run(handler, batch).finally(() => {
        atWork--;
        go();
      });
    }
    if (waiting.length > 0) return;
    isDue = false;
    clearTimeout(timer);
    timer = undefined;
  };

  return (job) =>
    new Promise((done, fail) => {
      waiting.push({ job, done, fail });
      timer ??= setTimeout(() => {
        isDue = true;
        go();
      }, timeoutMs);
      if (waiting.length >= size) go();
    });
}

/** B2 */
async function run<T>(handler: BatchHandler<T>, batch: readonly Collected<T>[]): Promise<void> {
  // Lost or timed out while they waited: nothing that is done for them would count.
  const alive = batch.filter(({ job }) => !job.signal.aborted);
  for (const { job, done } of batch) if (job.signal.aborted) done(undefined);
  if (alive.length === 0) return;
  try {
    const outcomes = await handler(alive.map(({ job }) => job));
    const each = Array.isArray(outcomes) && outcomes.length === alive.length ? outcomes : [];
    alive.forEach(({ done, fail }, i) => {
      const outcome: unknown = each[i];
      if (outcome instanceof Error) fail(outcome);
      else if (isRejected(outcome)) fail(outcome.reason);
      else done(isFulfilled(outcome) ? outcome.value : outcome);
    });
  } catch (error) {
    for (const { fail } of alive) fail(error);
  }
}

const statusOf = (outcome: unknown): unknown =>
  typeof outcome === 'object' && outcome !== null && 'status' in outcome ? outcome.status : undefined;
const isRejected = (outcome: unknown): outcome is PromiseRejectedResult =>
  statusOf(outcome) === 'rejected' && 'reason' in (outcome as object);
const isFulfilled = (outcome: unknown): outcome is PromiseFulfilledResult<unknown> =>
  statusOf(outcome) === 'fulfilled' && 'value' in (outcome as object);
