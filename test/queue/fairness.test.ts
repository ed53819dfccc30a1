// Turns between limit keys: a key with many jobs does not hold up those with few.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const many = (limitKey: string, count: number, priority = 0) =>
  Array.from({ length: count }, (_, i) => aJob(`${limitKey}${i}`, { limitKey, priority }));

async function order(count: number, max = 1): Promise<string[]> {
  const seen: string[] = [];
  while (seen.length < count) {
    const jobs = await bench.lease('q', Math.min(max, count - seen.length));
    if (jobs.length === 0) break;
    seen.push(...payloads(jobs));
    await bench.settle('q', ...jobs.map(ackOf));
  }
  return seen;
}

test('[Q130] keys take turns, one job each; within a key the order stays', async () => {
  await bench.declare('q', { fair: true });
  await bench.enqueue('q', ...many('a', 4), ...many('b', 2), ...many('c', 1));
  const seen = await order(7, 3);
  for (const key of 'abc')
    expect(seen.filter((p) => p.startsWith(key))).toEqual([...seen.filter((p) => p.startsWith(key))].sort());
  expect(
    seen
      .slice(0, 3)
      .map((p) => p[0])
      .sort(),
  ).toEqual(['a', 'b', 'c']);
  expect(
    seen
      .slice(3, 5)
      .map((p) => p[0])
      .sort(),
  ).toEqual(['a', 'b']);
});

test.each([false, true])(
  '[Q131] three jobs do not wait for 6,000 of another key (restart: %s)',
  async (again) => {
    await bench.declare('q', { fair: true });
    for (let i = 0; i < 12; i++) await bench.enqueue('q', ...many('big', 500));
    await bench.enqueue('q', ...many('small', 3));
    if (again) await bench.restart({ clean: true });
    const seen = await order(8, 2);
    expect(seen.filter((p) => p.startsWith('small'))).toEqual(['small0', 'small1', 'small2']);
  },
);

test('[Q132] jobs without a key have one turn a round, as if they were one key', async () => {
  await bench.declare('q', { fair: true });
  const plain = Array.from({ length: 6 }, (_, i) => aJob(`p${i}`));
  await bench.enqueue('q', ...plain, ...many('a', 6), ...many('b', 6));
  // The first poll finds the keys on the disk, and jobs without one do not wait for that.
  const seen = (await order(10)).slice(1);
  const counts = ['p', 'a', 'b'].map((key) => seen.filter((p) => p.startsWith(key)).length);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

test('[Q133] priorities order the jobs of one key, not the keys', async () => {
  await bench.declare('q', { fair: true });
  await bench.enqueue(
    'q',
    ...many('a', 2),
    ...many('b', 1),
    ...many('a', 1, 9).map((j) => ({ ...j, payload: Buffer.from('urgent') })),
  );
  const seen = await order(4);
  expect(seen.filter((p) => p !== 'b0')).toEqual(['urgent', 'a0', 'a1']);
  expect(seen.indexOf('b0')).toBeLessThan(2);
});

test('[Q134] more keys than are resident are all served, and none twice before the others', async () => {
  await bench.declare('q', { fair: true });
  const keys = Array.from({ length: 2500 }, (_, i) => `k${i}-`);
  for (let i = 0; i < keys.length; i += 500)
    await bench.enqueue('q', ...keys.slice(i, i + 500).flatMap((key) => many(key, 2)));
  await bench.restart({ clean: true });
  const first = await order(2500, 400);
  expect(first.length).toBe(2500);
  const distinct = new Set(first.map((p) => p.split('-')[0])).size;
  expect(distinct).toBeGreaterThan(2100);
  const rest = await order(2500, 1000);
  expect(new Set([...first, ...rest]).size).toBe(5000);
});

test('[Q135] a queue that is fair no longer still gives what waits by key', async () => {
  await bench.declare('q', { fair: true });
  await bench.enqueue('q', ...many('a', 2), ...many('b', 1));
  await bench.declare('q');
  await bench.enqueue('q', aJob('plain'), ...many('c', 1));
  expect((await order(5)).sort()).toEqual(['a0', 'a1', 'b0', 'c0', 'plain']);
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 0 });
});
