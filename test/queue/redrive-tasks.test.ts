// Redrive as a task: at its pace, over shards and restarts, cancelled half way, without loss or doubles.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Queues } from '../../dataplane/queue/service.ts';
import { ackOf, aJob, Bench, caller, nackOf } from './bench.ts';

describe.each([1, 3])('with %i shards', (shards) => {
  let bench: Bench;
  /** Another queue, with 3 shards on another one. */
  const OTHER = 'elsewhere';
  beforeEach(async () => {
    bench = await Bench.open({ onDisk: true, shards });
    await bench.declare('q', { maxAttempts: 1 });
    await bench.declare(OTHER);
  });
  afterEach(() => bench.close());

  const start = (more: Partial<pb.StartRedriveRequest> = {}) =>
    bench.queues.startRedrive(caller, {
      ...{ queue: 'q.dead', targetQueue: '', max: 0, perSecond: 0, parkAfter: 0, mutation: null },
      ...more,
    });
  const status = () => bench.queues.getRedrive(caller, { queue: 'q.dead' });
  const cancel = () => bench.queues.cancelRedrive(caller, { queue: 'q.dead', mutation: null });
  const names = (count: number) => Array.from({ length: count }, (_, i) => `j${i}`);
  const bury = async (count: number) => {
    await bench.enqueue('q', ...names(count).map((name) => aJob(name)));
    const jobs = await bench.lease('q', count);
    await bench.settle('q', ...jobs.map((job) => nackOf(job, { unrecoverable: true, error: 'no' })));
    await bench.idle();
  };
  const everything = async (...queues: string[]) => {
    const all: string[] = [];
    for (const queue of queues) all.push(...(await bench.list(queue, '', 1000)).payloads);
    return all.sort();
  };
  const sorted = (count: number) => names(count).sort();

  test.each(['', OTHER])('[Q27] a task moves all that is there, to "%s"', async (targetQueue) => {
    await bury(250);
    expect(await start({ targetQueue })).toMatchObject({ number: 1, state: 'running' });
    await bench.advance(2000);
    expect(await status()).toMatchObject({ state: 'done', moved: 250, parked: 0, remaining: 0 });
    expect(await everything(targetQueue || 'q')).toEqual(sorted(250));
    expect(await bench.figures('q.dead')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 0 });
  });

  test.each(['', OTHER])(
    '[Q27] it keeps to its rate and goes on after restarts, to "%s"',
    async (targetQueue) => {
      await bury(40);
      await start({ targetQueue, perSecond: 10 });
      await expect(start()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
      await bench.advance(2000);
      const moved = Number((await status()).moved);
      expect(moved).toBeGreaterThanOrEqual(18);
      expect(moved).toBeLessThanOrEqual(22);
      await bench.restart();
      await bench.advance(1000);
      await bench.restart({ clean: true });
      await bench.advance(3000);
      expect(await status()).toMatchObject({ state: 'done', moved: 40 });
      expect(await everything(targetQueue || 'q')).toEqual(sorted(40));
    },
  );

  test.each(['', OTHER])(
    '[Q28] a task cancelled half way loses and doubles nothing, to "%s"',
    async (targetQueue) => {
      await bury(60);
      await start({ targetQueue, perSecond: 20 });
      await bench.advance(1000);
      const cancelled = await cancel();
      expect(cancelled.state).toBe('cancelled');
      await bench.advance(5000);
      await bench.restart();
      await bench.advance(120_000);
      const task = await status();
      const [moved, remaining] = [Number(task.moved), Number(task.remaining)];
      expect(task.state).toBe('cancelled');
      expect(moved).toBeGreaterThan(0);
      expect(moved + remaining).toBe(60);
      expect((await everything(targetQueue || 'q')).length).toBe(moved);
      expect(await everything(targetQueue || 'q', 'q.dead')).toEqual(sorted(60));
      await start({ targetQueue });
      await bench.advance(2000);
      expect(await everything(targetQueue || 'q')).toEqual(sorted(60));
      expect(await everything('q.dead')).toEqual([]);
    },
  );

  test('[Q28] a crash between two shards loses and doubles nothing', async () => {
    await bury(20);
    // What was enqueued there is not acked here any more.
    const { shard } = (bench.queues as Queues).at('q.dead');
    const isSame = shard === (bench.queues as Queues).at(OTHER).shard;
    expect(isSame).toBe(shards === 1);
    shard.transact = () => new Promise<never>(() => {});
    await start({ targetQueue: OTHER });
    await bench.idle();
    expect((await everything(OTHER)).length).toBe(isSame ? 0 : 20);
    await bench.restart();
    await bench.advance(120_000);
    expect(await status()).toMatchObject({ state: 'done' });
    expect(await everything(OTHER)).toEqual(sorted(20));
    expect(await everything('q.dead')).toEqual([]);
  });

  test('[Q27] jobs that die again while it runs are left for the next task', async () => {
    await bury(3);
    await start({ perSecond: 5 });
    for (let i = 0; i < 6; i++) {
      await bench.advance(1000);
      for (const job of await bench.lease('q', 10)) await bench.settle('q', nackOf(job));
    }
    expect(await status()).toMatchObject({ state: 'done', moved: 3, remaining: 3 });
  });

  test('[Q29] a job that keeps coming back is parked', async () => {
    await bury(2);
    for (let round = 1; round <= 3; round++) {
      await start({ parkAfter: 2 });
      await bench.advance(1000);
      const [first, second] = await bench.lease('q', 2);
      if (first) await bench.settle('q', nackOf(first, { unrecoverable: true }));
      if (second) await bench.settle('q', ackOf(second));
      await bench.idle();
    }
    expect(await status()).toMatchObject({ number: 3, state: 'done', moved: 0, parked: 1, remaining: 0 });
    expect(await everything('q', 'q.dead')).toEqual([]);
    const page = await bench.queues.listJobs(caller, {
      ...{ queue: 'q.dead.parked', state: '', limit: 0, cursor: '' },
    });
    expect(page.jobs).toMatchObject([{ payload: Buffer.from('j0'), redrives: 3 }]);
  });

  test('[Q27] what cannot be moved fails the task and stays', async () => {
    await bench.enqueue('plain.dead', aJob('a'));
    await bench.queues.startRedrive(caller, {
      ...{ queue: 'plain.dead', targetQueue: '', max: 0, perSecond: 0, parkAfter: 0, mutation: null },
    });
    await bench.idle();
    expect(await bench.queues.getRedrive(caller, { queue: 'plain.dead' })).toMatchObject({
      state: 'failed',
      error: expect.stringContaining('name a target queue'),
      remaining: 1,
    });
    await expect(bench.queues.getRedrive(caller, { queue: OTHER })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(start({ targetQueue: 'q.dead' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
