// Exhausted jobs: where they go, what they say, and the way back.
import { encodeBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ATTEMPT } from '../../dataplane/queue/life-tables.ts';
import type { Rows } from '../../dataplane/storage/contract.ts';
import { ackOf, aJob, Bench, caller, type Held, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const kill = async (queue: string, count = 1) => {
  const jobs = await bench.lease(queue, count);
  await bench.settle(queue, ...jobs.map((job) => nackOf(job, { unrecoverable: true, error: 'no use' })));
  return jobs;
};
const redrive = (queue: string, more: object = {}) =>
  bench.queues.redrive(caller, { queue, max: 0, targetQueue: '', mutation: null, ...more });

test('[Q21] [Q22] a job that is out of attempts moves, with its source and last error', async () => {
  await bench.declare('q', { maxAttempts: 2 });
  await bench.enqueue('q', { ...aJob('a', { key: 'k' }), headers: { h: Buffer.from('v') } });
  const first = await bench.leaseOne('q');
  await bench.settle('q', nackOf(first, { retryAfterMs: 0, error: 'first' }));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 0, error: 'second' }));
  const page = await bench.queues.listJobs(caller, { queue: 'q.dead', state: '', limit: 0, cursor: '' });
  expect(page.jobs).toMatchObject([
    {
      payload: Buffer.from('a'),
      key: Buffer.from('k'),
      sourceQueue: 'q',
      sourceId: first.id,
      lastError: 'second',
      state: 'waiting',
    },
  ]);
  const id = page.jobs?.[0]?.id ?? '';
  expect(await bench.queues.jobHistory(caller, { queue: 'q.dead', id })).toMatchObject({
    transitions: [{ kind: 'enqueued', detail: 'as a dead letter' }],
    trimmed: false,
  });
  expect(await bench.totals('q')).toMatchObject({ failedTotal: 2, deadTotal: 1 });
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 0 });
});

test('[Q14] large jobs that die together go one entry after the other', async () => {
  const jobs: Held[] = [];
  for (let i = 0; i < 12; i++) {
    await bench.enqueue('q', aJob('x'.repeat(1_000_000)));
    jobs.push(await bench.leaseOne('q'));
  }
  await bench.settle('q', ...jobs.map((job) => nackOf(job, { unrecoverable: true })));
  await bench.idle();
  expect(await bench.figures('q.dead')).toMatchObject({ waiting: 12 });
});

test('[Q21] a job whose leases keep running out moves, too', async () => {
  await bench.declare('q', { maxAttempts: 2, visibilityTimeoutMs: 1000 });
  await bench.enqueue('q', aJob('a'));
  for (let i = 0; i < 2; i++) {
    await bench.leaseOne('q');
    await bench.advance(5000);
  }
  expect((await bench.list('q.dead')).payloads).toEqual(['a']);
});

test('[Q22] the declared dead-letter queue is used', async () => {
  await bench.declare('q', { deadLetterQueue: 'morgue' });
  await bench.enqueue('q', aJob('a'));
  await kill('q');
  expect((await bench.list('morgue')).payloads).toEqual(['a']);
});

test('[Q22] delay, priority and deduplication key stay behind', async () => {
  await bench.enqueue('q', aJob('a', { priority: 9, delayMs: 1000, dedupKey: 'd' }));
  await bench.advance(1000);
  await kill('q');
  expect(payloads(await bench.lease('q.dead'))).toEqual(['a']);
});

test('[Q24] redrive brings jobs back to their source as fresh ones, oldest first', async () => {
  await bench.enqueue('q', aJob('a'), aJob('b'), aJob('c'));
  await kill('q', 3);
  expect(await redrive('q.dead', { max: 2 })).toEqual({ moved: 2, remaining: 1 });
  const back = await bench.lease('q', 10);
  expect(back.map(({ payload, attempt }) => [payload, attempt])).toEqual([
    ['a', 1],
    ['b', 1],
  ]);
  expect((await bench.list('q.dead')).payloads).toEqual(['c']);
});

