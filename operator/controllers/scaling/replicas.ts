// Sets the replicas of workloads with mode Direct, by what is wanted and the policy of direct.ts.
//   R1. While it is not known how many are wanted, the number stays.
//   R2. What the policy remembers is of this process: a new leader may take one step more.
import { FlowError } from '@flowmesh/protocol';
import type { Writer } from '../../kube/apply.ts';
import type { Recorder } from '../../kube/events.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import type { ScalingTarget } from '../../resources/scaling/target.ts';
import type { Advice } from './advice.ts';
import { workloadText } from './decide.ts';
import { nextReplicas, type Steps } from './direct.ts';
import { type Scale, WORKLOADS } from './kinds.ts';
import type { ScalingVerdict } from './report.ts';
import { workloadKey } from './targets.ts';

export interface ReplicasParts {
  readonly writer: Pick<Writer, 'merge'>;
  readonly recorder: Recorder<'Scaled'>;
  readonly monotonicMs: () => number;
}

export interface ReplicasInput {
  readonly target: ScalingTarget;
  readonly scale: Scale | undefined;
  readonly advice: Advice | FlowError | undefined;
  /** Whose events tell of it. */
  readonly about: { readonly resource: Resource; readonly object: KubeObject };
}

export class Replicas {
  readonly #p: ReplicasParts;
  readonly #steps = new Map<string, Steps>();

  constructor(parts: ReplicasParts) {
    this.#p = parts;
  }

  /** What keeps it from being set; undefined: nothing. */
  async set(
    { target, scale, advice, about }: ReplicasInput,
    signal: AbortSignal,
  ): Promise<ScalingVerdict | undefined> {
    const { workload, owner, from, to } = target;
    const resource = WORKLOADS[`${workload.apiVersion} ${workload.kind}`];
    if (resource === undefined || scale === undefined) return undefined;
    // R1.
    if (advice === undefined || advice instanceof FlowError) {
      const why = advice === undefined ? '' : ` (${advice.code})`;
      const message = `the number stays as it is: how many are wanted is not known${why}`;
      return { status: 'Unknown', reason: 'AdviceUnknown', message };
    }
    const nowMs = this.#p.monotonicMs();
    const key = workloadKey(owner.namespace, workload);
    const current = scale.spec.replicas ?? 0;
    const input = { current, wanted: advice.wanted, from, to, nowMs };
    const { replicas, steps } = nextReplicas(input, this.#steps.get(key) ?? []);
    if (replicas !== current) {
      const at = { name: workload.name, namespace: owner.namespace };
      await this.#p.writer.merge(resource, at, { spec: { replicas } }, { signal, subresource: 'scale' });
      const note = `${workloadText(target)} from ${current} to ${replicas}: ${advice.why}`;
      this.#p.recorder.record(about.resource, about.object, {
        ...{ type: 'Normal', reason: 'Scaled', action: 'Scale', note },
      });
    }
    if (steps.length === 0) this.#steps.delete(key);
    else this.#steps.set(key, steps);
    return undefined;
  }
}
