// How fast and how many jobs a queue hands out: the declared limits, and token buckets as pure functions.
//   G1. A bucket is one number: the shard time, in microseconds, at which it is full. It survives restarts.
//   G2. An idle bucket holds `count` tokens; a spent one gets one more each `periodMs / count`.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { JobMeta } from './tables.ts';

export interface Rate {
  readonly count: number;
  readonly periodMs: number;
}

/** What is absent is not limited. */
export interface Limits {
  readonly ratePerKey?: Rate;
  readonly concurrencyPerKey?: number;
  readonly rate?: Rate;
  readonly concurrency?: number;
}

/** How a queue dispatches, beside its retry policy. Absent in declarations of older versions. */
export interface DispatchSpec {
  readonly limits?: Limits;
  readonly fair?: boolean;
  /** Absent: reject. */
  readonly onFull?: 'block';
  /** What a failed job does to the others of its key; absent: they wait for its retries. */
  readonly failedHead?: 'skip';
  /** A ready job gains one priority each time that this passes; absent: priorities are strict. */
  readonly priorityAgingMs?: number;
}

const RATE_COUNT_MAX = 1_000_000;
const PERIOD_MS_MAX = 24 * 3_600_000;
const AGING_MS_MAX = 365 * PERIOD_MS_MAX;

/** Only what is declared: specs without it stay what they were. */
export function resolveDispatch({
  limits,
  fair,
  onFull,
  failedHead,
  priorityAgingMs,
}: pb.QueueSpec): DispatchSpec {
  const resolved = resolveLimits(limits);
  return {
    ...(Object.keys(resolved).length > 0 ? { limits: resolved } : {}),
    ...(fair ? { fair } : {}),
    ...(isChosen('onFull', onFull, 'reject', 'block') ? { onFull: 'block' } : {}),
    ...(isChosen('failedHead', failedHead, 'block', 'skip') ? { failedHead: 'skip' } : {}),
    ...(priorityAgingMs > 0 ? { priorityAgingMs: checkAging(priorityAgingMs) } : {}),
  };
}

/** Longer than this, 255 of them could not be told from strict priorities, and sums would lose digits. */
function checkAging(ms: number): number {
  if (ms > AGING_MS_MAX)
    throw new FlowError('INVALID_ARGUMENT', `priorityAgingMs is at most ${AGING_MS_MAX} (365 d), not ${ms}`);
  return ms;
}

function isChosen(field: string, value: string, usual: string, other: string): boolean {
  if (value !== '' && value !== usual && value !== other)
    throw new FlowError('INVALID_ARGUMENT', `${field} is ${usual} or ${other}, not ${value.slice(0, 60)}`);
  return value === other;
}

function resolveLimits(limits: pb.QueueLimits | null): Limits {
  if (limits === null) return {};
  const { concurrencyPerKey, concurrency } = limits;
  return {
    ...(limits.ratePerKey ? { ratePerKey: checkRate(limits.ratePerKey, 'ratePerKey') } : {}),
    ...(concurrencyPerKey > 0 ? { concurrencyPerKey } : {}),
    ...(limits.rate ? { rate: checkRate(limits.rate, 'rate') } : {}),
    ...(concurrency > 0 ? { concurrency } : {}),
  };
}

function checkRate({ count, periodMs }: pb.Rate, field: string): Rate {
  const isRate = count >= 1 && count <= RATE_COUNT_MAX && periodMs >= 1 && periodMs <= PERIOD_MS_MAX;
  if (isRate && count <= periodMs * 1000) return { count, periodMs };
  const what = `limits.${field} of ${count} in ${periodMs} ms`;
  throw new FlowError(
    'INVALID_ARGUMENT',
    `${what}: 1 to ${RATE_COUNT_MAX} in 1 ms to 24 h, at most one each microsecond`,
  );
}

/** Ready jobs of such a queue wait by limit key, and the keys take turns. */
export const isByKey = ({ fair, limits }: DispatchSpec): boolean =>
  fair === true || limits?.ratePerKey !== undefined || limits?.concurrencyPerKey !== undefined;

/** The key that limits and turns go by; empty: none, and no limit per key. */
export const limitKeyOf = (meta: Pick<JobMeta, 'key' | 'limitKey'>): string => meta.limitKey || meta.key;

/** Where a job waits that is ready. */
export const readyPlace = (spec: DispatchSpec, meta: JobMeta): 'ready' | 'keyed' =>
  isByKey(spec) && limitKeyOf(meta) !== '' ? 'keyed' : 'ready';

const intervalUs = ({ count, periodMs }: Rate): number => Math.ceil((periodMs * 1000) / count);

/** A bucket that was spent from at a slower rate is not emptier than empty. Changes nothing else. */
export const rebased = (rate: Rate, fullAtUs: number, nowMs: number): number =>
  Math.min(fullAtUs, nowMs * 1000 + rate.count * intervalUs(rate));

/** Whole tokens in the bucket. */
export function tokens(rate: Rate, fullAtUs: number, nowMs: number): number {
  const missingUs = Math.max(0, fullAtUs - nowMs * 1000);
  return rate.count - Math.ceil(missingUs / intervalUs(rate));
}

/** The bucket after `count` tokens are spent. */
export const spend = (rate: Rate, fullAtUs: number, nowMs: number, count: number): number =>
  Math.max(nowMs * 1000, fullAtUs) + count * intervalUs(rate);

/** Shard time, ms, from which an empty bucket holds a token. */
export const nextTokenMs = (rate: Rate, fullAtUs: number): number =>
  Math.ceil((fullAtUs - (rate.count - 1) * intervalUs(rate)) / 1000);
