// Limits and turns under random scripts with restarts, checkpoints and changed declarations: no limit is ever
// exceeded, the figures are those of a list of jobs, and in the end nothing is stuck or lost.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, type Held, nackOf } from './bench.ts';

const VISIBILITY_MS = 3_600_000;

interface World {
  readonly bench: Bench;
  readonly waiting: Set<string>;
  readonly held: Map<string, Held>;
  concurrencyPerKey: number;
  concurrency: number;
  next: number;
  leased: number;
}

const keyOf = (payload: string) => payload.split('-')[0] ?? '';

async function declare(world: World, rate: number): Promise<void> {
  const { bench, concurrencyPerKey, concurrency } = world;
  const ratePerKey = rate > 0 ? { count: rate, periodMs: 1000 } : null;
  await bench.declare('q', {
    visibilityTimeoutMs: VISIBILITY_MS,
    maxAttempts: 1000,
    maxDeliveries: 10_000,
    backoff: { type: 'fixed', initialMs: 500, maxMs: 500, jitter: 'none' },
    limits: { ratePerKey, concurrencyPerKey, rate: null, concurrency },
    fair: concurrencyPerKey === 1,
  });
}

async function lease(world: World, max: number): Promise<number> {
  const jobs = await world.bench.lease('q', max);
  for (const job of jobs) {
    expect(world.waiting.delete(job.payload), `${job.payload} was waiting`).toBe(true);
    world.held.set(job.payload, job);
    world.leased++;
  }
  if (jobs.length === 0) return 0;
  const { concurrencyPerKey, concurrency } = world;
  if (concurrency > 0) expect(world.held.size).toBeLessThanOrEqual(concurrency);
  for (const key of new Set(jobs.map(({ payload }) => keyOf(payload)))) {
    const running = [...world.held.keys()].filter((payload) => keyOf(payload) === key).length;
    if (key !== '' && concurrencyPerKey > 0)
      expect(running, `of ${key}`).toBeLessThanOrEqual(concurrencyPerKey);
  }
  return jobs.length;
}

/** Works everything off, under the limits that are there. */
async function drain(world: World): Promise<void> {
  for (let empty = 0; empty < 4 && world.waiting.size + world.held.size > 0; ) {
    for (const [payload, job] of world.held) {
      expect(await world.bench.settle('q', ackOf(job))).toEqual(['']);
      world.held.delete(payload);
    }
    if ((await lease(world, 100)) > 0) empty = 0;
    else {
      empty++;
      await world.bench.advance(1000);
    }
  }
}

type Step = (world: World) => Promise<unknown>;

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc
    .record({
      key: fc.constantFrom('', 'a', 'b', 'c'),
      count: fc.integer({ min: 1, max: 4 }),
      delayMs: fc.constantFrom(0, 0, 700),
    })
    .map(({ key, count, delayMs }) => async (world: World) => {
      const names = Array.from({ length: count }, () => `${key}-${world.next++}`);
      for (const name of names) world.waiting.add(name);
      await world.bench.enqueue('q', ...names.map((name) => aJob(name, { limitKey: key, delayMs })));
    }),
  fc.integer({ min: 1, max: 5 }).map((max) => (world: World) => lease(world, max)),
  fc.tuple(fc.nat(20), fc.constantFrom('ack', 'nack', 'release')).map(([at, how]) => async (world: World) => {
    const job = [...world.held.values()][at % Math.max(1, world.held.size)];
    if (job === undefined) return;
    const [code] = await world.bench.settle(
      'q',
      how === 'ack' ? ackOf(job) : nackOf(job, { release: how === 'release' }),
    );
    expect(code).toBe('');
    world.held.delete(job.payload);
    if (how !== 'ack') world.waiting.add(job.payload);
  }),
  fc.constantFrom(100, 600, 2000).map((ms) => (world: World) => world.bench.advance(ms)),
  fc.boolean().map((clean) => (world: World) => world.bench.restart({ clean })),
  fc.constant<Step>((world) => world.bench.checkpoint()),
  fc
    .tuple(fc.constantFrom(0, 1, 2), fc.constantFrom(0, 3), fc.constantFrom(0, 1, 5))
    .map(([concurrencyPerKey, concurrency, rate]) => (world: World) => {
      // A limit that is lowered takes nothing away: it is not checked before enough has ended.
      world.concurrencyPerKey = Math.max(
        concurrencyPerKey,
        world.held.size > 0 ? world.concurrencyPerKey : 0,
      );
      world.concurrency = world.held.size > 0 ? world.concurrency : concurrency;
      if (world.held.size > 0 && (world.concurrencyPerKey === 0 || concurrencyPerKey === 0))
        world.concurrencyPerKey = 0;
      return declare(world, rate);
    }),
  fc.constant<Step>(async (world) => {
    await world.bench.queues.purge(caller, { queue: 'q', mutation: null });
    world.waiting.clear();
  }),
);

describe.each([1, 3])('with %i shards', (shards) => {
  test('[Q121] no limit is exceeded, nothing is lost or stuck, whatever happens in between', async () => {
    let leased = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 30 }), async (script) => {
        const bench = await Bench.open({ shards, onDisk: true });
        const world: World = {
          ...{ bench, waiting: new Set<string>(), held: new Map<string, Held>() },
          ...{ concurrencyPerKey: 2, concurrency: 0, next: 0, leased: 0 },
        };
        try {
          await declare(world, 5);
          for (const step of script) {
            await step(world);
            const { waiting, delayed, leased: out } = await bench.figures('q');
            expect([waiting + delayed, out]).toEqual([world.waiting.size, world.held.size]);
          }
          if (script.length % 2 === 0) {
            world.concurrencyPerKey = world.concurrency = 0;
            await declare(world, 0);
          }
          await drain(world);
          expect([...world.waiting], 'nothing is stuck').toEqual([]);
          leased += world.leased;
        } finally {
          await bench.close();
        }
      }),
      { numRuns: 12 },
    );
    expect(leased, 'a run that leased nothing proves nothing').toBeGreaterThan(0);
  }, 120_000);
});
