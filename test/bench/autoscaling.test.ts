// The simulation of autoscaling: its arithmetic is that of the HPA and of KEDA, the law meets its aims in it,
// and a worse law does not.
import { describe, expect, test } from 'vitest';
import { misses } from '../../bench/autoscaling/aim.ts';
import { compare } from '../../bench/autoscaling/compare.ts';
import { DEFAULT_BEHAVIOR, Hpa, type Metric } from '../../bench/autoscaling/hpa.ts';
import { Keda } from '../../bench/autoscaling/keda.ts';
import { plot } from '../../bench/autoscaling/plot.ts';
import { markdown } from '../../bench/autoscaling/report.ts';
import { simulate } from '../../bench/autoscaling/run.ts';
import { loadHours, SHAPES, type Shape } from '../../bench/autoscaling/shapes.ts';
import { FLOWMESH } from '../../bench/autoscaling/triggers.ts';
import { LAW, type Law } from '../../dataplane/scaling/law.ts';

const average = (value: number, target: number): Metric => ({ type: 'average', value, target });
const ratio = (value: number, target: number): Metric => ({ type: 'value', value, target });

describe('the HPA', () => {
  const asked = (metrics: Metric[], replicas = 2, max = 20) =>
    new Hpa({ min: 2, max }, DEFAULT_BEHAVIOR).decide(0, { replicas, ready: replicas }, metrics);

  test('[H1] AverageValue: nothing within the tolerance, then value / target, whatever the replicas', () => {
    expect(asked([average(10_999, 5000)])).toBe(2);
    expect(asked([average(11_001, 5000)])).toBe(3);
    expect(asked([average(104_000, 5000)], 19)).toBe(19);
    expect(asked([average(105_000, 5000)], 19)).toBe(20);
  });

  test('Value multiplies those that are ready', () => {
    expect(asked([ratio(33, 30)])).toBe(2);
    expect(asked([ratio(45, 30)])).toBe(3);
    expect(asked([ratio(60, 30)], 6)).toBe(12);
  });

  test('of several metrics the largest, within the bounds', () => {
    expect(asked([average(15_000, 5000), average(5, 1)])).toBe(5);
    expect(asked([average(0, 1)])).toBe(2);
    expect(asked([average(4, 1)], 2, 3)).toBe(3);
  });

  test('[H2] up: to the double, or four more, in a quarter of a minute', () => {
    const hpa = new Hpa({ min: 2, max: 100 }, DEFAULT_BEHAVIOR);
    let replicas = 2;
    const grown = [0, 15, 30, 45].map((atS) => {
      replicas = hpa.decide(atS, { replicas, ready: 2 }, [average(90, 1)]);
      return replicas;
    });
    expect(grown).toEqual([6, 12, 24, 48]);
  });

  test('[H2] down: to the most that was recommended in five minutes', () => {
    const hpa = new Hpa({ min: 2, max: 20 }, DEFAULT_BEHAVIOR);
    let replicas = hpa.decide(0, { replicas: 10, ready: 10 }, [average(8, 1)]);
    expect(replicas).toBe(10);
    const at = new Map<number, number>();
    for (let atS = 15; atS <= 330; atS += 15) {
      replicas = hpa.decide(atS, { replicas, ready: replicas }, [average(3, 1)]);
      at.set(atS, replicas);
    }
    expect([at.get(15), at.get(285), at.get(300)]).toEqual([10, 10, 3]);
  });

  test('[H2] a policy of half in a minute counts what was taken in that minute', () => {
    const scaleDown = {
      ...DEFAULT_BEHAVIOR.scaleDown,
      stabilizationWindowSeconds: 0,
      policies: [{ type: 'Percent' as const, value: 50, periodSeconds: 60 }],
    };
    const hpa = new Hpa({ min: 1, max: 40 }, { ...DEFAULT_BEHAVIOR, scaleDown });
    let replicas = 40;
    const seen = [0, 15, 30, 45, 60, 75].map((atS) => {
      replicas = hpa.decide(atS, { replicas, ready: replicas }, [average(1, 1)]);
      return replicas;
    });
    expect(seen).toEqual([20, 20, 20, 20, 10, 10]);
  });
});

describe('KEDA', () => {
  test('[K1] leaves targets alone that always have workers', () => {
    expect(new Keda(1, false).decide(30, 1, false)).toBeUndefined();
  });

  test('the first at the next poll, or at once if the scaler tells', () => {
    const polled = new Keda(0, false);
    expect([polled.decide(29, 0, true), polled.decide(30, 0, true)]).toEqual([0, 1]);
    expect(new Keda(0, true).decide(29, 0, true)).toBe(1);
  });

  test('[K2] none after five minutes without activity', () => {
    const keda = new Keda(0, true);
    keda.decide(30, 5, true);
    expect([keda.decide(300, 5, false), keda.decide(330, 5, false)]).toEqual([undefined, 0]);
  });
});

/** A day in six hours, so that it is soon over. */
const quick = SHAPES.map(
  (shape): Shape =>
    shape.durationS > 7200
      ? { ...shape, durationS: shape.durationS / 4, rate: (atS) => shape.rate(atS * 4) }
      : shape,
);
const missed = (law?: Law, shapes = quick) =>
  shapes.flatMap((shape) => misses(compare(shape, { law, trials: [0.2, 0.02, 0.002] })));

describe('the law', () => {
  test('[R1] a run is the same each time', () => {
    const [step] = quick;
    if (step === undefined) throw new Error('there are shapes');
    expect(simulate(step, FLOWMESH)).toEqual(simulate(step, FLOWMESH));
    expect(simulate(step, FLOWMESH, { seed: 2 }).points).not.toEqual(simulate(step, FLOWMESH).points);
  });

  test('every job is done, and every shape has some', () => {
    for (const shape of quick) {
      const { points } = simulate(shape, FLOWMESH);
      expect(Math.max(...points.map(({ replicas }) => replicas))).toBeGreaterThan(shape.from);
      expect(points.at(-1)?.lag, shape.name).toBeLessThan(100);
      expect(loadHours(shape)).toBeGreaterThan(1);
    }
  });

  test('[A1] [A2] [A3] meets its aims on every shape', { timeout: 300_000 }, () => {
    expect(missed()).toEqual([]);
  });

  test.each<[string, Partial<Law>, string[], RegExp]>([
    ['no head room', { headRoom: 1 }, ['ramp'], /a slow change breaks/],
    ['no regard for what waits', { ageShare: 1e9, lagWindowMs: 1e12 }, ['slow', 'step'], /FlowMesh for/],
    ['half as many again to be safe', { headRoom: 1.5 }, ['ramp'], /worker-hours for a load of/],
  ])('with %s it does not', { timeout: 120_000 }, (_, worse, names, told) => {
    const shapes = quick.filter(({ name }) => names.includes(name));
    expect(missed({ ...LAW, ...worse }, shapes)).toContainEqual(expect.stringMatching(told));
  });
});

test('plots and tables hold what was run', () => {
  const [shape] = quick;
  if (shape === undefined) throw new Error('there are shapes');
  const result = compare(shape, { trials: [0.1], points: 60 });
  const svg = plot(shape, [{ name: 'a < b', kind: 'ours', outcome: result.ours }]);
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
  expect(svg).toContain('a &lt; b');
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  const text = markdown([result]).join('\n');
  expect(text).toContain(
    '| `step` | 10/s, from minute 10 to 40 100/s | 2 to 20, queue_lag > 1000, message_age > 30s |',
  );
  expect(text).toContain('![10/s, from minute 10 to 40 100/s](autoscaling/step.svg)');
});
