// Strings, and what every type has: expiry, revisions, delete, inspect, limits.

import { expect, test } from 'vitest';
import { Bench, b, rowsByTable } from './support.ts';

const get = (key: string) => ({ get: { key: b(key) } });
const set = (key: string, value: string, more: object = {}) => ({
  set: { key: b(key), value: b(value), ...more },
});

test('[KV1] a value comes back with its content type and revision', async () => {
  const bench = new Bench();
  expect(await bench.one(get('a'))).toMatchObject({ found: false, revision: 0 });
  const written = await bench.one(set('a', 'x', { contentType: 'text/plain' }));
  expect(written).toMatchObject({ found: true, error: null });
  const read = await bench.one(get('a'));
  expect(read).toMatchObject({
    found: true,
    contentType: 'text/plain',
    revision: written.revision,
    ttlMs: -1,
  });
  expect(read.value.toString()).toBe('x');
});

test('[KV11] each change has a revision of its own, also in one request and across deletes', async () => {
  const bench = new Bench();
  const results = await bench.all([set('a', '1'), set('a', '2'), { delete: { key: b('a') } }, set('a', '3')]);
  const revisions = results.flatMap(({ revision }) => (revision === 0 ? [] : [revision]));
  expect(new Set(revisions).size).toBe(3);
  expect(revisions).toEqual([...revisions].sort((x, y) => x - y));
  bench.checkpoint();
  await bench.restart();
  const next = await bench.one(set('a', '4'));
  expect(next.revision).toBeGreaterThan(revisions.at(-1) ?? 0);
});

test('[KV12] conditions answer found=false with the present revision', async () => {
  const bench = new Bench();
  expect(await bench.one(set('a', 'x', { ifPresent: true }))).toMatchObject({ found: false, revision: 0 });
  expect(await bench.one(set('a', 'x', { ifRevision: 7 }))).toMatchObject({ found: false, revision: 0 });
  const { revision } = await bench.one(set('a', 'x', { ifAbsent: true }));
  expect(await bench.one(set('a', 'y', { ifAbsent: true }))).toMatchObject({ found: false, revision });
  expect(await bench.one(set('a', 'y', { ifRevision: revision + 1 }))).toMatchObject({
    found: false,
    revision,
  });
  expect(await bench.one({ delete: { key: b('a'), ifRevision: revision + 1 } })).toMatchObject({
    found: false,
    revision,
  });
  expect((await bench.one(get('a'))).value.toString()).toBe('x');
  expect(await bench.one(set('a', 'y', { ifRevision: revision, ifPresent: true }))).toMatchObject({
    found: true,
  });
});

test('[KV13] an expired key is gone before the sweeper comes, and counts once', async () => {
  const bench = new Bench();
  await bench.one(set('a', 'x', { ttlMs: 10 }));
  bench.clock.nowMs += 9;
  expect(await bench.one(get('a'))).toMatchObject({ found: true, ttlMs: 1 });
  bench.clock.nowMs += 1;
  expect(await bench.one(get('a'))).toMatchObject({ found: false });
  expect(await bench.one({ inspect: { key: b('a') } })).toMatchObject({ found: false, type: '' });
  expect(await bench.one({ delete: { key: b('a') } })).toMatchObject({ found: false });
  expect(await bench.keys()).toEqual([]);
  await bench.idle();
  expect(await bench.counts()).toEqual({});
  expect(rowsByTable(bench.shard)).toEqual({});
});

test('[KV16] a write on an expired key finds nothing and keeps the books', async () => {
  const bench = new Bench();
  await bench.one(set('a', '5', { ttlMs: 10 }));
  bench.clock.nowMs += 10;
  expect(await bench.one({ increment: { key: b('a'), delta: 2 } })).toMatchObject({ integer: 2 });
  expect(await bench.counts()).toEqual({ default: 1 });
  await bench.idle();
  expect((await bench.one(get('a'))).value.toString()).toBe('2');
  expect(await bench.one({ inspect: { key: b('a') } })).toMatchObject({
    ttlMs: -1,
    type: 'string',
    integer: 1,
  });
});

test('[KV14] SET clears the time to live unless keep_ttl, INCREMENT keeps it', async () => {
  const bench = new Bench();
  await bench.one(set('a', '1', { ttlMs: 1000 }));
  await bench.one({ increment: { key: b('a'), delta: 1 } });
  expect((await bench.one(get('a'))).ttlMs).toBe(1000);
  await bench.one(set('a', '1', { keepTtl: true }));
  expect((await bench.one(get('a'))).ttlMs).toBe(1000);
  await bench.one(set('a', '1'));
  expect((await bench.one(get('a'))).ttlMs).toBe(-1);
  expect(rowsByTable(bench.shard)[21]).toBeUndefined();
});

test('[KV15] [KV11] EXPIRE sets, moves and removes the time, and is a change of the key', async () => {
  const bench = new Bench();
  expect(await bench.one({ expire: { key: b('a'), ttlMs: 5 } })).toMatchObject({ found: false });
  const { revision } = await bench.one(set('a', 'x', { contentType: 'c' }));
  const expired = await bench.one({ expire: { key: b('a'), ttlMs: 50 } });
  expect(expired.found).toBe(true);
  expect(expired.revision).toBeGreaterThan(revision);
  await bench.one({ expire: { key: b('a'), ttlMs: 70 } });
  expect(await bench.one(get('a'))).toMatchObject({ ttlMs: 70, contentType: 'c' });
  expect(rowsByTable(bench.shard)[21]).toBe(1);
  const persisted = await bench.one({ expire: { key: b('a'), ttlMs: 0 } });
  expect((await bench.one(get('a'))).ttlMs).toBe(-1);
  const again = await bench.one({ expire: { key: b('a'), ttlMs: 0 } });
  expect(again).toMatchObject({ found: true, revision: persisted.revision });
});

