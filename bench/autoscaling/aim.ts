// What the law is held to, over all shapes. One line for each miss.
//   A1. No plain trigger breaks the conditions for fewer seconds.
//   A2. At most a tenth more worker-hours than the cheapest that keeps the conditions as well, tuned by hand
//       or not.
//   A3. A load that changes slowly breaks no condition at all, for a quarter more than it takes at least.
import type { Outcome } from './run.ts';
import { loadHours, type Shape } from './shapes.ts';

/** Of one shape: ours, the plain ones, and all that may be the cheapest. */
export interface Compared {
  readonly shape: Shape;
  readonly ours: Outcome;
  readonly plain: readonly Outcome[];
  readonly others: readonly Outcome[];
}

/** Of the time: what counts as keeping the conditions. */
const HELD_SHARE = 0.01;
const COST_MAX = 1.1;
const GRADUAL_COST_MAX = 1.25;

export function misses({ shape, ours, plain, others }: Compared): string[] {
  const found: string[] = [];
  const say = (what: string) => found.push(`${shape.name}: ${what}`);
  for (const { trigger, overS } of plain)
    if (overS < ours.overS)
      say(`${trigger} breaks the conditions for ${overS} s, FlowMesh for ${ours.overS} s`);
  const heldS = Math.max(ours.overS, shape.durationS * HELD_SHARE);
  const holders = [...plain, ...others].filter(({ overS }) => overS <= heldS);
  const cheapest = holders.reduce<Outcome | undefined>(
    (best, each) => (best === undefined || each.workerHours < best.workerHours ? each : best),
    undefined,
  );
  if (cheapest !== undefined && ours.workerHours > cheapest.workerHours * COST_MAX) {
    const [cost, lower] = [ours, cheapest].map(({ workerHours }) => workerHours.toFixed(1));
    say(`${cost} worker-hours, ${cheapest.trigger} keeps the conditions with ${lower}`);
  }
  if (shape.isGradual !== true) return found;
  if (ours.overS > 0) say(`a slow change breaks the conditions for ${ours.overS} s`);
  const least = loadHours(shape);
  if (ours.workerHours > least * GRADUAL_COST_MAX)
    say(`${ours.workerHours.toFixed(1)} worker-hours for a load of ${least.toFixed(1)}`);
  return found;
}
