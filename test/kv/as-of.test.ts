// Reads of earlier states on real shards: whatever happens afterwards, the answers as of a moment are those
// that were given then.
import {
  type KvAsOfInput,
  type KvOpInput,
  KvRequest,
  type KvResult,
} from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { aBench, asOf } from './as-of-bench.ts';
import { openRealBench, type RealBench } from './real-bench.ts';
import { b, caller } from './support.ts';
import { Watcher, words } from './watcher.ts';

const KEYS = ['a', 'b', 'b\0', 'c'];
const get = (key: string) => ({ get: { key: b(key) } });
const inspect = (key: string) => ({ inspect: { key: b(key) } });
const set = (key: string, value: string, more: object = {}) => ({
  set: { key: b(key), value: b(value), ...more },
});
const LOOKUPS = KEYS.flatMap((key) => [get(key), inspect(key)]);

const brief = ({ found, value, revision, ttlMs, type, integer, error }: KvResult) =>
  error === null ? { found, value: `${value}`, revision, ttlMs, type, integer } : error.code;

async function keysAsOf(
  bench: RealBench,
  cursor: string,
  between: () => Promise<unknown>,
): Promise<string[]> {
  const keys: string[] = [];
  let page: Buffer = Buffer.alloc(0);
  do {
    const { results } = await asOf(bench, { cursor }, [{ scan: { cursor: page, limit: 2 } }]);
    const [result] = results;
    if (result === undefined || result.error !== null) throw new Error(result?.error?.message);
    keys.push(...result.entries.map(({ name, type }) => `${name} ${type}`));
    page = result.cursor;
    await between();
  } while (page.length > 0);
  return keys.sort();
}

const key = fc.constantFrom(...KEYS);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.oneof(
      fc.tuple(key, fc.nat(99), fc.constantFrom(0, 5, 20)).map(([k, n, ttlMs]) => set(k, `${n}`, { ttlMs })),
      key.map((k) => ({ delete: { key: b(k) } })),
      fc.tuple(key, fc.constantFrom(0, 3, 30)).map(([k, ttlMs]) => ({ expire: { key: b(k), ttlMs } })),
      key.map((k) => ({ increment: { key: b(k), delta: 1 } })),
      fc.tuple(key, fc.nat(2)).map(([k, n]) => ({ setAdd: { key: b(k), members: [b(`${n}`)] } })),
      fc.tuple(key, fc.nat(2)).map(([k, n]) => ({ setRemove: { key: b(k), members: [b(`${n}`)] } })),
      key.map((k) => ({ hashSet: { key: b(k), fields: [{ field: b('f'), value: b('v') }] } })),
    ),
  },
  { weight: 2, arbitrary: fc.nat(12) },
  { weight: 1, arbitrary: fc.constantFrom<'restart' | 'checkpoint'>('restart', 'checkpoint') },
);

test.each([1, 3])(
  '[KV37] [KV38] answers as of a moment stay what they were, on %i shards',
  async (shards) => {
    interface Moment {
      cursor: string;
      timeMs: number;
      answers: unknown[];
      keys: string[];
    }
    const run = async (steps: readonly unknown[]) => {
      const bench = await openRealBench(shards);
      const moments: Moment[] = [];
      for (const each of steps) {
        if (typeof each === 'number') {
          bench.advance(each);
          if (each % 2 === 0) await bench.idle();
        } else if (each === 'restart') await bench.restart();
        else if (each === 'checkpoint') await bench.checkpoint();
        else await bench.one(each as KvOpInput);
        const { results, asOf: cursor } = await asOf(bench, { now: true }, LOOKUPS);
        const answers = results.map(brief);
        // Now is now.
        expect(answers).toEqual((await bench.all(LOOKUPS)).map(brief));
        const keys = await keysAsOf(bench, cursor, async () => {});
        expect(keys.map((line) => line.split(' ')[0]).sort()).toEqual(await bench.keys());
        moments.push({ cursor, timeMs: bench.clock.nowMs, answers, keys });
        bench.clock.nowMs += 1;
      }
      let n = 0;
      for (const { cursor, timeMs, answers, keys } of moments) {
        expect((await asOf(bench, { cursor }, LOOKUPS)).results.map(brief)).toEqual(answers);
        expect((await asOf(bench, { timeMs }, LOOKUPS)).results.map(brief)).toEqual(answers);
        const write = () => bench.one(set(KEYS[n++ % 4] ?? '', 'later'));
        expect(await keysAsOf(bench, cursor, write)).toEqual(keys);
      }
      await bench.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 12 }), run), {
      numRuns: shards === 1 ? 10 : 4,
    });
  },
);

test('[KV37] as of a revision a key is what that change made of it', async () => {
  const bench = await aBench(3);
  const revisions: number[] = [];
  for (let i = 0; i < 80; i++) {
    const [result] = await bench.all([set('k', `${i}`), set('n', 'x')]);
    revisions.push(result?.revision ?? 0);
    if (i % 10 === 5) await bench.one({ delete: { key: b('k') } });
  }
  for (const i of [0, 5, 6, 41, 79]) {
    const { results } = await asOf(bench, { revision: revisions[i] as number }, [get('k')]);
    expect(results[0]).toMatchObject({ found: true, revision: revisions[i] });
    expect(`${results[0]?.value}`).toBe(`${i}`);
  }
});

