// Pause, purge, deletion, and looking at jobs.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const pause = (paused: boolean) => bench.queues.setPaused(caller, { queue: 'q', paused, mutation: null });
const purge = () => bench.queues.purge(caller, { queue: 'q', mutation: null });
const EMPTY = { waiting: 0, delayed: 0, blocked: 0, leased: 0 };

test('[Q61] a paused queue takes jobs and settlements, and gives nothing', async () => {
  await bench.enqueue('q', aJob('a'), aJob('b'));
  const a = await bench.leaseOne('q');
  await pause(true);
  expect(await bench.lease('q')).toEqual([]);
  await bench.enqueue('q', aJob('c'));
  expect(await bench.settle('q', ackOf(a))).toEqual(['']);
  await bench.restart();
  expect((await bench.fabric.admin.getQueue(caller, { name: 'q' })).paused).toBe(true);
  await pause(false);
  expect(payloads(await bench.lease('q', 9))).toEqual(['b', 'c']);
});

test('[Q61] a resumed queue serves those who waited', async () => {
  await bench.enqueue('q', aJob('a'));
  await pause(true);
  const request = { queue: 'q', max: 1, waitMs: 10_000, visibilityMs: 0, worker: 'w' };
  const asked = bench.queues.lease(caller, request, new AbortController().signal);
  await bench.idle();
  await pause(false);
  await bench.idle();
  expect((await asked).jobs).toHaveLength(1);
});

test('[Q62] a purge removes every job that is not leased', async () => {
  await bench.enqueue(
    'q',
    aJob('leased'),
    aJob('plain'),
    aJob('late', { delayMs: 1000 }),
    aJob('high', { priority: 3 }),
  );
  await bench.enqueue('q', aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }));
  await bench.leaseOne('q');
  expect(await purge()).toEqual({ purged: 5 });
  expect(await bench.figures('q')).toEqual({ ...EMPTY, leased: 1 });
  await bench.advance(5000);
  expect(await bench.lease('q', 9)).toEqual([]);
});

test('[Q62] a leased job survives a purge: its ack counts', async () => {
  await bench.enqueue('q', aJob('a'));
  const a = await bench.leaseOne('q');
  await purge();
  expect(await bench.settle('q', ackOf(a))).toEqual(['']);
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 1 });
});

test.each(['', 'k'])(
  '[Q62] a leased job survives a purge: it is retried like any other (key: "%s")',
  async (key) => {
    await bench.enqueue('q', aJob('a', { key }));
    const a = await bench.leaseOne('q');
    await purge();
    await bench.settle('q', nackOf(a, { retryAfterMs: 1000 }));
    expect(await bench.figures('q')).toEqual({ ...EMPTY, delayed: 1 });
    await bench.restart();
    await bench.advance(1000);
    const again = await bench.leaseOne('q');
    expect(again).toMatchObject({ payload: 'a', attempt: 2 });
    await bench.settle('q', nackOf(again, { unrecoverable: true }));
    expect((await bench.list('q.dead')).payloads).toEqual(['a']);
  },
);

test('[Q62] purged jobs of a key do not hold up those that follow', async () => {
  await bench.enqueue('q', aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }), aJob('k3', { key: 'k' }));
  await purge();
  await bench.enqueue('q', aJob('k4', { key: 'k' }), aJob('k5', { key: 'k' }));
  const k4 = await bench.leaseOne('q');
  expect(await bench.lease('q')).toEqual([]);
  await bench.settle('q', ackOf(k4));
  expect([k4.payload, ...payloads(await bench.lease('q'))]).toEqual(['k4', 'k5']);
});

test.each([false, true])('[Q62] a purge holds across a restart (checkpoint: %s)', async (clean) => {
  await bench.enqueue('q', aJob('a'), aJob('late', { delayMs: 1000 }), aJob('high', { priority: 3 }));
  await bench.checkpoint();
  await purge();
  await bench.restart({ clean });
  await bench.enqueue('q', aJob('new', { priority: 1 }));
  await bench.advance(5000);
  expect(payloads(await bench.lease('q', 9))).toEqual(['new']);
});

test('[Q63] a queue that holds jobs is not deleted if that is asked for', async () => {
  await bench.enqueue('q', aJob('a'));
  const deletion = bench.fabric.admin.deleteQueue(caller, {
    name: 'q',
    ifEmpty: true,
    mutation: null,
    owner: null,
  });
  await expect(deletion).rejects.toMatchObject({ code: 'NOT_EMPTY' });
});

