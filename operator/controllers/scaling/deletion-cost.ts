// Has the pods that are busy outlive those that are idle when a Deployment shrinks: it takes away first what
// costs least, and pods cost nothing unless somebody says so.
//   K1. Nothing is written before fewer are wanted than run; when that is near, it is looked at often, as
//       whoever scales may act a few seconds later.
//   K2. Busy is who was so at two looks in a row: what takes a moment is drained in time.
//   K3. At most BURST changes at once, then a few a minute for each workload; a cost that somebody else has
//       set stays.
import type { FlowError } from '@flowmesh/protocol';
import type { Writer } from '../../kube/apply.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import { TokenBucket } from '../../kube/token-bucket.ts';
import type { ScalingTarget } from '../../resources/scaling/target.ts';
import type { Advice } from './advice.ts';
import type { Scale } from './kinds.ts';
import { workloadKey } from './targets.ts';

export const COST = 'controller.kubernetes.io/pod-deletion-cost';
export const BUSY_COST = '100';

export const PODS: Resource = {
  ...{ group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true },
};

const BURST = 20;
const REFILL_MS = 6_000;

export interface DeletionCostParts {
  readonly writer: Pick<Writer, 'merge'>;
  readonly podsOf: (
    namespace: string,
    selector: string,
    signal: AbortSignal,
  ) => Promise<readonly KubeObject[]>;
  readonly monotonicMs: () => number;
}

export interface CostInput {
  readonly target: ScalingTarget;
  readonly scale: Scale | undefined;
  readonly advice: Advice | FlowError | undefined;
}

interface Memory {
  /** At the last look. */
  readonly busy: ReadonlySet<string>;
  readonly bucket: TokenBucket;
}

export class DeletionCosts {
  readonly #p: DeletionCostParts;
  readonly #memories = new Map<string, Memory>();

  constructor(parts: DeletionCostParts) {
    this.#p = parts;
  }

  /** Whether it has to be looked at again soon (K1). */
  async keep({ target, scale, advice }: CostInput, signal: AbortSignal): Promise<boolean> {
    const { workload, owner } = target;
    const key = workloadKey(owner.namespace, workload);
    const current = scale?.spec.replicas ?? 0;
    const isNear = advice !== undefined && 'workers' in advice && mayShrink(target, current, advice);
    if (!isNear || workload.kind !== 'Deployment') {
      this.#memories.delete(key);
      return false;
    }
    const nowMs = this.#p.monotonicMs();
    const before = this.#memories.get(key);
    const bucket = before?.bucket ?? new TokenBucket(BURST, REFILL_MS, nowMs);
    const busy = new Set(advice.workers.filter((each) => each.busy).map(({ name }) => name));
    this.#memories.set(key, { busy, bucket });
    const selector = scale?.status?.selector;
    if (advice.wanted >= current || before === undefined || !selector) return true;
    const pods = await this.#p.podsOf(owner.namespace, selector, signal);
    const stays = new Set([...busy].filter((name) => before.busy.has(name)));
    for (const { name, cost } of costsDue(pods, stays, busy)) {
      if (!bucket.take(nowMs)) break;
      const change = { metadata: { annotations: { [COST]: cost } } };
      await this.#p.writer.merge(PODS, { name, namespace: owner.namespace }, change, { signal });
    }
    return true;
  }
}

/** Fewer are wanted than run, or will be as soon as the advice has settled. */
function mayShrink({ from }: ScalingTarget, current: number, { wanted, lag, workers }: Advice): boolean {
  if (wanted < current) return true;
  return current > from && lag === 0 && workers.some(({ busy }) => !busy);
}

/** Who is busy first; null: none any more. A pod that is only just busy is left as it is. */
export function costsDue(
  pods: readonly KubeObject[],
  stays: ReadonlySet<string>,
  busy: ReadonlySet<string>,
): { readonly name: string; readonly cost: string | null }[] {
  const due = pods.flatMap(({ metadata }): { name: string; cost: string | null }[] => {
    const { name, annotations, deletionTimestamp } = metadata;
    const has = annotations?.[COST];
    if (deletionTimestamp !== undefined || (has !== undefined && has !== BUSY_COST)) return [];
    if (has === undefined && stays.has(name)) return [{ name, cost: BUSY_COST }];
    return has !== undefined && !busy.has(name) ? [{ name, cost: null }] : [];
  });
  return due.sort((a, b) => Number(a.cost === null) - Number(b.cost === null));
}
