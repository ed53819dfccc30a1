// A CellMap holds what a Map does, also if all hashes meet.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CellMap } from '../../dataplane/storage/cell-map.ts';
import { KeyHash } from '../../dataplane/storage/key-hash.ts';

class Meeting extends KeyHash {
  override of(): number {
    return 7;
  }
}

const key = fc.nat(300).map((n) => `key:${n}`);
const step = fc.oneof(
  fc.record({ op: fc.constant('set' as const), key, value: fc.nat() }),
  fc.record({ op: fc.constant('delete' as const), key }),
  fc.record({ op: fc.constant('get' as const), key }),
);

test.each([
  ['spread', () => new KeyHash(12345)],
  ['equal', () => new Meeting()],
])('it holds what a Map does (hashes %s)', (_, hash) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 1000, size: 'max' }), (steps) => {
      const cells = new CellMap<number>(hash());
      const model = new Map<string, number>();
      for (const given of steps) {
        if (given.op === 'set') {
          cells.set(given.key, given.value);
          model.set(given.key, given.value);
        } else if (given.op === 'delete') {
          cells.delete(given.key);
          model.delete(given.key);
        } else expect(cells.get(given.key)).toBe(model.get(given.key));
        expect(cells.has(given.key)).toBe(model.has(given.key));
        expect(cells.size).toBe(model.size);
      }
      expect(new Map(cells)).toEqual(model);
    }),
  );
});
