import { expect, test } from 'vitest';
import { type FlowError, type Job, RetryAfter, Unrecoverable } from '../src/index.ts';
import { failureOf, sleep, startFake, until } from './support.ts';

test('a handler that returns acks, whether it is synchronous or not', async () => {
  const { fake, fm } = await startFake();
  const seen: unknown[] = [];
  await fm.queue.enqueueMany('q', [1, 2, 3, 4]);
  const worker = fm.queue.worker<number>('q', (job) => {
    seen.push(job.payload);
    return job.payload % 2 === 0 ? sleep(1) : undefined;
  });
  await until(() => fake.queues.queue('q').states()['done'] === 4, 'all jobs are done');
  expect(seen).toEqual([1, 2, 3, 4]);
  await worker.drain();
});

test('a job carries id, attempt, headers, envelope and a fencing token', async () => {
  const { fm } = await startFake();
  const jobs: Job[] = [];
  const { id } = await fm.queue.enqueue(
    'q',
    { a: 1 },
    {
      key: 'k',
      headers: { h: 'v' },
      envelope: { correlationId: 'c' },
    },
  );
  fm.queue.worker('q', (job) => void jobs.push(job));
  await until(() => jobs.length === 1, 'the job is handled');
  const [job] = jobs;
  expect(job).toMatchObject({ id, queue: 'q', attempt: 1, payload: { a: 1 }, key: 'k', headers: { h: 'v' } });
  expect(job?.envelope).toEqual({ correlationId: 'c' });
  expect(job?.leaseEpoch).toBeGreaterThan(0);
  expect(job?.enqueuedAtMs).toBeGreaterThan(1_600_000_000_000);
});

test('acks of consecutive jobs travel as ranges, in whatever order they ended', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueueMany(
    'q',
    Array.from({ length: 100 }, (_, i) => i),
  );
  fm.queue.worker<number>('q', (job) => sleep(job.payload % 2 === 0 ? 5 : 6), { concurrency: 100 });
  await until(() => fake.queues.queue('q').states()['done'] === 100, 'all jobs are done');
  const ranges = fake.queues.settles.flatMap(({ acks }) => acks);
  expect(ranges.reduce((sum, { count }) => sum + count, 0)).toBe(100);
  const joined = fake.queues.settles.filter(({ acks }) => acks.some(({ count }) => count > 1));
  expect(fake.queues.settles.length < 50 || joined.length > 0).toBe(true);
});

test('a handler that throws nacks; RetryAfter sets the delay, Unrecoverable dead-letters', async () => {
  const { fake, fm } = await startFake();
  const failed: string[] = [];
  const worker = fm.queue.worker<string>('q', async (job) => {
    if (job.payload === 'retry' && job.attempt < 3) throw new RetryAfter('10ms', 'busy');
    if (job.payload === 'dead') throw new Unrecoverable('no such user');
    if (job.payload === 'odd' && job.attempt === 1) throw 'a string';
  });
  worker.on('failed', (job, error) => failed.push(`${job.payload} ${String(error)}`));
  await fm.queue.enqueueMany('q', ['retry', 'dead', 'odd']);
  await until(() => fake.queues.queue('q').states()['done'] === 2, 'two jobs are done');
  const [retry, dead, odd] = fake.queues.queue('q').jobs;
  expect(retry).toMatchObject({ attempt: 3, state: 'done' });
  expect(dead?.state).toBe('dead');
  expect(dead?.errors[0]).toMatch(/^Unrecoverable: no such user\n\s+at /);
  expect(odd?.errors).toEqual(['thrown: a string']);
  expect(failed.filter((f) => f.startsWith('retry'))).toHaveLength(2);
});

test('what a failed attempt reports is bounded', async () => {
  const { fake, fm } = await startFake();
  fm.queue.worker('q', () => {
    throw new Unrecoverable('é'.repeat(100_000));
  });
  await fm.queue.enqueue('q', 1);
  await until(() => fake.queues.queue('q').states()['dead'] === 1, 'the job is dead');
  expect(Buffer.byteLength(fake.queues.queue('q').jobs[0]?.errors[0] ?? '')).toBeLessThanOrEqual(8192);
});

test('an early ack resolves when the server has confirmed it', async () => {
  const { fake, fm } = await startFake();
  fake.queues.keepSettled = true;
  let isAcked = false;
  fm.queue.worker('q', async (job) => {
    await job.ack();
    isAcked = true;
  });
  await fm.queue.enqueue('q', 1);
  await until(() => fake.queues.queue('q').states()['done'] === 1, 'the ack is taken');
  await sleep(20);
  expect(isAcked).toBe(false);
  fake.queues.keepSettled = false;
  await fake.restart();
  await until(() => isAcked, 'the ack is confirmed after the reconnect');
});

