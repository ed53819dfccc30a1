// Rate and concurrency limits, per limit key and per queue: what may start, when, and that nobody else waits.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, type Held, nackOf, payloads } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const limits = (more: object) => ({
  limits: { ratePerKey: null, concurrencyPerKey: 0, rate: null, concurrency: 0, ...more },
});
const of = (limitKey: string, ...names: string[]) => names.map((name) => aJob(name, { limitKey }));
/** Everything that may start now: lanes that come from the disk may take a second poll. */
async function leaseAll(queue = 'q'): Promise<Held[]> {
  const all: Held[] = [];
  for (let empty = 0; empty < 2; ) {
    const jobs = await bench.lease(queue, 100);
    empty = jobs.length === 0 ? empty + 1 : 0;
    all.push(...jobs);
  }
  return all;
}
const many = (limitKey: string, count: number) =>
  of(limitKey, ...Array.from({ length: count }, (_, i) => `${limitKey}${i}`));

test('[Q110] at most concurrencyPerKey jobs of a limit key are leased; an ack makes room', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 2 }));
  await bench.enqueue('q', ...many('a', 4), ...many('b', 1));
  const first = await leaseAll();
  expect(payloads(first).sort()).toEqual(['a0', 'a1', 'b0']);
  expect(await leaseAll()).toEqual([]);
  await bench.settle('q', ackOf(first.find(({ payload }) => payload === 'a1') as never));
  expect(payloads(await leaseAll())).toEqual(['a2']);
});

test.each(['nack', 'release', 'expiry'])('[Q110] a lease that ends by %s makes room, too', async (how) => {
  await bench.declare('q', { ...limits({ concurrencyPerKey: 1 }), visibilityTimeoutMs: 1000 });
  await bench.enqueue('q', ...many('a', 2));
  const job = await bench.leaseOne('q');
  expect(await leaseAll()).toEqual([]);
  if (how === 'expiry') await bench.advance(1000);
  else await bench.settle('q', nackOf(job, { retryAfterMs: 60_000, release: how === 'release' }));
  const next = await leaseAll();
  expect(payloads(next)).toEqual([how === 'release' ? 'a0' : 'a1']);
});

test('[Q111] ratePerKey: a full bucket at once, then one each period / count', async () => {
  await bench.declare('q', limits({ ratePerKey: { count: 2, periodMs: 1000 } }));
  await bench.enqueue('q', ...many('a', 5), ...many('b', 1));
  expect(payloads(await leaseAll()).sort()).toEqual(['a0', 'a1', 'b0']);
  const seen: string[] = [];
  const startMs = bench.time.now;
  while (seen.length < 3) {
    await bench.advance(50);
    for (const { payload } of await leaseAll())
      seen.push(`${payload} ${Math.floor((bench.time.now - startMs + 100) / 500)}`);
  }
  expect(seen).toEqual(['a2 1', 'a3 2', 'a4 3']);
});

test('[Q111] a worker that waits gets the job when its token is there, without asking again', async () => {
  await bench.declare('q', limits({ ratePerKey: { count: 1, periodMs: 30_000 } }));
  await bench.enqueue('q', ...many('a', 2));
  await bench.leaseOne('q');
  const got = bench.queues.lease(
    { identity: 'test', tenant: 1, deadlineMs: 0 },
    { queue: 'q', max: 1, waitMs: 60_000, visibilityMs: 0, worker: 'w' },
    new AbortController().signal,
  );
  let isThere = false;
  void got.then(() => {
    isThere = true;
  });
  await bench.advance(29_900);
  expect(isThere).toBe(false);
  await bench.advance(100);
  expect(isThere).toBe(true);
  expect((await got).jobs?.length).toBe(1);
});

test('[Q112] rate and concurrency of the queue count all jobs, plain ones too', async () => {
  await bench.declare('q', limits({ rate: { count: 3, periodMs: 3000 }, concurrency: 4 }));
  await bench.enqueue('q', ...many('a', 2), aJob('p0'), aJob('p1'), aJob('p2', { priority: 1 }), aJob('p3'));
  const first = await leaseAll();
  expect(first.length).toBe(3);
  expect(await leaseAll()).toEqual([]);
  await bench.advance(1000);
  expect((await leaseAll()).length).toBe(1);
  await bench.advance(5000);
  expect(await leaseAll(), 'four are leased').toEqual([]);
  await bench.settle('q', ...first.map(ackOf));
  expect((await leaseAll()).length).toBe(2);
});

test('[Q113] a limited key holds up neither other keys nor jobs without one', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 1, ratePerKey: { count: 1, periodMs: 3_600_000 } }));
  for (let i = 0; i < 20; i++) await bench.enqueue('q', ...many('busy', 200));
  await bench.enqueue('q', ...many('a', 1), aJob('plain'), ...many('b', 1));
  expect(payloads(await leaseAll()).sort()).toEqual(['a0', 'b0', 'busy0', 'plain']);
  expect(await bench.figures('q')).toEqual({ waiting: 3999, delayed: 0, blocked: 0, leased: 4 });
});

