// The arithmetic of the HorizontalPodAutoscaler, version 2, for external metrics: what each metric proposes,
// and what stabilisation windows, policies and bounds make of the largest proposal.
//   H1. A proposal within the tolerance of what is there changes nothing.
//   H2. Stabilisation compares with recommendations of its window; policies with what was changed in theirs.
// After kubernetes/kubernetes pkg/controller/podautoscaler (replica_calculator.go, horizontal.go).

export type Metric =
  /** `AverageValue`: the value is divided by the target, whatever the number of replicas. */
  | { readonly type: 'average'; readonly value: number; readonly target: number }
  /** `Value`: replicas that are ready are multiplied by value / target. */
  | { readonly type: 'value'; readonly value: number; readonly target: number };

export interface Policy {
  readonly type: 'Percent' | 'Pods';
  readonly value: number;
  readonly periodSeconds: number;
}

export interface Rules {
  readonly stabilizationWindowSeconds: number;
  readonly policies: readonly Policy[];
  readonly selectPolicy: 'Max' | 'Min';
  readonly tolerance: number;
}

export interface Behavior {
  readonly scaleUp: Rules;
  readonly scaleDown: Rules;
}

export const TOLERANCE = 0.1;

/** Where `behavior` says nothing. */
export const DEFAULT_BEHAVIOR: Behavior = {
  scaleUp: {
    stabilizationWindowSeconds: 0,
    policies: [
      { type: 'Percent', value: 100, periodSeconds: 15 },
      { type: 'Pods', value: 4, periodSeconds: 15 },
    ],
    selectPolicy: 'Max',
    tolerance: TOLERANCE,
  },
  scaleDown: {
    stabilizationWindowSeconds: 300,
    policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
    selectPolicy: 'Max',
    tolerance: TOLERANCE,
  },
};

interface Sample {
  readonly atS: number;
  readonly replicas: number;
}

interface Pods {
  readonly replicas: number;
  readonly ready: number;
}

export class Hpa {
  readonly #bounds: { readonly min: number; readonly max: number };
  readonly #behavior: Behavior;
  #recommended: Sample[] = [];
  #changes: { readonly atS: number; readonly by: number }[] = [];

  constructor(bounds: { min: number; max: number }, behavior: Behavior) {
    this.#bounds = bounds;
    this.#behavior = behavior;
  }

  /** The replicas from now on. Not asked where there are none: KEDA makes the first. */
  decide(atS: number, pods: Pods, metrics: readonly Metric[]): number {
    const { min, max } = this.#bounds;
    const proposal = Math.max(...metrics.map((metric) => this.#proposal(metric, pods)));
    const stable = this.#stabilized(atS, pods.replicas, Math.max(min, proposal));
    const next = Math.min(max, Math.max(min, this.#limited(atS, pods.replicas, stable)));
    if (next !== pods.replicas) this.#changes.push({ atS, by: next - pods.replicas });
    return next;
  }

  #proposal({ type, value, target }: Metric, { replicas, ready }: Pods): number {
    const ratio = type === 'average' ? value / (target * replicas) : value / target;
    const { scaleUp, scaleDown } = this.#behavior;
    if (ratio <= 1 + scaleUp.tolerance && ratio >= 1 - scaleDown.tolerance) return replicas; // H1
    return type === 'average' ? Math.ceil(value / target) : Math.ceil(ratio * ready);
  }

  #stabilized(atS: number, current: number, proposal: number): number {
    const { scaleUp, scaleDown } = this.#behavior;
    const [up, down] = [scaleUp.stabilizationWindowSeconds, scaleDown.stabilizationWindowSeconds];
    // What is there when it begins counts as recommended.
    if (this.#recommended.length === 0) this.#recommended.push({ atS, replicas: current });
    this.#recommended = this.#recommended.filter((each) => atS - each.atS <= Math.max(up, down));
    let [floor, ceiling] = [proposal, proposal];
    for (const { atS: thenS, replicas } of this.#recommended) {
      if (atS - thenS < up) floor = Math.min(floor, replicas);
      if (atS - thenS < down) ceiling = Math.max(ceiling, replicas);
    }
    this.#recommended.push({ atS, replicas: proposal });
    return Math.min(Math.max(current, floor), ceiling);
  }

  #limited(atS: number, current: number, wanted: number): number {
    if (wanted === current) return current;
    const isUp = wanted > current;
    const { policies, selectPolicy } = isUp ? this.#behavior.scaleUp : this.#behavior.scaleDown;
    const limits = policies.map(({ type, value, periodSeconds }) => {
      const changed = this.#changes
        .filter(({ atS: thenS }) => atS - thenS < periodSeconds)
        .reduce((sum, { by }) => sum + by, 0);
      const start = current - changed;
      if (type === 'Pods') return isUp ? start + value : start - value;
      return isUp ? Math.ceil(start * (1 + value / 100)) : Math.floor(start * (1 - value / 100));
    });
    // The policy of the largest change, or of the smallest.
    const isFar = (selectPolicy === 'Max') === isUp;
    const limit = isFar ? Math.max(...limits) : Math.min(...limits);
    return isUp ? Math.max(current, Math.min(wanted, limit)) : Math.min(current, Math.max(wanted, limit));
  }
}
