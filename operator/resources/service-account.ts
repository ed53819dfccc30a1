// The identity of the pods. It has no permission and its token is mounted nowhere: pods never speak to the
// API server.
import type { V1ServiceAccount } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf } from './names.ts';
import type { Built } from './objects.ts';

export function serviceAccount(cluster: ResolvedCluster): Built<V1ServiceAccount> {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadataOf(cluster, cluster.names.serviceAccount),
    automountServiceAccountToken: false,
  };
}