test('[Q64] jobs are listed by state', async () => {
  await bench.enqueue(
    'q',
    aJob('leased'),
    aJob('plain'),
    aJob('late', { delayMs: 9000 }),
    aJob('high', { priority: 3 }),
  );
  await bench.enqueue('q', aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }));
  const [high, leased] = await bench.lease('q', 2);
  await bench.settle('q', nackOf(high as never, { retryAfterMs: 9000 }));
  const states = ['waiting', 'delayed', 'retrying', 'blocked', 'leased', 'dead', ''];
  const listed = await Promise.all(
    states.map(async (state) => (await bench.list('q', state)).payloads.sort()),
  );
  expect(leased?.payload).toBe('leased');
  expect(listed).toEqual([
    ['k1', 'plain'],
    ['late'],
    ['high'],
    ['k2'],
    ['leased'],
    [],
    ['high', 'k1', 'k2', 'late', 'leased', 'plain'],
  ]);
});

test.each(['', 'waiting', 'leased', 'delayed'])(
  '[Q64] pages of jobs in state "%s" hold each job once',
  async (state) => {
    for (let i = 0; i < 30; i++) {
      const options = [{}, { priority: 2 }, { delayMs: 9000 }, { key: `k${i % 4}` }][i % 4];
      await bench.enqueue('q', aJob(`${i}`, options));
    }
    await bench.lease('q', 7);
    const all = (await bench.list('q', state, 1000)).payloads;
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await bench.list('q', state, 4, cursor);
      seen.push(...page.payloads);
      cursor = page.cursor;
    } while (cursor !== '');
    expect(seen.sort()).toEqual(all.sort());
    const { waiting, leased, delayed, blocked } = await bench.figures('q');
    expect(seen.length).toBe({ waiting, leased, delayed, '': waiting + leased + delayed + blocked }[state]);
  },
);

test('[Q65] the history of a job tells all that happened to it', async () => {
  await bench.declare('q', { visibilityTimeoutMs: 1000, maxAttempts: 3 });
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a', { delayMs: 1000 }));
  await bench.advance(1000);
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 1000 }));
  await bench.advance(1000);
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { release: true }));
  await bench.leaseOne('q');
  await bench.advance(5000);
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  expect(await bench.history('q', id ?? '')).toEqual([
    'enqueued',
    'ready',
    'leased',
    'nacked',
    'ready',
    'leased',
    'released',
    'leased',
    'timed_out',
    'ready',
    'leased',
    'acked',
  ]);
});

test('[Q64] of a plain job that was redriven, purged or never there, the looker is told', async () => {
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a'));
  await purge();
  expect((await bench.job('q', id ?? '')).state).toBe('completed');
  expect(await bench.history('q', id ?? '')).toEqual(['enqueued', 'purged']);
  await expect(bench.job('q', '0-1-zz')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  await expect(bench.job('q', 'nonsense')).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
});

test('[Q66] finished jobs leave when their retention is over, unfinished ones never', async () => {
  await bench.declare('q', { retentionMs: 60_000 });
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a'));
  await bench.enqueue('q', aJob('b'));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  await bench.advance(120_000);
  expect((await bench.list('q')).payloads).toEqual(['b']);
  expect(['completed', 'gone']).toContain(
    await bench.job('q', id ?? '').then(
      (job) => job.state,
      () => 'gone',
    ),
  );
});

test('[Q64] a job that is finished is not shown as waiting because earlier ones wait', async () => {
  await bench.enqueue('q', aJob('first'), aJob('high', { priority: 9 }));
  const high = await bench.leaseOne('q');
  await bench.settle('q', ackOf(high));
  expect(await bench.job('q', high.id)).toMatchObject({ state: 'completed', leaseEpoch: 0 });
  expect((await bench.list('q')).payloads).toEqual(['first']);
});

test('[Q68] a draining queue refuses new jobs and finishes those it has', async () => {
  const drain = (draining: boolean) =>
    bench.queues.setDraining(caller, { queue: 'q', draining, mutation: null });
  await bench.enqueue('q', aJob('a'), aJob('b', { delayMs: 1000 }));
  expect(await drain(true)).toEqual({ unfinished: 2 });
  await bench.restart({ clean: true });
  expect((await bench.fabric.admin.getQueue(caller, { name: 'q' })).draining).toBe(true);
  await expect(bench.enqueue('q', aJob('c'))).rejects.toMatchObject({ code: 'QUEUE_DRAINING' });
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 0 }));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  await bench.advance(1000);
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  expect(await drain(false)).toEqual({ unfinished: 0 });
  await bench.restart();
  expect(await bench.enqueue('q', aJob('c'))).toHaveLength(1);
});
