// What KEDA is told: which workload, between which numbers, and whom to ask.
//   S1. Two triggers, `lag` and `demand`: where the demand is late or unknown, the lag still adds workers.
//   S2. From zero, `demand` is pushed, so that the first job does not wait for the next poll.
//   S3. While nobody answers, the number stays: the fallback is what runs, and at least one, as KEDA takes a
//       fallback of none for leave to scale to none.
import { lagTargetOf } from '../../../crds/lag-trigger.ts';
import type { ResolvedCluster } from '../cluster.ts';
import type { KubernetesObject } from '../objects.ts';
import { serviceHost } from '../services.ts';
import { behavior } from './behavior.ts';
import { accessName, KEDA_API } from './scaler-access.ts';
import { type ScalingTarget, scalerMetadata } from './target.ts';

export interface ScaledObjectSpec {
  readonly scaleTargetRef: { readonly apiVersion: string; readonly kind: string; readonly name: string };
  readonly [field: string]: unknown;
}

/** From the last job to nobody: KEDA asks for activity, which has not settled as the advice has. */
const COOLDOWN_SECONDS = 300;
const POLL_SECONDS = 15;
const FAILURES = 3;

export function scaledObject(
  target: ScalingTarget,
  cluster: ResolvedCluster,
): KubernetesObject & { spec: ScaledObjectSpec } {
  const { workload, from, to } = target;
  const metrics = lagTargetOf(target) > 0 ? ['lag', 'demand'] : ['demand'];
  return {
    apiVersion: KEDA_API,
    kind: 'ScaledObject',
    metadata: scalerMetadata(target),
    spec: {
      scaleTargetRef: { ...workload },
      minReplicaCount: from,
      maxReplicaCount: to,
      pollingInterval: POLL_SECONDS,
      cooldownPeriod: COOLDOWN_SECONDS,
      fallback: {
        ...{ failureThreshold: FAILURES, replicas: Math.max(from, 1), behavior: 'currentReplicasIfHigher' },
      },
      advanced: { horizontalPodAutoscalerConfig: { behavior: behavior() } },
      triggers: metrics.map((metric) => trigger(target, cluster, metric)),
    },
  };
}

function trigger({ subject, owner, from }: ScalingTarget, cluster: ResolvedCluster, metric: string) {
  const port = cluster.listeners.find(({ name }) => name === 'grpc')?.port;
  return {
    type: metric === 'demand' && from === 0 ? 'external-push' : 'external',
    name: metric,
    metricType: 'AverageValue',
    authenticationRef: { name: accessName(cluster, owner.namespace) },
    metadata: {
      scalerAddress: `${serviceHost(cluster)}:${port}`,
      enableTLS: 'true',
      ...subject,
      metric,
    },
  };
}
