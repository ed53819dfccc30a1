// What a queue is declared to be, in the words of the SDK.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Duration, durationMs, optionalMs } from './durations.ts';
import { type Scaling, scalingSpec } from './scaling.ts';
import type { SchemaRef } from './schemas.ts';
import { contentTypeOf, encodeValue } from './values.ts';

/** How a queue behaves. What is left out takes the server's default. */
export interface QueueSettings {
  visibilityTimeout?: Duration | undefined;
  /** Limit on failed and timed out attempts. */
  maxAttempts?: number | undefined;
  /** Limit on deliveries, whatever became of them. */
  maxDeliveries?: number | undefined;
  backoff?:
    | {
        type?: 'exponential' | 'fixed' | undefined;
        initial?: Duration | undefined;
        max?: Duration | undefined;
        jitter?: 'full' | 'none' | undefined;
      }
    | undefined;
  /** Default: `<name>.dead`. */
  deadLetterQueue?: string | undefined;
  deduplicationWindow?: Duration | undefined;
  /** 0: no limit. */
  maxDepth?: number | undefined;
  /** How long finished jobs stay readable. */
  retention?: Duration | undefined;
  retentionBytes?: number | undefined;
  /** How long one attempt may run. */
  timeout?: Duration | undefined;
  /** What is left out is not limited. Each start counts, retries too. */
  limits?: QueueLimits | undefined;
  /** Limit keys with waiting jobs take turns, one job each. */
  fair?: boolean | undefined;
  /** A ready job gains one priority each time that this passes. Default: priorities are strict. */
  priorityAging?: Duration | undefined;
  /** An enqueue at `maxDepth`: `reject` (default), or `block`: calls wait for room until their deadline. */
  onFull?: 'reject' | 'block' | undefined;
  /**
   * When a job with a key fails: `block` (default) tries it again before the others of its key, `skip` makes
   * it a dead letter at once.
   */
  failedHead?: 'block' | 'skip' | undefined;
  /** What payloads must match: SCHEMA_VIOLATION. */
  schemaRef?: SchemaRef | undefined;
  /** Lets the fabric compute how many workers are needed. */
  scaling?: Scaling | undefined;
  /** Jobs that the queue enqueues by itself. What is not named here is scheduled no longer. */
  schedules?: readonly Schedule[] | undefined;
}

/** Its jobs have the headers `flowmesh-schedule` (the name) and `flowmesh-scheduled-for` (the tick). */
export interface Schedule {
  /** Unique within the queue. */
  name: string;
  /** Minute, hour, day of month, month, day of week. */
  cron: string;
  /** IANA name. Default: UTC. */
  timeZone?: string | undefined;
  payload?: unknown;
  /**
   * What becomes of a tick while the job before it is not finished: no job (`skip`, the default), a job when
   * it is (`buffer_one`), a job at once (`allow`).
   */
  overlap?: 'skip' | 'buffer_one' | 'allow' | undefined;
  /** Missed ticks that are not older than this are made up for. Default: 5 minutes. */
  catchUp?: Duration | undefined;
}

const scheduleOf = ({ name, cron, timeZone, payload, overlap, catchUp }: Schedule): pb.ScheduleInput => ({
  name,
  cron,
  timeZone,
  payload: payload === undefined ? undefined : encodeValue(payload),
  contentType: payload === undefined ? undefined : contentTypeOf(payload),
  overlap,
  catchUpMs: optionalMs(catchUp, 'catchUp'),
});

/** How fast and how many jobs a queue hands out. */
export interface QueueLimits {
  /** Jobs of one limit key that may start in a time. */
  ratePerKey?: Rate | undefined;
  /** Jobs of one limit key that may be leased at the same time. */
  concurrencyPerKey?: number | undefined;
  rate?: Rate | undefined;
  concurrency?: number | undefined;
}

/** A token bucket: after a pause `count` at once, then one more each `per / count`. */
export interface Rate {
  count: number;
  per: Duration;
}

const rateOf = (rate: Rate | undefined, name: string): pb.RateInput | undefined =>
  rate && { count: rate.count, periodMs: durationMs(rate.per, name) };

/** As ApplyQueue takes it. */
export function queueSpec(name: string, settings: QueueSettings): pb.QueueSpecInput {
  const { backoff, limits } = settings;
  return {
    name,
    visibilityTimeoutMs: optionalMs(settings.visibilityTimeout, 'visibilityTimeout'),
    maxAttempts: settings.maxAttempts,
    maxDeliveries: settings.maxDeliveries,
    backoff: backoff && {
      type: backoff.type,
      initialMs: optionalMs(backoff.initial, 'backoff.initial'),
      maxMs: optionalMs(backoff.max, 'backoff.max'),
      jitter: backoff.jitter,
    },
    deadLetterQueue: settings.deadLetterQueue,
    deduplicationWindowMs: optionalMs(settings.deduplicationWindow, 'deduplicationWindow'),
    maxDepth: settings.maxDepth,
    retentionMs: optionalMs(settings.retention, 'retention'),
    retentionBytes: settings.retentionBytes,
    timeoutMs: optionalMs(settings.timeout, 'timeout'),
    limits: limits && {
      ratePerKey: rateOf(limits.ratePerKey, 'limits.ratePerKey.per'),
      concurrencyPerKey: limits.concurrencyPerKey,
      rate: rateOf(limits.rate, 'limits.rate.per'),
      concurrency: limits.concurrency,
    },
    fair: settings.fair,
    priorityAgingMs: optionalMs(settings.priorityAging, 'priorityAging'),
    onFull: settings.onFull,
    failedHead: settings.failedHead,
    schemaRef: settings.schemaRef,
    scaling: settings.scaling && scalingSpec(settings.scaling),
    schedules: settings.schedules?.map(scheduleOf),
  };
}
