// RowStore against a Map that is sorted when asked: same answers after each step, across checkpoints and
// restarts.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Level, type LevelPlace, openLevel } from '../../dataplane/storage/level.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import type { RowWindow } from '../../dataplane/storage/window.ts';
import { keyOf, others, texts as plain, yields } from './support.ts';

/** The same rows packed. */
const packed = { ...plain, view: plain.decode };
let texts = plain;

interface Model {
  rows: Map<string, string>;
  /** As of `begin`. */
  before: Map<string, string> | null;
  range: { from: string; to: string };
  rangeBefore: { from: string; to: string };
  isFrozen: boolean;
}

interface Real {
  place: LevelPlace;
  level: Level;
  cacheBytesMax: number;
  store: RowStore;
  window: RowWindow<string>;
  frozenAt: Map<string, string> | null;
  refills: Promise<void>[];
}

type Command = fc.AsyncCommand<Model, Real>;

const alphabet = ['a', 'b', 'c', 'd', 'e', '\0', '\xff'];
const part = fc.string({ unit: fc.constantFrom(...alphabet), minLength: 0, maxLength: 3 });
const key = part.map((text) => keyOf(texts, text));
const ends = fc
  .tuple(part, part)
  .map(([a, b]) => (a < b ? [a, b] : [b, a]).map((text) => keyOf(texts, text)));

const ranged = (model: Model, from: string, to: string) =>
  [...model.rows]
    .filter(([k]) => k >= from && k < to)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, value]) => ({ key: k, value }));

const command = (
  name: string,
  check: (m: Model) => boolean,
  run: (m: Model, r: Real) => Promise<void>,
): Command => ({
  check,
  run: async (m, r) => {
    await run(m, r);
    const now = r.window.take(10_000);
    const all = ranged(m, m.range.from, m.range.to);
    // Always a prefix of the truth, and the whole of it unless more lies behind.
    expect(now).toEqual(all.slice(0, now.length));
    if (now.length === 0 && all.length > 0) expect(r.window.isStale()).toBe(true);
  },
  toString: () => name,
});

const inTransaction = (m: Model) => m.before !== null;
const always = () => true;
let batch = 0;

const put = fc.tuple(key, fc.string({ maxLength: 5 }), fc.boolean()).map(([k, value, claims]) =>
  command(`put ${JSON.stringify(k)}`, always, async (m, r) => {
    const isNew = claims && !m.rows.has(k);
    m.rows.set(k, value);
    r.store.openBatch = ++batch;
    r.store.put(texts, k, value, isNew);
    r.store.newestRead = 0;
    expect(r.store.get(texts, k)).toBe(value);
    expect(r.store.newestRead).toBe(batch);
  }),
);
const del = key.map((k) =>
  command(`del ${JSON.stringify(k)}`, always, async (m, r) => {
    m.rows.delete(k);
    r.store.del(texts, k);
  }),
);
/** Enough rows that come and go for the memtable to forget them; some stay, some were there before. */
const churn = fc.tuple(key, fc.integer({ min: 2, max: 300 })).map(([k, each]) =>
  command(`churn ${JSON.stringify(k)} ${each}`, always, async (m, r) => {
    for (let i = 0; i < 1200; i++) {
      const churned = `${k}${String.fromCharCode(i & 127, i >> 7)}`;
      r.store.put(texts, churned, 'come', !m.rows.has(churned));
      if (i % each === 0) m.rows.set(churned, 'come');
      else {
        m.rows.delete(churned);
        r.store.del(texts, churned);
      }
    }
    batch += 3;
    r.store.openBatch = batch;
  }),
);
const get = key.map((k) =>
  command(`get ${JSON.stringify(k)}`, always, async (m, r) => {
    const ref = { table: texts, key: k };
    if (!r.store.isResident(ref)) {
      expect(() => r.store.get(texts, k)).toThrow('was not fetched');
      if (inTransaction(m)) return;
      await r.store.fetch([ref, ref]);
    }
    expect(r.store.isResident(ref)).toBe(true);
    expect(r.store.get(texts, k)).toBe(m.rows.get(k));
  }),
);
const scan = fc
  .tuple(ends, fc.integer({ min: 1, max: 6 }), fc.boolean(), key)
  .map(([range, limit, reverse, k]) =>
    command(
      `scan ${limit} ${reverse}`,
      (m) => !inTransaction(m),
      async (m, r) => {
        const [from = '', to = ''] = range;
        const expected = ranged(m, from, to);
        if (reverse) expected.reverse();
        const scanned = r.store.scan(texts, { from, to, limit, reverse });
        // As of the call: what changes now is not seen.
        m.rows.set(k, 'later');
        r.store.put(texts, k, 'later');
        expect(await scanned).toEqual(expected.slice(0, limit));
      },
    ),
  );
