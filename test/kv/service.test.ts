// Requests over several shards, order around scans, producers, transactions, history.

import { FlowError, shardOf } from '@flowmesh/protocol';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { kvCommand, kvReply } from '../../dataplane/kv/command.ts';
import { kvHistorySubject } from '../../dataplane/kv/events.ts';
import { kvShardOf } from '../../dataplane/kv/routing.ts';
import { aRequest, Bench, b, caller } from './support.ts';

const set = (key: string, value = 'x') => ({ set: { key: b(key), value: b(value) } });
const get = (key: string) => ({ get: { key: b(key) } });

test('[KV7] a key that is text lives where a queue of that name does', () => {
  const piece = fc.constantFrom('{', '}', 'a', 'é', '.dead', '.parked', '.', '{t}', '');
  const name = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.array(piece).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(name, fc.integer({ min: 1, max: 9 }), (text, shards) => {
      expect(kvShardOf(b(text), shards)).toBe(shardOf(text, shards));
    }),
  );
});

test('[KV5] results come in request order from whichever shard, errors among them', async () => {
  const bench = new Bench(3);
  const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
  await bench.all(keys.map((key) => set(key, key)));
  expect(bench.shards.every(({ journal }) => journal.length > 0)).toBe(true);
  const results = await bench.all([
    get(''),
    ...keys.map(get),
    { setAdd: { key: b('k1'), members: [b('m')] } },
  ]);
  expect(results.map(({ error, value }) => error?.code ?? value.toString())).toEqual([
    'INVALID_ARGUMENT',
    ...keys,
    'WRONG_TYPE',
  ]);
  expect(await bench.keys()).toEqual([...keys].sort());
  expect(await bench.counts()).toEqual({ default: 30 });
});

test('[KV27] [KV13] a scan finds prefix and type, never an expired key, and ends', async () => {
  const bench = new Bench(3);
  await bench.all([
    set('a'),
    set('ab'),
    set('ab\0c'),
    set('b'),
    { setAdd: { key: b('abs'), members: [b('m')] } },
  ]);
  await bench.one({ set: { key: b('abx'), value: b('x'), ttlMs: 5 } });
  bench.clock.nowMs += 5;
  const scan = async (query: object) =>
    (await bench.one({ scan: query })).entries.map(({ name, type }) => `${name} ${type}`).sort();
  expect(await scan({ prefix: b('ab') })).toEqual(['ab\0c string', 'ab string', 'abs set']);
  expect(await scan({ prefix: b('ab'), type: 'set' })).toEqual(['abs set']);
  expect(await scan({ prefix: b('zz') })).toEqual([]);
  expect((await bench.one({ scan: { type: 'list' } })).error?.code).toBe('INVALID_ARGUMENT');
  expect((await bench.one({ scan: { cursor: Buffer.of(1, 0) } })).error?.code).toBe('INVALID_ARGUMENT');
  expect((await bench.one({ scan: { cursor: Buffer.of(1, 0, 3, 0) } })).error?.code).toBe('INVALID_ARGUMENT');
});

test('[KV25] whatever is there during the whole scan is returned', async () => {
  const bench = new Bench(2);
  const stays = Array.from({ length: 40 }, (_, i) => `stay${i}`);
  await bench.all(stays.map((key) => set(key)));
  const seen = new Set<string>();
  let cursor: Buffer = Buffer.alloc(0);
  for (let round = 0; ; round++) {
    const page = await bench.one({ scan: { cursor, limit: 3 } });
    for (const { name } of page.entries) seen.add(name.toString());
    cursor = page.cursor;
    if (cursor.length === 0) break;
    await bench.all([set(`new${round}`), { delete: { key: b(`new${round - 1}`) } }, set(`stay${round}`)]);
    bench.checkpoint();
  }
  expect(stays.filter((key) => !seen.has(key))).toEqual([]);
});

test('[KV28] a scan stands behind the operations named before it and in front of the others', async () => {
  const bench = new Bench(2);
  const results = await bench.all([
    set('a'),
    { scan: {} },
    set('b'),
    { delete: { key: b('a') } },
    { scan: {} },
  ]);
  expect(results.map(({ entries }) => entries.map(({ name }) => name.toString()))).toEqual([
    [],
    ['a'],
    [],
    [],
    ['b'],
  ]);
});

test('[KV10] a repeated mutation gets the stored reply and changes nothing', async () => {
  const bench = new Bench();
  const increment = { increment: { key: b('n'), delta: 1 } };
  const request = (seq: number) => aRequest([increment, get('n')], '', { producerId: 'p', seq });
  const first = await bench.service.execute(caller(), request(1));
  const again = await bench.service.execute(caller(), request(1));
  expect(again.results?.map(({ integer }) => integer)[0]).toBe(1);
  expect(again.results?.[1]?.value?.toString()).toBe('1');
  expect(again.results?.[0]?.revision).toBe(first.results?.[0]?.revision);
  await bench.service.execute(caller(), request(2));
  expect((await bench.one(get('n'))).value.toString()).toBe('2');
});

