import { expect, test } from 'vitest';
import {
  backoffMs,
  decideReturn,
  QUEUE_DEFAULTS,
  type ReturnTerms,
  resolveSpec,
} from '../../dataplane/queue/policy.ts';
import { freshMeta, type JobMeta } from '../../dataplane/queue/tables.ts';
import { aQueue } from './bench.ts';

const held = (more: Partial<JobMeta> = {}): JobMeta => ({ ...freshMeta(0, 5), acquired: 1, ...more });
const terms = (more: Partial<ReturnTerms> = {}): ReturnTerms => ({
  reason: 'nacked',
  error: 'boom',
  retryAfterMs: null,
  unrecoverable: false,
  neverDies: false,
  ...more,
});
const at = { nowMs: 1000, random: 0.5 };

test('[Q19] backoff doubles from the first delay up to its cap', () => {
  const backoff = { type: 'exponential', initialMs: 1000, maxMs: 10_000, jitter: 'none' } as const;
  expect([1, 2, 3, 4, 5, 60].map((n) => backoffMs(backoff, n, 0))).toEqual([
    1000, 2000, 4000, 8000, 10_000, 10_000,
  ]);
});

test('[Q19] a fixed backoff stays the same', () => {
  const backoff = { type: 'fixed', initialMs: 700, maxMs: 10_000, jitter: 'none' } as const;
  expect([1, 2, 9].map((n) => backoffMs(backoff, n, 0))).toEqual([700, 700, 700]);
});

test('[Q19] full jitter picks between nothing and the whole delay', () => {
  const { backoff } = QUEUE_DEFAULTS;
  expect(backoffMs(backoff, 1, 0)).toBe(0);
  expect(backoffMs(backoff, 1, 0.25)).toBe(250);
  expect(backoffMs(backoff, 1, 0.9999)).toBe(1000);
});

test('[Q15] a nack counts as failed and retries later', () => {
  const job = decideReturn(7, held(), terms(), QUEUE_DEFAULTS, at);
  expect(job).toMatchObject({ offset: 7, to: 'retrying', meta: { failed: 1, timedOut: 0, readyAtMs: 1500 } });
});

test('[Q15] a lease that ran out counts as timed out, not as failed', () => {
  const job = decideReturn(7, held(), terms({ reason: 'timed_out' }), QUEUE_DEFAULTS, at);
  expect(job.meta).toMatchObject({ failed: 0, timedOut: 1, acquired: 1 });
});

test('[Q17] a release is not counted and is ready at once', () => {
  const job = decideReturn(
    7,
    held({ acquired: 3, failed: 2 }),
    terms({ reason: 'released' }),
    QUEUE_DEFAULTS,
    at,
  );
  expect(job).toMatchObject({ to: 'ready', meta: { acquired: 2, failed: 2, released: 1, readyAtMs: 1000 } });
});

test('[Q15] failures and time-outs together exhaust the attempts', () => {
  const spec = { ...QUEUE_DEFAULTS, maxAttempts: 3 };
  const second = decideReturn(7, held({ failed: 1 }), terms({ reason: 'timed_out' }), spec, at);
  const third = decideReturn(7, held({ failed: 1, timedOut: 1 }), terms(), spec, at);
  expect([second.to, third.to]).toEqual(['retrying', 'dying']);
});

test('[Q16] deliveries are capped whatever they count as', () => {
  const spec = { ...QUEUE_DEFAULTS, maxAttempts: 100, maxDeliveries: 4 };
  expect(decideReturn(7, held({ acquired: 3 }), terms(), spec, at).to).toBe('retrying');
  expect(decideReturn(7, held({ acquired: 4 }), terms(), spec, at).to).toBe('dying');
});

test('[Q20] an unrecoverable error ends the job at the first attempt', () => {
  expect(decideReturn(7, held(), terms({ unrecoverable: true }), QUEUE_DEFAULTS, at).to).toBe('dying');
});

test('[Q20] the handler may name the delay, 0 included', () => {
  const later = decideReturn(7, held(), terms({ retryAfterMs: 60_000 }), QUEUE_DEFAULTS, at);
  const now = decideReturn(7, held(), terms({ retryAfterMs: 0 }), QUEUE_DEFAULTS, at);
  expect([later.meta.readyAtMs, later.to, now.to]).toEqual([61_000, 'retrying', 'ready']);
});

test('[Q22] a job of a dead-letter queue never dies', () => {
  const job = decideReturn(
    7,
    held({ acquired: 99, failed: 99 }),
    terms({ unrecoverable: true, neverDies: true }),
    QUEUE_DEFAULTS,
    at,
  );
  expect(job.to).toBe('retrying');
});

test('what is not declared takes the default', () => {
  expect(resolveSpec(aQueue('q'))).toEqual(QUEUE_DEFAULTS);
});

test('[Q22] jobs of dead-letter queues are kept for 14 days', () => {
  expect(resolveSpec(aQueue('q.dead')).retentionMs).toBe(14 * 24 * 3_600_000);
});

test.each([
  ['a backoff of unknown type', { backoff: { type: 'cubic', initialMs: 0, maxMs: 0, jitter: '' } }],
  ['a jitter of unknown kind', { backoff: { type: '', initialMs: 0, maxMs: 0, jitter: 'some' } }],
  ['a visibility timeout beyond 12 hours', { visibilityTimeoutMs: 43_200_001 }],
])('%s is refused', (_, more) => {
  expect(() => resolveSpec(aQueue('q', more))).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
});
