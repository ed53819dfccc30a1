// What counts as a difference between what is wanted and what is there.
import { expect, test } from 'vitest';
import { nextConditions } from '../../../operator/kube/conditions.ts';
import { fingerprint, project } from '../../../operator/kube/shapes.ts';

const same = (live: unknown, wanted: unknown) => fingerprint(project(live, wanted)) === fingerprint(wanted);

test('[P1] fields and entries of others are no difference; missing and changed ones are', () => {
  const wanted = {
    a: 1,
    list: [
      { name: 'x', v: 1 },
      { name: 'y', v: 2 },
    ],
    plain: ['p', 'q'],
  };
  const live = {
    status: {},
    a: 1,
    list: [{ name: 'injected' }, { name: 'y', v: 2, defaulted: true }, { name: 'x', v: 1 }],
    plain: ['p', 'q'],
  };
  expect(same(live, wanted)).toBe(true);
  expect(same({ ...live, a: 2 }, wanted)).toBe(false);
  expect(same({ ...live, list: live.list.slice(0, 2) }, wanted)).toBe(false);
  expect(same({ ...live, list: [...live.list.slice(0, 2), { name: 'x', v: 9 }] }, wanted)).toBe(false);
  expect(same({ ...live, plain: ['q', 'p'] }, wanted)).toBe(false);
  expect(same({ ...live, plain: ['p', 'q', 'r'] }, wanted)).toBe(false);
  expect(same(undefined, wanted)).toBe(false);
  expect(same(null, wanted)).toBe(false);
});

test('[P1] what the server drops because it is empty is not missing', () => {
  expect(fingerprint(project({ a: 1 }, { a: 1, limits: {}, args: [] }))).toBe(fingerprint({ a: 1 }));
});

test('[P2] the order of fields does not matter, undefined ones are not there', () => {
  expect(fingerprint({ a: 1, b: { c: 2, d: 3 } })).toBe(
    fingerprint({ b: { d: 3, c: 2, e: undefined }, a: 1 }),
  );
  expect(fingerprint({ a: [1, 2] })).not.toBe(fingerprint({ a: [2, 1] }));
});

test('[N1] [N2] conditions: the time moves only with the status, and forgotten types go', () => {
  const ready = { type: 'Ready', status: 'True' as const, reason: 'A', message: 'one' };
  const first = nextConditions(undefined, [ready], 0);
  const second = nextConditions(first, [{ ...ready, message: 'two', observedGeneration: 2 }], 60_000);
  expect(second).toEqual([
    { ...ready, message: 'two', observedGeneration: 2, lastTransitionTime: '1970-01-01T00:00:00Z' },
  ]);
  const third = nextConditions(
    second,
    [
      { ...ready, status: 'False' },
      { ...ready, type: 'Synced' },
    ],
    120_000,
  );
  expect(third.map(({ type, lastTransitionTime }) => [type, lastTransitionTime])).toEqual([
    ['Ready', '1970-01-01T00:02:00Z'],
    ['Synced', '1970-01-01T00:02:00Z'],
  ]);
  expect(nextConditions(third, [ready], 0)).toHaveLength(1);
});
