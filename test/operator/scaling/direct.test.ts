// How the operator sets replicas itself, over time.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nextReplicas, type Steps } from '../../../operator/controllers/scaling/direct.ts';
import { DOWN, UP } from '../../../operator/resources/scaling/behavior.ts';

const LOOK_MS = 5_000;

/** What runs after each look, from `current` on, while `wants` says what is wanted after so many seconds. */
function run(current: number, seconds: number, wants: (second: number) => number, from = 1, to = 1000) {
  let steps: Steps = [];
  const replicas: number[] = [];
  for (let nowMs = 0; nowMs <= seconds * 1000; nowMs += LOOK_MS) {
    const next = nextReplicas({ current, wanted: wants(nowMs / 1000), from, to, nowMs }, steps);
    [current, steps] = [next.replicas, next.steps];
    replicas.push(current);
  }
  return replicas;
}

const at = (replicas: readonly number[], second: number) => replicas[(second * 1000) / LOOK_MS];

describe('up', () => {
  test('at once, to ten times as many in a quarter of a minute', () => {
    const replicas = run(2, 15, () => 500);
    expect([0, 10, 15].map((second) => at(replicas, second))).toEqual([20, 20, 200]);
  });

  test('from none, as far as ten', () => expect(run(0, 0, () => 50, 0)).toEqual([10]));

  test('never beyond what may be', () => expect(Math.max(...run(2, 60, () => 1000, 1, 20))).toBe(20));
});

describe('down', () => {
  test('at once, at most to half in a minute', () => {
    const replicas = run(20, 120, () => 4);
    expect([0, 55, 60, 115, 120].map((second) => at(replicas, second))).toEqual([10, 10, 5, 5, 4]);
  });

  test('to none, where none is enough', () => expect(run(3, 180, () => 0, 0).at(-1)).toBe(0));

  test('never below what has to be', () => expect(Math.min(...run(9, 300, () => 0, 2))).toBe(2));
});

test('P1 whatever is wanted, steps keep within their periods', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(300), { minLength: 20, maxLength: 200 }),
      fc.integer({ min: 1, max: 300 }),
      (wants, start) => {
        const seen = run(
          start,
          (wants.length - 1) * (LOOK_MS / 1000),
          (second) => wants[(second * 1000) / LOOK_MS] ?? 0,
        );
        for (const [index, current] of seen.entries()) {
          const before = (seconds: number) => seen[index - (seconds * 1000) / LOOK_MS] ?? start;
          const last = seen[index - 1] ?? start;
          const most = Math.max(10 * before(UP.periodSeconds), before(UP.periodSeconds) + UP.pods);
          if (current > last) expect(current).toBeLessThanOrEqual(most);
          const least = Math.floor(before(DOWN.periodSeconds) / 2);
          if (current < last) expect(current).toBeGreaterThanOrEqual(least);
        }
      },
    ),
  );
});