test.each([['1.5'], ['01'], ['-0'], [' 1'], [''], ['9007199254740992'], ['123456789012345678901234567890']])(
  '[KV18] INCREMENT refuses %j',
  async (value) => {
    const bench = new Bench();
    await bench.one(set('a', value));
    expect((await bench.one({ increment: { key: b('a'), delta: 1 } })).error?.code).toBe('WRONG_VALUE');
  },
);

test('[KV18] INCREMENT stops at the range of exact whole numbers', async () => {
  const bench = new Bench();
  await bench.one(set('a', String(Number.MAX_SAFE_INTEGER - 1)));
  expect(await bench.one({ increment: { key: b('a'), delta: 1 } })).toMatchObject({ integer: 2 ** 53 - 1 });
  expect((await bench.one({ increment: { key: b('a'), delta: 1 } })).error?.code).toBe('WRONG_VALUE');
  expect(await bench.one({ increment: { key: b('b'), delta: -7 } })).toMatchObject({ integer: -7 });
});

test('[KV4] operations of another type are refused, each on its own; SET and DELETE take any', async () => {
  const bench = new Bench();
  const results = await bench.all([
    { setAdd: { key: b('s'), members: [b('m')] } },
    get('s'),
    { increment: { key: b('s'), delta: 1 } },
    { hashSet: { key: b('s'), fields: [{ field: b('f'), value: b('v') }] } },
    { hashScan: { key: b('s') } },
    { sortedSetRange: { key: b('s') } },
    { setContains: { key: b('s'), members: [b('m')] } },
    set('s', 'now a string'),
    { setAdd: { key: b('s'), members: [b('m')] } },
    { delete: { key: b('s') } },
  ]);
  const codes = results.map(({ error }) => error?.code ?? '');
  const wrong = 'WRONG_TYPE';
  expect(codes).toEqual(['', wrong, wrong, wrong, wrong, wrong, '', '', wrong, '']);
});

test('[KV2] limits: keys, values, members, operations', async () => {
  const bench = new Bench();
  const code = async (op: Parameters<Bench['one']>[0]) => (await bench.one(op)).error?.code;
  expect(await code(get(''))).toBe('INVALID_ARGUMENT');
  expect(await code(get('k'.repeat(1024)))).toBeUndefined();
  expect(await code(get('k'.repeat(1025)))).toBe('KEY_TOO_LARGE');
  expect(await code({ setAdd: { key: b('s'), members: [b('m'.repeat(1025))] } })).toBe('KEY_TOO_LARGE');
  expect(await code(set('a', 'v'.repeat(1024 * 1024)))).toBeUndefined();
  expect(await code(set('a', 'v'.repeat(1024 * 1024 + 1)))).toBe('VALUE_TOO_LARGE');
  expect(await code({ hashSet: { key: b('h'), fields: [] } })).toBe('INVALID_ARGUMENT');
  expect(await code(set('a', 'v', { ifAbsent: true, ifPresent: true }))).toBe('INVALID_ARGUMENT');
  expect(await code(set('a', 'v', { ttlMs: 5, keepTtl: true }))).toBe('INVALID_ARGUMENT');
  expect(await code({})).toBe('INVALID_ARGUMENT');
  const many = Array.from({ length: 10_001 }, (_, i) => b(String(i)));
  await expect(bench.one({ setAdd: { key: b('s'), members: many } })).rejects.toMatchObject({
    code: 'BATCH_TOO_LARGE',
  });
  await expect(bench.all(many.map((key) => ({ get: { key } })))).rejects.toMatchObject({
    code: 'BATCH_TOO_LARGE',
  });
  await expect(bench.one(get('a'), 'k'.repeat(256))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('[KV6] what would not fit one journal entry is refused, what stands before it is done', async () => {
  const bench = new Bench();
  const big = 'v'.repeat(1024 * 1024 - 1024);
  const results = await bench.all(['a', 'b', 'c', 'd', 'e'].map((key) => set(key, big)));
  expect(results.map(({ error }) => error?.code)).toEqual([
    undefined,
    undefined,
    undefined,
    'BATCH_TOO_LARGE',
    'BATCH_TOO_LARGE',
  ]);
  expect(await bench.keys()).toEqual(['a', 'b', 'c']);
});

test('[KV3] tenants and keyspaces see nothing of each other', async () => {
  const bench = new Bench();
  await bench.one(set('a', '1'), 'x', 1);
  await bench.one(set('a', '2'), 'x', 2);
  await bench.one(set('a', '3'), 'y', 1);
  expect((await bench.one(get('a'), 'x', 1)).value.toString()).toBe('1');
  expect((await bench.one(get('a'), 'x', 2)).value.toString()).toBe('2');
  expect(await bench.one(get('a'), 'y', 2)).toMatchObject({ found: false });
  expect(await bench.keys('x', 2)).toEqual(['a']);
  bench.checkpoint();
  await bench.restart();
  expect(await bench.counts(1)).toEqual({ x: 1, y: 1 });
  expect(await bench.counts(2)).toEqual({ x: 1 });
});
