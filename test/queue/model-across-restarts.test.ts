// The queue against a model that is too simple to be wrong: an array of jobs and a clock. Random commands,
// restarts and checkpoints in between; after each step the figures agree.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, extendOf, type Held, nackOf } from './bench.ts';

const VISIBILITY_MS = 30_000;
const RETRY_MS = 1000;
const ATTEMPTS = 3;

interface ModelJob {
  readonly payload: string;
  readonly id: string;
  readonly key: string;
  readonly priority: number;
  state: 'waiting' | 'leased' | 'gone' | 'dead';
  /** Not before. */
  readyAtMs: number;
  deadlineMs: number;
  failures: number;
}

class Model {
  jobs: ModelJob[] = [];
  dedup = new Map<string, number>();
  paused = false;

  /** Leases end at their deadline: one failure more. */
  tick(nowMs: number): void {
    for (const job of this.jobs)
      if (job.state === 'leased' && job.deadlineMs <= nowMs) this.fail(job, job.deadlineMs);
  }

  fail(job: ModelJob, atMs: number): void {
    job.failures++;
    job.state = job.failures >= ATTEMPTS ? 'dead' : 'waiting';
    job.readyAtMs = atMs + RETRY_MS;
  }

  /** Jobs of one key wait for the first of them that is not finished. */
  isBlocked(job: ModelJob): boolean {
    if (job.key === '') return false;
    return this.jobs.some(
      (other) =>
        other.key === job.key &&
        (other.state === 'waiting' || other.state === 'leased') &&
        this.jobs.indexOf(other) < this.jobs.indexOf(job),
    );
  }

  figures(nowMs: number) {
    const open = this.jobs.filter((job) => job.state === 'waiting');
    const blocked = open.filter((job) => this.isBlocked(job));
    const delayed = open.filter((job) => !this.isBlocked(job) && job.readyAtMs > nowMs);
    return {
      waiting: open.length - blocked.length - delayed.length,
      delayed: delayed.length,
      blocked: blocked.length,
      leased: this.jobs.filter((job) => job.state === 'leased').length,
    };
  }

  canBeLeased(payload: string, nowMs: number): boolean {
    const job = this.jobs.find((j) => j.payload === payload);
    return job !== undefined && job.state === 'waiting' && !this.isBlocked(job) && job.readyAtMs <= nowMs;
  }
}

interface Real {
  readonly bench: Bench;
  readonly held: Held[];
  next: number;
}

type Step = (model: Model, real: Real, queue: string) => Promise<void>;

const enqueue: fc.Arbitrary<Step> = fc
  .record({
    key: fc.constantFrom('', '', 'a', 'b'),
    priority: fc.constantFrom(0, 0, 5),
    delayMs: fc.constantFrom(0, 0, 0, 500),
    dedupKey: fc.constantFrom('', '', '', 'd1', 'd2'),
  })
  .map(
    (o): Step =>
      async (model, real, queue) => {
        const nowMs = real.bench.time.now;
        const payload = `job-${real.next++}`;
        const [result] = await real.bench.enqueue(queue, aJob(payload, o));
        const isRepeat = o.dedupKey !== '' && (model.dedup.get(o.dedupKey) ?? 0) > nowMs;
        expect(result?.deduplicated ?? false).toBe(isRepeat);
        if (isRepeat) return;
        if (o.dedupKey !== '') model.dedup.set(o.dedupKey, nowMs + 300_000);
        const job = {
          payload,
          id: result?.id ?? '',
          key: o.key,
          priority: o.priority,
          state: 'waiting',
          deadlineMs: 0,
          failures: 0,
        } as const;
        model.jobs.push({ ...job, readyAtMs: nowMs + o.delayMs });
      },
  );

const lease: fc.Arbitrary<Step> = fc.integer({ min: 1, max: 3 }).map(
  (max): Step =>
    async (model, real, queue) => {
      const due = model.jobs.filter(({ payload }) => model.canBeLeased(payload, real.bench.time.now));
      const jobs = await real.bench.lease(queue, max);
      // The poll itself may take a little of the manual clock.
      model.tick(real.bench.time.now);
      const nowMs = real.bench.time.now;
      // Of those that are due a poll gives what is in memory, not always `max`, but something.
      if (model.paused) expect(jobs).toEqual([]);
      else if (due.length > 0) expect(jobs).not.toEqual([]);
      for (const job of jobs) {
        expect(model.canBeLeased(job.payload, nowMs), `${job.payload} may be leased`).toBe(true);
        const known = model.jobs.find((j) => j.payload === job.payload);
        if (known === undefined) continue;
        expect(job.attempt).toBe(known.failures + 1);
        known.state = 'leased';
        known.deadlineMs = job.deadlineMs;
        real.held.push(job);
      }
    },
);

