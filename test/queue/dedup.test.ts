// Deduplication keys: within the window a second job of the same key is the first one, whatever became of it.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf } from './bench.ts';

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
  await bench.fabric.admin.deleteQueue(caller, { name: 'q', ifEmpty: false, mutation: null, owner: null });
  await bench.advance(WINDOW_MS + 10_000);
  const before = bench.fabric.shards[0]?.shard.durableSeq;
  await bench.advance(30_000);
  expect(bench.fabric.shards[0]?.shard.durableSeq).toBe(before);
});

const DAY_MS = 24 * 3_600_000;
const simple = (payload: string, more = {}) => aJob(payload, { dedupKey: 'k', dedupMode: 'simple', ...more });
const debounced = (payload: string, more = {}) =>
  aJob(payload, { dedupKey: 'k', dedupMode: 'debounce', dedupWindowMs: 5000, ...more });

test('[Q33] a job may set the window of its key', async () => {
  await bench.enqueue('q', aJob('a', { dedupKey: 'k', dedupMode: 'throttle', dedupWindowMs: DAY_MS }));
  await bench.advance(WINDOW_MS * 3);
  expect(await bench.enqueue('q', aJob('b', { dedupKey: 'k' }))).toMatchObject([{ deduplicated: true }]);
  await bench.advance(DAY_MS);
  expect(await bench.enqueue('q', aJob('b', { dedupKey: 'k' }))).toMatchObject([{ deduplicated: false }]);
});

test.each([false, true])(
  '[Q33] simple: the key counts until the job is finished (checkpoint: %s)',
  async (clean) => {
    const [first] = await bench.enqueue('q', simple('a'), aJob('other'));
    const isRepeat = async (expected: boolean) => {
      const [job] = await bench.enqueue('q', simple('b'));
      expect(job).toMatchObject(expected ? { id: first?.id, deduplicated: true } : { deduplicated: false });
    };
    await bench.advance(WINDOW_MS * 2);
    await isRepeat(true);
    await bench.restart({ clean });
    const a = await bench.leaseOne('q');
    expect(a.payload).toBe('a');
    await isRepeat(true);
    await bench.settle('q', nackOf(a, { retryAfterMs: 2000 }));
    await isRepeat(true);
    await bench.advance(2000);
    await bench.settle('q', ackOf(await bench.leaseOne('q')));
    await bench.restart({ clean });
    await isRepeat(false);
  },
);

test('[Q33] simple: a dead, cancelled or purged job is finished', async () => {
  const end: (() => Promise<unknown>)[] = [
    async () => bench.settle('q', nackOf(await bench.leaseOne('q'), { unrecoverable: true })),
    () => bench.queues.purge(caller, { queue: 'q', mutation: null }),
    async () => {
      const [job] = await bench.enqueue('q', simple('x'));
      await bench.queues.cancelJob(caller, { queue: 'q', id: job?.id ?? '', reason: '', mutation: null });
    },
  ];
  for (const finish of end) {
    expect(await bench.enqueue('q', simple('a'))).toMatchObject([{ deduplicated: false }]);
    await finish();
    await bench.idle();
  }
  expect(await bench.enqueue('q', simple('a'))).toMatchObject([{ deduplicated: false }]);
});

test.each([false, true])(
  '[Q34] debounce: the last one counts, and waits from then on (checkpoint: %s)',
  async (clean) => {
    const [a] = await bench.enqueue('q', debounced('a'));
    await bench.advance(4000);
    const [b] = await bench.enqueue('q', debounced('b'));
    expect(b).toEqual({ id: expect.any(String), deduplicated: false, replacedId: a?.id });
    expect(await bench.job('q', a?.id ?? '')).toMatchObject({
      state: 'cancelled',
      reason: `replaced by ${b?.id}`,
    });
    await bench.restart({ clean });
    await bench.advance(4000);
    expect(await bench.lease('q', 9)).toEqual([]);
    const [c] = await bench.enqueue('q', debounced('c'));
    expect(c?.replacedId).toBe(b?.id);
    await bench.advance(5000);
    const job = await bench.leaseOne('q');
    expect(job.payload).toBe('c');
    // What is at work stays; the next one follows it.
    const [d] = await bench.enqueue('q', debounced('d', { delayMs: 1000 }));
    expect(d).toEqual({ id: expect.any(String), deduplicated: false });
    await bench.advance(1000);
    expect((await bench.lease('q', 9)).map(({ payload }) => payload)).toEqual(['d']);
    expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 2 });
  },
);

test('[Q34] debounce: of one batch the last one counts', async () => {
  const [before] = await bench.enqueue('q', debounced('before'));
  const jobs = await bench.enqueue('q', debounced('a'), aJob('x'), debounced('b'), debounced('c'));
  expect(jobs.map(({ deduplicated }) => deduplicated)).toEqual([true, false, true, false]);
  expect(jobs[0]?.id).toBe(jobs[3]?.id);
  expect(jobs[2]?.id).toBe(jobs[3]?.id);
  expect(jobs[3]?.replacedId).toBe(before?.id);
  await bench.advance(5000);
  expect((await bench.lease('q', 9)).map(({ payload }) => payload)).toEqual(['c', 'x']);
});

test.each([
  [{ dedupKey: 'k', dedupMode: 'sometimes' }, 'is one of'],
  [{ dedupMode: 'simple' }, 'without a dedup key'],
  [{ dedupKey: 'k', dedupMode: 'debounce', key: 'lane' }, 'cannot be debounced'],
])('[Q34] %j is refused', async (options, message) => {
  const refusal = { code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) };
  await expect(bench.enqueue('q', aJob('a', options))).rejects.toMatchObject(refusal);
  expect(await bench.enqueue('q', aJob('b'))).toHaveLength(1);
});
