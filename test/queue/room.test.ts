// Delays of any length, what a failed job does to its key, and full queues.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const DAY = 86_400_000;

test.each([60, 400, 36_500])('[Q150] a delay of %i days', async (days) => {
  await bench.enqueue('q', aJob('later', { delayMs: days * DAY }), aJob('now'));
  expect(payloads(await bench.lease('q', 10))).toEqual(['now']);
  const dueMs = bench.time.now - 20 + days * DAY;
  await bench.time.jump(dueMs - 1000 - bench.time.now, () => bench.idle());
  await bench.restart({ clean: days === 60 });
  expect(await bench.lease('q')).toEqual([]);
  await bench.advance(1000);
  expect(payloads(await bench.lease('q'))).toEqual(['later']);
});

test('[Q151] a delayed job says when it is ready', async () => {
  const [enqueued] = await bench.enqueue('q', aJob('later', { delayMs: 60 * DAY }));
  const id = enqueued?.id ?? '';
  expect(await bench.job('q', id)).toMatchObject({
    state: 'delayed',
    reason: `delayed: ready in ${60 * 86_400} s`,
    readyAtMs: bench.time.now + 60 * DAY,
  });
});

test('[Q152] skip: a failed head is dead at once, and its key goes on', async () => {
  await bench.declare('q', { failedHead: 'skip' });
  await bench.enqueue('q', aJob('a', { key: 'k' }), aJob('b', { key: 'k' }), aJob('free'));
  for (const job of await bench.lease('q', 10))
    await bench.settle('q', nackOf(job, { retryAfterMs: 60_000, error: 'poison' }));
  await bench.idle();
  expect(payloads(await bench.lease('q', 10))).toEqual(['b']);
  expect(payloads(await bench.lease('q.dead', 10))).toEqual(['a']);
  expect(await bench.figures('q')).toMatchObject({ delayed: 1, leased: 1 });
});

test('[Q152] block: the key waits for the retries of its head', async () => {
  await bench.declare('q', { failedHead: 'block' });
  await bench.enqueue('q', aJob('a', { key: 'k' }), aJob('b', { key: 'k' }));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 60_000 }));
  expect(await bench.lease('q', 10)).toEqual([]);
  await bench.advance(60_000);
  await bench.advance(1000);
  expect(payloads(await bench.lease('q', 10))).toEqual(['a']);
});

test('[Q153] a full queue refuses, and says when to come again', async () => {
  await bench.declare('q', { maxDepth: 1 });
  await bench.enqueue('q', aJob('a'));
  await expect(bench.enqueue('q', aJob('b'))).rejects.toMatchObject({
    code: 'QUEUE_FULL',
    retryAfterMs: 1000,
  });
});

test('[Q154] block: calls wait for room, in order', async () => {
  await bench.declare('q', { maxDepth: 2, onFull: 'block' });
  await bench.enqueue('q', aJob('a'), aJob('b'));
  const done: string[] = [];
  const waiting = ['c', 'd', 'e'].map((name) => bench.enqueue('q', aJob(name)).then(() => done.push(name)));
  await bench.advance(1000);
  expect(done).toEqual([]);
  const [a, b] = await bench.lease('q', 2);
  await bench.settle('q', ackOf(a as never));
  await bench.advance(100);
  expect(done).toEqual(['c']);
  await bench.settle('q', ackOf(b as never));
  await bench.advance(100);
  expect(done).toEqual(['c', 'd']);
  await bench.declare('q');
  await bench.advance(100);
  await Promise.all(waiting);
  expect(done).toEqual(['c', 'd', 'e']);
});

test('[Q154] whoever waits in vain is refused at the deadline', async () => {
  await bench.declare('q', { maxDepth: 1, onFull: 'block' });
  await bench.enqueue('q', aJob('a'));
  const request = { queue: 'q', jobs: [aJob('b')], mutation: null };
  const short = bench.queues.enqueue({ ...caller, deadlineMs: bench.time.now + 5000 }, request);
  const long = bench.queues.enqueue(caller, request);
  const outcome: string[] = [];
  for (const [name, call] of Object.entries({ short, long }))
    call.catch((error: { code: string }) => outcome.push(`${name} ${error.code}`));
  await bench.advance(4900);
  expect(outcome).toEqual([]);
  await bench.advance(200);
  expect(outcome).toEqual(['short QUEUE_FULL']);
  await bench.advance(25_000);
  expect(outcome).toEqual(['short QUEUE_FULL', 'long QUEUE_FULL']);
});

test('[Q155] at most 1,000 wait, and a batch that never fits does not', async () => {
  await bench.declare('q', { maxDepth: 2, onFull: 'block' });
  await bench.enqueue('q', aJob('a'));
  await expect(bench.enqueue('q', aJob('x'), aJob('y'), aJob('z'))).rejects.toMatchObject({
    code: 'QUEUE_FULL',
  });
  await bench.enqueue('q', aJob('b'));
  let refused = 0;
  const calls = Array.from({ length: 1100 }, () => bench.enqueue('q', aJob('c')).catch(() => void refused++));
  await bench.advance(200);
  expect(refused).toBe(100);
  await bench.advance(30_000);
  await Promise.all(calls);
  expect(refused).toBe(1100);
});
