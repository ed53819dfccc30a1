// The pods and their volumes.
//   W1. Pods are replaced by the operator, one at a time and when the data allows it, never by Kubernetes:
//       `OnDelete`.
//   W2. What Kubernetes refuses to change (claims, selector, service name, start order) depends on the name
//       of the cluster and on the volume it was created with; volumes grow by another path (volumes.ts).
//   W3. Volumes outlive pods, scaling to 0 and the StatefulSet itself.
import type { V1PodTemplateSpec, V1StatefulSet } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf, selectorLabels } from './names.ts';
import type { Built, Wire } from './objects.ts';
import { DATA_VOLUME } from './pod.ts';

export interface ClaimTemplate {
  readonly size: string;
  readonly storageClassName: string | undefined;
}

/** `claim`: what the StatefulSet that exists was created with; unset: there is none yet. */
export function statefulSet(
  cluster: ResolvedCluster,
  template: Wire<V1PodTemplateSpec>,
  claim: ClaimTemplate = cluster.storage,
): Built<V1StatefulSet> {
  const { names, name, replicas } = cluster;
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadataOf(cluster, names.statefulSet),
    spec: {
      replicas,
      serviceName: names.podService,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      revisionHistoryLimit: 5,
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      selector: { matchLabels: selectorLabels(name) },
      template,
      volumeClaimTemplates: [
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { name: DATA_VOLUME, labels: selectorLabels(name) },
          spec: {
            accessModes: ['ReadWriteOnce'],
            ...(claim.storageClassName === undefined ? {} : { storageClassName: claim.storageClassName }),
            resources: { requests: { storage: claim.size } },
          },
        },
      ],
    },
  };
}
