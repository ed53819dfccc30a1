// Hashes, sets, sorted sets: members, generations, and the sweep of what is left behind.

import { expect, test } from 'vitest';
import { kvCommand } from '../../dataplane/kv/command.ts';
import { aRequest, Bench, b, caller, rowsByTable } from './support.ts';

const fields = (...pairs: [string, string][]) =>
  pairs.map(([field, value]) => ({ field: b(field), value: b(value) }));
const scored = (...pairs: [string, number][]) =>
  pairs.map(([member, score]) => ({ member: b(member), score }));
const names = (entries: { name: Buffer }[]) => entries.map(({ name }) => name.toString());
const h = b('h');
const s = b('s');
const z = b('z');
const FIELD = 17;
const ELEMENT = 18;
const SCORE = 19;
const ORDER = 20;
const GARBAGE = 22;

test('[KV21] a hash counts new fields, and a field named twice once', async () => {
  const bench = new Bench();
  const first = await bench.one({ hashSet: { key: h, fields: fields(['a', '1'], ['b', '2'], ['a', '3']) } });
  expect(first.integer).toBe(2);
  bench.checkpoint();
  const second = await bench.one({ hashSet: { key: h, fields: fields(['a', '4'], ['c', '5']) } });
  expect(second.integer).toBe(1);
  const { entries, found } = await bench.one({ hashGet: { key: h, fields: [b('a'), b('x'), b('c')] } });
  expect(found).toBe(true);
  expect(entries.map(({ value, found }) => [value.toString(), found])).toEqual([
    ['4', true],
    ['', false],
    ['5', true],
  ]);
  expect(await bench.one({ inspect: { key: h } })).toMatchObject({ type: 'hash', integer: 3 });
  expect(await bench.one({ hashDelete: { key: h, fields: [b('a'), b('a'), b('x')] } })).toMatchObject({
    integer: 1,
  });
  expect(await bench.one({ hashDelete: { key: h, fields: [b('b'), b('c')] } })).toMatchObject({
    integer: 2,
    revision: 0,
  });
  expect(await bench.one({ inspect: { key: h } })).toMatchObject({ found: false });
  expect(rowsByTable(bench.shard)[FIELD]).toBeUndefined();
  expect(rowsByTable(bench.shard)[GARBAGE]).toBeUndefined();
});

test('[KV5] a new hash is seen by the operations behind it in the same request', async () => {
  const bench = new Bench();
  const results = await bench.all([
    { hashSet: { key: h, fields: fields(['a', '1']) } },
    { hashSet: { key: h, fields: fields(['a', '2'], ['b', '3']) } },
    { hashGet: { key: h, fields: [b('a'), b('b'), b('c')] } },
    { delete: { key: h } },
    { hashSet: { key: h, fields: fields(['c', '1']) } },
    { hashGet: { key: h, fields: [b('a'), b('c')] } },
  ]);
  expect(results.map(({ integer }) => integer)).toEqual([1, 1, 0, 0, 1, 0]);
  expect(results[2]?.entries.map(({ found }) => found)).toEqual([true, true, false]);
  expect(results[5]?.entries.map(({ found }) => found)).toEqual([false, true]);
});

test('[KV19] hash increments: whole numbers, fractions, and what is neither', async () => {
  const bench = new Bench();
  const by = (amount: object) => bench.one({ hashIncrement: { key: h, field: b('n'), ...amount } });
  expect(await by({ integer: 5 })).toMatchObject({ integer: 5 });
  expect(await by({ number: 0.5 })).toMatchObject({ number: 5.5 });
  expect((await by({ integer: 1 })).error?.code).toBe('WRONG_VALUE');
  expect(await by({ number: 1e300 })).toMatchObject({ number: 1e300 });
  expect((await by({ number: Number.MAX_VALUE })).error?.code).toBe('WRONG_VALUE');
  expect((await by({ number: Number.NaN })).error?.code).toBe('INVALID_ARGUMENT');
  expect((await by({})).error?.code).toBe('INVALID_ARGUMENT');
  await bench.one({ hashSet: { key: h, fields: fields(['n', 'abc']) } });
  expect((await by({ number: 1 })).error?.code).toBe('WRONG_VALUE');
});