test('at most `concurrency` handlers run', async () => {
  const { fake, fm } = await startFake();
  let most = 0;
  const worker = fm.queue.worker(
    'q',
    async () => {
      most = Math.max(most, worker.running);
      await sleep(2);
    },
    { concurrency: 3, prefetch: 20 },
  );
  await fm.queue.enqueueMany(
    'q',
    Array.from({ length: 40 }, (_, i) => i),
  );
  await until(() => fake.queues.queue('q').states()['done'] === 40, 'all jobs are done');
  expect(most).toBe(3);
});

test('slow jobs are not hoarded', async () => {
  const { fake, fm } = await startFake();
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  fm.queue.worker('q', () => gate, { concurrency: 2 });
  await fm.queue.enqueueMany(
    'q',
    Array.from({ length: 10 }, (_, i) => i),
  );
  await sleep(200);
  expect(fake.queues.queue('q').states()).toEqual({ leased: 2, waiting: 8 });
  release();
});

test('results of handlers that end while the connection is away are settled afterwards, once', async () => {
  const { fake, fm } = await startFake();
  const runs = new Map<number, number>();
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  fm.queue.worker<number>(
    'q',
    async (job) => {
      runs.set(job.payload, (runs.get(job.payload) ?? 0) + 1);
      await gate;
    },
    { concurrency: 10 },
  );
  await fm.queue.enqueueMany('q', [0, 1, 2, 3, 4]);
  await until(() => runs.size === 5, 'all handlers run');
  fake.kill();
  release();
  await sleep(50);
  await fake.start();
  await until(() => fake.queues.queue('q').states()['done'] === 5, 'all jobs are done');
  expect([...runs.values()]).toEqual([1, 1, 1, 1, 1]);
});

test('[Q9] a lost lease aborts the handler and a later ack rejects', async () => {
  const { fake, fm } = await startFake();
  const outcomes: unknown[] = [];
  const lost: string[] = [];
  const worker = fm.queue.worker('q', async (job) => {
    if (job.attempt > 1) return;
    await new Promise((resolve) => job.signal.addEventListener('abort', resolve));
    outcomes.push((job.signal.reason as FlowError).code, (await failureOf(job.ack())).code);
  });
  worker.on('lost', (job) => lost.push(job.id));
  const { id } = await fm.queue.enqueue('q', 1);
  await until(() => worker.running === 1, 'the handler runs');
  fake.queues.revokeLeases();
  await until(() => fake.queues.queue('q').states()['done'] === 1, 'the second delivery is done');
  expect(outcomes).toEqual(['LEASE_LOST', 'LEASE_LOST']);
  expect(lost).toEqual([id]);
});

test('an attempt that runs too long is aborted and nacked, and its slot is free', async () => {
  const { fake, fm } = await startFake();
  const reasons: string[] = [];
  fm.queue.worker<number>(
    'q',
    (job) => {
      if (job.payload !== 0 || job.attempt > 1) return;
      job.signal.addEventListener('abort', () => reasons.push((job.signal.reason as FlowError).code));
      return new Promise(() => {});
    },
    { concurrency: 1 },
  );
  await fm.queue.enqueue('q', 0, { timeout: 0.1 });
  await fm.queue.enqueue('q', 1);
  await until(() => fake.queues.queue('q').states()['done'] === 2, 'both jobs are done');
  expect(fake.queues.queue('q').jobs[0]?.errors[0]).toMatch(/timed out/);
  expect(reasons).toEqual(['DEADLINE_EXCEEDED']);
});

test('drain finishes what runs, gives back what waits, and says goodbye', async () => {
  const { fake, fm } = await startFake();
  const { promise: gate, resolve: release } = Promise.withResolvers<void>();
  const worker = fm.queue.worker('q', () => gate, { concurrency: 2, prefetch: 3 });
  await fm.queue.enqueueMany('q', [1, 2, 3, 4, 5, 6]);
  await until(() => worker.running === 2, 'two handlers run');
  await until(() => fake.queues.queue('q').states()['leased'] === 5, 'three wait');
  const drained = worker.drain();
  release();
  await drained;
  expect(fake.queues.queue('q').states()).toEqual({ done: 2, waiting: 4 });
  expect(
    fake.queues
      .queue('q')
      .jobs.slice(2, 5)
      .map((job) => job.releases),
  ).toEqual([1, 1, 1]);
  expect(fake.queues.ended).toHaveLength(1);
  expect(fake.queues.sessions.size).toBe(0);
});

