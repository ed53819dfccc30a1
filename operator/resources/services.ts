// How the pods are reached: one Service for clients, one headless Service that gives every pod a name.
//   S1. Every port is called like its listener, on Services and on pods.
//   S2. Pods find each other before they are ready, so the headless Service lists all of them.
import type { V1Service, V1ServicePort } from '@kubernetes/client-node';
import type { ListenerName, ResolvedCluster } from './cluster.ts';
import { FIELD_PREFIX, metadataOf, selectorLabels } from './names.ts';
import type { Built, OwnedMetadata } from './objects.ts';

/** The label that tells the two Services apart: `client` or `pods`. */
export const SERVICE_KIND = `${FIELD_PREFIX}/service`;

/** What meshes and load balancers may know about a port. */
const APP_PROTOCOLS: Readonly<Record<ListenerName, string>> = { grpc: 'grpc', http: 'http', redis: 'redis' };

export function clientService(cluster: ResolvedCluster): Built<V1Service> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(cluster, cluster.names.service, 'client'),
    spec: { type: 'ClusterIP', selector: selectorLabels(cluster.name), ports: portsOf(cluster) },
  };
}

export function podService(cluster: ResolvedCluster): Built<V1Service> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(cluster, cluster.names.podService, 'pods'),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: selectorLabels(cluster.name),
      ports: portsOf(cluster),
    },
  };
}

function metadata(cluster: ResolvedCluster, name: string, kind: 'client' | 'pods'): OwnedMetadata {
  const common = metadataOf(cluster, name);
  return { ...common, labels: { ...common.labels, [SERVICE_KIND]: kind } };
}

function portsOf({ listeners, tls }: ResolvedCluster): V1ServicePort[] {
  return listeners.map(({ name, port }) => ({
    name,
    port,
    protocol: 'TCP',
    targetPort: name,
    appProtocol: name === 'http' && tls.mode !== 'Disabled' ? 'https' : APP_PROTOCOLS[name],
  }));
}

/** The name that clients resolve, in the whole Kubernetes cluster. */
export function serviceHost({ names, namespace, clusterDomain }: ResolvedCluster): string {
  return `${names.service}.${namespace}.svc.${clusterDomain}`;
}

/** Every DNS name under which the pods answer: for certificates, and for the check of the Host header. */
export function dnsNamesOf({ names, namespace, clusterDomain }: ResolvedCluster): string[] {
  const spellings = (host: string) => [
    `${host}.${namespace}`,
    `${host}.${namespace}.svc`,
    `${host}.${namespace}.svc.${clusterDomain}`,
  ];
  return [names.service, ...spellings(names.service), ...spellings(`*.${names.podService}`)];
}