test('[Q114] without a limit key the key counts; without either there is no limit per key', async () => {
  await bench.declare('q', limits({ ratePerKey: { count: 1, periodMs: 60_000 } }));
  await bench.enqueue('q', aJob('k0', { key: 'k' }), aJob('k1', { key: 'k' }), aJob('x'), aJob('y'));
  const first = await leaseAll();
  expect(payloads(first).sort()).toEqual(['k0', 'x', 'y']);
  await bench.settle('q', ...first.map(ackOf));
  expect(await leaseAll(), 'in order, and at its rate').toEqual([]);
  await bench.advance(60_000);
  expect(payloads(await leaseAll())).toEqual(['k1']);
});

test.each(['replayed', 'checkpointed'])('[Q115] limits hold across a restart (%s)', async (how) => {
  await bench.declare('q', limits({ concurrencyPerKey: 2, ratePerKey: { count: 3, periodMs: 60_000 } }));
  await bench.enqueue('q', ...many('a', 6), ...many('b', 1));
  const first = await bench.lease('q', 2);
  await bench.restart({ clean: how === 'checkpointed' });
  const second = await leaseAll();
  expect(payloads([...first, ...second]).sort()).toEqual(['a0', 'a1', 'b0']);
  await bench.settle('q', ...first.map(ackOf), ...second.map(ackOf));
  expect(payloads(await leaseAll())).toEqual(['a2']);
  expect(await leaseAll()).toEqual([]);
  await bench.restart({ clean: how === 'checkpointed' });
  expect(await leaseAll(), 'three have started').toEqual([]);
  await bench.advance(20_000);
  expect(payloads(await leaseAll())).toEqual(['a3']);
});

test('[Q116] limits that are declared later hold for what waits already', async () => {
  await bench.enqueue('q', ...many('a', 3), aJob('plain'), ...many('b', 2));
  await bench.declare('q', limits({ concurrencyPerKey: 1 }));
  const jobs = await leaseAll();
  expect(payloads(jobs).sort()).toEqual(['a0', 'b0', 'plain']);
  await bench.settle('q', ...jobs.map(ackOf));
  expect(payloads(await leaseAll()).sort()).toEqual(['a1', 'b1']);
});

test('[Q116] limits that are raised or lifted let the waiting keys go at once', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 1, ratePerKey: { count: 1, periodMs: 3_600_000 } }));
  await bench.enqueue('q', ...many('a', 5), ...many('b', 1));
  expect((await leaseAll()).length).toBe(2);
  expect(await leaseAll()).toEqual([]);
  await bench.declare('q', limits({ concurrencyPerKey: 2, ratePerKey: { count: 100, periodMs: 1000 } }));
  await bench.advance(100);
  expect(payloads(await leaseAll())).toEqual(['a1']);
  await bench.declare('q');
  expect(payloads(await leaseAll())).toEqual(['a2', 'a3', 'a4']);
});

test('[Q117] a backlog of one key costs rows on the disk, not memory', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 1 }));
  for (let i = 0; i < 30; i++) await bench.enqueue('q', ...many('a', 500));
  await bench.checkpoint();
  const [held] = await leaseAll();
  const shard = bench.fabric.shards[0];
  const before = shard?.shard.durableSeq ?? 0;
  for (let i = 0; i < 20; i++) expect(await leaseAll()).toEqual([]);
  expect((shard?.shard.durableSeq ?? 0) - before, 'asking costs no entries').toBeLessThanOrEqual(1);
  await bench.settle('q', ackOf(held as Held));
  expect(payloads(await leaseAll())).toEqual(['a1']);
});

test('[Q118] a retry waits for a token and a place, as every start', async () => {
  await bench.declare('q', {
    ...limits({ ratePerKey: { count: 1, periodMs: 10_000 } }),
    backoff: { type: 'fixed', initialMs: 1, maxMs: 1, jitter: 'none' },
  });
  await bench.enqueue('q', ...many('a', 1));
  await bench.settle('q', nackOf(await bench.leaseOne('q')));
  await bench.advance(9000);
  expect(await bench.lease('q')).toEqual([]);
  await bench.advance(1000);
  expect(await bench.leaseOne('q')).toMatchObject({ payload: 'a0', attempt: 2 });
});

test('[Q119] the reason of a job that is held back by its limit says so', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 1 }));
  const [, second] = await bench.enqueue('q', ...many('a', 2));
  await bench.leaseOne('q');
  const job = await bench.job('q', second?.id ?? '');
  expect(job).toMatchObject({
    state: 'waiting',
    reason: '1 jobs of its limit key are leased, as many as may be',
    limitKey: Buffer.from('a'),
  });
});

test('[Q120] a rate that cannot be is refused', async () => {
  for (const rate of [
    { count: 0, periodMs: 1000 },
    { count: 1, periodMs: 0 },
    { count: 2_000_000, periodMs: 1000 },
    { count: 1, periodMs: 86_400_001 },
  ])
    await expect(bench.declare('q', limits({ ratePerKey: rate }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
});

test('purge empties the keys, and what comes afterwards is served', async () => {
  await bench.declare('q', limits({ concurrencyPerKey: 1 }));
  await bench.enqueue('q', ...many('a', 10));
  const held = await bench.leaseOne('q');
  await bench.queues.purge({ identity: 'test', tenant: 1, deadlineMs: 0 }, { queue: 'q', mutation: null });
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 1 });
  await bench.enqueue('q', ...of('a', 'new'));
  expect(await bench.lease('q')).toEqual([]);
  await bench.settle('q', ackOf(held));
  expect(payloads(await leaseAll())).toEqual(['new']);
});