test('drain within a handler gives back only what has not been started', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueueMany('q', [1, 2, 3, 4]);
  let drained: Promise<void> | undefined;
  const worker = fm.queue.worker<number>(
    'q',
    (job) => {
      if (job.payload === 2) drained = worker.drain();
    },
    { concurrency: 4 },
  );
  await until(() => drained !== undefined, 'the second handler has asked for the end');
  await drained;
  expect(fake.queues.queue('q').jobs.map(({ state }) => state)).toEqual([
    ...['done', 'done'],
    ...['waiting', 'waiting'],
  ]);
  expect(fake.queues.queue('q').jobs.map(({ releases }) => releases)).toEqual([0, 0, 1, 1]);
});

test('drain of a worker that never was welcomed ends, and so does the client', async () => {
  const { fake, fm } = await startFake();
  fake.queues.refusal = { code: 5, details: 'there is no queue q' };
  const worker = fm.queue.worker('q', () => {});
  await new Promise((resolve) => worker.once('error', resolve));
  await worker.drain();
  await fm.close();
});

test('drain is as patient as its least patient caller', async () => {
  const { fm } = await startFake();
  const worker = fm.queue.worker('q', () => new Promise(() => {}));
  await fm.queue.enqueue('q', 1);
  await until(() => worker.running === 1, 'the job is being handled');
  const drained = worker.drain();
  await fm.close({ timeout: 0.05 });
  await drained;
});

test('drain with a timeout aborts what still runs and gives it back', async () => {
  const { fake, fm } = await startFake();
  let reason: unknown;
  const worker = fm.queue.worker('q', (job) => {
    job.signal.addEventListener('abort', () => {
      reason = job.signal.reason;
    });
    return new Promise(() => {});
  });
  await fm.queue.enqueue('q', 1);
  await until(() => worker.running === 1, 'the handler runs');
  await worker.drain({ timeout: 0.05 });
  expect((reason as FlowError).code).toBe('CLIENT_CLOSED');
  expect(fake.queues.queue('q').states()).toEqual({ waiting: 1 });
});

test('extend asks for more time', async () => {
  const { fake, fm } = await startFake();
  fm.queue.worker('q', (job) => job.extend('60s'));
  await fm.queue.enqueue('q', 1);
  await until(() => fake.queues.queue('q').states()['done'] === 1, 'the job is done');
  expect(fake.queues.settles[0]?.extends).toMatchObject([{ visibilityMs: 60_000 }]);
});

test('effects of a handler name their cause', async () => {
  const { fake, fm } = await startFake();
  const { id } = await fm.queue.enqueue('q', 1, {
    envelope: { correlationId: 'order-7', traceparent: 'tp' },
  });
  let epoch = 0;
  fm.queue.worker('q', async (job) => {
    epoch = job.leaseEpoch;
    await sleep(1);
    await Promise.all([fm.queue.enqueue('next', 'effect'), fm.kv.set('k', 1)]);
  });
  await until(() => fake.queues.queue('q').states()['done'] === 1, 'the job is done');
  const { decodeBatch } = await import('@flowmesh/protocol');
  const [effect] = decodeBatch(fake.queues.queue('next').jobs[0]?.source.bytes ?? Buffer.alloc(0));
  expect(effect?.cause).toEqual({ deliveryId: `${id}@${epoch}`, ordinal: 1 });
  expect(effect?.envelope).toEqual({ causationId: id, correlationId: 'order-7', traceparent: 'tp' });
  const kvCauses = fake.mutations.filter((m) => m.producerId.endsWith('.k')).map((m) => m.cause);
  expect(kvCauses).toMatchObject([{ deliveryId: `${id}@${epoch}`, ordinal: 2 }]);
});

test('a handler goes on over a reconnect, and its job is not handed out again', async () => {
  const { fake, fm } = await startFake();
  let runs = 0;
  fm.queue.worker('q', async () => {
    runs++;
    await sleep(300);
  });
  await fm.queue.enqueue('q', 1);
  await until(() => runs === 1, 'the handler runs');
  await fake.restart();
  await until(() => fake.queues.queue('q').states()['done'] === 1, 'the job is done');
  expect(runs).toBe(1);
});

test('jobs that were granted to a connection that broke are given back by the next one', async () => {
  const { fake, fm } = await startFake();
  const seen: unknown[] = [];
  fake.queues.loseDeliveries = 1;
  fm.queue.worker('q', async (job) => {
    seen.push(job.payload);
    if (job.payload === 'slow') await sleep(150);
  });
  await until(() => fake.queues.sessions.size === 1, 'the worker is connected');
  await fm.queue.enqueue('q', 'lost on its way');
  await fm.queue.enqueue('q', 'slow');
  await until(() => seen.length === 1, 'the slow job runs');
  await fake.restart();
  await until(() => fake.queues.queue('q').states()['done'] === 2, 'both jobs are done');
  expect(seen).toEqual(['slow', 'lost on its way']);
  expect(fake.queues.queue('q').jobs[0]).toMatchObject({ attempt: 1, releases: 1 });
});
