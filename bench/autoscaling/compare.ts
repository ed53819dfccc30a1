// All triggers over one shape. Targets of lag are tried as somebody would who has the load to try them on.

import { lagTargetOf } from '../../crds/lag-trigger.ts';
import type { Law } from '../../dataplane/scaling/law.ts';
import type { Compared } from './aim.ts';
import { mean, type Outcome, simulate } from './run.ts';
import type { Shape } from './shapes.ts';
import { FLOWMESH, PLAIN, TRIALS, type Trigger, tuned } from './triggers.ts';

export interface CompareOptions {
  readonly seeds?: readonly number[];
  readonly law?: Law;
  readonly trials?: readonly number[];
  /** How many points a run is told in. */
  readonly points?: number;
}

export function compare(shape: Shape, options: CompareOptions = {}): Compared & { tuned: Outcome } {
  const { seeds = [1], law, trials = TRIALS, points = 240 } = options;
  const everyS = Math.max(1, Math.round(shape.durationS / points));
  const run = (trigger: Trigger) =>
    mean(seeds.map((seed) => simulate(shape, trigger, { law, seed, everyS })));
  const target = lagTargetOf(shape);
  const others = trials.map((share) => run(tuned(target * share)));
  // Fewest seconds over; of those about as good, the cheapest.
  const least = Math.min(...others.map(({ overS }) => overS));
  const good = others.filter(({ overS }) => overS <= least + shape.durationS * 0.001);
  const [best] = good.sort((a, b) => a.workerHours - b.workerHours);
  if (best === undefined) throw new Error('no target was tried');
  return { shape, ours: run(FLOWMESH), plain: PLAIN.map(run), others, tuned: best };
}
