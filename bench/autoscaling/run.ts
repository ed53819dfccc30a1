// One closed loop, a second at a time: arrivals, workers, signals, the law, KEDA, the HPA, pods.
//   R1. No clock and no chance but the seed: a run is the same each time.

import { LAW, type Law } from '../../dataplane/scaling/law.ts';
import type { Reason } from '../../dataplane/scaling/signals.ts';
import { FRESH, workersWanted } from '../../dataplane/scaling/wanted.ts';
import { seeded } from '../../test/support/seeded.ts';
import { Hpa } from './hpa.ts';
import { Keda } from './keda.ts';
import { Pods } from './pods.ts';
import type { Shape } from './shapes.ts';
import { Target } from './target.ts';
import type { Trigger } from './triggers.ts';

/** Of several runs, with the points of the first. */
export function mean(outcomes: readonly Outcome[]): Outcome {
  const [first] = outcomes;
  if (first === undefined) throw new Error('nothing was run');
  const of = (figure: (outcome: Outcome) => number) =>
    outcomes.reduce((sum, each) => sum + figure(each), 0) / outcomes.length;
  return {
    ...first,
    overS: Math.round(of(({ overS }) => overS)),
    overAgeS: Math.round(of(({ overAgeS }) => overAgeS)),
    workerHours: of(({ workerHours }) => workerHours),
    changes: Math.round(of(({ changes }) => changes)),
  };
}

/** `--horizontal-pod-autoscaler-sync-period`, as it is unless somebody sets it. */
const SYNC_S = 15;

export interface Point {
  readonly atS: number;
  readonly rate: number;
  readonly lag: number;
  readonly ageS: number;
  readonly replicas: number;
  readonly reason: Reason;
}

export interface Outcome {
  readonly shape: string;
  readonly trigger: string;
  /** Seconds in which the lag or the age was over its threshold; only the age. */
  readonly overS: number;
  readonly overAgeS: number;
  readonly workerHours: number;
  /** How often the number of replicas was changed. */
  readonly changes: number;
  readonly points: readonly Point[];
}

export interface RunOptions {
  readonly law?: Law;
  readonly seed?: number;
  /** Between two points. */
  readonly everyS?: number;
}

export function simulate(shape: Shape, trigger: Trigger, options: RunOptions = {}): Outcome {
  const { law = LAW, seed = 1, everyS = 15 } = options;
  const { from, to, lagMax, ageMaxS, partitions, podStartS } = shape;
  const target = new Target(shape, seeded(seed));
  const pods = new Pods(from, podStartS, trigger.hasDeletionCost);
  const hpa = new Hpa(
    { min: Math.max(from, 1), max: partitions > 0 ? Math.min(to, partitions) : to },
    trigger.behavior,
  );
  const keda = new Keda(from, trigger.isPushed);
  const policy = { from, to, lagMax, ageMaxMs: ageMaxS * 1000, processingMaxMs: 0, throughputMin: 0 };
  let memory = FRESH;
  let [overS, overAgeS] = [0, 0];
  const points: Point[] = [];
  for (let atS = 1; atS <= shape.durationS; atS++) {
    const signals = target.advance(atS, pods.working(atS));
    const decided = workersWanted(signals, policy, memory, law);
    memory = decided.memory;
    const ageS = target.movingAgeS(atS);
    if (ageS > ageMaxS) overAgeS++;
    if (ageS > ageMaxS || target.movingLag > lagMax) overS++;
    const view = { lag: target.lag, ageS: target.ageS(atS), signals, advice: decided.advice };
    const { replicas } = pods;
    const byKeda = keda.decide(atS, replicas, trigger.isActive(view));
    if (byKeda !== undefined) pods.scale(atS, byKeda);
    else if (replicas > 0 && atS % SYNC_S === 0) {
      const ready = pods.working(atS).length;
      pods.scale(atS, hpa.decide(atS, { replicas, ready }, trigger.metrics(view, shape)));
    }
    pods.count(atS);
    const { reason } = decided.advice;
    const lag = target.movingLag;
    if (atS % everyS === 0)
      points.push({ atS, rate: shape.rate(atS), lag, ageS, replicas: pods.replicas, reason });
  }
  return {
    ...{ shape: shape.name, trigger: trigger.name, overS, overAgeS },
    ...{ workerHours: pods.podSeconds / 3600, changes: pods.changes, points },
  };
}
