// The APIService by which API servers find our external metrics.
//   R1. It is made only where nobody else has the group, and only while the chart wants it: the ClusterRole
//       that the chart makes for it is there, and takes it away with itself. A registration that outlives its
//       server would break discovery, and with it the deletion of namespaces.
//   R2. One of somebody else is never touched.
import { API_SERVICES, type ApiService, EXTERNAL_METRICS } from '../controllers/scaling/kinds.ts';
import { apiVersionOf, type KubeObject, type OwnerReference, type Resource } from '../kube/objects.ts';
import { decoded, encoded, isManaged, labelsOf, type Server } from '../serving/certificate.ts';
import type { Registration } from '../serving/keeper.ts';

export const GROUP = 'external.metrics.k8s.io';
export const VERSION = 'v1beta1';
export const CLUSTER_ROLES: Resource = {
  ...{ group: 'rbac.authorization.k8s.io', version: 'v1', plural: 'clusterroles', kind: 'ClusterRole' },
  namespaced: false,
};

/** Below those of metrics-server and of adapters that serve more than one group. */
const PRIORITY = 100;

/** `port` is that of the Service; `roleOf` reads the ClusterRole of that name. */
export function inApiService(
  server: Server,
  port: number,
  roleOf: (name: string, signal: AbortSignal) => Promise<KubeObject | undefined>,
): Registration<ApiService> {
  const { service } = server.place;
  return {
    resource: API_SERVICES,
    name: EXTERNAL_METRICS,
    async owner(_, signal) {
      const role = await roleOf(service, signal);
      return role && ownerOf(role);
    },
    wanted: (live, bundle, owner) => wantedOf(live, server, port, bundle, owner),
    trusted: (live) =>
      live !== undefined && isOurs(live, server) ? [decoded(live.spec?.caBundle) ?? ''] : [],
  };
}

const ownerOf = ({ metadata: { name, uid = '' } }: KubeObject): OwnerReference => ({
  ...{ apiVersion: apiVersionOf(CLUSTER_ROLES), kind: CLUSTER_ROLES.kind, name, uid },
});

/** By the Service that it names. */
export function isOurs(live: ApiService, { place }: Server): boolean {
  const { name, namespace } = live.spec?.service ?? {};
  return name === place.service && namespace === place.namespace;
}

function wantedOf(
  live: ApiService | undefined,
  server: Server,
  port: number,
  bundle: string,
  owner: OwnerReference | undefined,
): ApiService | undefined {
  // R1, R2.
  if (owner === undefined || (live !== undefined && !isOurs(live, server))) return undefined;
  const caBundle = encoded(bundle);
  const isOwned = live?.metadata.ownerReferences?.some(({ uid }) => uid === owner.uid);
  if (live !== undefined && isManaged(live) && isOwned && live.spec?.caBundle === caBundle) return undefined;
  const { service: name, namespace } = server.place;
  return {
    metadata: { name: EXTERNAL_METRICS, labels: labelsOf(server), ownerReferences: [owner] },
    spec: {
      ...{ group: GROUP, version: VERSION, groupPriorityMinimum: PRIORITY, versionPriority: PRIORITY },
      service: { name, namespace, port },
      caBundle,
    },
  };
}
