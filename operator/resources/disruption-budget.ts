// How many pods a node drain may take at a time. A budget for a single pod would only make drains hang, so
// there is none; pods that are broken anyway never hold one up.
import type { V1PodDisruptionBudget } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf, selectorLabels } from './names.ts';
import type { Built } from './objects.ts';

export function disruptionBudget(cluster: ResolvedCluster): Built<V1PodDisruptionBudget> | undefined {
  if (!cluster.hasDisruptionBudget || cluster.replicas <= 1) return undefined;
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(cluster, cluster.names.disruptionBudget),
    spec: {
      maxUnavailable: 1,
      selector: { matchLabels: selectorLabels(cluster.name) },
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    },
  };
}
