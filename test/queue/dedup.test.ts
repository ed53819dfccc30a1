// Deduplication keys: within the window a second job of the same key is the first one, whatever became of it.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const WINDOW_MS = 300_000;

test('[Q31] a second job of the same key is the first one', async () => {
  const [first] = await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  const [second] = await bench.enqueue('q', aJob('b', { dedupKey: 'k' }));
  expect(second).toEqual({ id: first?.id, deduplicated: true });
  expect(await bench.figures('q')).toMatchObject({ waiting: 1 });
});

test('[Q31] the key outlives the job', async () => {
  const [first] = await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  await bench.advance(WINDOW_MS - 5000);
  expect(await bench.enqueue('q', aJob('b', { dedupKey: 'k' }))).toEqual([
    { id: first?.id, deduplicated: true },
  ]);
});

test('[Q32] the key is forgotten when its window is over, and may then be used again', async () => {
  const [first] = await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  await bench.advance(WINDOW_MS);
  const [second] = await bench.enqueue('q', aJob('b', { dedupKey: 'k' }));
  expect(second).toMatchObject({ deduplicated: false });
  expect(second?.id).not.toBe(first?.id);
  // The window begins anew, and the sweep of the first does not end it.
  await bench.advance(WINDOW_MS - 5000);
  expect(await bench.enqueue('q', aJob('c', { dedupKey: 'k' }))).toEqual([
    { id: second?.id, deduplicated: true },
  ]);
});

test('[Q31] duplicates inside of one batch are found', async () => {
  const jobs = await bench.enqueue(
    'q',
    aJob('a', { dedupKey: 'k' }),
    aJob('b'),
    aJob('c', { dedupKey: 'k' }),
    aJob('d', { dedupKey: 'l' }),
  );
  expect(jobs.map((job) => job.deduplicated)).toEqual([false, false, true, false]);
  expect(jobs[2]?.id).toBe(jobs[0]?.id);
  expect((await bench.list('q')).payloads).toEqual(['a', 'b', 'd']);
});

test('[Q31] a batch of nothing but duplicates enqueues nothing', async () => {
  await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  const jobs = await bench.enqueue('q', aJob('b', { dedupKey: 'k' }), aJob('c', { dedupKey: 'k' }));
  expect(jobs.map((job) => job.deduplicated)).toEqual([true, true]);
  expect(await bench.totals('q')).toMatchObject({ enqueuedTotal: 1 });
});

test('[Q31] duplicates around jobs with options leave their placement alone', async () => {
  await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  await bench.enqueue(
    'q',
    aJob('x', { dedupKey: 'k' }),
    aJob('late', { delayMs: 5000 }),
    aJob('y', { dedupKey: 'k' }),
    aJob('high', { priority: 5 }),
    aJob('b'),
  );
  expect((await bench.lease('q', 10)).map((job) => job.payload)).toEqual(['high', 'a', 'b']);
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 1, blocked: 0, leased: 3 });
});

test.each(['replayed', 'checkpointed'])('[Q31] keys are remembered across a restart (%s)', async (how) => {
  const [first] = await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  await bench.restart({ clean: how === 'checkpointed' });
  expect(await bench.enqueue('q', aJob('b', { dedupKey: 'k' }))).toEqual([
    { id: first?.id, deduplicated: true },
  ]);
  await bench.advance(WINDOW_MS);
  expect(await bench.enqueue('q', aJob('b', { dedupKey: 'k' }))).toMatchObject([{ deduplicated: false }]);
});

test('[Q32] keys of a deleted queue are swept like all others, and the sweep comes to an end', async () => {
  await bench.enqueue('q', aJob('a', { dedupKey: 'k' }));
  await bench.fabric.admin.deleteQueue(caller, { name: 'q', ifEmpty: false, mutation: null });
  await bench.advance(WINDOW_MS + 10_000);
  const before = bench.fabric.shards[0]?.shard.durableSeq;
  await bench.advance(30_000);
  expect(bench.fabric.shards[0]?.shard.durableSeq).toBe(before);
});
