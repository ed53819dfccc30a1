// A cluster and its parts, as the tests of its decisions need them.
import type { FlowMeshClusterSpec } from '../../../crds/types.ts';
import type {
  Claim,
  FlowMeshCluster,
  Pod,
  StatefulSet,
} from '../../../operator/controllers/cluster/kinds.ts';
import type { KubeObject } from '../../../operator/kube/objects.ts';
import { ownerOf, selectorLabels } from '../../../operator/resources/names.ts';
import { DEFAULTS } from '../render-cases.ts';

export const NOW = Date.parse('2026-06-01T00:00:00Z');
export const DAY = 86_400_000;

export function aCluster(
  spec: FlowMeshClusterSpec = {},
  metadata: Partial<KubeObject['metadata']> = {},
): FlowMeshCluster {
  return { metadata: { name: 'main', namespace: 'shop', uid: 'u1', generation: 3, ...metadata }, spec };
}

const owner = ownerOf({ name: 'main', namespace: 'shop', uid: 'u1' });

export function aPod(
  ordinal: number,
  o: { revision?: string; ready?: boolean; leaving?: boolean; image?: string } = {},
): Pod {
  const { revision = 'new', ready = true, leaving = false, image = DEFAULTS.image } = o;
  return {
    metadata: {
      name: `main-flowmesh-${ordinal}`,
      namespace: 'shop',
      uid: `p${ordinal}`,
      creationTimestamp: '2026-05-01T00:00:00Z',
      labels: { ...selectorLabels('main'), 'controller-revision-hash': revision },
      ...(leaving && { deletionTimestamp: '2026-06-01T00:00:00Z' }),
    },
    spec: { containers: [{ name: 'flowmesh', image }] },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      containerStatuses: [
        {
          name: 'flowmesh',
          ready,
          started: true,
          image,
          imageID: '',
          restartCount: 0,
          state: { running: {} },
        },
      ],
    },
  };
}

export function aSet(
  size = '20Gi',
  o: { settled?: boolean; image?: string; leaving?: boolean } = {},
): StatefulSet {
  const { settled = true, image = DEFAULTS.image, leaving = false } = o;
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: {
      name: 'main-flowmesh',
      namespace: 'shop',
      generation: 2,
      ownerReferences: [owner] as never,
      ...(leaving && { deletionTimestamp: '2026-06-01T00:00:00Z' }),
    },
    spec: {
      selector: {},
      serviceName: 'main-flowmesh-pods',
      template: { spec: { containers: [{ name: 'flowmesh', image }] } },
      volumeClaimTemplates: [
        { metadata: { name: 'data' }, spec: { resources: { requests: { storage: size } } } },
      ],
    },
    status: { replicas: 1, observedGeneration: settled ? 2 : 1, updateRevision: 'new' },
  };
}

export const aClaim = (request = '20Gi', capacity = request, conditions: object[] = []): Claim => ({
  metadata: { name: 'data-main-flowmesh-0', namespace: 'shop', labels: selectorLabels('main') },
  spec: { storageClassName: 'fast', resources: { requests: { storage: request } } },
  status: { capacity: { storage: capacity }, conditions: conditions as never },
});
