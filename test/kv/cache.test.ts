// Cache keyspaces: the same operations in memory, a bound that holds, and nothing that outlives a restart.
import { KeyspaceSpec, type KeyspaceSpecInput } from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, expect, test } from 'vitest';
import { CacheRows } from '../../dataplane/kv/cache-rows.ts';
import type { KeyValues } from '../../dataplane/kv/service.ts';
import { META, stringMeta } from '../../dataplane/kv/tables.ts';
import { openRealBench, type RealBench } from './real-bench.ts';
import { aRequest, b, caller } from './support.ts';
import { Watcher } from './watcher.ts';

const MAX = 256 * 1024;
const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** One service for all calls: caches live in it. */
class CacheBench {
  readonly bench: RealBench;
  service: KeyValues;

  constructor(bench: RealBench) {
    this.bench = bench;
    this.service = bench.service;
  }

  static async open(spec: KeyspaceSpecInput | null = { mode: 'cache', maxBytes: MAX }): Promise<CacheBench> {
    const bench = await openRealBench(3);
    const made = new CacheBench(bench);
    closing.push(
      () => bench.close(),
      () => made.service.close(),
    );
    if (spec !== null) await made.declare(spec);
    return made;
  }

  declare(spec: KeyspaceSpecInput) {
    return this.service.applyKeyspace(
      caller(),
      KeyspaceSpec.decode(KeyspaceSpec.encode({ name: 'c', ...spec }).finish()),
    );
  }

  async ask(...ops: object[]) {
    const response = await this.service.execute(caller(), aRequest(ops, 'c'));
    return { results: response.results ?? [], durability: response.durability };
  }

  async figures() {
    const { keyspaces } = await this.service.listKeyspaces(caller());
    return keyspaces?.find(({ name }) => name === 'c') ?? {};
  }

  async has(key: string): Promise<boolean> {
    return (await this.ask({ inspect: { key: b(key) } })).results[0]?.found === true;
  }

  async restart(): Promise<void> {
    this.service.close();
    await this.bench.restart();
    this.service = this.bench.service;
  }
}

const set = (key: string, size: number, more: object = {}) => ({
  set: { key: b(key), value: Buffer.alloc(size), ...more },
});

test('[C3] a cache keeps values of its own, whatever becomes of the bytes of a request', () => {
  const rows = new CacheRows();
  const value = Buffer.from('as it was set');
  rows.put(META, 'key', stringMeta({ revision: 1, expireAtMs: 0, contentType: '', value }));
  value.fill('x');
  expect(rows.get(META, 'key')?.value.toString()).toBe('as it was set');
});