test('[KV20] [KV11] sets: added, contained, removed; what changes nothing keeps the revision', async () => {
  const bench = new Bench();
  const added = await bench.one({ setAdd: { key: s, members: [b('a'), b('b'), b('a'), b('')] } });
  expect(added.integer).toBe(3);
  const again = await bench.one({ setAdd: { key: s, members: [b('a'), b('')] } });
  expect(again).toMatchObject({ integer: 0, revision: added.revision });
  const { entries } = await bench.one({ setContains: { key: s, members: [b(''), b('x')] } });
  expect(entries.map(({ found }) => found)).toEqual([true, false]);
  const none = await bench.one({ setRemove: { key: s, members: [b('x')] } });
  expect(none).toMatchObject({ integer: 0, revision: added.revision });
  expect(await bench.one({ setRemove: { key: s, members: [b(''), b('a'), b('b')] } })).toMatchObject({
    integer: 3,
  });
  expect(await bench.one({ inspect: { key: s } })).toMatchObject({ found: false });
});

test('[KV22] sorted sets move a member when its score changes, and keep one order row', async () => {
  const bench = new Bench();
  expect(
    await bench.one({ sortedSetAdd: { key: z, members: scored(['a', 1], ['b', -2], ['c', 1], ['a', 3]) } }),
  ).toMatchObject({ integer: 3 });
  expect(await bench.one({ sortedSetAdd: { key: z, members: scored(['c', -7.5]) } })).toMatchObject({
    integer: 0,
  });
  expect(await bench.one({ sortedSetIncrement: { key: z, member: b('b'), delta: 10 } })).toMatchObject({
    number: 8,
  });
  const { entries } = await bench.one({ sortedSetRange: { key: z } });
  expect(entries.map(({ name, score }) => [name.toString(), score])).toEqual([
    ['c', -7.5],
    ['a', 3],
    ['b', 8],
  ]);
  expect(rowsByTable(bench.shard)).toMatchObject({ [SCORE]: 3, [ORDER]: 3 });
  const scores = await bench.one({ sortedSetScore: { key: z, members: [b('b'), b('x')] } });
  expect(scores.entries.map(({ score, found }) => [score, found])).toEqual([
    [8, true],
    [0, false],
  ]);
});

test('[KV22] scores: no NaN, infinities order at the ends, -0 is 0', async () => {
  const bench = new Bench();
  const add = (score: number) =>
    bench.one({ sortedSetAdd: { key: z, members: [{ member: b('m'), score }] } });
  expect((await add(Number.NaN)).error?.code).toBe('INVALID_ARGUMENT');
  const { revision } = await add(-0);
  expect((await add(0)).revision).toBe(revision);
  await bench.one({
    sortedSetAdd: {
      key: z,
      members: scored(['top', Number.POSITIVE_INFINITY], ['low', Number.NEGATIVE_INFINITY]),
    },
  });
  const { entries } = await bench.one({ sortedSetRange: { key: z } });
  expect(names(entries)).toEqual(['low', 'm', 'top']);
  const sum = await bench.one({
    sortedSetIncrement: { key: z, member: b('top'), delta: Number.NEGATIVE_INFINITY },
  });
  expect(sum.error?.code).toBe('WRONG_VALUE');
});

test('[KV23] ranges: bounds are inclusive, offset and limit count from either end', async () => {
  const bench = new Bench();
  await bench.one({
    sortedSetAdd: { key: z, members: scored(['a', 1], ['b', 2], ['c', 2], ['d', 3], ['e', 4]) },
  });
  const range = async (query: object) =>
    names((await bench.one({ sortedSetRange: { key: z, ...query } })).entries);
  expect(await range({ minScore: 2, maxScore: 3 })).toEqual(['b', 'c', 'd']);
  expect(await range({ minScore: 2, maxScore: 3, reverse: true })).toEqual(['d', 'c', 'b']);
  expect(await range({ offset: 1, limit: 2 })).toEqual(['b', 'c']);
  expect(await range({ offset: 1, limit: 2, reverse: true })).toEqual(['d', 'c']);
  expect(await range({ minScore: 5 })).toEqual([]);
  expect(await range({ minScore: 3, maxScore: 2 })).toEqual([]);
  expect(await range({ offset: 9 })).toEqual([]);
  expect((await bench.one({ sortedSetRange: { key: z, minScore: Number.NaN } })).error?.code).toBe(
    'INVALID_ARGUMENT',
  );
  expect((await bench.one({ sortedSetRange: { key: z, offset: 100_001 } })).error?.code).toBe(
    'INVALID_ARGUMENT',
  );
});

test('[KV23] a range skips further than one portion, in both directions', async () => {
  const bench = new Bench();
  const members = Array.from({ length: 2500 }, (_, i) => ({
    member: b(String(i).padStart(4, '0')),
    score: i,
  }));
  await bench.one({ sortedSetAdd: { key: z, members } });
  const up = await bench.one({ sortedSetRange: { key: z, offset: 2100, limit: 3 } });
  expect(names(up.entries)).toEqual(['2100', '2101', '2102']);
  const down = await bench.one({ sortedSetRange: { key: z, offset: 2100, limit: 3, reverse: true } });
  expect(names(down.entries)).toEqual(['0399', '0398', '0397']);
  expect((await bench.one({ sortedSetRange: { key: z, offset: 1200 } })).entries).toHaveLength(1000);
});