test('[KV38] keys as of a moment, and a watch from it, leave no gap', async () => {
  const bench = await aBench(3);
  await bench.all(['a', 'b', 'c'].map((name) => set(name, '1')));
  const { asOf: cursor } = await asOf(bench, { now: true }, [{ scan: {} }]);
  await bench.all([set('d', '2'), { delete: { key: b('a') } }]);
  expect(await keysAsOf(bench, cursor, async () => {})).toEqual(['a string', 'b string', 'c string']);
  const watcher = await new Watcher().open(bench.service, { cursor });
  expect(words(await watcher.until(2)).sort()).toEqual(['delete a', 'set d=2']);
  watcher.close();
});

test('[KV38] a page ends earlier where more keys have changed than it remembers', async () => {
  const bench = await aBench();
  const names = Array.from({ length: 9000 }, (_, i) => `k${String(i).padStart(4, '0')}`);
  await bench.all(names.map((name) => set(name, 'x')));
  const { asOf: cursor } = await asOf(bench, { now: true }, []);
  await bench.all(names.map((name) => ({ delete: { key: b(name) } })));
  const keys: string[] = [];
  let page: Buffer = Buffer.alloc(0);
  do {
    const [result] = (await asOf(bench, { cursor }, [{ scan: { cursor: page, limit: 1000 } }])).results;
    expect(result?.entries.length).toBeLessThanOrEqual(1000);
    keys.push(...(result?.entries ?? []).map(({ name }) => `${name}`));
    page = result?.cursor ?? Buffer.alloc(0);
  } while (page.length > 0);
  expect(keys).toEqual(names);
});

test('[KV39] what the journal does not reach is refused, what it says nothing of answered', async () => {
  const bench = await aBench(1, { segmentBytes: 1024 * 1024, historyBytes: 1024 * 1024 });
  await bench.all([set('stays', 'old'), set('changes', 'old'), set('goes', 'old')]);
  const early = (await asOf(bench, { now: true }, [])).asOf;
  bench.clock.nowMs += 1000;
  const value = 'v'.repeat(512 * 1024);
  for (let i = 0; i < 12; i++) await bench.one(set('k', `${i}${value}`));
  await bench.checkpoint();
  const { timeline } = bench.shards[0]?.shard ?? {};
  for (let i = 0; timeline?.window.first === 1; i++) {
    if (i > 1000) throw new Error('nothing is trimmed');
    bench.shards[0]?.poke();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const trimmed = { code: 'HISTORY_TRIMMED' };
  for (const moment of [{ cursor: early }, { timeMs: 1_000_500 }, { revision: 1 }])
    await expect(asOf(bench, moment, [get('stays')])).rejects.toMatchObject(trimmed);
  const later = (await asOf(bench, { now: true }, [])).asOf;
  await bench.all([set('changes', 'new'), { delete: { key: b('goes') } }, set('new', 'new')]);
  const { results } = await asOf(bench, { cursor: later }, [
    get('stays'),
    get('changes'),
    get('goes'),
    get('new'),
    { scan: {} },
  ]);
  expect(results.slice(0, 4).map(({ error, value }) => error?.code ?? `${value}`)).toEqual([
    'old',
    'HISTORY_TRIMMED',
    'HISTORY_TRIMMED',
    '',
  ]);
  expect(results[4]?.entries.map(({ name }) => `${name}`)).toEqual(['changes', 'goes', 'k', 'stays']);
});

test('[KV39] only what reads looks back; too many at once, and too much, are refused', async () => {
  const bench = await aBench(3);
  const refused = (moment: KvAsOfInput, ops: KvOpInput[], code: string) =>
    expect(asOf(bench, moment, ops)).rejects.toMatchObject({ code });
  await refused({ now: true }, [set('a', 'x')], 'INVALID_ARGUMENT');
  await refused({ now: true }, [{ setAdd: { key: b('a'), members: [b('x')] } }], 'INVALID_ARGUMENT');
  await refused({ revision: 5 }, [{ scan: {} }], 'INVALID_ARGUMENT');
  await refused({ revision: 5 }, KEYS.map(get), 'INVALID_ARGUMENT');
  await refused({}, [get('a')], 'INVALID_ARGUMENT');
  await refused({ cursor: 'x' }, [get('a')], 'INVALID_ARGUMENT');
  await refused(
    { now: true },
    Array.from({ length: 101 }, () => get('a')),
    'BATCH_TOO_LARGE',
  );
  const { results } = await asOf(bench, { now: true }, [get(''), get('k'.repeat(1025)), get('a')]);
  expect(results.map(({ error }) => error?.code)).toEqual(['INVALID_ARGUMENT', 'KEY_TOO_LARGE', undefined]);
  const { service } = bench;
  const request = KvRequest.decode(KvRequest.encode({ ops: [get('a')], asOf: { now: true } }).finish());
  const many = Array.from({ length: 5 }, () => service.execute(caller(), request));
  const outcomes = await Promise.allSettled(many);
  expect(outcomes.map(({ status }) => status)).toEqual([...Array(4).fill('fulfilled'), 'rejected']);
});
