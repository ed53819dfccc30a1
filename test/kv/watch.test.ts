// Watching keys on real shards: what is told, and what becomes of slow, cut off or late readers.
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { kvShardOf } from '../../dataplane/kv/routing.ts';
import { openRealBench, type RealBench } from './real-bench.ts';
import { b } from './support.ts';
import { Watcher, words } from './watcher.ts';

const set = (key: string, value: string, more: object = {}) => ({
  set: { key: b(key), value: b(value), ...more },
});
const del = (key: string) => ({ delete: { key: b(key) } });

const opened: (RealBench | Watcher)[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

async function aBench(shards = 1, ...more: [object?]): Promise<RealBench> {
  const bench = await openRealBench(shards, ...more);
  opened.push(bench);
  return bench;
}

async function aWatcher(bench: RealBench, request: object = {}): Promise<Watcher> {
  const watcher = await new Watcher().open(bench.service, request);
  opened.push(watcher);
  return watcher;
}

test('[KV30] a change says what became of the key, why, when and where', async () => {
  const bench = await aBench();
  const watcher = await aWatcher(bench);
  expect(watcher).toMatchObject({ messages: 1, changes: [] });
  const { revision } = await bench.one(set('a', '1', { contentType: 'text/plain', ttlMs: 500 }));
  await bench.one({ expire: { key: b('a'), ttlMs: 100 } });
  await bench.one(set('b', '2'));
  await bench.one(del('b'));
  bench.advance(100);
  await bench.idle();
  const changes = await watcher.until(5);
  expect(words(changes)).toEqual(['set a=1', 'set a=1', 'set b=2', 'delete b', 'expire a']);
  expect(changes[0]).toMatchObject({
    type: 'string',
    revision,
    contentType: 'text/plain',
    expireAtMs: 1_000_500,
    timeMs: 1_000_000,
    shard: 0,
  });
  expect(changes[1]?.revision).toBeGreaterThan(revision);
  expect(changes[3]).toMatchObject({ type: 'string', revision: 0, expireAtMs: 0 });
  expect(changes[4]).toMatchObject({ type: 'string', revision: 0, expireAtMs: 1_000_100 });
  const positions = changes.map(({ position }) => position);
  expect(positions).toEqual([...positions].sort((x, y) => x - y));
});

test('[KV30] changes of collections name the members', async () => {
  const bench = await aBench();
  const watcher = await aWatcher(bench);
  const [h, s, z] = [b('h'), b('s'), b('z')];
  await bench.all([
    { hashSet: { key: h, fields: [{ field: b('f'), value: b('1') }] } },
    { setAdd: { key: s, members: [b('x'), b('y')] } },
    { setRemove: { key: s, members: [b('x')] } },
    { setRemove: { key: s, members: [b('y')] } },
    { sortedSetAdd: { key: z, members: [{ member: b('m'), score: 2 }] } },
    set('h', 'now a string'),
  ]);
  const changes = await watcher.until(6);
  const seen = changes.map(({ reason, type, members }) => [
    reason,
    type,
    ...members.map(({ name, found, value, score }) => `${name} ${found} ${value}${score}`),
  ]);
  expect(seen).toEqual([
    ['set', 'hash', 'f true 10'],
    ['set', 'set', 'x true 0', 'y true 0'],
    ['set', 'set', 'x false 0'],
    ['delete', 'set'],
    ['set', 'zset', 'm true 2'],
    ['set', 'string'],
  ]);
});

test('[KV30] a key written after its time shows its expiry first, also to who comes back', async () => {
  const bench = await aBench();
  await bench.one({ setAdd: { key: b('a'), members: [b('m')] } });
  await bench.one({ expire: { key: b('a'), ttlMs: 10 } });
  const watcher = await aWatcher(bench);
  bench.clock.nowMs += 10; // No timer runs: the write comes before the sweeper.
  await bench.one(set('a', 'x'));
  const changes = await watcher.until(2);
  expect(words(changes)).toEqual(['expire a', 'set a=x']);
  expect(changes[0]).toMatchObject({ type: 'set', expireAtMs: 1_000_010 });
  const again = await aWatcher(bench, { cursor: changes[0]?.cursor });
  expect(words(await again.until(2))).toEqual(['expire a', 'set a=x']);
});

test('[KV31] keys and prefixes select; keyspaces and tenants are apart', async () => {
  const bench = await aBench(3);
  const all = await aWatcher(bench);
  const prefix = await aWatcher(bench, { prefix: b('a\0') });
  const key = await aWatcher(bench, { key: b('ab') });
  const other = await aWatcher(bench, { keyspace: 'other' });
  const tenant = await new Watcher().open(bench.service, {}, 2);
  opened.push(tenant);
  await bench.all(['a', 'a\0', 'a\0\x01', 'ab', 'abc'].map((name) => set(name, 'x')));
  await bench.one(set('ab', 'y'), 'other');
  expect((await all.until(5)).map(({ key }) => `${key}`).sort()).toEqual([
    'a',
    'a\0',
    'a\0\x01',
    'ab',
    'abc',
  ]);
  expect((await prefix.until(2)).map(({ key }) => `${key}`).sort()).toEqual(['a\0', 'a\0\x01']);
  expect(words(await key.until(1))).toEqual(['set ab=x']);
  expect(words(await other.until(1))).toEqual(['set ab=y']);
  expect(tenant.changes).toEqual([]);
});

describe.each([1, 3])('%i shards', (shards) => {
  test('[KV32] behind a cursor come exactly the changes that followed, whatever happens', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ key: fc.nat(4), count: fc.integer({ min: 1, max: 5 }) }) },
      { weight: 3, arbitrary: fc.record({ read: fc.integer({ min: 1, max: 3 }) }) },
      { weight: 2, arbitrary: fc.record({ reopen: fc.boolean() }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom<'restart' | 'checkpoint' | 'turn'>('restart', 'checkpoint', 'turn'),
      },
    );
    const run = async (steps: readonly unknown[]) => {
      const bench = await openRealBench(shards);
      let watcher = await new Watcher().open(bench.service);
      const received: Watcher[] = [watcher];
      const expected = new Map<string, string[]>();
      let version = 0;
      const again = async (cursor: string) => {
        watcher.close();
        watcher = await new Watcher().open(bench.service, { cursor });
        received.push(watcher);
      };
      for (const each of steps as Record<string, number>[]) {
        const { key, count, read, reopen } = each;
        if (count !== undefined) {
          const name = `k${key}`;
          const values = Array.from({ length: count }, () => `${++version}`);
          await bench.all(values.map((value) => set(name, value)));
          expected.set(name, [...(expected.get(name) ?? []), ...values]);
        } else if (read !== undefined) watcher.read(read);
        else if (reopen !== undefined) {
          // Behind what was received, or behind the last change: the same thing.
          await again((reopen ? undefined : watcher.changes.at(-1)?.cursor) ?? watcher.cursor);
        } else if ((each as unknown) === 'restart') {
          const { cursor } = watcher;
          watcher.close();
          await bench.restart();
          await again(cursor);
        } else if ((each as unknown) === 'checkpoint') await bench.checkpoint();
        else await new Promise((resolve) => setImmediate(resolve));
      }
      watcher.read(Number.POSITIVE_INFINITY);
      const before = received.slice(0, -1).flatMap(({ changes }) => changes);
      await watcher.until(version - before.length);
      const seen = new Map<string, string[]>();
      for (const { key, value } of received.flatMap(({ changes }) => changes)) {
        seen.set(`${key}`, [...(seen.get(`${key}`) ?? []), `${value}`]);
      }
      expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(expected));
      watcher.close();
      await bench.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 30 }), run), { numRuns: 12 });
  });
});

