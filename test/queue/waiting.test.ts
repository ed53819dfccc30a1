// In which order waiting jobs are given out, and when delayed and retried ones are.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type LogFile, type LogFiles, realLogFiles } from '../../dataplane/storage/log-files.ts';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open();
});
afterEach(() => bench.close());

const NO_JITTER = { type: 'exponential', initialMs: 1000, maxMs: 60_000, jitter: 'none' };

test('plain jobs leave in the order they came', async () => {
  for (const name of ['a', 'b', 'c']) await bench.enqueue('q', aJob(name));
  expect(payloads(await bench.lease('q', 10))).toEqual(['a', 'b', 'c']);
});

test('[Q1] a job is given to one worker only', async () => {
  await bench.enqueue('q', aJob('a'));
  await bench.leaseOne('q');
  expect(await bench.lease('q', 10)).toEqual([]);
});

test('higher priorities leave first, equal ones in order', async () => {
  await bench.enqueue('q', aJob('plain'));
  for (const [name, priority] of [
    ['low', 1],
    ['high', 200],
    ['mid', 7],
    ['high2', 200],
  ] as const)
    await bench.enqueue('q', aJob(name, { priority }));
  expect(payloads(await bench.lease('q', 10))).toEqual(['high', 'high2', 'mid', 'low', 'plain']);
});

test('a delayed job waits for its time, to the millisecond', async () => {
  await bench.enqueue('q', aJob('later', { delayMs: 30_000 }));
  await bench.advance(29_900);
  expect(await bench.lease('q')).toEqual([]);
  await bench.advance(80);
  expect(payloads(await bench.lease('q'))).toEqual(['later']);
});

test('a delay may be longer than a timer can count', async () => {
  const days = 24 * 3_600_000;
  await bench.enqueue('q', aJob('far', { delayMs: 60 * days }));
  await bench.time.jump(59 * days, () => bench.idle());
  // Shard time leans towards the wall clock and never jumps; here both clocks are one.
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 1, blocked: 0, leased: 0 });
  await bench.time.jump(1 * days, () => bench.idle());
  expect(payloads(await bench.lease('q'))).toEqual(['far']);
});

test('plain jobs of a mixed batch are given out around the others', async () => {
  await bench.enqueue(
    'q',
    aJob('a'),
    aJob('late', { delayMs: 1000 }),
    aJob('b'),
    aJob('first', { priority: 9 }),
    aJob('c'),
  );
  expect(payloads(await bench.lease('q', 10))).toEqual(['first', 'a', 'b', 'c']);
  await bench.advance(1000);
  expect(payloads(await bench.lease('q', 10))).toEqual(['late']);
});

test('[Q19] a nacked job comes back after its backoff, with the attempt counted', async () => {
  await bench.declare('q', { backoff: NO_JITTER });
  await bench.enqueue('q', aJob('a'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { error: 'boom' }));
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 1, blocked: 0, leased: 0 });
  await bench.advance(999);
  expect(await bench.figures('q')).toMatchObject({ delayed: 1 });
  await bench.advance(1);
  expect(await bench.leaseOne('q')).toMatchObject({ payload: 'a', attempt: 2 });
});

test('[Q19] jitter comes from the random source of the shard', async () => {
  await bench.enqueue('q', aJob('a'));
  const job = await bench.leaseOne('q');
  bench.time.chance = 0.25;
  const nowMs = bench.time.now;
  await bench.settle('q', nackOf(job));
  expect((await bench.job('q', job.id)).readyAtMs).toBe(nowMs + 250);
});

test('a retried job goes before plain ones that wait', async () => {
  await bench.enqueue('q', aJob('a'), aJob('b'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 0 }));
  expect(payloads(await bench.lease('q', 10))).toEqual(['a', 'b']);
});

test('an acked job is finished', async () => {
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a'));
  expect(await bench.settle('q', ackOf(await bench.leaseOne('q')))).toEqual(['']);
  await bench.advance(60_000);
  expect(await bench.lease('q')).toEqual([]);
  expect((await bench.job('q', id ?? '')).state).toBe('completed');
});

test('a queue that is full takes nothing until something is finished', async () => {
  await bench.declare('q', { maxDepth: 2 });
  await bench.enqueue('q', aJob('a'), aJob('b'));
  await expect(bench.enqueue('q', aJob('c'))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  await bench.enqueue('q', aJob('c'));
  expect(await bench.figures('q')).toMatchObject({ waiting: 2 });
});

test('many jobs with options are all given out, in priority order, through checkpoints', async () => {
  const expected: string[] = [];
  for (let i = 0; i < 3000; i += 100) {
    const jobs = Array.from({ length: 100 }, (_, k) => aJob(`${i + k}`, { priority: 1 + ((i + k) % 3) }));
    await bench.enqueue('q', ...jobs);
    if (i === 1000 || i === 2000) await bench.checkpoint();
  }
  for (const priority of [2, 1, 0])
    for (let i = 0; i < 3000; i++) if (i % 3 === priority) expected.push(`${i}`);
  const seen: string[] = [];
  for (let got = await bench.lease('q', 250); got.length > 0; got = await bench.lease('q', 250)) {
    seen.push(...payloads(got));
    await bench.settle('q', ...got.map(ackOf));
  }
  expect(seen).toEqual(expected);
});

test('a poll that does not wait gets jobs that have to be read from a slow disk first', async () => {
  const reads = Promise.withResolvers<void>();
  let isSlow = false;
  const logFiles: LogFiles = {
    ...realLogFiles,
    async open(file, mode) {
      const opened = await realLogFiles.open(file, mode);
      const slowed: LogFile = {
        write: (pieces, position) => opened.write(pieces, position),
        async read(into, position) {
          if (isSlow) await reads.promise;
          return opened.read(into, position);
        },
        sync: () => opened.sync(),
        truncate: (bytes) => opened.truncate(bytes),
        size: () => opened.size(),
        close: () => opened.close(),
      };
      return slowed;
    },
  };
  const slow = await Bench.open({ onDisk: true, logFiles });
  try {
    await slow.enqueue('q', aJob('a'));
    // More than stays in memory: the first job is on the disk only.
    for (let i = 0; i < 40; i++) await slow.enqueue('q', aJob('x'.repeat(500_000)));
    await slow.restart({ clean: true });
    isSlow = true;
    const request = { queue: 'q', max: 1, waitMs: 0, visibilityMs: 0, worker: 'w' };
    const asked = slow.queues.lease(caller, request, new AbortController().signal);
    for (let i = 0; i < 5; i++) {
      await slow.turns();
      await slow.time.advance(20, () => slow.turns());
    }
    reads.resolve();
    await slow.idle();
    expect((await asked).jobs?.map(({ payload }) => String(payload))).toEqual(['a']);
  } finally {
    await slow.close();
  }
});