test('[KV10] with a producer, writes around a scan are refused before anything happens', async () => {
  const bench = new Bench();
  const mutation = { producerId: 'p', seq: 1 };
  const around = bench.service.execute(caller(), aRequest([set('a'), { scan: {} }, set('b')], '', mutation));
  await expect(around).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(bench.shard.journal).toHaveLength(0);
  await bench.service.execute(caller(), aRequest([get('a'), { scan: {} }, set('b')], '', mutation));
  expect(await bench.keys()).toEqual(['b']);
});

test('commands say what they do: grow, mutate, carry a mutation', () => {
  const mutation = { producerId: 'p', seq: 9, cause: { deliveryId: 'd', ordinal: 2 } };
  const shard = { id: 0, shards: 1 };
  const command = (ops: object[]) => kvCommand(caller(), aRequest(ops, '', mutation), shard);
  expect(command([get('a')])).toMatchObject({ grows: false, mutates: false, mutation: undefined });
  expect(command([get('a'), { delete: { key: b('a') } }])).toMatchObject({
    grows: false,
    mutates: true,
    mutation,
  });
  expect(command([set('a')])).toMatchObject({ grows: true, mutates: true });
});

test('[TX2] in a transaction the first failure or unmet condition takes everything back', async () => {
  const bench = new Bench();
  await bench.all([set('n', '1'), { setAdd: { key: b('s'), members: [b('m')] } }]);
  const before = bench.shard.rows.dump();
  const commit = (...requests: object[][]) =>
    bench.shard.transact(
      requests.map((ops) => kvCommand(caller(), aRequest(ops), bench.shard)),
      undefined,
    );
  const refused = (code: string, ...requests: object[][]) =>
    expect(commit(...requests)).rejects.toMatchObject({ code });
  const change = [set('new'), { delete: { key: b('s') } }, { increment: { key: b('n'), delta: 1 } }];
  await refused('WRONG_TYPE', change, [{ hashGet: { key: b('n'), fields: [b('f')] } }]);
  await refused('REVISION_MISMATCH', [...change, { set: { key: b('n'), value: b('x'), ifRevision: 1 } }]);
  await refused('REVISION_MISMATCH', change, [{ delete: { key: b('n'), ifRevision: 1 } }]);
  expect(bench.shard.rows.dump()).toEqual(before);
  expect(await bench.counts()).toEqual({ default: 2 });
  const replies = await commit(change, [get('n')]);
  expect(kvReply(replies[1]).results?.[0]?.value?.toString()).toBe('2');
  expect(await bench.keys()).toEqual(['n', 'new']);
});

test('[TX6] [TX7] a transaction refuses other shards, scans and what cannot be valid', () => {
  const shards = 5;
  const id = kvShardOf(b('{t}'), shards);
  const command = (ops: object[]) => () => kvCommand(caller(), aRequest(ops), { id, shards });
  expect(command([set('{t}a'), set('b{t}')])).not.toThrow();
  const elsewhere = Array.from({ length: 50 }, (_, i) => `k${i}`).find(
    (key) => kvShardOf(b(key), shards) !== id,
  );
  expect(command([set('{t}a'), set(elsewhere ?? '')])).toThrow(
    expect.objectContaining({ code: 'CROSS_SHARD' }),
  );
  expect(command([{ scan: {} }])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  expect(command([get('')])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
});

test('[KV29] the timeline of a key has its changes and no housekeeping', async () => {
  const bench = new Bench();
  const members = [b('m')];
  await bench.all([set('k'), set('k2'), { delete: { key: b('k') } }, { setAdd: { key: b('k'), members } }]);
  await bench.one({ expire: { key: b('k'), ttlMs: 10 } });
  await bench.one(set('k'), 'elsewhere');
  await bench.one(set('k'), '', 2);
  bench.clock.nowMs += 10;
  await bench.idle();
  const subject = kvHistorySubject(1, 'default', b('k'));
  const types: number[] = [];
  for await (const { event } of bench.shard.history(subject)) types.push(event.type);
  expect(types).toEqual([16, 17, 21, 19, 18]);
});

test('[KV8] a shard that refuses fails its own operations only; if all refuse, the request', async () => {
  const bench = new Bench(2);
  const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
  const [first] = bench.shards;
  if (first === undefined) throw new Error('two shards');
  first.submit = (_command, done) => done(new FlowError('DISK_FULL', 'full', { retryAfterMs: 9 }), undefined);
  const results = await bench.all(keys.map((key) => set(key)));
  const codes = results.map(({ error }) => error?.code);
  expect(codes).toEqual(keys.map((key) => (kvShardOf(b(key), 2) === 0 ? 'DISK_FULL' : undefined)));
  const there = keys.find((key) => kvShardOf(b(key), 2) === 0) ?? '';
  await expect(bench.one(set(there))).rejects.toMatchObject({ code: 'DISK_FULL' });
});
