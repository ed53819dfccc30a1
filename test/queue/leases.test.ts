// Who holds a job, for how long, and what a settlement may still change.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { GatedFiles } from '../shard/gated-files.ts';
import { ackOf, aJob, Bench, caller, extendOf, heldOf, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const leaseOneOf = async (queue: string, ...names: string[]) => {
  await bench.enqueue(queue, ...names.map((name) => aJob(name)));
  return bench.leaseOne(queue);
};

test('[Q15] a lease that runs out counts as timed out and the job comes back', async () => {
  const first = await leaseOneOf('q', 'a');
  await bench.advance(30_000);
  expect(await bench.figures('q')).toMatchObject({ leased: 0 });
  await bench.advance(1000);
  const second = await bench.leaseOne('q');
  expect(second.attempt).toBe(2);
  expect((await bench.job('q', first.id)).counters).toEqual({
    acquired: 2,
    failed: 0,
    timedOut: 1,
    released: 0,
  });
});

test('[Q1] the epoch of each lease is greater than that of any before', async () => {
  let last = 0;
  for (let i = 0; i < 4; i++) {
    if (i === 2) await bench.restart();
    if (i === 3) await bench.restart({ clean: true });
    const job = await leaseOneOf('q', 'a');
    expect(job.leaseEpoch).toBeGreaterThan(last);
    last = job.leaseEpoch;
    await bench.settle('q', ackOf(job));
  }
});

test.each([
  ['ack', ackOf],
  ['nack', nackOf],
  ['extend', (job: { id: string; leaseEpoch: number }) => extendOf(job, 60_000)],
])('[Q2] an %s with the epoch of an earlier lease is lost and changes nothing', async (_, settlement) => {
  const old = await leaseOneOf('q', 'a');
  await bench.settle('q', nackOf(old, { retryAfterMs: 0 }));
  const now = await bench.leaseOne('q');
  expect(await bench.settle('q', settlement(old))).toEqual(['LEASE_LOST']);
  expect(await bench.job('q', now.id)).toMatchObject({
    state: 'leased',
    leaseEpoch: now.leaseEpoch,
    leaseDeadlineMs: now.deadlineMs,
  });
});

test.each([false, true])(
  '[Q3] an ack repeated with the epoch that settled is done (restart: %s)',
  async (again) => {
    const job = await leaseOneOf('q', 'a');
    await bench.settle('q', ackOf(job));
    if (again) await bench.restart({ clean: true });
    expect(await bench.settle('q', ackOf(job))).toEqual(['']);
    expect(await bench.settle('q', ackOf({ ...job, leaseEpoch: job.leaseEpoch + 1 }))).toEqual([
      'LEASE_LOST',
    ]);
    expect(await bench.totals('q')).toMatchObject({ completedTotal: 1 });
  },
);

test('[Q6] an extension sets the end from now', async () => {
  const job = await leaseOneOf('q', 'a');
  await bench.advance(20_000);
  const nowMs = bench.time.now;
  expect(await bench.settle('q', extendOf(job, 25_000))).toEqual(['']);
  expect((await bench.job('q', job.id)).leaseDeadlineMs).toBe(nowMs + 25_000);
  await bench.advance(24_000);
  expect(await bench.settle('q', ackOf(job))).toEqual(['']);
});

test('[Q6] extensions end 12 hours after the lease began', async () => {
  const beganMs = bench.time.now;
  const job = await leaseOneOf('q', 'a');
  await bench.settle('q', extendOf(job, 48 * 3_600_000));
  expect((await bench.job('q', job.id)).leaseDeadlineMs).toBe(beganMs + 12 * 3_600_000);
});

test('[Q17] a release gives the job back at once and uncounted', async () => {
  const job = await leaseOneOf('q', 'a');
  await bench.settle('q', nackOf(job, { release: true }));
  expect((await bench.leaseOne('q')).attempt).toBe(1);
  expect(await bench.totals('q')).toMatchObject({ failedTotal: 0 });
});

test.each([false, true])(
  '[Q4] a job named twice in one call is settled once (release: %s)',
  async (release) => {
    const job = await leaseOneOf('q', 'a', 'b');
    const nack = nackOf(job, { release, retryAfterMs: 0 });
    await bench.settle('q', nack, nack);
    expect(await bench.figures('q')).toEqual({ waiting: 2, delayed: 0, blocked: 0, leased: 0 });
  },
);

test('[Q4] of an ack and a nack of one job in one call the ack counts', async () => {
  const job = await leaseOneOf('q', 'a');
  await bench.settle('q', nackOf(job), ackOf(job), ackOf(job), extendOf(job, 1000));
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 1, failedTotal: 0 });
});