test('[Q24] redrive goes where it is told', async () => {
  await bench.enqueue('q', aJob('a'));
  await kill('q');
  await bench.declare('other');
  expect(await redrive('q.dead', { targetQueue: 'other' })).toEqual({ moved: 1, remaining: 0 });
  expect(payloads(await bench.lease('other'))).toEqual(['a']);
});

test('[Q24] redrive leaves leased jobs alone and passes jobs that came back', async () => {
  await bench.enqueue('q', ...['a', 'b', 'c', 'd'].map((name) => aJob(name)));
  await kill('q', 4);
  const [a] = await bench.lease('q.dead', 2);
  await bench.settle('q.dead', nackOf(a as never, { release: true }));
  expect(await redrive('q.dead')).toEqual({ moved: 3, remaining: 0 });
  expect((await bench.list('q')).payloads.sort()).toEqual(['a', 'c', 'd']);
  expect(await bench.figures('q.dead')).toMatchObject({ leased: 1, waiting: 0 });
});

test('[Q24] a redriven key keeps its order', async () => {
  await bench.enqueue('q', aJob('a', { key: 'k' }), aJob('b', { key: 'k' }));
  await kill('q');
  await kill('q');
  await redrive('q.dead');
  const a = await bench.lease('q', 10);
  await bench.settle('q', ...a.map(ackOf));
  expect([...payloads(a), ...payloads(await bench.lease('q', 10))]).toEqual(['a', 'b']);
});

test.each([false, true])(
  '[Q21] dead jobs and redriven ones survive restarts (checkpoint: %s)',
  async (clean) => {
    await bench.enqueue('q', ...['a', 'b', 'c'].map((name) => aJob(name)));
    await kill('q', 2);
    await bench.restart({ clean });
    await redrive('q.dead', { max: 1 });
    await bench.restart({ clean });
    expect([(await bench.list('q')).payloads, (await bench.list('q.dead')).payloads]).toEqual([
      ['c', 'a'],
      ['b'],
    ]);
  },
);

test('[Q62] a purge of the queue leaves its dead jobs alone', async () => {
  await bench.enqueue('q', aJob('a'));
  await kill('q');
  await bench.queues.purge(caller, { queue: 'q', mutation: null });
  expect((await bench.list('q.dead')).payloads).toEqual(['a']);
});

test('[Q24] 1,500 dead jobs are redriven in two calls', async () => {
  for (let i = 0; i < 1500; i += 500)
    await bench.enqueue('q', ...Array.from({ length: 500 }, (_, k) => aJob(`${i + k}`)));
  for (let i = 0; i < 2; i++) await kill('q', 1000);
  expect(await bench.figures('q.dead')).toMatchObject({ waiting: 1500 });
  expect(await redrive('q.dead')).toEqual({ moved: 1000, remaining: 500 });
  expect(await redrive('q.dead')).toEqual({ moved: 500, remaining: 0 });
  expect(await bench.figures('q')).toMatchObject({ waiting: 1500 });
});

test('[Q25] a dead job keeps every attempt, over redrives and restarts, and so does its source', async () => {
  await bench.declare('q', { maxAttempts: 2, visibilityTimeoutMs: 1000 });
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a'));
  const enqueuedAtMs = bench.time.now;
  const hello = { queue: 'q', sessionId: 's', credits: 1, visibilityMs: 0, worker: 'w1', build: 'v7' };
  let delivered: pb.DeliveryInput | undefined;
  const session = await bench.queues.openWork(caller, { ...hello, concurrency: 1, held: [] }, (message) => {
    delivered = message.delivery ?? delivered;
    return true;
  });
  await bench.idle();
  await bench.advance(300);
  const nack = { offset: 0, epoch: delivered?.firstEpoch, nack: { error: 'first', retryAfterMs: 0 } };
  session.disconnect();
  session.receive({ settle: { seq: 1, acks: [], extends: [], results: [], nacks: [nack] } } as never);
  await bench.idle();
  await bench.leaseOne('q');
  await bench.restart();
  await bench.advance(1500);
  const attempts = [
    { number: 1, kind: 'failed', durationMs: 300, worker: 'w1', build: 'v7', error: 'first' },
    { number: 2, kind: 'timed_out', durationMs: 1000, worker: 'w', build: '' },
  ];
  expect(await bench.job('q', id ?? '')).toMatchObject({ state: 'dead', attempts });
  const deadJob = async () => {
    const page = await bench.queues.listJobs(caller, { queue: 'q.dead', state: '', limit: 0, cursor: '' });
    return page.jobs?.[0];
  };
  expect(await deadJob()).toMatchObject({
    attempts,
    redrives: 0,
    firstId: id,
    firstEnqueuedAtMs: enqueuedAtMs,
  });
  await redrive('q.dead');
  await bench.restart({ clean: true });
  const [again] = await kill('q');
  await bench.idle();
  expect(await deadJob()).toMatchObject({
    attempts: [...attempts, { number: 1, kind: 'failed', error: 'no use' }],
    redrives: 1,
    firstId: id,
    firstEnqueuedAtMs: enqueuedAtMs,
    sourceId: again?.id,
  });
});

