// Members of collections as of earlier moments, on real shards, against a model that keeps every version.
import type { KvAsOfInput, KvOpInput } from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { aBench, asOf } from './as-of-bench.ts';
import { openRealBench, type RealBench } from './real-bench.ts';
import { b } from './support.ts';

const KEYS = ['a', 'b', 'b\0'];
const NAMES = ['', 'x', 'x\0', 'y', 'z'];

type Kind = 'string' | 'hash' | 'set' | 'zset';
interface State {
  kind: Kind;
  expireAtMs: number;
  members: Map<string, string | number | true>;
}
type Version = Map<string, State>;

const pick = fc.constantFrom(...KEYS);
const names = fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 });
const step = fc.oneof(
  fc.record({ do: fc.constant('hset' as const), key: pick, names, n: fc.nat(9) }),
  fc.record({ do: fc.constant('hset' as const), key: pick, names, n: fc.nat(9) }),
  fc.record({ do: fc.constant('hdel' as const), key: pick, names }),
  fc.record({ do: fc.constant('sadd' as const), key: pick, names }),
  fc.record({ do: fc.constant('srem' as const), key: pick, names }),
  fc.record({ do: fc.constant('zadd' as const), key: pick, names, n: fc.integer({ min: -2, max: 2 }) }),
  fc.record({ do: fc.constant('zadd' as const), key: pick, names, n: fc.integer({ min: -2, max: 2 }) }),
  fc.record({ do: fc.constant('zrem' as const), key: pick, names }),
  fc.record({ do: fc.constant('set' as const), key: pick }),
  fc.record({ do: fc.constant('del' as const), key: pick }),
  fc.record({ do: fc.constant('expire' as const), key: pick, n: fc.constantFrom(3, 10) }),
  fc.record({ do: fc.constant('wait' as const), n: fc.nat(6), sweeps: fc.boolean() }),
  fc.record({ do: fc.constantFrom('restart' as const, 'checkpoint' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const KIND_OF: Partial<Record<Step['do'], Kind>> = { h: 'hash', s: 'set', z: 'zset' } as object;

function opOf(each: Step): KvOpInput {
  const key = b('key' in each ? each.key : '');
  const members = 'names' in each ? each.names.map(b) : [];
  switch (each.do) {
    case 'hset':
      return { hashSet: { key, fields: members.map((field) => ({ field, value: b(`${each.n}`) })) } };
    case 'hdel':
      return { hashDelete: { key, fields: members } };
    case 'sadd':
      return { setAdd: { key, members } };
    case 'srem':
      return { setRemove: { key, members } };
    case 'zadd':
      return { sortedSetAdd: { key, members: members.map((member) => ({ member, score: each.n })) } };
    case 'zrem':
      return { sortedSetRemove: { key, members } };
    case 'set':
      return { set: { key, value: b('text') } };
    case 'expire':
      return { expire: { key, ttlMs: each.n } };
    default:
      return { delete: { key } };
  }
}

function apply(version: Version, each: Step, nowMs: number): void {
  if (!('key' in each)) return;
  const now = alive(version, each.key, nowMs);
  if (each.do === 'del') version.delete(each.key);
  else if (each.do === 'set') version.set(each.key, { kind: 'string', expireAtMs: 0, members: new Map() });
  else if (each.do === 'expire') {
    if (now !== undefined) version.set(each.key, { ...now, expireAtMs: nowMs + each.n });
  } else {
    const kind = KIND_OF[each.do[0] as Step['do']] as Kind;
    if (now !== undefined && now.kind !== kind) return;
    const members = new Map(now?.members);
    for (const name of each.names) {
      if (each.do === 'hset') members.set(name, `${each.n}`);
      else if (each.do === 'sadd') members.set(name, true);
      else if (each.do === 'zadd') members.set(name, each.n);
      else members.delete(name);
    }
    if (members.size === 0) version.delete(each.key);
    else version.set(each.key, { kind, expireAtMs: now?.expireAtMs ?? 0, members });
  }
}

function alive(version: Version, key: string, nowMs: number): State | undefined {
  const state = version.get(key);
  return state === undefined || (state.expireAtMs !== 0 && state.expireAtMs <= nowMs) ? undefined : state;
}

const RANGES = [
  {},
  { reverse: true },
  { minScore: 0 },
  { maxScore: 1, reverse: true },
  { offset: 1, limit: 2 },
  { offset: 1, limit: 2, reverse: true },
];

function expected(version: Version, key: string, nowMs: number): Record<string, unknown> {
  const state = alive(version, key, nowMs);
  const members = [...(state?.members ?? [])].sort(([p], [q]) => (p < q ? -1 : 1));
  const of = (kind: Kind) => (state === undefined ? [] : state.kind === kind ? members : 'WRONG_TYPE');
  const ordered =
    state?.kind === 'zset' ? [...members].sort(([, p], [, q]) => (p as number) - (q as number)) : [];
  return {
    hash: of('hash'),
    fields: ask(state, 'hash'),
    set: of('set'),
    contains: ask(state, 'set'),
    scores: ask(state, 'zset'),
    size: state === undefined || state.kind === 'string' ? undefined : members.length,
    ranges: RANGES.map(({ reverse, minScore = -9, maxScore = 9, offset = 0, limit = 99 }) => {
      if (state !== undefined && state.kind !== 'zset') return 'WRONG_TYPE';
      const within = ordered.filter(([, n]) => (n as number) >= minScore && (n as number) <= maxScore);
      return (reverse ? within.reverse() : within).slice(offset, offset + limit);
    }),
  };
}

function ask(state: State | undefined, kind: Kind): unknown {
  if (state !== undefined && state.kind !== kind) return 'WRONG_TYPE';
  return NAMES.map((name) => state?.members.get(name) ?? null);
}

async function seen(
  bench: RealBench,
  moment: KvAsOfInput,
  key: string,
  between: () => Promise<unknown>,
): Promise<Record<string, unknown>> {
  const one = { key: b(key) };
  const { results } = await asOf(bench, moment, [
    { hashGet: { ...one, fields: NAMES.map(b) } },
    { setContains: { ...one, members: NAMES.map(b) } },
    { sortedSetScore: { ...one, members: NAMES.map(b) } },
    { inspect: one },
    ...RANGES.map((range) => ({ sortedSetRange: { ...one, ...range } })),
  ]);
  const [fields, contains, scores, inspected, ...ranges] = results;
  const list = (result: (typeof results)[number] | undefined, show: (entry: never) => unknown): unknown =>
    result?.error?.code ?? result?.entries.map((entry) => show(entry as never));
  type Entry = (typeof results)[number]['entries'][number];
  return {
    hash: await pages(bench, moment, 'hashScan', key, between),
    fields: list(fields, ({ found, value }: Entry) => (found ? `${value}` : null)),
    set: await pages(bench, moment, 'setScan', key, between),
    contains: list(contains, ({ found }: Entry) => (found ? true : null)),
    scores: list(scores, ({ found, score }: Entry) => (found ? score : null)),
    size: inspected?.type === '' || inspected?.type === 'string' ? undefined : inspected?.integer,
    ranges: ranges.map((each) => list(each, ({ name, score }: Entry) => [`${name}`, score])),
  };
}

async function pages(
  bench: RealBench,
  moment: KvAsOfInput,
  op: 'hashScan' | 'setScan',
  key: string,
  between: () => Promise<unknown>,
): Promise<unknown> {
  const all: unknown[] = [];
  let cursor: Buffer = Buffer.alloc(0);
  do {
    const [page] = (await asOf(bench, moment, [{ [op]: { key: b(key), cursor, limit: 2 } }])).results;
    if (page?.error) return page.error.code;
    all.push(
      ...(page?.entries ?? []).map(({ name, value }) => [`${name}`, op === 'setScan' ? true : `${value}`]),
    );
    cursor = page?.cursor ?? Buffer.alloc(0);
    await between();
  } while (cursor.length > 0);
  return all;
}

test.each([1, 3])(
  '[KV45] [KV46] members as of a moment are what every version of the model says, on %i shards',
  async (shards) => {
    const run = async (steps: readonly Step[]) => {
      const bench = await openRealBench(shards);
      let version: Version = new Map();
      const moments: { cursor: string; timeMs: number; version: Version }[] = [];
      for (const each of steps) {
        if (each.do === 'wait') {
          bench.advance(each.n);
          if (each.sweeps) await bench.idle();
        } else if (each.do === 'restart') await bench.restart();
        else if (each.do === 'checkpoint') await bench.checkpoint();
        else await bench.one(opOf(each));
        version = new Map(version);
        apply(version, each, bench.clock.nowMs);
        const { asOf: cursor } = await asOf(bench, { now: true }, []);
        moments.push({ cursor, timeMs: bench.clock.nowMs, version });
        bench.clock.nowMs += 1;
      }
      let n = 0;
      const write = () => {
        const names = [NAMES[n++ % NAMES.length] ?? ''];
        const later = ['hset', 'hdel', 'sadd', 'srem', 'zadd', 'del'] as const;
        return bench.one(opOf({ do: later[n % 6], key: KEYS[n % 3], names, n: 7 } as Step));
      };
      for (const { cursor, timeMs, version: then } of moments) {
        for (const key of KEYS) {
          const model = expected(then, key, timeMs);
          expect(await seen(bench, { cursor }, key, async () => {})).toEqual(model);
          expect(await seen(bench, { timeMs }, key, write)).toEqual(model);
        }
      }
      await bench.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 14 }), run), {
      numRuns: shards === 1 ? 8 : 3,
    });
  },
);

test('[KV45] members as of a revision are what that change made of the collection', async () => {
  const bench = await aBench(3);
  const revisions: number[] = [];
  for (let i = 0; i < 20; i++) {
    const result = await bench.one({
      sortedSetAdd: { key: b('k'), members: [{ member: b(`m${i}`), score: -i }] },
    });
    revisions.push(result.revision);
  }
  await bench.one({ delete: { key: b('k') } });
  await bench.idle();
  for (const i of [0, 7, 19]) {
    const moment = { revision: revisions[i] as number };
    const [range] = (await asOf(bench, moment, [{ sortedSetRange: { key: b('k'), limit: 2 } }])).results;
    expect(range?.entries.map(({ name }) => `${name}`)).toEqual(i === 0 ? ['m0'] : [`m${i}`, `m${i - 1}`]);
    expect(range?.revision).toBe(revisions[i]);
  }
});

test('[KV46] large collections are read page by page, though most of them has changed', async () => {
  const bench = await aBench();
  const all = Array.from({ length: 9000 }, (_, i) => `m${String(i).padStart(4, '0')}`);
  await bench.one({ setAdd: { key: b('s'), members: all.map(b) } });
  const members = all.map((name, i) => ({ member: b(name), score: i }));
  await bench.one({ sortedSetAdd: { key: b('z'), members } });
  const { asOf: cursor } = await asOf(bench, { now: true }, []);
  await bench.one({ setRemove: { key: b('s'), members: all.slice(0, 8900).map(b) } });
  await bench.one({ sortedSetRemove: { key: b('z'), members: all.slice(100).map(b) } });
  await bench.all([{ delete: { key: b('s') } }, { delete: { key: b('z') } }]);
  await bench.idle();
  const found: string[] = [];
  let page: Buffer = Buffer.alloc(0);
  do {
    const scan = { key: b('s'), cursor: page, limit: 1000 };
    const [result] = (await asOf(bench, { cursor }, [{ setScan: scan }])).results;
    expect(result?.entries.length).toBeLessThanOrEqual(1000);
    found.push(...(result?.entries ?? []).map(({ name }) => `${name}`));
    page = result?.cursor ?? Buffer.alloc(0);
  } while (page.length > 0);
  expect(found).toEqual(all);
  const range = { key: b('z'), offset: 4000, limit: 3, reverse: true };
  const [last] = (await asOf(bench, { cursor }, [{ sortedSetRange: range }])).results;
  expect(last?.entries.map(({ score }) => score)).toEqual([4999, 4998, 4997]);
});

test('[KV39] a field whose value the journal does not reach is refused, and only that', async () => {
  const bench = await aBench(1, { segmentBytes: 1024 * 1024, historyBytes: 1024 * 1024 });
  const fields = (value: string, ...names: string[]) => ({
    hashSet: { key: b('h'), fields: names.map((field) => ({ field: b(field), value: b(value) })) },
  });
  await bench.one(fields('old', 'stays', 'changes', 'goes'));
  const value = 'v'.repeat(512 * 1024);
  for (let i = 0; i < 12; i++) await bench.one({ set: { key: b('k'), value: b(`${i}${value}`) } });
  await bench.checkpoint();
  const { timeline } = bench.shards[0]?.shard ?? {};
  for (let i = 0; timeline?.window.first === 1; i++) {
    if (i > 1000) throw new Error('nothing is trimmed');
    bench.shards[0]?.poke();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await bench.one(fields('in reach', 'known'));
  const { asOf: cursor } = await asOf(bench, { now: true }, []);
  await bench.one(fields('new', 'changes', 'known', 'fresh'));
  await bench.one({ hashDelete: { key: b('h'), fields: [b('goes')] } });
  const get = (field: string) => ({ hashGet: { key: b('h'), fields: [b(field)] } });
  const ops = ['stays', 'known', 'changes', 'goes'].map(get);
  const { results } = await asOf(bench, { cursor }, [...ops, { hashScan: { key: b('h') } }]);
  const shown = results.map(({ error, entries }) => error?.code ?? `${entries[0]?.value}`);
  const trimmed = 'HISTORY_TRIMMED';
  expect(shown).toEqual(['old', 'in reach', trimmed, trimmed, trimmed]);
});

test('[KV39] too many names, and what is no reading, are refused', async () => {
  const bench = await aBench();
  const members = Array.from({ length: 6000 }, (_, i) => b(`${i}`));
  const ask = { setContains: { key: b('s'), members } };
  await expect(asOf(bench, { now: true }, [ask, ask])).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
  const { results } = await asOf(bench, { now: true }, [
    { sortedSetRange: { key: b('z'), offset: 100_001 } },
    { setScan: { key: b('s'), cursor: b('?') } },
    { hashGet: { key: b('h'), fields: [b('f'.repeat(1025))] } },
  ]);
  expect(results.map(({ error }) => error?.code)).toEqual([
    'INVALID_ARGUMENT',
    'INVALID_ARGUMENT',
    'KEY_TOO_LARGE',
  ]);
});
