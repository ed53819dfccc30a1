// The ways to scale that are compared: which metrics the HPA sees, and how it is told to behave.
import { lagTargetOf } from '../../crds/lag-trigger.ts';
import type { Advice, Signals } from '../../dataplane/scaling/signals.ts';
import { behavior } from '../../operator/resources/scaling/behavior.ts';
import { type Behavior, DEFAULT_BEHAVIOR, type Metric, type Rules, TOLERANCE } from './hpa.ts';
import type { Shape } from './shapes.ts';

/** What a scaler can know. */
export interface View {
  readonly lag: number;
  readonly ageS: number;
  readonly signals: Signals;
  readonly advice: Advice;
}

export interface Trigger {
  readonly name: string;
  readonly metrics: (view: View, shape: Shape) => Metric[];
  readonly behavior: Behavior;
  /** Whether there is something to do, for none <-> one. */
  readonly isActive: (view: View) => boolean;
  /** Tells of that at once, instead of at the next poll. */
  readonly isPushed: boolean;
  readonly hasDeletionCost: boolean;
}

const lag = ({ lag: value }: View, { lagMax, from }: Shape): Metric => ({
  ...{ type: 'average', value },
  target: lagTargetOf({ lagMax, from }),
});
const averageAge = ({ ageS: value }: View, { ageMaxS, from }: Shape): Metric => ({
  ...{ type: 'average', value },
  target: ageMaxS / Math.max(from, 1),
});
const ageValue = ({ ageS: value }: View, { ageMaxS: target }: Shape): Metric => ({
  type: 'value',
  value,
  target,
});

const plain = (name: string, ...each: ((view: View, shape: Shape) => Metric)[]): Trigger => ({
  name,
  metrics: (view, shape) => each.map((metric) => metric(view, shape)),
  behavior: DEFAULT_BEHAVIOR,
  isActive: (view) => view.lag > 0,
  isPushed: false,
  hasDeletionCost: false,
});

export const PLAIN: readonly Trigger[] = [
  plain('lag', lag),
  plain('age (AverageValue)', averageAge),
  plain('age (Value)', ageValue),
  plain('lag + age (AverageValue)', lag, averageAge),
  plain('lag + age (Value)', lag, ageValue),
];

/** What the operator writes, to the letter; the tolerance is that of the cluster. */
function emitted(): Behavior {
  const { scaleUp, scaleDown } = behavior();
  const rules = (side: typeof scaleUp) => ({ ...side, tolerance: TOLERANCE }) as unknown as Rules;
  return { scaleUp: rules(scaleUp), scaleDown: rules(scaleDown) };
}

export const FLOWMESH: Trigger = {
  name: 'FlowMesh',
  metrics: (view, shape) => [
    lag({ ...view, lag: view.signals.lag }, shape),
    { type: 'average', value: view.advice.wanted, target: 1 },
  ],
  isActive: ({ advice }) => advice.active,
  behavior: emitted(),
  isPushed: true,
  hasDeletionCost: true,
};

/** Lag with a target that somebody has found by trying: so many jobs for each worker. */
export const tuned = (target: number): Trigger =>
  plain('lag, tuned', ({ lag: value }) => ({ type: 'average', value, target }));

/** Shares of the target that the threshold gives, to try. */
export const TRIALS: readonly number[] = [0.4, 0.2, 0.1, 0.04, 0.02, 0.01, 0.002];
