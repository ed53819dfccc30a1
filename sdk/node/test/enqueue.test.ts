import { decodeBatch, FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { another, failureOf, sleep, startFake, until } from './support.ts';

const payloads = (fake: Awaited<ReturnType<typeof startFake>>['fake'], queue: string) =>
  fake.queues.queue(queue).jobs.map(({ source, index }) => {
    const value = decodeBatch(source.bytes)[index]?.value;
    return JSON.parse(Buffer.from(value ?? []).toString());
  });

test('callers of one tick share a batch, and each gets its own id', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueue('q', 0);
  const before = fake.batches.enqueue;
  const jobs = await Promise.all(Array.from({ length: 500 }, (_, i) => fm.queue.enqueue('q', { i })));
  expect(fake.batches.enqueue - before).toBe(1);
  expect(jobs.map(({ id }) => id)).toEqual(
    Array.from({ length: 500 }, (_, i) => `0-1-${(i + 1).toString(36)}`),
  );
  expect(payloads(fake, 'q').slice(1)).toEqual(Array.from({ length: 500 }, (_, i) => ({ i })));
});

test('options, headers and content types travel with the job', async () => {
  const { fake, fm } = await startFake();
  await Promise.all([
    fm.queue.enqueue('q', 'text'),
    fm.queue.enqueue('q', new Uint8Array([1, 2, 3])),
    fm.queue.enqueue(
      'q',
      { a: 1 },
      {
        delay: '90s',
        priority: 7,
        key: 'k',
        dedupKey: 'd',
        timeout: 2,
        headers: { h: 'v' },
        envelope: { correlationId: 'c', tags: ['x', 'y'] },
      },
    ),
  ]);
  const records = decodeBatch(fake.queues.queue('q').jobs[0]?.source.bytes ?? Buffer.alloc(0));
  expect(records.map(({ contentType }) => contentType)).toEqual([
    'text/plain',
    'application/octet-stream',
    'application/json',
  ]);
  expect(records[2]).toMatchObject({
    delayMs: 90_000,
    priority: 7,
    dedupKey: 'd',
    timeoutMs: 2000,
    envelope: { correlationId: 'c', tags: ['x', 'y'] },
  });
  expect(Buffer.from(records[2]?.key ?? []).toString()).toBe('k');
  expect(Buffer.from(records[2]?.headers?.get('h') ?? []).toString()).toBe('v');
});

test('what is not valid fails its own call only', async () => {
  const { fm } = await startFake();
  const [a, b, c, d, e, good] = await Promise.allSettled([
    fm.queue.enqueue('q', 'x'.repeat(1024 * 1024 + 1)),
    fm.queue.enqueue('q', 1, { key: 'k'.repeat(1025) }),
    fm.queue.enqueue('q', undefined),
    fm.queue.enqueue('q', 1, { delay: 'soon' }),
    fm.queue.enqueue('', 1),
    fm.queue.enqueue('q', 'fine'),
  ]);
  const codeOf = (r: PromiseSettledResult<unknown>) => r.status === 'rejected' && r.reason.code;
  expect([a, b, c, d, e].map(codeOf)).toEqual([
    'VALUE_TOO_LARGE',
    'KEY_TOO_LARGE',
    'INVALID_ARGUMENT',
    'INVALID_ARGUMENT',
    'INVALID_ARGUMENT',
  ]);
  expect(good.status).toBe('fulfilled');
});

test('batches whose replies were lost are sent again and not done twice', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueue('q', -1);
  fake.loseReplies = 3;
  const all = Array.from({ length: 5 }, async (_, i) => {
    await sleep(i * 5);
    return fm.queue.enqueue('q', i);
  });
  await until(() => fake.queues.queue('q').jobs.length >= 4, 'three batches are taken');
  await fake.restart();
  const ids = (await Promise.all(all)).map(({ id }) => id);
  expect(payloads(fake, 'q')).toEqual([-1, 0, 1, 2, 3, 4]);
  expect(ids).toEqual([1, 2, 3, 4, 5].map((n) => `0-1-${n}`));
  expect(fake.batches.repeated).toBeGreaterThanOrEqual(3);
});

test('calls made while the server is away wait for it', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueue('q', 0);
  fake.kill();
  const waiting = Promise.all([1, 2, 3].map((i) => fm.queue.enqueue('q', i)));
  await sleep(300);
  await fake.start();
  await waiting;
  expect(payloads(fake, 'q')).toEqual([0, 1, 2, 3]);
});

