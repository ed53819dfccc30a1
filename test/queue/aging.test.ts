// Priorities, strict and with age: who comes first, against an order that is sorted by hand.
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';

const SECOND = 1000;

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

async function order(count: number, max = 3, on = bench): Promise<string[]> {
  const seen: string[] = [];
  // The first poll may find that something must be read first.
  for (let polls = 0; seen.length < count && polls < 2 * count + 5; polls++) {
    const jobs = await on.lease('q', Math.min(max, count - seen.length));
    seen.push(...payloads(jobs));
    await on.settle('q', ...jobs.map(ackOf));
  }
  return seen;
}

test('[Q125] priorities are strict: the lowest job waits for as long as there are others', async () => {
  await bench.enqueue('q', aJob('old'));
  await bench.advance(3600 * SECOND);
  await bench.enqueue('q', aJob('mid', { priority: 1 }), aJob('high', { priority: 255 }));
  expect(await order(3)).toEqual(['high', 'mid', 'old']);
});

test('[Q126] with aging a job gains one priority each time that passes', async () => {
  await bench.declare('q', { priorityAgingMs: 10 * SECOND });
  await bench.enqueue('q', aJob('old'));
  await bench.advance(15 * SECOND);
  await bench.enqueue('q', aJob('one', { priority: 1 }), aJob('two', { priority: 2 }), aJob('new'));
  expect(await order(4)).toEqual(['two', 'old', 'one', 'new']);
});

test('[Q126] a stream of urgent jobs starves nobody', async () => {
  await bench.declare('q', { priorityAgingMs: SECOND });
  await bench.enqueue('q', aJob('low'));
  let turns = 0;
  for (let found = false; !found; turns++) {
    await bench.enqueue('q', aJob('urgent', { priority: 9 }), aJob('urgent', { priority: 9 }));
    await bench.advance(SECOND);
    found = (await order(1)).includes('low');
  }
  // Nine priorities at a second each; only those that were there before are still ahead of it.
  expect(turns).toBeGreaterThan(9);
  expect(turns).toBeLessThan(24);
});

test('[Q126] a job that is tried again counts from when it is ready again', async () => {
  await bench.declare('q', { priorityAgingMs: SECOND });
  await bench.enqueue('q', aJob('failed'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 60 * SECOND }));
  await bench.advance(30 * SECOND);
  await bench.enqueue('q', aJob('later'));
  await bench.advance(31 * SECOND);
  expect(await order(2)).toEqual(['later', 'failed']);
});

test('[Q127] it is changed for jobs that wait, and holds after a restart', async () => {
  await bench.enqueue('q', aJob('old'));
  await bench.advance(60 * SECOND);
  await bench.enqueue('q', ...['x', 'y', 'z'].map((name) => aJob(name, { priority: 3 })));
  expect(await order(1)).toEqual(['x']);
  await bench.declare('q', { priorityAgingMs: 10 * SECOND });
  await bench.restart({ clean: true });
  expect(await order(1)).toEqual(['old']);
  await bench.declare('q', {});
  await bench.enqueue('q', aJob('w', { priority: 4 }));
  expect(await order(3)).toEqual(['w', 'y', 'z']);
});

test('[Q127] a purge takes the levels along', async () => {
  await bench.declare('q', { priorityAgingMs: SECOND });
  await bench.enqueue(
    'q',
    aJob('a', { priority: 5 }),
    aJob('b', { priority: 7 }),
    aJob('c', { priority: 5 }),
  );
  expect(await order(1, 1)).toEqual(['b']);
  await bench.queues.purge(caller, { queue: 'q', mutation: null });
  await bench.enqueue('q', aJob('d', { priority: 5 }));
  expect(await order(1)).toEqual(['d']);
  expect(await bench.figures('q')).toMatchObject({ waiting: 0 });
});

test('[Q128] an aging that cannot be is refused', async () => {
  await expect(bench.declare('q', { priorityAgingMs: 400 * 86_400 * SECOND })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test.each([false, true])('[Q126] any mix comes in the order of priority and age (restart: %s)', (again) => {
  const jobs = fc.array(
    fc.record({
      priority: fc.constantFrom(0, 0, 0, 1, 2, 3, 200),
      afterMs: fc.constantFrom(0, 0, 400, 3000),
    }),
    { minLength: 1, maxLength: 300 },
  );
  const property = fc.asyncProperty(jobs, fc.constantFrom(1, 3, 100), async (list, max) => {
    const world = await Bench.open({ onDisk: again });
    try {
      await world.declare('q', { priorityAgingMs: SECOND });
      const waiting: { name: string; score: number; priority: number }[] = [];
      for (const [i, { priority, afterMs }] of list.entries()) {
        await world.advance(afterMs);
        await world.enqueue('q', aJob(`${i}`, { priority }));
        waiting.push({ name: `${i}`, priority, score: priority * SECOND - world.time.wallMs() });
      }
      if (again) await world.restart({ clean: true });
      const expected = waiting.sort((a, b) => b.score - a.score || b.priority - a.priority);
      expect(await order(list.length, max, world)).toEqual(expected.map(({ name }) => name));
    } finally {
      await world.close();
    }
  });
  return fc.assert(property, { numRuns: again ? 8 : 25, endOnFailure: true });
});

test('[Q67] the oldest ready job is known before anybody asks for jobs, whatever its priority', async () => {
  const oldestMs = async () =>
    (await bench.fabric.admin.getQueue(caller, { name: 'q' })).figures?.oldestReadyAtMs ?? 0;
  await bench.enqueue('q', aJob('low', { priority: 1 }));
  const startMs = await oldestMs();
  expect(startMs).toBeGreaterThan(0);
  await bench.advance(5 * SECOND);
  await bench.enqueue('q', aJob('high', { priority: 9 }));
  expect(await oldestMs()).toBe(startMs);
  await bench.restart({ clean: true });
  expect(await oldestMs()).toBe(startMs);
  expect(await order(1, 1)).toEqual(['high']);
  expect(await oldestMs()).toBe(startMs);
});
