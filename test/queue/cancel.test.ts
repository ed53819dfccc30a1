// Cancelling jobs, wherever they are.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';
import { SessionWorker } from './session-worker.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const cancel = (id: string | null | undefined, reason = '') =>
  bench.queues.cancelJob(caller, { queue: 'q', id: id ?? '', reason, mutation: null });
const EMPTY = { waiting: 0, delayed: 0, blocked: 0, leased: 0 };
const enqueue = async (...jobs: Parameters<typeof aJob>[]) =>
  (await bench.enqueue('q', ...jobs.map((job) => aJob(...job)))).map(({ id }) => id ?? '');
const cancelledTotal = async () =>
  (await bench.fabric.admin.getQueue(caller, { name: 'q' })).figures?.cancelledTotal;

test.each([false, true])('[Q36] plain jobs that wait are stepped over (checkpoint: %s)', async (clean) => {
  const ids = await enqueue(['a'], ['b'], ['c'], ['d'], ['e']);
  await enqueue(['x', { priority: 1 }], ['y'], ['z']);
  for (const i of [0, 2, 4])
    expect(await cancel(ids[i], 'no use')).toEqual({ cancelled: true, state: 'plain' });
  expect(await cancel(ids[2])).toEqual({ cancelled: false, state: 'finished' });
  expect(await bench.figures('q')).toMatchObject({ waiting: 5 });
  await bench.restart({ clean });
  expect((await bench.list('q', 'waiting')).payloads.sort()).toEqual(['b', 'd', 'x', 'y', 'z']);
  expect((await bench.list('q', 'cancelled')).payloads).toEqual(['e', 'c', 'a']);
  expect(await bench.job('q', ids[0] ?? '')).toMatchObject({ state: 'cancelled', reason: 'no use' });
  expect(payloads(await bench.lease('q', 9))).toEqual(['x', 'b', 'd', 'y', 'z']);
  await bench.enqueue('q', aJob('f'));
  expect(payloads(await bench.lease('q', 9))).toEqual(['f']);
  expect(await cancelledTotal()).toBe(3);
  expect(await bench.history('q', ids[0] ?? '')).toEqual(['enqueued', 'cancelled']);
});

test('[Q36] jobs with rows go from wherever they are', async () => {
  const [late, high, retrying] = await enqueue(['late', { delayMs: 9000 }], ['high', { priority: 9 }], ['r']);
  const [a, b] = await bench.lease('q', 2);
  await bench.settle('q', nackOf(b as never, { retryAfterMs: 9000 }), nackOf(a as never, { release: true }));
  expect([(await cancel(late)).state, (await cancel(high)).state, (await cancel(retrying)).state]).toEqual([
    'delayed',
    'ready',
    'retrying',
  ]);
  expect(await bench.figures('q')).toEqual(EMPTY);
  await bench.restart();
  await bench.advance(20_000);
  expect(await bench.lease('q', 9)).toEqual([]);
  expect(await cancelledTotal()).toBe(3);
});

test.each([false, true])('[Q36] jobs of a lane go, and the lane goes on (checkpoint: %s)', async (clean) => {
  const key = { key: 'k' };
  const ids = await enqueue(...['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [name, key] as [string, object]));
  const a = await bench.leaseOne('q');
  for (const i of [1, 2, 4]) expect(await cancel(ids[i])).toEqual({ cancelled: true, state: 'blocked' });
  expect(await cancel(ids[1])).toEqual({ cancelled: false, state: 'finished' });
  expect(await bench.job('q', ids[1] ?? '')).toMatchObject({ state: 'cancelled' });
  expect((await bench.list('q', 'blocked')).payloads).toEqual(['d', 'f']);
  await bench.restart({ clean });
  await bench.settle('q', ackOf(a));
  const d = await bench.leaseOne('q');
  expect(d.payload).toBe('d');
  expect(await cancel(d.id)).toEqual({ cancelled: true, state: 'leased' });
  await bench.idle();
  expect(payloads(await bench.lease('q', 9))).toEqual(['f']);
  expect(await bench.figures('q')).toEqual({ ...EMPTY, leased: 1 });
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 1, deadTotal: 0, failedTotal: 0 });
  expect((await bench.list('q', 'cancelled')).payloads).toEqual(['e', 'd', 'c', 'b']);
});

test('[Q36] the head of a lane that waits in the log lets the next go', async () => {
  const [head] = await enqueue(['a', { key: 'k' }], ['b', { key: 'k' }]);
  expect(await cancel(head)).toEqual({ cancelled: true, state: 'plain' });
  expect(payloads(await bench.lease('q', 9))).toEqual(['b']);
});

test('[Q37] who holds it is told, and settles nothing', async () => {
  const [id] = await enqueue(['a']);
  const worker = await SessionWorker.open(bench, 'q', { sessionId: 's', credits: 1 });
  expect(await cancel(id, 'changed my mind')).toEqual({ cancelled: true, state: 'leased' });
  await bench.idle();
  expect([worker.lost, worker.lostCodes]).toEqual([[0], ['CANCELLED']]);
  const [job] = worker.jobs;
  await worker.ack(job as never);
  expect(worker.settled.at(-1)).toEqual({ seq: 1, lostOffsets: [0] });
  await bench.advance(60_000);
  expect(await bench.figures('q')).toEqual(EMPTY);
  expect(await bench.job('q', id ?? '')).toMatchObject({ state: 'cancelled', reason: 'changed my mind' });
});

test('[Q38] finished jobs stay as they are', async () => {
  const [done, dead] = await enqueue(['a'], ['b']);
  const [a, b] = await bench.lease('q', 2);
  await bench.settle('q', ackOf(a as never), nackOf(b as never, { unrecoverable: true }));
  for (const id of [done, dead]) expect(await cancel(id)).toEqual({ cancelled: false, state: 'finished' });
  expect((await bench.list('q.dead')).payloads).toEqual(['b']);
  await expect(cancel('0-1-zz')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
});

test('[Q36] a purge and a redrive pass over cancelled jobs', async () => {
  const ids = await enqueue(['a'], ['b'], ['k1', { key: 'k' }], ['k2', { key: 'k' }]);
  await cancel(ids[0]);
  await cancel(ids[3]);
  expect(await bench.queues.purge(caller, { queue: 'q', mutation: null })).toEqual({ purged: 3 });
  await enqueue(['c', { key: 'k' }]);
  expect(payloads(await bench.lease('q', 9))).toEqual(['c']);
  expect(await bench.figures('q')).toEqual({ ...EMPTY, leased: 1 });
});