const refill = fc.tuple(key, fc.boolean()).map(([k, isDel]) =>
  command(
    'refill',
    (m) => !inTransaction(m),
    async (m, r) => {
      const done = r.window.refill();
      if (isDel) m.rows.delete(k);
      else m.rows.set(k, 'meanwhile');
      if (isDel) r.store.del(texts, k);
      else r.store.put(texts, k, 'meanwhile');
      await done;
      expect(r.window.take(10_000)).toEqual(ranged(m, m.range.from, m.range.to));
    },
  ),
);
const consume = fc.integer({ min: 1, max: 5 }).map((count) =>
  command(`consume ${count}`, always, async (m, r) => {
    for (const row of r.window.take(count)) {
      m.rows.delete(row.key);
      r.store.del(texts, row.key);
    }
  }),
);
const reset = ends.map(([from = '', to = '']) =>
  command('reset', always, async (m, r) => {
    m.range = { from, to };
    r.window.reset(from, to);
  }),
);
const begin = fc.constant(
  command(
    'begin',
    (m) => !inTransaction(m),
    async (m, r) => {
      m.before = new Map(m.rows);
      m.rangeBefore = m.range;
      r.store.begin();
    },
  ),
);
const refillInside = fc.constant(
  command('refill inside', inTransaction, async (_, r) => {
    r.refills.push(r.window.refill());
  }),
);
const end = fc.boolean().map((isCommit) =>
  command(isCommit ? 'commit' : 'rollback', inTransaction, async (m, r) => {
    if (isCommit) r.store.commit();
    else {
      r.store.rollback();
      m.rows = m.before ?? m.rows;
      m.range = m.rangeBefore;
    }
    m.before = null;
    await Promise.all(r.refills.splice(0));
  }),
);
const freeze = fc.constant(
  command(
    'freeze',
    (m) => !inTransaction(m) && !m.isFrozen,
    async (m, r) => {
      r.store.freeze();
      r.frozenAt = new Map(m.rows);
      m.isFrozen = true;
    },
  ),
);
const write = fc.tuple(key, fc.boolean()).map(([k, fetches]) =>
  command(
    'write',
    (m) => !inTransaction(m) && m.isFrozen,
    async (m, r) => {
      const value = Buffer.from(JSON.stringify([...(r.frozenAt ?? [])]));
      const fetched = fetches ? r.store.fetch([{ table: texts, key: k }]) : undefined;
      await r.store.writeFrozen([{ key: 'rows', value }], 0, yields);
      await fetched;
      m.isFrozen = false;
    },
  ),
);
/** As a crash: what was not checkpointed is gone. */
const reopen = fc.constant(
  command(
    'reopen',
    (m) => !inTransaction(m),
    async (m, r) => {
      await r.store.close();
      await openReal(r);
      const saved = await r.store.getMeta('rows');
      m.rows = new Map(JSON.parse(saved?.toString() ?? '[]'));
      m.isFrozen = false;
      m.range = { from: r.window.from, to: r.window.to };
    },
  ),
);

async function openReal(real: Real): Promise<void> {
  real.level = await openLevel(real.place);
  const { level, cacheBytesMax } = real;
  const packing = { bytesMax: cacheBytesMax, slabBytes: 256 };
  real.store = new RowStore({ level, monotonicMs: () => 0, cacheBytesMax, packed: packing });
  if ((await real.store.getMeta('rows')) === undefined) real.store.declareEmpty();
  real.window = real.store.window(texts, keyOf(texts, 'a'), keyOf(texts, 'c'));
  // Neighbours that no scan of `texts` may show.
  real.store.put(others, keyOf(others, 'a'), 'other');
}

test.each([
  { name: 'cached', table: plain },
  { name: 'packed', table: packed },
])('[S1] $name rows, scans and windows agree with a sorted map, whatever restarts do', async ({ table }) => {
  texts = table;
  const all = [
    put,
    put,
    put,
    del,
    get,
    get,
    scan,
    refill,
    consume,
    reset,
    begin,
    refillInside,
    end,
    freeze,
    write,
    reopen,
    churn,
  ];
  const dir = await mkdtemp(join(tmpdir(), 'flowmesh-rows-'));
  let runs = 0;
  try {
    await fc.assert(
      // With next to no cache rows come and go all the time.
      fc.asyncProperty(
        fc.commands(all, { maxCommands: 60, size: 'max' }),
        fc.boolean(),
        async (commands, isSmall) => {
          const place = { dir: join(dir, String(runs++)) };
          const cacheBytesMax = isSmall ? 600 : 100_000;
          const real = { place, cacheBytesMax, frozenAt: null, refills: [] } as unknown as Real;
          await openReal(real);
          const range = { from: real.window.from, to: real.window.to };
          const model = { rows: new Map(), before: null, range, rangeBefore: range, isFrozen: false };
          try {
            await fc.asyncModelRun(() => ({ model, real }), commands);
          } finally {
            await Promise.all(real.refills);
            await real.store.close();
          }
        },
      ),
      { numRuns: 60 },
    );
  } finally {
    await rm(dir, { recursive: true });
  }
});