test('[KV26] scans of members go through pages to an empty cursor', async () => {
  const bench = new Bench();
  const members = Array.from({ length: 25 }, (_, i) => b(`m${i}`));
  await bench.one({ setAdd: { key: s, members: [...members, b('')] } });
  await bench.one({ hashSet: { key: h, fields: members.map((field) => ({ field, value: field })) } });
  const walk = async (op: 'setScan' | 'hashScan', key: Buffer) => {
    const seen: string[] = [];
    let cursor: Buffer = Buffer.alloc(0);
    do {
      const page = await bench.one({ [op]: { key, cursor, limit: 7 } });
      seen.push(...page.entries.map(({ name, value }) => (op === 'hashScan' ? value : name).toString()));
      cursor = page.cursor;
    } while (cursor.length > 0);
    return seen.sort();
  };
  expect(await walk('hashScan', h)).toEqual(members.map(String).sort());
  expect(await walk('setScan', s)).toEqual(['', ...members.map(String)].sort());
  expect(await bench.one({ setScan: { key: b('none') } })).toMatchObject({ found: false, error: null });
  expect((await bench.one({ setScan: { key: s, cursor: b('?') } })).error?.code).toBe('INVALID_ARGUMENT');
});

test('[KV26] a page of large values is cut short and goes on', async () => {
  const bench = new Bench();
  const value = Buffer.alloc(700_000, 1);
  for (const field of ['a', 'b', 'c'])
    await bench.one({ hashSet: { key: h, fields: [{ field: b(field), value }] } });
  const page = await bench.one({ hashScan: { key: h, limit: 10 } });
  expect(names(page.entries)).toEqual(['a', 'b']);
  const rest = await bench.one({ hashScan: { key: h, limit: 10, cursor: page.cursor } });
  expect(names(rest.entries)).toEqual(['c']);
  expect(rest.cursor).toHaveLength(0);
});

test('[KV24] [KV16] a collection made anew never shows members of the one before', async () => {
  const bench = new Bench();
  const contains = async () =>
    (await bench.one({ setContains: { key: s, members: [b('old'), b('new')] } })).entries.map(
      ({ found }) => found,
    );
  await bench.one({ setAdd: { key: s, members: [b('old')] } });
  await bench.one({ delete: { key: s } });
  expect(await contains()).toEqual([false, false]);
  expect(await bench.one({ setAdd: { key: s, members: [b('new')] } })).toMatchObject({ integer: 1 });
  expect(await contains()).toEqual([false, true]);
  await bench.one({ expire: { key: s, ttlMs: 10 } });
  bench.clock.nowMs += 10;
  expect(await bench.one({ setAdd: { key: s, members: [b('new')] } })).toMatchObject({ integer: 1 });
  expect(await bench.one({ inspect: { key: s } })).toMatchObject({ ttlMs: -1, integer: 1 });
  expect(await bench.counts()).toEqual({ default: 1 });
  await bench.idle();
  expect(rowsByTable(bench.shard)[GARBAGE]).toBeUndefined();
  expect(rowsByTable(bench.shard)[ELEMENT]).toBe(1);
  expect(await contains()).toEqual([false, true]);
});