test('[KV33] a reader that stops is read on from the history, and loses nothing', async () => {
  const bench = await aBench();
  const watcher = await aWatcher(bench);
  watcher.read(1);
  const value = 'v'.repeat(100 * 1024);
  for (let i = 0; i < 60; i++) await bench.one(set(`k${i}`, `${i} ${value}`));
  expect(watcher.messages).toBeLessThanOrEqual(3);
  watcher.read(3);
  await new Promise((resolve) => setImmediate(resolve));
  watcher.read(Number.POSITIVE_INFINITY);
  const changes = await watcher.until(60);
  expect(changes.map(({ key }) => `${key}`)).toEqual(Array.from({ length: 60 }, (_, i) => `k${i}`));
  expect(watcher.largestMessage).toBeLessThan(512 * 1024);
  await bench.one(set('live', 'again'));
  expect(words(await watcher.until(61)).at(-1)).toBe('set live=again');
});

test('[KV34] who is later than the history is told so, with its beginning; so is a stranger', async () => {
  const bench = await aBench(1, { segmentBytes: 1024 * 1024, historyBytes: 1024 * 1024 });
  const early = await aWatcher(bench);
  const { cursor } = early;
  early.read(1);
  const value = 'v'.repeat(512 * 1024);
  for (let i = 0; i < 12; i++) await bench.one(set('k', `${i}${value}`));
  await bench.checkpoint();
  for (let i = 0; (bench.shards[0]?.shard.timeline.window.first ?? 0) === 1; i++) {
    if (i > 1000) throw new Error('nothing is trimmed');
    bench.shards[0]?.poke();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { first } = bench.shards[0]?.shard.timeline.window ?? {};
  const open = (request: object) => new Watcher().open(bench.service, request);
  const trimmed = { code: 'HISTORY_TRIMMED', message: expect.stringContaining(`position ${first}`) };
  await expect(open({ cursor })).rejects.toMatchObject(trimmed);
  await expect(open({ fromTimeMs: 1 })).rejects.toMatchObject(trimmed);
  await expect(open({ key: b('k'), afterRevision: 1 })).rejects.toMatchObject(trimmed);
  early.read(Number.POSITIVE_INFINITY);
  await expect(early.until(12)).rejects.toMatchObject(trimmed);
  const wrong = [
    'x',
    '1',
    '1-5',
    '1-5-1-1',
    '2-5-1',
    '1-5-1.',
    '1-5--1',
    '1-5-1.2.3',
    '1-5-99999999',
    `1-5-${'9'.repeat(17)}`,
  ];
  for (const text of wrong)
    await expect(open({ cursor: text })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  for (const request of [
    { key: b('a'), prefix: b('b') },
    { cursor: early.cursor, fromTimeMs: 5 },
    { afterRevision: 5 },
    { key: b('k'.repeat(1025)) },
    { prefix: b('k'.repeat(1025)) },
    { keyspace: 'k'.repeat(256) },
  ])
    await expect(open(request)).rejects.toMatchObject({ code: expect.stringMatching(/INVALID|TOO_LARGE/) });
});

test.each([1, 3])('[KV35] a watch begins behind a revision or at a time, on %i shards', async (shards) => {
  const bench = await aBench(shards);
  const home = kvShardOf(b('k'), shards);
  const neighbour =
    Array.from({ length: 99 }, (_, i) => `n${i}`).find((name) => kvShardOf(b(name), shards) === home) ?? '';
  const revisions: number[] = [];
  for (let i = 0; i < 50; i++) {
    bench.advance(10);
    const [result] = await bench.all([set('k', `${i}`), set(neighbour, 'x')]);
    revisions.push(result?.revision ?? 0);
    if (i === 30) await bench.one(del('k'));
  }
  for (const i of [0, 10, 30, 31, 49]) {
    const watcher = await aWatcher(bench, { key: b('k'), afterRevision: revisions[i] });
    const expected = Array.from({ length: 49 - i }, (_, n) => `set k=${i + 1 + n}`);
    if (i <= 30) expected.splice(30 - i, 0, 'delete k');
    await watcher.until(expected.length);
    await bench.one(set('end', 'x'));
    expect(words(watcher.changes)).toEqual(expected);
  }
  const since = await aWatcher(bench, { key: b('k'), fromTimeMs: 1_000_000 + 10 * 41 });
  expect(words(await since.until(10))[0]).toBe('set k=40');
  await bench.one(del('k'));
  const gone = await aWatcher(bench, { key: b('k'), afterRevision: revisions[49] });
  expect(words(await gone.until(1))).toEqual(['delete k']);
});
