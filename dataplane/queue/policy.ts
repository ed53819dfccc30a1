// Decisions about attempts, as pure functions: defaults, backoff, and where a job goes when its lease ends
// badly.
import { FlowError } from '@flowmesh/protocol';
import type { QueueSpec, QueueSpecInput } from '@flowmesh/protocol/gen/flowmesh.js';
import { readScaling, scalingMessage } from '../scaling/spec.ts';
import { readSchemaRef } from '../schema/spec.ts';
import { VISIBILITY_MS_MAX } from './cell.ts';
import type { PlacedJob, ReturnReason } from './events.ts';
import { readyPlace, resolveDispatch } from './limits.ts';
import { resolveSchedules, scheduleMessage } from './schedule-spec.ts';
import type { JobMeta, ResolvedSpec } from './tables.ts';

const SECOND = 1000;
const HOUR = 3_600_000;

/** docs/reference/defaults.md. */
export const QUEUE_DEFAULTS: ResolvedSpec = {
  visibilityTimeoutMs: 30 * SECOND,
  maxAttempts: 10,
  maxDeliveries: 20,
  backoff: { type: 'exponential', initialMs: SECOND, maxMs: 600 * SECOND, jitter: 'full' },
  deadLetterQueue: '',
  deduplicationWindowMs: 300 * SECOND,
  maxDepth: 0,
  retentionMs: 24 * HOUR,
  retentionBytes: 2 ** 30,
  timeoutMs: 1800 * SECOND,
};

const ERROR_TEXT_MAX = 8192;
/** Longer than anybody waits, and far from where sums of times lose digits. */
const RETRY_AFTER_MS_MAX = 100 * 365 * 24 * HOUR;
/** Dead-letter queues are kept longer. */
const DEAD_RETENTION_MS = 14 * 24 * HOUR;

export const isDeadLetterName = (name: string): boolean => name.endsWith('.dead') || name.endsWith('.parked');

export function defaultsFor(name: string): ResolvedSpec {
  return isDeadLetterName(name) ? { ...QUEUE_DEFAULTS, retentionMs: DEAD_RETENTION_MS } : QUEUE_DEFAULTS;
}

export function resolveSpec(spec: QueueSpec): ResolvedSpec {
  const d = defaultsFor(spec.name);
  const b = spec.backoff;
  const type = b?.type || d.backoff.type;
  const jitter = b?.jitter || d.backoff.jitter;
  if (type !== 'exponential' && type !== 'fixed')
    throw new FlowError('INVALID_ARGUMENT', `backoff.type is exponential or fixed, not ${type}`);
  if (jitter !== 'full' && jitter !== 'none')
    throw new FlowError('INVALID_ARGUMENT', `backoff.jitter is full or none, not ${jitter}`);
  const resolved: ResolvedSpec = {
    visibilityTimeoutMs: spec.visibilityTimeoutMs || d.visibilityTimeoutMs,
    maxAttempts: spec.maxAttempts || d.maxAttempts,
    maxDeliveries: spec.maxDeliveries || Math.max(d.maxDeliveries, 2 * (spec.maxAttempts || 0)),
    backoff: {
      type,
      jitter,
      initialMs: b?.initialMs || d.backoff.initialMs,
      maxMs: b?.maxMs || d.backoff.maxMs,
    },
    deadLetterQueue: spec.deadLetterQueue,
    deduplicationWindowMs: spec.deduplicationWindowMs || d.deduplicationWindowMs,
    maxDepth: spec.maxDepth,
    retentionMs: spec.retentionMs || d.retentionMs,
    retentionBytes: spec.retentionBytes || d.retentionBytes,
    timeoutMs: spec.timeoutMs || d.timeoutMs,
    ...resolveDispatch(spec),
    ...(spec.schemaRef === null ? {} : { schemaRef: readSchemaRef(spec.schemaRef) }),
    ...(spec.scaling === null ? {} : { scaling: readScaling('Queue', spec.scaling) }),
    ...(spec.schedules.length > 0 ? { schedules: resolveSchedules(spec.schedules) } : {}),
  };
  if (resolved.visibilityTimeoutMs > VISIBILITY_MS_MAX) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      `visibilityTimeout is at most 12h, not ${resolved.visibilityTimeoutMs} ms`,
    );
  }
  return resolved;
}

export const specMessage = (name: string, s: ResolvedSpec): QueueSpecInput => ({
  name,
  ...s,
  backoff: s.backoff,
  schedules: s.schedules?.map(scheduleMessage),
  scaling: s.scaling && scalingMessage(s.scaling),
  deadLetterQueue: s.deadLetterQueue || `${name}.dead`,
});

/**
 * Delay before attempt `failures + 1`: initial * 2^(failures - 1), capped; full jitter picks in [0, delay].
 */
export function backoffMs(backoff: ResolvedSpec['backoff'], failures: number, random: number): number {
  const grown =
    backoff.type === 'fixed' ? backoff.initialMs : backoff.initialMs * 2 ** Math.min(failures - 1, 40);
  const capped = Math.min(backoff.maxMs, grown);
  return Math.round(backoff.jitter === 'full' ? capped * random : capped);
}

export interface ReturnTerms {
  readonly reason: ReturnReason;
  readonly error: string;
  readonly retryAfterMs: number | null;
  readonly unrecoverable: boolean;
  /** Dead-letter queues keep what they have: their jobs never run out of attempts. */
  readonly neverDies: boolean;
}

/** Where a job goes whose lease ended without an ack, and with which counters. */
export function decideReturn(
  offset: number,
  held: JobMeta,
  terms: ReturnTerms,
  spec: ResolvedSpec,
  at: { nowMs: number; random: number },
): PlacedJob {
  if (terms.reason === 'released') {
    const meta = { ...held, acquired: held.acquired - 1, released: held.released + 1, readyAtMs: at.nowMs };
    return { offset, meta, to: readyPlace(spec, meta) };
  }
  const timedOut = terms.reason === 'timed_out';
  const meta = {
    ...held,
    failed: held.failed + (timedOut ? 0 : 1),
    timedOut: held.timedOut + (timedOut ? 1 : 0),
    lastError: terms.error.slice(0, ERROR_TEXT_MAX),
    readyAtMs: at.nowMs,
  };
  const failures = meta.failed + meta.timedOut;
  const exhausted = failures >= spec.maxAttempts || meta.acquired >= spec.maxDeliveries;
  const isSkipped = spec.failedHead === 'skip' && meta.key !== '';
  if (!terms.neverDies && (terms.unrecoverable || exhausted || isSkipped))
    return { offset, meta, to: 'dying' };
  const askedMs = terms.retryAfterMs ?? backoffMs(spec.backoff, failures, at.random);
  const delayMs = Math.min(askedMs, RETRY_AFTER_MS_MAX);
  if (delayMs <= 0) return { offset, meta, to: readyPlace(spec, meta) };
  return { offset, meta: { ...meta, readyAtMs: at.nowMs + delayMs }, to: 'retrying' };
}