test.each([
  [
    'hash',
    { hashSet: { key: h, fields: Array.from({ length: 700 }, (_, i) => ({ field: b(`${i}`), value: h })) } },
  ],
  ['set', { setAdd: { key: h, members: Array.from({ length: 700 }, (_, i) => b(`${i}`)) } }],
  [
    'zset',
    {
      sortedSetAdd: {
        key: h,
        members: Array.from({ length: 700 }, (_, i) => ({ member: b(`${i}`), score: i })),
      },
    },
  ],
])('[KV24] a deleted %s is swept in slices, also across a restart half way', async (_type, fill) => {
  const bench = new Bench();
  await bench.one(fill);
  await bench.one({ set: { key: h, value: b('overwritten'), keepTtl: true } });
  await bench.one({ set: { key: b('other'), value: b('stays') } });
  for (let i = 0; i < 4; i++) {
    bench.shard.tick();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const half = bench.shard.journal.length;
  bench.checkpoint();
  await bench.restart();
  await bench.idle();
  expect(half).toBeGreaterThan(2);
  expect(bench.shard.journal.length).toBeGreaterThan(0);
  bench.checkpoint();
  expect(rowsByTable(bench.shard)).toEqual({ 16: 2, 23: 1, 24: 1 });
});

test('[KV14] changes of members keep the time to live; DELETE takes it along', async () => {
  const bench = new Bench();
  const ttl = async () => (await bench.one({ inspect: { key: h } })).ttlMs;
  const changes = {
    hash: [
      { hashSet: { key: h, fields: [{ field: b('f'), value: b('1') }] } },
      { hashIncrement: { key: h, field: b('f'), integer: 2 } },
      { hashDelete: { key: h, fields: [b('f')] } },
    ],
    set: [{ setAdd: { key: h, members: [b('x')] } }, { setRemove: { key: h, members: [b('x')] } }],
    zset: [
      { sortedSetAdd: { key: h, members: [{ member: b('x'), score: 2 }] } },
      { sortedSetIncrement: { key: h, member: b('x'), delta: 2 } },
      { sortedSetRemove: { key: h, members: [b('x')] } },
    ],
  };
  const start = {
    hash: { hashSet: { key: h, fields: [{ field: b('stays'), value: b('1') }] } },
    set: { setAdd: { key: h, members: [b('stays')] } },
    zset: { sortedSetAdd: { key: h, members: [{ member: b('stays'), score: 1 }] } },
  };
  for (const type of ['hash', 'set', 'zset'] as const) {
    await bench.all([start[type], { expire: { key: h, ttlMs: 500 } }]);
    for (const change of changes[type]) {
      expect(await bench.one(change)).toMatchObject({ error: null });
      expect(await ttl()).toBe(500);
    }
    await bench.all([{ delete: { key: h } }, start[type]]);
    expect(await ttl()).toBe(-1);
    await bench.one({ delete: { key: h } });
  }
});

test('a sweep that cannot read is tried again later, and nothing else suffers', async () => {
  const bench = new Bench();
  await bench.one({ setAdd: { key: s, members: [b('m')] } });
  await bench.idle();
  await bench.one({ delete: { key: s } });
  const { rows } = bench.shard;
  const { scan } = rows;
  rows.scan = () => Promise.reject(new Error('the disk does not answer'));
  await bench.idle();
  expect(bench.shard.view.wakeAtMs()).toBe(bench.clock.nowMs + 1000);
  expect(await bench.one({ setAdd: { key: s, members: [b('n')] } })).toMatchObject({ integer: 1 });
  rows.scan = scan;
  await bench.idle();
  expect(rowsByTable(bench.shard)[ELEMENT]).toBe(2);
  bench.clock.nowMs += 1000;
  await bench.idle();
  expect(rowsByTable(bench.shard)[ELEMENT]).toBe(1);
  expect(bench.shard.view.wakeAtMs()).toBe(Number.POSITIVE_INFINITY);
});

test('a member that nobody fetched is a fault, not an absent one', async () => {
  const bench = new Bench();
  await bench.one({ setAdd: { key: s, members: [b('m')] } });
  const contains = kvCommand(
    caller(),
    aRequest([{ setContains: { key: s, members: [b('m')] } }]),
    bench.shard,
  );
  const at = { nowMs: bench.clock.nowMs, position: 99 };
  bench.checkpoint();
  bench.shard.rows.load(bench.shard.view.reads(contains));
  expect(() => bench.shard.view.decide(contains, at, () => {})).toThrow('not resident');
  bench.shard.rows.load(bench.shard.view.reads(contains));
  expect(bench.shard.view.decide(contains, at, () => {})).toMatchObject([{ entries: [{ found: true }] }]);
});

test('[KV17] expiry sweeps a bounded number of keys per tick, and all in the end', async () => {
  const bench = new Bench();
  const ops = Array.from({ length: 1000 }, (_, i) => ({
    set: { key: b(`k${i}`), value: b('x'), ttlMs: 10 + (i % 3) },
  }));
  await bench.all(ops);
  await bench.one({ setAdd: { key: s, members: [b('m')] } });
  await bench.one({ expire: { key: s, ttlMs: 11 } });
  await bench.idle();
  expect(bench.shard.view.wakeAtMs()).toBe(bench.clock.nowMs + 10);
  const before = bench.shard.journal.length;
  bench.clock.nowMs += 10;
  bench.shard.tick();
  expect(bench.shard.journal.length - before).toBe(256);
  await bench.idle();
  expect(await bench.counts()).toEqual({ default: 667 });
  bench.clock.nowMs += 2;
  await bench.idle();
  expect(await bench.counts()).toEqual({});
  expect(rowsByTable(bench.shard)).toEqual({});
});
