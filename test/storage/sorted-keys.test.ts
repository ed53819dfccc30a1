import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type KeyCursor, SortedKeys } from '../../dataplane/storage/sorted-keys.ts';

function walk(cursor: KeyCursor): string[] {
  const keys: string[] = [];
  for (; cursor.key !== undefined; cursor.next()) keys.push(cursor.key);
  return keys;
}

test('[K1] keys are walked in order and once, in both directions, whatever their number', () => {
  const run = fc.record({
    start: fc.nat(40_000),
    step: fc.integer({ min: -3, max: 3 }),
    count: fc.nat(6000),
    forgets: fc.boolean(),
  });
  const number = fc.integer({ min: 0, max: 60_000 });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 5 }), number, number, fc.boolean(), (runs, a, b, isWalked) => {
      const keys = new SortedKeys(isWalked);
      const model = new Set<string>();
      const named = (n: number) => String(n).padStart(6, '0');
      for (const { start, step, count, forgets } of runs) {
        for (let i = 0; i < count; i++) {
          const key = named(Math.abs(start + i * step));
          keys.add(key);
          model.add(key);
        }
        if (!forgets) continue;
        for (const key of model) if (key.endsWith('7')) model.delete(key);
        keys.retain((key) => model.has(key));
      }
      const [from = '', to = ''] = [named(a), named(b)].sort();
      const expected = [...model].filter((key) => key >= from && key < to).sort();
      expect(walk(keys.ascending(from, to))).toEqual(expected);
      expect(walk(keys.descending(from, to))).toEqual(expected.reverse());
    }),
    { numRuns: 25 },
  );
});