const settle: fc.Arbitrary<Step> = fc.tuple(fc.nat(20), fc.constantFrom('ack', 'nack', 'extend')).map(
  ([at, how]): Step =>
    async (model, real, queue) => {
      const job = real.held[at % Math.max(1, real.held.length)];
      if (job === undefined) return;
      const known = model.jobs.find((j) => j.payload === job.payload);
      const nowMs = real.bench.time.now;
      const isHeld = known?.state === 'leased' && known.failures + 1 === job.attempt;
      const settlement =
        how === 'ack' ? ackOf(job) : how === 'nack' ? nackOf(job) : extendOf(job, VISIBILITY_MS);
      const [code] = await real.bench.settle(queue, settlement);
      if (isHeld) {
        expect(code).toBe('');
        if (known === undefined) return;
        if (how === 'ack') known.state = 'gone';
        else if (how === 'nack') model.fail(known, nowMs);
        else known.deadlineMs = nowMs + VISIBILITY_MS;
      } else if (how !== 'ack') expect(code).toBe('LEASE_LOST');
    },
);

const cancel: fc.Arbitrary<Step> = fc.nat(20).map(
  (at): Step =>
    async (model, real, queue) => {
      const job = model.jobs[at % Math.max(1, model.jobs.length)];
      if (job === undefined) return;
      const isOpen = job.state === 'waiting' || job.state === 'leased';
      const request = { queue, id: job.id, reason: '', mutation: null };
      const { cancelled } = await real.bench.queues.cancelJob(caller, request);
      expect(cancelled).toBe(isOpen);
      if (isOpen) job.state = 'gone';
    },
);

const advance: fc.Arbitrary<Step> = fc.constantFrom(100, 700, 1500, VISIBILITY_MS + 1).map(
  (ms): Step =>
    async (model, real) => {
      const endMs = real.bench.time.now + ms;
      await real.bench.advance(ms);
      model.tick(endMs);
    },
);

const pause: fc.Arbitrary<Step> = fc.boolean().map(
  (paused): Step =>
    async (model, real, queue) => {
      await real.bench.queues.setPaused(
        { identity: 'test', tenant: 1, deadlineMs: 0 },
        { queue, paused, mutation: null },
      );
      model.paused = paused;
    },
);

const restart: fc.Arbitrary<Step> = fc.boolean().map(
  (clean): Step =>
    async (_model, real) =>
      real.bench.restart({ clean }),
);

const checkpoint: fc.Arbitrary<Step> = fc.constant<Step>(async (_model, real) => real.bench.checkpoint());

// Drawn alike, three runs of four lease nothing.
const steps = fc.oneof(
  { weight: 4, arbitrary: fc.oneof(enqueue, lease, settle) },
  { weight: 2, arbitrary: fc.oneof(cancel, advance, pause, restart, checkpoint) },
);

describe.each([1, 3])('with %i shards', (shards) => {
  test('[Q67] figures, grants and settlements are those of the model, across restarts', async () => {
    let leased = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(steps, { minLength: 5, maxLength: 25, size: 'max' }),
        fc.constantFrom('q', 'other', 'third'),
        async (script, queue) => {
          const bench = await Bench.open({ shards, onDisk: true });
          try {
            await bench.declare(queue, {
              visibilityTimeoutMs: VISIBILITY_MS,
              maxAttempts: ATTEMPTS,
              backoff: { type: 'fixed', initialMs: RETRY_MS, maxMs: RETRY_MS, jitter: 'none' },
            });
            const model = new Model();
            const real: Real = { bench, held: [], next: 0 };
            for (const step of script) {
              await step(model, real, queue);
              await bench.idle();
              model.tick(bench.time.now);
              expect(await bench.figures(queue)).toEqual(model.figures(bench.time.now));
            }
            leased += real.held.length;
            const dead = model.jobs.filter((job) => job.state === 'dead').length;
            expect((await bench.totals(queue)).deadTotal).toBe(dead);
          } finally {
            await bench.close();
          }
        },
      ),
      { numRuns: 25 },
    );
    expect(leased, 'a run that leased nothing proves nothing').toBeGreaterThan(0);
  }, 120_000);
});