test.each([false, true])('[Q5] leases and their ends survive a restart (checkpoint: %s)', async (clean) => {
  await bench.enqueue('q', ...['a', 'b', 'c'].map((name) => aJob(name)));
  const [a, b] = await bench.lease('q', 3);
  await bench.restart({ clean });
  expect(await bench.figures('q')).toMatchObject({ leased: 3, waiting: 0 });
  expect(await bench.settle('q', ackOf(a as never), nackOf(b as never, { retryAfterMs: 0 }))).toEqual([
    '',
    '',
  ]);
  expect(payloads(await bench.lease('q', 9))).toEqual(['b']);
  await bench.advance(31_000);
  expect(payloads(await bench.lease('q', 9)).sort()).toEqual(['b', 'c']);
});

test('[Q13] a long poll is answered when a job comes', async () => {
  const request = { queue: 'q', max: 5, waitMs: 10_000, visibilityMs: 0, worker: 'w' };
  const asked = bench.queues.lease(caller, request, new AbortController().signal);
  await bench.advance(5000);
  await bench.enqueue('q', aJob('a'));
  await bench.idle();
  expect(payloads(((await asked).jobs ?? []).map(heldOf))).toEqual(['a']);
});

test('[Q13] a long poll ends empty when its time is over', async () => {
  const request = { queue: 'q', max: 5, waitMs: 10_000, visibilityMs: 0, worker: 'w' };
  const asked = bench.queues.lease(caller, request, new AbortController().signal);
  await bench.advance(10_000);
  expect((await asked).jobs).toEqual([]);
  await bench.enqueue('q', aJob('a'));
  expect(await bench.figures('q')).toMatchObject({ waiting: 1, leased: 0 });
});

test('[Q13] a long poll whose client is gone takes nothing', async () => {
  const request = { queue: 'q', max: 5, waitMs: 10_000, visibilityMs: 0, worker: 'w' };
  const gone = new AbortController();
  const asked = bench.queues.lease(caller, request, gone.signal);
  await bench.idle();
  gone.abort();
  await bench.enqueue('q', aJob('a'));
  expect((await asked).jobs).toEqual([]);
  expect((await bench.leaseOne('q')).attempt).toBe(1);
});

test('[Q13] what was granted to a client that has gone meanwhile is released, uncounted', async () => {
  const gate = new GatedFiles();
  const gated = await Bench.open({ onDisk: true, files: gate });
  await gated.enqueue('q', aJob('a'));
  const request = { queue: 'q', max: 5, waitMs: 10_000, visibilityMs: 0, worker: 'w' };
  const gone = new AbortController();
  gate.shut();
  const asked = gated.queues.lease(caller, request, gone.signal);
  // The grant is decided and on its way to the disk when the client goes.
  await vi.waitFor(() => expect(gate.waiting).toBeGreaterThan(0), 20_000);
  gone.abort();
  gate.release();
  expect((await asked).jobs).toEqual([]);
  await gated.idle();
  expect(await gated.leaseOne('q')).toMatchObject({ payload: 'a', attempt: 1 });
  await gated.close();
});

test('[Q63] jobs of a deleted queue, leased, delayed and dying are gone without a trace', async () => {
  await bench.declare('q', { visibilityTimeoutMs: 1000 });
  await bench.enqueue('q', aJob('a'), aJob('b', { delayMs: 5000 }), aJob('c'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 3000 }));
  const c = await bench.leaseOne('q');
  await bench.fabric.admin.deleteQueue(caller, { name: 'q', ifEmpty: false, mutation: null, owner: null });
  await bench.advance(10_000);
  await bench.declare('q');
  await expect(bench.settle('q', ackOf(c))).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  await bench.restart();
  await bench.restart({ clean: true });
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 0 });
});

test('[Q16] a job that hangs for ever reaches the dead-letter queue', async () => {
  await bench.declare('q', { visibilityTimeoutMs: 1000, maxAttempts: 1000, maxDeliveries: 4 });
  await bench.enqueue('q', aJob('hangs'));
  for (let i = 0; i < 4; i++) {
    const job = await bench.leaseOne('q');
    expect(job.attempt).toBe(i + 1);
    await bench.settle('q', extendOf(job, 5000));
    await bench.advance(20_000);
  }
  expect(await bench.lease('q')).toEqual([]);
  const page = await bench.queues.listJobs(caller, { queue: 'q.dead', state: '', limit: 0, cursor: '' });
  expect(page.jobs).toMatchObject([
    { payload: Buffer.from('hangs'), lastError: expect.stringMatching('expired') },
  ]);
});

test('[Q20] a delay beyond all time is cut, not wrapped', async () => {
  const job = await leaseOneOf('q', 'a');
  expect(await bench.settle('q', nackOf(job, { retryAfterMs: 2 ** 53 - 1 }))).toEqual(['']);
  await bench.restart({ clean: true });
  await bench.time.jump(40 * 365 * 24 * 3_600_000, () => bench.idle());
  expect(await bench.figures('q')).toMatchObject({ delayed: 1 });
});
