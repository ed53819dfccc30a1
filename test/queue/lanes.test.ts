// Jobs of one key: in enqueue order, one at a time, whatever happens to the one in front.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const keyed = (...names: string[]) => names.map((name) => aJob(name, { key: 'k' }));

test('one job of a key is out at a time; the ack lets the next go', async () => {
  await bench.enqueue('q', ...keyed('a', 'b', 'c'));
  const [a] = await bench.lease('q', 10);
  expect(a?.payload).toBe('a');
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 2, leased: 1 });
  await bench.settle('q', ackOf(a as never));
  expect(payloads(await bench.lease('q', 10))).toEqual(['b']);
});

test('other keys and plain jobs do not wait', async () => {
  await bench.enqueue('q', ...keyed('a', 'b'), aJob('x', { key: 'other' }), aJob('plain'));
  expect(payloads(await bench.lease('q', 10)).sort()).toEqual(['a', 'plain', 'x']);
});

test('keys are bytes: unequal ones never share a lane', async () => {
  await bench.enqueue(
    'q',
    { ...aJob('a'), key: Buffer.from([0]) },
    { ...aJob('b'), key: Buffer.from([0, 0]) },
  );
  expect(payloads(await bench.lease('q', 10)).sort()).toEqual(['a', 'b']);
});

test('a nacked job keeps its place before the others of its key', async () => {
  await bench.enqueue('q', ...keyed('a', 'b'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { retryAfterMs: 5000 }));
  expect(await bench.lease('q', 10)).toEqual([]);
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 1, blocked: 1, leased: 0 });
  await bench.advance(5000);
  const a = await bench.leaseOne('q');
  expect(a).toMatchObject({ payload: 'a', attempt: 2 });
  await bench.settle('q', ackOf(a));
  expect(payloads(await bench.lease('q'))).toEqual(['b']);
});

test('[Q23] a dead job lets the next of its key go', async () => {
  await bench.enqueue('q', ...keyed('a', 'b'));
  await bench.settle('q', nackOf(await bench.leaseOne('q'), { unrecoverable: true }));
  expect(payloads(await bench.lease('q', 10))).toEqual(['b']);
  expect(payloads(await bench.lease('q.dead', 10))).toEqual(['a']);
});

test('jobs of one key in the dead-letter queue do not block each other', async () => {
  await bench.enqueue('q', ...keyed('a', 'b'));
  for (let i = 0; i < 2; i++)
    await bench.settle('q', nackOf(await bench.leaseOne('q'), { unrecoverable: true }));
  expect(payloads(await bench.lease('q.dead', 10))).toEqual(['a', 'b']);
});

test('an expired lease keeps the place, too', async () => {
  await bench.declare('q', { visibilityTimeoutMs: 1000 });
  await bench.enqueue('q', ...keyed('a', 'b'));
  await bench.leaseOne('q');
  await bench.advance(3000);
  expect(payloads(await bench.lease('q', 10))).toEqual(['a']);
});

test('a delayed job in front holds its lane', async () => {
  await bench.enqueue('q', aJob('a', { key: 'k', delayMs: 5000 }), ...keyed('b'));
  expect(await bench.lease('q', 10)).toEqual([]);
  await bench.advance(5000);
  const a = await bench.leaseOne('q');
  await bench.settle('q', ackOf(a));
  expect([a.payload, ...payloads(await bench.lease('q', 10))]).toEqual(['a', 'b']);
});

test('a blocked job with a delay waits for both', async () => {
  await bench.enqueue('q', ...keyed('a'), aJob('b', { key: 'k', delayMs: 10_000 }));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 1, blocked: 0, leased: 0 });
  await bench.advance(10_000);
  expect(payloads(await bench.lease('q'))).toEqual(['b']);
});

test('a lane that is empty again begins anew', async () => {
  await bench.enqueue('q', ...keyed('a'));
  await bench.settle('q', ackOf(await bench.leaseOne('q')));
  await bench.enqueue('q', ...keyed('b'));
  expect(payloads(await bench.lease('q'))).toEqual(['b']);
});

test('acks of several lanes in one call let each go on', async () => {
  const jobs = ['k', 'l', 'm'].flatMap((key) => [1, 2].map((n) => aJob(`${key}${n}`, { key })));
  await bench.enqueue('q', ...jobs);
  const first = await bench.lease('q', 10);
  await bench.settle('q', ...first.map(ackOf));
  const second = await bench.lease('q', 10);
  expect([payloads(first).sort(), payloads(second).sort()]).toEqual([
    ['k1', 'l1', 'm1'],
    ['k2', 'l2', 'm2'],
  ]);
});

test.each(['replayed', 'checkpointed'])('a long lane keeps its order across restarts (%s)', async (how) => {
  const names = Array.from({ length: 12 }, (_, i) => `j${i}`);
  await bench.enqueue('q', ...keyed(...names.slice(0, 6)));
  const seen: string[] = [];
  for (let i = 0; i < names.length; i++) {
    if (i % 3 === 0) await bench.restart({ clean: how === 'checkpointed' });
    if (i === 4) await bench.enqueue('q', ...keyed(...names.slice(6)));
    const [job, ...more] = await bench.lease('q', 10);
    expect(more).toEqual([]);
    seen.push(job?.payload ?? '');
    await bench.settle('q', ackOf(job as never));
  }
  expect(seen).toEqual(names);
});

test('[Q23] a poisoned job in front of its key dies and the rest of the key goes on', async () => {
  await bench.declare('q', { maxAttempts: 3 });
  await bench.enqueue('q', ...keyed('poison', 'b', 'c'));
  const done: string[] = [];
  for (let i = 0; i < 12; i++) {
    for (const job of await bench.lease('q', 10)) {
      if (job.payload === 'poison') await bench.settle('q', nackOf(job, { error: 'poison' }));
      else {
        await bench.settle('q', ackOf(job));
        done.push(job.payload);
      }
    }
    await bench.advance(5000);
  }
  expect(done).toEqual(['b', 'c']);
  expect((await bench.list('q.dead')).payloads).toEqual(['poison']);
});
