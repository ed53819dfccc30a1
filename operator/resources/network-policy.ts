// Who may speak to the pods, and to whom they may speak. Everything else is denied.
//   P1. In: pods of the same namespace, of namespaces that `allowedNamespaces` admits, and the operator;
//       each only to the ports of enabled listeners. KEDA's operator, wherever it is installed, comes to the
//       one port where it asks for the number of workers. Policies add up, so others (an ingress controller,
//       Prometheus) are let in by a policy of one's own.
//   P2. Out: names are resolved, pods reach each other, and the journal where it is elsewhere.
import type { V1NetworkPolicy, V1NetworkPolicyPeer } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf, selectorLabels } from './names.ts';
import type { Built, Wire } from './objects.ts';

type Peer = Wire<V1NetworkPolicyPeer>;

/** Set by every API server on every namespace. */
const NAMESPACE_NAME = 'kubernetes.io/metadata.name';
const OPERATOR_LABELS = { 'app.kubernetes.io/name': 'flowmesh', 'app.kubernetes.io/component': 'operator' };
/** As both KEDA's manifests and its chart have it. */
const KEDA: Peer = { namespaceSelector: {}, podSelector: { matchLabels: { app: 'keda-operator' } } };
/** 5353: where DNS pods listen that may not bind low ports. */
const DNS_PORTS = [53, 5353];
const NATS_PORT = 4222;

export function networkPolicy(cluster: ResolvedCluster): Built<V1NetworkPolicy> | undefined {
  if (!cluster.hasNetworkPolicy) return undefined;
  const own = { podSelector: { matchLabels: selectorLabels(cluster.name) } };
  const portsOf = (listeners: ResolvedCluster['listeners']) =>
    listeners.map(({ port }) => ({ port, protocol: 'TCP' }));
  const ports = portsOf(cluster.listeners);
  const grpc = portsOf(cluster.listeners.filter(({ name }) => name === 'grpc'));
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadataOf(cluster, cluster.names.networkPolicy),
    spec: {
      podSelector: own.podSelector,
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        { from: clientsOf(cluster), ports },
        { from: [KEDA], ports: grpc },
      ],
      egress: [
        { ports: DNS_PORTS.flatMap((port) => ['UDP', 'TCP'].map((protocol) => ({ port, protocol }))) },
        { to: [own], ports },
        ...journalOf(cluster),
      ],
    },
  };
}

function clientsOf({ allowedNamespaces, operatorNamespace }: ResolvedCluster): Peer[] {
  const operator: Peer = {
    namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: operatorNamespace } },
    podSelector: { matchLabels: OPERATOR_LABELS },
  };
  switch (allowedNamespaces.from) {
    case 'Same':
      return [{ podSelector: {} }, operator];
    case 'All':
      return [{ podSelector: {} }, operator, { namespaceSelector: {} }];
    case 'Selector':
      return [{ podSelector: {} }, operator, { namespaceSelector: allowedNamespaces.selector ?? {} }];
  }
}

function journalOf({ journal }: ResolvedCluster) {
  if (journal.engine === 'Embedded') return [];
  const port = URL.canParse(journal.url) ? Number(new URL(journal.url).port || NATS_PORT) : NATS_PORT;
  return [{ ports: [{ port, protocol: 'TCP' }] }];
}
