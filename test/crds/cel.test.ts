// Rules by themselves: what they see of a value, what an error in one means, and what they compare with.
import { expect, test } from 'vitest';
import { compile, holds, isTransition, toCel } from '../../crds/cel.ts';
import type { Structural } from '../../crds/definitions.ts';
import { changesBelow, rulesBelow } from '../../crds/rules.ts';

test('[E1] a rule that cannot be evaluated is broken, one that is no CEL does not compile', () => {
  expect(holds('self.size() > 1', 'ab')).toBe(true);
  expect(holds('self.missing == 1', {})).toBe(false);
  expect(holds("duration(self) > duration('1s')", 'soon')).toBe(false);
  expect(holds('self', 'text')).toBe(false);
  expect(() => compile('self ==')).toThrow();
});

test('[E2] a rule sees what is declared: ints, defaults and escaped names, no free-form fields', () => {
  const schema: Structural = {
    type: 'object',
    properties: {
      count: { type: 'integer', default: 3 },
      share: { type: 'number' },
      namespace: { type: 'string' },
      free: { 'x-kubernetes-preserve-unknown-fields': true },
      names: { type: 'object', additionalProperties: { type: 'integer' } },
      list: { type: 'array', items: { type: 'integer' } },
    },
  };
  const value = { share: 0.5, namespace: 'a', free: { x: 1 }, stray: 1, names: { 'a.b': 2 }, list: [1] };
  expect(toCel(schema, value)).toEqual({
    ...{ count: 3n, share: 0.5, __namespace__: 'a' },
    ...{ names: { 'a.b': 2n }, list: [1n] },
  });
  expect(toCel(schema, { count: 7 })).toEqual({ count: 7n });
  // The prototype of an object is nothing that was written.
  expect(holds('has(self.constructor)', toCel(schema, {}))).toBe(false);
});

test('a list is sorted if nothing in it is smaller than what is before it', () => {
  const isSorted = (list: unknown[]) => holds('self.isSorted()', toCel(sortable, list));
  const sortable: Structural = { type: 'array', items: { type: 'integer' } };
  expect([[], [1], [1, 1, 2], [2, 10], [2, 1], [1, 3, 2]].map(isSorted)).toEqual([
    ...[true, true, true, true],
    ...[false, false],
  ]);
});

const entry: Structural = {
  type: 'object',
  properties: { name: { type: 'string' }, size: { type: 'integer' } },
  'x-kubernetes-validations': [{ rule: 'self.size >= oldSelf.size', message: 'shrinks; let it grow' }],
};

test('[R2] entries of a list are compared with what they were by their keys, wherever they stand', () => {
  const schema: Structural = {
    type: 'array',
    items: entry,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['name'],
  };
  const before = [
    { name: 'a', size: 5 },
    { name: 'b', size: 1 },
  ];
  expect(changesBelow(schema, before, before.toReversed())).toEqual([]);
  expect(changesBelow(schema, before, [{ name: 'new', size: 0 }])).toEqual([]);
  expect(changesBelow(schema, before, [before[1], { name: 'a', size: 4 }])).toEqual([
    { path: [1], message: 'shrinks', cure: 'let it grow' },
  ]);
});

test('[R2] entries of other lists have no past, values of a map have', () => {
  const atomic: Structural = { type: 'array', items: entry, 'x-kubernetes-list-type': 'atomic' };
  expect(changesBelow(atomic, [{ name: 'a', size: 5 }], [{ name: 'a', size: 4 }])).toEqual([]);
  const map: Structural = { type: 'object', additionalProperties: entry };
  expect(changesBelow(map, { x: { size: 5 } }, { x: { size: 4 }, y: { size: 0 } })).toEqual([
    { path: ['x'], message: 'shrinks', cure: 'let it grow' },
  ]);
  // Without a past there is nothing to compare with.
  expect(rulesBelow(map, { x: { size: 4 } }, [])).toEqual([]);
  expect(isTransition('self.size >= oldSelf.size')).toBe(true);
  expect(isTransition("self != 'oldSelfish'")).toBe(false);
});
