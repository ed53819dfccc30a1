import { FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { durationMs } from '../src/durations.ts';
import { another, failureOf, startFake, until } from './support.ts';

test('durations are seconds, or strings with a unit', () => {
  const given = [3, 0.5, '250ms', '90s', '5m', '24h', '7d', '1.5h'];
  expect(given.map((d) => durationMs(d, 'd'))).toEqual([
    3000, 500, 250, 90_000, 300_000, 86_400_000, 604_800_000, 5_400_000,
  ]);
  for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, '', '5', 's', '5 weeks']) {
    expect(() => durationMs(bad, 'ttl')).toThrow(/^ttl: /);
  }
});

test('a transaction sends what was recorded as one request', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('{a}s', 1);
  const results = await fm.transaction((tx) => {
    tx.kv.set('{a}k', { n: 1 });
    tx.kv.keyspace('other').increment('{a}n', 2);
    tx.queue.enqueue('{a}q', 'job', { delay: 1 });
    tx.stream.write('{a}s', 'event', { key: 'k' });
  });
  expect(results).toEqual([
    { applied: true, revision: 1 },
    2,
    { id: '0-1-tx', deduplicated: false },
    { partition: 0, offset: 7 },
  ]);
  const [sent] = fake.transactions;
  expect(sent?.mutation?.producerId).toMatch(/\.u$/);
  expect(sent?.ops.map(({ op }) => op)).toEqual(['kv', 'kv', 'enqueue', 'publish']);
  expect(sent?.ops[2]?.enqueue?.jobs[0]).toMatchObject({ delayMs: 1000, contentType: 'text/plain' });
});

test('a transaction acks the job in hand, and the worker does not ack it again', async () => {
  const { fake, fm } = await startFake();
  let isDone = false;
  const worker = fm.queue.worker('q', async (job) => {
    await fm.transaction((tx) => {
      tx.ack(job);
      tx.kv.set('k', 1);
    });
    isDone = true;
  });
  const { id } = await fm.queue.enqueue('q', 1);
  await until(() => isDone && worker.running === 0, 'the handler is done');
  expect(fake.transactions[0]?.ops[0]?.settle?.settlements).toMatchObject([{ id, ack: {} }]);
  expect(fake.transactions[0]?.mutation?.cause?.deliveryId).toMatch(new RegExp(`^${id}@`));
  await worker.drain();
  expect(fake.queues.settles).toEqual([]);
});

test('a transaction commits the event in hand', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', [0, 1]);
  for await (const event of fm.stream.consumer('s', 'g', { autoCommit: false })) {
    await fm.transaction((tx) => tx.commit(event));
    if (event.offset === 1) break;
  }
  const commits = fake.transactions.map(({ ops }) => ops[0]?.commit?.offsets[0]);
  expect(commits).toMatchObject([
    { partition: 0, offset: 1, epoch: 1 },
    { partition: 0, offset: 2, epoch: 1 },
  ]);
  expect(fake.streams.commits).toEqual([]);
});

test('unary calls carry the token, keep their seq over retries, and map codes', async () => {
  const { fake } = await startFake();
  const fm = await another(fake, { token: 'secret' });
  let refusals = 2;
  fake.refuseUnary = () => (refusals-- > 0 ? new FlowError('UNAVAILABLE', 'closing') : undefined);
  expect(await fm.admin.purgeQueue('q')).toBe(0);
  expect(fake.seen.at(-1)?.get('authorization')).toEqual(['Bearer secret']);
  fake.refuseUnary = () => new FlowError('JOB_NOT_FOUND', 'no job x');
  const failure = await failureOf(fm.admin.purgeQueue('q'));
  expect(failure).toMatchObject({ code: 'JOB_NOT_FOUND', message: 'no job x' });
});

test('unary calls end at their deadline and when they are aborted', async () => {
  const { fake, fm } = await startFake();
  fake.refuseUnary = () => new FlowError('RESOURCE_EXHAUSTED', 'busy', { retryAfterMs: 50 });
  const started = performance.now();
  const { code } = await failureOf(fm.admin.getCluster({ deadline: 0.2 }));
  // The last try may be answered, or cut off by the deadline.
  expect(['RESOURCE_EXHAUSTED', 'DEADLINE_EXCEEDED']).toContain(code);
  expect(performance.now() - started).toBeLessThan(1000);
  const abort = new AbortController();
  const call = failureOf(fm.admin.getCluster({ signal: abort.signal }));
  setTimeout(() => abort.abort(), 20);
  expect((await call).code).toBe('CANCELLED');
});