test('[Q25] of very many attempts the last 16 are kept, cut to size', async () => {
  await bench.declare('q', { maxAttempts: 40, maxDeliveries: 100 });
  await bench.enqueue('q', aJob('a'));
  for (let i = 1; i <= 40; i++) {
    const nack = { error: `${i} ${'é'.repeat(5000)}`, retryAfterMs: 0 };
    await bench.settle('q', nackOf(await bench.leaseOne('q'), nack));
  }
  const { jobs } = await bench.queues.listJobs(caller, { queue: 'q.dead', state: '', limit: 0, cursor: '' });
  const numbers = (jobs?.[0]?.attempts ?? []).map(({ number }) => number);
  expect(numbers.length).toBeGreaterThan(8);
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => 41 - numbers.length + i));
});

test('[Q26] what is kept of attempts goes with the job', async () => {
  await bench.declare('q', { retentionMs: 60_000 });
  const attemptRows = async () => {
    const { rows } = bench.fabric.shards[0] as never as { rows: Rows };
    return (await rows.scan(ATTEMPT, { from: '', to: '\xff', limit: 10 })).length;
  };
  await bench.enqueue('q', aJob('a'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 0 }));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  expect(await attemptRows()).toBe(1);
  await bench.restart({ clean: true });
  await bench.advance(200_000);
  expect(await attemptRows()).toBe(0);
  await bench.enqueue('other', aJob('a'));
  await bench.settle('other', nackOf(await bench.leaseOne('other')));
  await bench.fabric.admin.deleteQueue(caller, {
    name: 'other',
    ifEmpty: false,
    mutation: null,
    owner: null,
  });
  await bench.advance(5000);
  expect(await attemptRows()).toBe(0);
});

test('[Q25] a life that was made up does no harm', async () => {
  const [{ id = '' } = {}] = await bench.enqueue('q', aJob('a'));
  for (const life of [
    '',
    '{',
    'null',
    '[]',
    '{"attempts":3}',
    `{"redrives":-1,"attempts":[{"number":"x"}]}`,
  ]) {
    const batch = encodeBatch([{ value: Buffer.from('x'), life: Buffer.from(life) }]);
    const reply = new Promise((resolve) =>
      bench.queues.enqueueBatch(caller, { queue: 'q', batch, mutation: null, partial: false }, resolve),
    );
    expect(await reply).toMatchObject({ count: 1 });
  }
  const page = await bench.queues.listJobs(caller, { queue: 'q', state: '', limit: 0, cursor: '' });
  expect(page.jobs?.map(({ redrives }) => redrives)).toEqual([0, 0, 0, 0, 0, 0, 0]);
  expect(await bench.job('q', id ?? '')).toMatchObject({ attempts: [] });
  const large = encodeBatch([{ value: Buffer.from('x'), life: Buffer.alloc(40_000) }]);
  const refused = new Promise((resolve) =>
    bench.queues.enqueueBatch(caller, { queue: 'q', batch: large, mutation: null, partial: false }, resolve),
  );
  expect(await refused).toMatchObject({ error: { code: 'MALFORMED' } });
});
