// What is measured of queues, from the fabric as a whole; on one shard and on three.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Signals } from '../../dataplane/scaling/signals.ts';
import { ackOf, aJob, Bench, caller, extendOf, nackOf } from '../queue/bench.ts';
import { SessionWorker } from '../queue/session-worker.ts';

const SCALING: pb.Scaling = { scaleFrom: 0, scaleTo: 20, basedOn: ['queue_lag > 10'] };

describe.each([1, 3])('%i shards', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
    await bench.declare('q', { scaling: SCALING, backoff: backoff(5000) });
  });
  afterEach(() => bench.close());

  const backoff = (initialMs: number): pb.Backoff =>
    ({ type: 'fixed', initialMs, maxMs: initialMs, jitter: 'none' }) as pb.Backoff;
  const ask = () => bench.fabric.admin.getScaling(caller, { queue: 'q', stream: '', group: '' });
  /** What the next look sees. */
  const signals = async (): Promise<Signals> => {
    await bench.advance(1000);
    return now();
  };
  /** The age may be read from files, in real time. */
  const now = () =>
    vi.waitFor(async () => {
      const seen = (await ask()).signals as unknown as Signals;
      expect(bench.time.now - seen.atMs).toBeLessThan(1000);
      return seen;
    }, 20_000);
  const known = () => bench.advance(3000);

  test('[Q210] lag is what a worker would get now, and its age that of the oldest of it', async () => {
    await known();
    await bench.enqueue('q', aJob('late', { delayMs: 3_600_000 }));
    await bench.enqueue('q', aJob('held'));
    await bench.lease('q');
    await bench.enqueue('q', aJob('failed'));
    await bench.settle('q', nackOf(await bench.leaseOne('q')));
    expect(await signals()).toMatchObject({ lag: 0, inFlight: 1, oldestReadyAtMs: 0 });
    await bench.enqueue('q', aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }));
    const atMs = bench.time.now;
    const seen = await signals();
    expect(seen).toMatchObject({ lag: 1, inFlight: 1 });
    expect(seen.oldestReadyAtMs).toBe(atMs);
    await bench.advance(5000);
    // The failed one is ready again, since its delay was over.
    expect(await signals()).toMatchObject({ lag: 2, oldestReadyAtMs: atMs });
  });

  test.each(['priority', 'limitKey'])(
    '[Q210] [AD20] %s: any number of delayed jobs does not hide the age',
    async (by) => {
      if (by === 'limitKey') await bench.declare('q', { scaling: SCALING, fair: true });
      await bench.enqueue('q', ...Array.from({ length: 500 }, () => aJob('late', { delayMs: 3_600_000 })));
      const atMs = bench.time.now;
      await bench.enqueue('q', aJob('ready', by === 'priority' ? { priority: 3 } : { limitKey: 'k' }));
      await known();
      await bench.checkpoint();
      expect(await signals()).toMatchObject({ lag: 1, oldestReadyAtMs: atMs });
    },
  );

  test('[Q210] a paused queue has no lag: nobody would get anything', async () => {
    await bench.enqueue('q', aJob('a'), aJob('b'));
    await bench.queues.setPaused(caller, { queue: 'q', paused: true, mutation: null });
    await known();
    expect(await signals()).toMatchObject({ lag: 0, oldestReadyAtMs: 0 });
    expect((await ask()).advice?.why).toBe('there is nothing to take');
    await bench.queues.setPaused(caller, { queue: 'q', paused: false, mutation: null });
    expect(await signals()).toMatchObject({ lag: 2 });
  });

  test('[Q211] [Q216] busy is who holds jobs; workers are these and those that wait', async () => {
    await bench.declare('q', { scaling: SCALING, visibilityTimeoutMs: 600_000 });
    const open = (sessionId: string, worker: string, credits: number) =>
      SessionWorker.open(bench, 'q', { sessionId, credits, held: [], more: { worker, build: 'v2' } });
    const first = await open('s1', 'pod-a', 3);
    await open('s2', 'pod-b', 0);
    await bench.enqueue('q', aJob('1'), aJob('2'), aJob('3'));
    expect(first.payloads).toEqual(['1', '2', '3']);
    await bench.enqueue('q', aJob('4'), aJob('5'));
    first.session.disconnect();
    await bench.lease('q', 1, { worker: 'pod-c' });
    await bench.lease('q', 1, { worker: 'pod-c' });
    await known();
    expect(await signals()).toMatchObject({ workers: 3, busyWorkers: 2, inFlight: 5 });
    expect((await ask()).workers).toEqual([
      { name: 'pod-a', busy: true, leased: 3, build: 'v2' },
      { name: 'pod-c', busy: true, leased: 2, build: '' },
      { name: 'pod-b', busy: false, leased: 0, build: 'v2' },
    ]);
    await bench.restart();
    await bench.advance(30_000);
    expect(await signals()).toMatchObject({ workers: 2, busyWorkers: 2, inFlight: 5 });
    await bench.queues.endSession(caller, { queue: 'q', sessionId: 's1' });
    expect(await signals()).toMatchObject({ workers: 1, busyWorkers: 1, lag: 3 });
  });

  test('[Q211] a worker that has come back is one, whichever session its jobs are of', async () => {
    await bench.declare('q', { scaling: SCALING, visibilityTimeoutMs: 600_000 });
    const open = (sessionId: string) =>
      SessionWorker.open(bench, 'q', { sessionId, credits: 1, held: [], more: { worker: 'pod-a' } });
    await bench.enqueue('q', aJob('long'), aJob('next'), aJob('waits'));
    await open('before');
    await bench.restart();
    await open('after');
    await bench.advance(30_000);
    const { workers, busyWorkers, inFlight } = await signals();
    expect({ workers, busyWorkers, inFlight }).toEqual({ workers: 1, busyWorkers: 1, inFlight: 2 });
    expect((await ask()).workers).toEqual([{ name: 'pod-a', busy: true, leased: 2, build: '' }]);
    expect((await ask()).advice?.workersWanted).toBe(1);
  });

  test('[Q212] [Q213] rates are of what becomes ready and is done, times from lease to ack', async () => {
    for (let second = 0; second < 40; second++) {
      await bench.enqueue('q', ...Array.from({ length: 4 }, () => aJob('x')), aJob('late', { delayMs: 1e9 }));
      const jobs = await bench.lease('q', 4);
      await bench.advance(500);
      await bench.settle('q', ...jobs.slice(0, 3).map(ackOf));
      await bench.settle('q', ...jobs.slice(3).map((job) => nackOf(job, { release: true })));
      await bench.advance(460);
    }
    const { arrivalsPerSecond, completionsPerSecond, ...seen } = await signals();
    expect(arrivalsPerSecond).toBeGreaterThan(3.3);
    expect(arrivalsPerSecond).toBeLessThan(4.7);
    expect(completionsPerSecond).toBeGreaterThan(2.4);
    expect(completionsPerSecond).toBeLessThan(3.6);
    expect(seen.processingMs).toBeGreaterThanOrEqual(500);
    expect(seen.processingMs).toBeLessThan(600);
    expect(seen.processingP50Ms).toBeGreaterThanOrEqual(500);
    expect(seen.processingP99Ms).toBeLessThanOrEqual(800);
    // Of each second about half is busy, and three jobs are done in it.
    expect(seen.throughputPerWorker).toBeGreaterThan(4.5);
    expect(seen.throughputPerWorker).toBeLessThan(7);
  });

  test('[Q212] a delay that is over, a retry and a redrive are arrivals when they are ready', async () => {
    await known();
    await bench.enqueue('q', ...Array.from({ length: 50 }, () => aJob('x', { delayMs: 10_000 })));
    expect((await signals()).arrivalsPerSecond).toBe(0);
    await bench.advance(8000);
    expect((await signals()).arrivalsPerSecond).toBe(0);
    await bench.advance(2000);
    expect((await signals()).arrivalsPerSecond).toBeGreaterThan(1);
    await bench.advance(200_000);
    expect((await signals()).arrivalsPerSecond).toBe(0);
  });

  test('[Q214] after a restart it is unknown until workers may be back, and no zero is false', async () => {
    for (let i = 0; i < 10; i++) {
      await bench.enqueue('q', aJob('x'), aJob('x'));
      await bench.settle('q', ...(await bench.lease('q', 2)).map(ackOf));
      await bench.advance(980);
    }
    expect((await signals()).completionsPerSecond).toBeGreaterThan(1);
    await bench.enqueue('q', aJob('left'));
    for (const clean of [false, true]) {
      await bench.restart({ clean });
      await expect(ask()).rejects.toMatchObject({ code: 'SCALING_UNKNOWN' });
      await bench.advance(29_000);
      await expect(ask()).rejects.toMatchObject({ code: 'SCALING_UNKNOWN' });
      await bench.advance(2000);
      expect(await now()).toMatchObject({ lag: 1, arrivalsPerSecond: 0, throughputPerWorker: 0 });
    }
  });

  test('[Q215] figures, summaries and GetScaling say the same', async () => {
    await bench.enqueue('q', ...Array.from({ length: 30 }, () => aJob('x')));
    await bench.settle('q', ...(await bench.lease('q', 3)).map(ackOf));
    await bench.lease('q', 2);
    await known();
    await bench.advance(1000);
    const { signals: seen, advice } = await ask();
    const { figures } = await bench.fabric.admin.getQueue(caller, { name: 'q' });
    const request = { kind: 'queue', cursor: '', limit: 0, bucketed: false };
    const { queues = [] } = await bench.fabric.admin.listFigures(caller, request);
    const { workers, busyWorkers, arrivalsPerSecond, completionsPerSecond, processingMs } = seen ?? {};
    const same = { workers, busyWorkers, arrivalsPerSecond, completionsPerSecond, processingMs };
    const expected = { ...same, workersWanted: advice?.workersWanted };
    expect(figures).toMatchObject(expected);
    expect(queues?.[0]).toMatchObject(expected);
    expect(advice?.workersWanted).toBeGreaterThan(0);
    expect(advice?.active).toBe(true);
    await bench.declare('plain');
    const plain = await bench.fabric.admin.getQueue(caller, { name: 'plain' });
    expect(plain.figures?.workersWanted).toBeNull();
  });

  test('[Q211] a transaction that is taken back leaves its worker as busy as before', async () => {
    await bench.enqueue('q', aJob('a'), aJob('b'));
    const [a, b] = await bench.lease('q', 2);
    if (a === undefined || b === undefined) throw new Error('two jobs are there');
    const settle = (settlements: pb.Settlement[]) => ({
      op: 'settle' as const,
      settle: { queue: 'q', settlements, mutation: null },
    });
    const lost = { ...b, leaseEpoch: b.leaseEpoch + 1000 };
    const ops = [settle([ackOf(a), extendOf(b, 60_000)]), settle([ackOf(lost)])] as never;
    const asked = bench.fabric.transactions.commit(caller, { ops, mutation: null });
    await expect(asked).rejects.toMatchObject({ code: 'LEASE_LOST' });
    await known();
    expect(await signals()).toMatchObject({ workers: 1, busyWorkers: 1, inFlight: 2 });
    expect((await ask()).workers).toEqual([{ name: 'w', busy: true, leased: 2, build: '' }]);
    expect(await bench.settle('q', ackOf(a), ackOf(b))).toEqual(['', '']);
    expect(await signals()).toMatchObject({ workers: 0, busyWorkers: 0 });
  });
});