test('[KV41] a cache takes every operation, says memory, and is empty after a restart', async () => {
  const cache = await CacheBench.open();
  const { results, durability } = await cache.ask(
    set('a', 3, { ttlMs: 50 }),
    { increment: { key: b('n'), delta: 5 } },
    { hashSet: { key: b('h'), fields: [{ field: b('f'), value: b('v') }] } },
    { setAdd: { key: b('s'), members: [b('x'), b('y')] } },
    { sortedSetAdd: { key: b('z'), members: [{ member: b('m'), score: 2 }] } },
    { get: { key: b('a') } },
    { hashScan: { key: b('h') } },
    { sortedSetRange: { key: b('z') } },
    { scan: { limit: 100 } },
    { get: { key: b('s') } },
  );
  expect(durability).toBe(3);
  expect(results.map(({ error }) => error?.code)).toEqual([...Array(9).fill(undefined), 'WRONG_TYPE']);
  expect(results[5]).toMatchObject({ found: true, ttlMs: 50 });
  expect(results[6]?.entries).toHaveLength(1);
  expect(results[7]?.entries?.[0]).toMatchObject({ score: 2 });
  expect(results[8]?.entries?.map(({ name }) => `${name}`)).toEqual(['a', 'h', 'n', 's', 'z']);
  expect(await cache.figures()).toMatchObject({
    keys: 5,
    mode: 'cache',
    maxBytes: MAX,
    eviction: 'lru',
    evictedTotal: 0,
  });
  cache.bench.advance(50);
  expect(await cache.has('a')).toBe(false);
  expect(await cache.figures()).toMatchObject({ keys: 4 });
  await cache.ask(
    { delete: { key: b('s') } },
    { delete: { key: b('z') } },
    { delete: { key: b('h') } },
    { delete: { key: b('n') } },
  );
  for (let i = 0; i < 20; i++) {
    cache.bench.advance(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await cache.figures()).toMatchObject({ keys: 0, bytes: 0 });
  await cache.ask(set('b', 1));
  await cache.restart();
  expect(await cache.figures()).toMatchObject({ keys: 0, mode: 'cache', maxBytes: MAX });
  expect(await cache.has('b')).toBe(false);
});

test('[KV42] the bound holds whatever is written, and evictions are counted and told', async () => {
  const cache = await CacheBench.open();
  const watcher = await new Watcher().open(cache.service, { keyspace: 'c' });
  for (let i = 0; i < 400; i++) {
    await cache.ask(set(`k${i}`, 2000), {
      setAdd: { key: b(`s${i % 7}`), members: Array.from({ length: 50 }, (_, n) => b(`${i}.${n}`)) },
    });
    cache.bench.advance(1);
    expect((await cache.figures()).bytes).toBeLessThanOrEqual(MAX);
  }
  const { evictedTotal = 0, keys = 0 } = await cache.figures();
  expect(evictedTotal).toBeGreaterThan(250);
  expect(keys).toBeGreaterThan(10);
  await cache.ask(set('too large', MAX));
  expect(await cache.has('too large')).toBe(false);
  const told = watcher.changes.filter(({ reason }) => reason === 'evict');
  expect(told.length).toBe((await cache.figures()).evictedTotal);
  watcher.close();
});

test('[KV42] a large collection goes in slices, and its memory with it', async () => {
  const cache = await CacheBench.open({ mode: 'cache', maxBytes: 4 * 1024 * 1024 });
  const members = Array.from({ length: 9000 }, (_, i) => ({ member: b(`m${i}`), score: i }));
  await cache.ask({ sortedSetAdd: { key: b('z'), members } });
  expect((await cache.figures()).bytes).toBeGreaterThan(1024 * 1024);
  await cache.declare({ mode: 'cache', maxBytes: MAX });
  for (let i = 0; i < 30; i++) {
    cache.bench.advance(2);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { bytes, keys } = await cache.figures();
  expect(keys).toBe(0);
  expect(bytes).toBeLessThanOrEqual(MAX);
});

test.each<['lru' | 'lfu' | 'ttl']>([['lru'], ['lfu'], ['ttl']])(
  '[KV43] %s lets the right keys go',
  async (eviction) => {
    const cache = await CacheBench.open({ mode: 'cache', maxBytes: MAX, eviction });
    const fill = MAX / 2000;
    const kept = ['keep1', 'keep2', 'keep3'];
    // Kept: used all the time, used often before, or expiring last.
    for (const key of kept) await cache.ask(set(key, 1000, { ttlMs: eviction === 'ttl' ? 1_000_000 : 0 }));
    const use = async () => {
      for (const key of kept) await cache.ask({ get: { key: b(key) } });
    };
    if (eviction === 'lfu') for (let i = 0; i < 200; i++) await use();
    for (let i = 0; i < fill * 3; i++) {
      await cache.ask(set(`k${i}`, 1000, { ttlMs: eviction === 'ttl' ? 1000 + i : 0 }));
      if (eviction === 'lru') await use();
    }
    expect(await Promise.all(kept.map((key) => cache.has(key)))).toEqual([true, true, true]);
    expect((await cache.figures()).evictedTotal).toBeGreaterThan(fill);
  },
);

test('[KV44] the mode of a keyspace never changes, and a cache looks neither back nor across', async () => {
  const cache = await CacheBench.open(null);
  const refused = (spec: KeyspaceSpecInput, code: string) =>
    expect(cache.declare(spec)).rejects.toMatchObject({ code });
  await cache.ask(set('a', 1));
  await refused({ mode: 'cache' }, 'NOT_EMPTY');
  await cache.ask({ delete: { key: b('a') } });
  expect(await cache.declare({ mode: 'cache' })).toMatchObject({
    maxBytes: 64 * 1024 * 1024,
    eviction: 'lru',
  });
  await cache.declare({ mode: 'cache', eviction: 'ttl' });
  await refused({ mode: 'durable' }, 'IMMUTABLE');
  await refused({ mode: 'both' }, 'INVALID_ARGUMENT');
  await refused({ mode: 'cache', eviction: 'random' }, 'INVALID_ARGUMENT');
  await refused({ mode: 'cache', maxBytes: 5 }, 'INVALID_ARGUMENT');
  await refused({ name: 'd', mode: 'durable', maxBytes: 5 }, 'INVALID_ARGUMENT');
  await cache.declare({ name: 'd', mode: 'durable' });
  await refused({ name: 'd', mode: 'cache' }, 'IMMUTABLE');
  expect(cache.service.isCache(caller(), 'c')).toBe(true);
  expect(cache.service.isCache(caller(2), 'c')).toBe(false);
  const past = { ...aRequest([{ get: { key: b('a') } }], 'c'), asOf: { at: 'now', now: true } } as never;
  await expect(cache.service.execute(caller(), past)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const early = await new Watcher().open(cache.service, { keyspace: 'c' });
  const { cursor } = early;
  early.close();
  await cache.ask(set('a', 1));
  await expect(new Watcher().open(cache.service, { keyspace: 'c', cursor })).rejects.toMatchObject({
    code: 'HISTORY_TRIMMED',
  });
  await cache.restart();
  await refused({ mode: 'durable' }, 'IMMUTABLE');
  expect(await cache.figures()).toMatchObject({ eviction: 'ttl' });
});
