// Windows with more rows than they hold, and many windows beside and inside of each other.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openLevel } from '../../dataplane/storage/level.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import { type RowWindow, WINDOW_ROWS_MAX } from '../../dataplane/storage/window.ts';
import { WindowRegister } from '../../dataplane/storage/window-register.ts';
import { keyOf, texts } from './support.ts';

const numbered = (i: number) => keyOf(texts, String(i).padStart(6, '0'));

const step = fc.oneof(
  fc.record({
    kind: fc.constant('put' as const),
    from: fc.nat(20_000),
    count: fc.nat(3000),
    each: fc.integer({ min: 1, max: 9 }),
  }),
  fc.record({ kind: fc.constant('consume' as const), count: fc.nat(4000) }),
  fc.record({ kind: fc.constant('refill' as const), count: fc.nat(2000) }),
  fc.record({ kind: fc.constant('checkpoint' as const) }),
);

test('[W1] a window of many rows shows a bounded prefix of the truth', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      const store = new RowStore({ level: await openLevel({ memory: true }), monotonicMs: () => 0 });
      const window = store.window(texts, numbered(0), numbered(900_000));
      const rows = new Map<string, string>();
      const putMany = (from: number, count: number, each: number) => {
        for (let i = 0; i < count; i++) {
          rows.set(numbered(from + i * each), 'value');
          store.put(texts, numbered(from + i * each), 'value');
        }
      };
      for (const s of steps) {
        if (s.kind === 'put') putMany(s.from, s.count, s.each);
        else if (s.kind === 'checkpoint') {
          store.freeze();
          await store.writeFrozen([]);
        } else if (s.kind === 'refill') {
          const done = window.refill();
          putMany(s.count * 3, s.count, 2);
          await done;
          expect(window.first() === undefined).toBe(rows.size === 0);
        } else {
          for (const row of window.take(s.count)) {
            rows.delete(row.key);
            store.del(texts, row.key);
          }
        }
        const sorted = [...rows.keys()].sort();
        const now = window.take(100_000).map((row) => row.key);
        expect(now.length).toBeLessThanOrEqual(WINDOW_ROWS_MAX);
        expect(now).toEqual(sorted.slice(0, now.length));
        if (now.length === 0 && sorted.length > 0) expect(window.isStale()).toBe(true);
      }
      await store.close();
    }),
    { numRuns: 12 },
  );
});

test('[W2] what was consumed is not walked again', async () => {
  const store = new RowStore({ level: await openLevel({ memory: true }), monotonicMs: () => 0 });
  const window = store.window(texts, numbered(0), numbered(900_000));
  const starts: string[] = [];
  const scan = store.scan.bind(store);
  store.scan = (table, range) => {
    starts.push(range.from);
    return scan(table, range);
  };
  for (let i = 0; i < 5000; i++) store.put(texts, numbered(i), 'value');
  let consumed = 0;
  while (consumed < 5000) {
    if (window.isStale()) await window.refill();
    for (const row of window.take(100)) {
      expect(row.key).toBe(numbered(consumed++));
      store.del(texts, row.key);
    }
  }
  expect(starts[0]).toBe(numbered(0));
  expect(starts.length).toBeGreaterThan(3);
  for (const [i, start] of starts.entries()) expect(start >= numbered(i * 1000)).toBe(true);
  await store.close();
});

test('[G1] a change reaches every window whose range holds the key, and no other', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 3 });
  const operation = fc.record({ from: text, to: text, removes: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 30 }),
      fc.array(text, { maxLength: 20 }),
      (operations, keys) => {
        const register = new WindowRegister();
        const live: { from: string; to: string; set: (key: string) => void }[] = [];
        const seen = new Map<unknown, string[]>();
        for (const { from, to, removes } of operations) {
          const gone = removes ? live.shift() : undefined;
          if (gone !== undefined) register.remove(gone as unknown as RowWindow<unknown>);
          const window = { from, to, set: (key: string) => seen.get(window)?.push(key) };
          seen.set(window, []);
          live.push(window);
          register.add(window as unknown as RowWindow<unknown>);
        }
        for (const key of keys) register.set(key, 'value');
        for (const [window, got] of seen) {
          const { from, to } = window as { from: string; to: string };
          const isLive = live.some((each) => each === window);
          expect(got).toEqual(isLive ? keys.filter((key) => key >= from && key < to) : []);
        }
      },
    ),
  );
});

test('a window that was closed or moved in a transaction comes back with a rollback', async () => {
  const store = new RowStore({ level: await openLevel({ memory: true }), monotonicMs: () => 0 });
  const window = store.window(texts, numbered(0), numbered(10));
  await window.refill();
  store.begin();
  window.reset(numbered(20), numbered(30));
  window.close();
  store.rollback();
  store.put(texts, numbered(5), 'value');
  expect(window.isStale()).toBe(true);
  await window.refill();
  expect(window.take(10)).toEqual([{ key: numbered(5), value: 'value' }]);
  store.put(texts, numbered(4), 'value');
  expect(window.first()).toEqual({ key: numbered(4), value: 'value' });
  await store.close();
});
