// Figures of everything in pages.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { twoDigits } from '../../dataplane/admin/figures.ts';
import { aJob, Bench, caller, nackOf } from '../queue/bench.ts';
import { aHello, aRecord } from '../stream/support.ts';
import { kinds } from './support.ts';

const [queue, stream] = kinds as [(typeof kinds)[number], (typeof kinds)[number]];

describe.each([1, 3])('shards: %d', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ shards });
  });
  afterEach(() => bench.close());

  const ask = (more: Partial<pb.ListFiguresRequest> = {}) =>
    bench.fabric.admin.listFigures(caller, { kind: '', cursor: '', limit: 0, bucketed: false, ...more });

  test('[AD20] one call tells of every queue: by state, dead ones, age, owner', async () => {
    await queue.declare(bench, 'q', { maxAttempts: 1 }, { generation: 4 });
    const startMs = bench.time.now;
    await bench.enqueue('q', aJob('first'), aJob('dies'), aJob('late', { delayMs: 60_000 }));
    await bench.advance(1000);
    const [first, dies] = await bench.lease('q', 2);
    if (dies === undefined || first === undefined) throw new Error('two jobs are there');
    await bench.settle('q', nackOf(dies));
    await bench.idle();
    await bench.enqueue('q', aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }), aJob('p'));
    const shown = await ask();
    expect(shown).toMatchObject({ cursor: '', streams: [] });
    expect(shown.queues?.map(({ name }) => name)).toEqual(['q', 'q.dead']);
    expect(shown.queues?.[0]).toMatchObject({
      ...{ waiting: 2, delayed: 1, blocked: 1, leased: 1, dead: 1, deadTotal: 1, enqueuedTotal: 6 },
      ...{ ownerUid: 'me', generation: 4, drifted: false, paused: false, workers: 1, busyWorkers: 1 },
      oldestReadyAtMs: startMs + 1000,
    });
    // The age is that of the job in front, also after that one has gone.
    await bench.advance(500);
    await bench.lease('q', 9);
    await bench.enqueue('q', aJob('z'));
    expect((await ask()).queues?.[0]).toMatchObject({ waiting: 1, oldestReadyAtMs: startMs + 1500 });
  });

  test('[AD20] and of every stream: records, bytes, lag of each group', async () => {
    await stream.declare(bench, 's', { partitions: 4 });
    const join = (group: string, startFrom: string) =>
      bench.fabric.streams.openConsume(
        caller,
        aHello(`m-${group}`, { stream: 's', group, startFrom, creditBytes: 0 }),
        () => true,
        () => {},
      );
    await join('slow', 'earliest');
    await bench.idle();
    const records = Array.from({ length: 8 }, (_, i) => aRecord('value', { partition: i % 4 }));
    await bench.fabric.streams.publish(caller, { stream: 's', records, mutation: null });
    await join('late', 'latest');
    await bench.idle();
    const [shown] = (await ask({ kind: 'stream' })).streams ?? [];
    expect(shown).toMatchObject({ name: 's', partitions: 4, records: 8, ownerUid: 'me', generation: 1 });
    expect(shown?.bytes).toBeGreaterThan(8 * 5);
    expect(shown?.groups).toMatchObject([
      { group: 'late', lag: 0, members: 1, oldestUncommittedAtMs: 0 },
      { group: 'slow', lag: 8, members: 1, oldestUncommittedAtMs: expect.any(Number) },
    ]);
  });

  test('[AD20] a group is as old as the oldest record that it has not committed', async () => {
    await stream.declare(bench, 's', { partitions: 2 });
    const publish = (partition: number) =>
      bench.fabric.streams.publish(caller, {
        ...{ stream: 's', records: [aRecord('value', { partition })], mutation: null },
      });
    const seek = async (partition: number, offset: number) => {
      const request = { stream: 's', group: 'g', partition, to: 'offset', offset, mutation: null } as never;
      await bench.fabric.streams.seek(caller, request);
      await bench.idle();
    };
    const oldest = async () =>
      (await ask({ kind: 'stream' })).streams?.[0]?.groups?.[0]?.oldestUncommittedAtMs;
    await seek(0, 0);
    expect(await oldest()).toBe(0);
    const times: number[] = [];
    for (const partition of [1, 0, 1]) {
      await bench.advance(1000);
      times.push(bench.time.now);
      await publish(partition);
      await bench.idle();
    }
    expect(await oldest()).toBe(times[0]);
    await seek(1, 1);
    expect(await oldest()).toBe(times[1]);
    await seek(0, 1);
    expect(await oldest()).toBe(times[2]);
    await seek(1, 2);
    expect(await oldest()).toBe(0);
  });

  test('[AD20] pages hold each queue and stream once, queues first, by name', async () => {
    const names = ['b', 'B', 'a', 'c.d', 'z', '{e}-1'];
    for (const name of names) await queue.apply(bench, name, {});
    for (const name of names.slice(0, 3)) await stream.apply(bench, name, {});
    for (const limit of [1, 2, 4, 9, 0]) {
      const seen: string[] = [];
      let cursor = '';
      do {
        const page = await ask({ limit, cursor });
        seen.push(...(page.queues ?? []).map(({ name }) => `q ${name}`));
        seen.push(...(page.streams ?? []).map(({ name }) => `s ${name}`));
        cursor = page.cursor ?? '';
      } while (cursor !== '');
      const inOrder = (prefix: string, of: string[]) => [...of].sort().map((name) => `${prefix} ${name}`);
      expect(seen).toEqual([...inOrder('q', names), ...inOrder('s', names.slice(0, 3))]);
    }
    await expect(ask({ cursor: 'x' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(ask({ kind: 'key' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[AD20] a queue that stands still is not read from disk again', async () => {
    await bench.enqueue('q', aJob('a'));
    const first = await ask();
    const { shard, views } = bench.fabric.shards.find(({ views }) => {
      return (views[1] as unknown as { state: { cell(t: number, n: string): unknown } }).state.cell(1, 'q');
    }) as never as { shard: unknown; views: { state: { cell(t: number, n: string): { log: object } } }[] };
    expect(shard).toBeDefined();
    const { log } = views[1]?.state.cell(1, 'q') ?? { log: {} };
    const forbidden = () => {
      throw new Error('the log is read');
    };
    Object.defineProperty(log, 'resident', { value: forbidden });
    expect(await ask()).toEqual(first);
  });

  test('[AD21] bucketed counts have two digits; times and generations are what they are', async () => {
    await bench.enqueue('q', ...Array.from({ length: 1234 }, (_, i) => aJob(`j${i}`)));
    const [exact] = (await ask()).queues ?? [];
    const [rounded] = (await ask({ bucketed: true })).queues ?? [];
    expect(exact).toMatchObject({ waiting: 1234 });
    expect(rounded).toMatchObject({ waiting: 1200, oldestReadyAtMs: exact?.oldestReadyAtMs });
    await bench.enqueue('q', aJob('one more'));
    expect((await ask({ bucketed: true })).queues?.[0]).toEqual(rounded);
  });
});

test('[AD21] two digits, of any count', () => {
  const pairs = [0, 9, 10, 99, 100, 101, 110, 999, 1000, 2 ** 52].map((count) => [count, twoDigits(count)]);
  expect(pairs).toEqual([
    [0, 0],
    [9, 9],
    [10, 10],
    [99, 99],
    [100, 100],
    [101, 100],
    [110, 110],
    [999, 990],
    [1000, 1000],
    [2 ** 52, 4_500_000_000_000_000],
  ]);
});