test('a call past its deadline rejects, and what was not sent is not sent later', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueue('q', 0);
  fake.kill();
  await sleep(20);
  const slow = fm.queue.enqueue('q', 'patient');
  const failure = await failureOf(fm.queue.enqueue('q', 'hasty', { deadline: 0.1 }));
  expect(failure.code).toBe('DEADLINE_EXCEEDED');
  await fake.start();
  await slow;
  // The batch may have been handed to a connection that then broke; but it was never sent before the
  // deadline.
  expect(fake.queues.queue('q').jobs.length).toBeLessThanOrEqual(3);
});

test('aborting rejects with CANCELLED', async () => {
  const { fake, fm } = await startFake();
  fake.replyAfterMs = 100;
  const abort = new AbortController();
  const call = failureOf(fm.queue.enqueue('q', 1, { signal: abort.signal }));
  abort.abort();
  expect((await call).code).toBe('CANCELLED');
  expect((await failureOf(fm.queue.enqueue('q', 1, { signal: abort.signal }))).code).toBe('CANCELLED');
});

test('a full queue is retried until the deadline and does not hold up others', async () => {
  const { fake, fm } = await startFake();
  let isFull = true;
  fake.refuse = (queue) =>
    queue === 'full' && isFull ? new FlowError('QUEUE_FULL', 'no room', { retryAfterMs: 20 }) : undefined;
  const waiting = fm.queue.enqueue('full', 1);
  const hasty = failureOf(fm.queue.enqueue('full', 2, { deadline: 0.2 }));
  await fm.queue.enqueue('other', 1);
  expect((await hasty).code).toBe('QUEUE_FULL');
  isFull = false;
  await waiting;
  expect(payloads(fake, 'full')).toContain(1);
});

test('an error that repeating cannot cure reaches every caller of the batch', async () => {
  const { fake, fm } = await startFake();
  fake.refuse = () => new FlowError('QUEUE_NOT_FOUND', 'there is no queue q');
  const failures = await Promise.all([1, 2].map((i) => failureOf(fm.queue.enqueue('q', i))));
  expect(failures.map(({ code }) => code)).toEqual(['QUEUE_NOT_FOUND', 'QUEUE_NOT_FOUND']);
  expect(failures[0]).toBeInstanceOf(FlowError);
});

test('beyond the limit single calls are refused, and enqueueMany waits', async () => {
  const { fake } = await startFake();
  const fm = await another(fake, { pendingMax: 100 });
  const calls = Array.from({ length: 101 }, (_, i) => fm.queue.enqueue('q', i));
  expect((await failureOf(calls[100] as Promise<unknown>)).code).toBe('RESOURCE_EXHAUSTED');
  await Promise.all(calls.slice(0, 100));
  const many = await fm.queue.enqueueMany(
    'q',
    Array.from({ length: 5000 }, (_, i) => i),
  );
  expect(many.length).toBe(5000);
  expect(payloads(fake, 'q').slice(100)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
});

test('enqueueMany that finds no room ends at its deadline', async () => {
  const { fake } = await startFake();
  const fm = await another(fake, { pendingMax: 10 });
  await fm.queue.enqueue('q', 0);
  fake.kill();
  const others = Array.from({ length: 10 }, (_, i) => failureOf(fm.queue.enqueue('q', i, { deadline: 1 })));
  const started = performance.now();
  const failure = await failureOf(fm.queue.enqueueMany('q', [1, 2, 3], { deadline: 0.1 }));
  expect(failure.code).toBe('DEADLINE_EXCEEDED');
  expect(performance.now() - started).toBeLessThan(800);
  await Promise.all(others);
});

test('many queues share few buffers, and idle ones are forgotten', async () => {
  const { fake, fm } = await startFake();
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 5000 }, (_, i) => fm.queue.enqueue(`q-${round}-${i}`, i)));
  }
  expect(fake.queues.byName.size).toBe(15_000);
});

test('close waits for unanswered calls; later ones are refused', async () => {
  const { fake, fm } = await startFake();
  fake.replyAfterMs = 50;
  const call = fm.queue.enqueue('q', 1);
  await fm.close();
  expect((await call).id).toBe('0-1-0');
  for (const late of [
    fm.queue.enqueue('q', 1),
    fm.kv.get('k'),
    fm.stream.write('s', 1),
    fm.admin.getCluster(),
  ]) {
    expect((await failureOf(late)).code).toBe('CLIENT_CLOSED');
  }
});

test('connecting gives up at the deadline', async () => {
  const { fake } = await startFake();
  fake.kill();
  const failure = await failureOf(another(fake, { deadline: 0.2 }));
  expect(failure.code).toBe('UNAVAILABLE');
});
