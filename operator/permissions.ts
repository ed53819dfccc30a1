// Everything that the operator may ask of the API server, and why. The chart's roles, install.yaml and
// docs/reference/operator-permissions.md are generated from this table.
//   Q1. No `*`; a verb is here because some code sends it, with the reason beside it.
//   Q2. Secrets only in namespaces that the operator was told to look after, never by a role for all of them
//       unless the chart was asked for it (`allNamespaces`).
//   Q3. What takes a finalizer away is granted in the whole cluster: a namespace that is deleted loses its
//       roles before its objects, and would stay Terminating for good.

export interface Permission {
  readonly group: string;
  readonly resources: readonly string[];
  readonly verbs: readonly Verb[];
  readonly scope: Scope;
  readonly why: string;
  /** Only these objects; OPERATOR stands for what the chart calls the operator. */
  readonly names?: readonly string[];
  /** Only with this value of the chart. */
  readonly when?: 'webhook.enabled' | 'metricsApi.enabled';
}

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';
/** `watched`: namespaces looked after. `own`: where the operator runs. `cluster`: what has no namespace. */
export type Scope = 'watched' | 'own' | 'cluster';

const watch = ['list', 'watch'] as const;
const read = ['get', ...watch] as const;
/** A server-side apply needs `create` for what is not there. */
const apply = [...read, 'create', 'patch'] as const;

export const PERMISSIONS: readonly Permission[] = [
  {
    group: 'flowmesh.io',
    resources: ['flowmeshclusters'],
    verbs: watch,
    scope: 'watched',
    why: 'what is declared',
  },
  {
    group: 'flowmesh.io',
    resources: ['flowmeshclusters/status', 'queues/status', 'schemas/status', 'streams/status'],
    verbs: ['patch'],
    scope: 'watched',
    why: 'conditions and figures',
  },
  {
    group: 'flowmesh.io',
    resources: ['flowmeshclusters/finalizers'],
    verbs: ['update'],
    scope: 'watched',
    why: 'owner references that block deletion, where the API server checks who sets them',
  },
  {
    group: '',
    resources: ['configmaps', 'serviceaccounts', 'services'],
    verbs: apply,
    scope: 'watched',
    why: 'made for each cluster; deleted with it by garbage collection',
  },
  {
    group: '',
    resources: ['secrets'],
    verbs: apply,
    scope: 'watched',
    why: 'token, certificates and binding of each cluster',
  },
  {
    group: '',
    resources: ['pods'],
    verbs: [...watch, 'delete', 'patch'],
    scope: 'watched',
    why: 'their state; delete restarts one when it is safe, patch says which workers are to be kept',
  },
  {
    group: '',
    resources: ['persistentvolumeclaims'],
    verbs: [...watch, 'patch'],
    scope: 'watched',
    why: 'growing volumes, and handing them to the cluster with deletionPolicy Delete; never deleted here',
  },
  {
    group: 'apps',
    resources: ['statefulsets'],
    verbs: [...apply, 'delete'],
    scope: 'watched',
    why: 'the pods; delete (leaving the pods) when volumes have grown',
  },
  {
    group: 'networking.k8s.io',
    resources: ['networkpolicies'],
    verbs: [...apply, 'delete'],
    scope: 'watched',
    why: 'made and taken away as the spec says',
  },
  {
    group: 'policy',
    resources: ['poddisruptionbudgets'],
    verbs: [...apply, 'delete'],
    scope: 'watched',
    why: 'there with two replicas or more',
  },
  {
    group: 'cert-manager.io',
    resources: ['certificates'],
    verbs: [...apply, 'delete'],
    scope: 'watched',
    why: 'with tls.mode CertManager',
  },
  {
    group: 'monitoring.coreos.com',
    resources: ['prometheusrules', 'servicemonitors'],
    verbs: [...apply, 'delete'],
    scope: 'watched',
    why: 'with monitoring, where Prometheus has its operator',
  },
  {
    group: 'keda.sh',
    resources: ['scaledobjects'],
    verbs: [...watch, 'create', 'patch', 'delete'],
    scope: 'watched',
    why: 'made for queues and groups with scaling, where KEDA is; those of others show who scales what',
  },
  {
    group: 'keda.sh',
    resources: ['triggerauthentications'],
    verbs: [...watch, 'create', 'patch'],
    scope: 'watched',
    why: 'how KEDA gets in; garbage collection takes them away',
  },
  {
    group: 'autoscaling',
    resources: ['horizontalpodautoscalers'],
    verbs: [...watch, 'create', 'patch', 'delete'],
    scope: 'watched',
    why: 'as scaledobjects, where there is no KEDA',
  },
  {
    group: 'apps',
    resources: ['deployments/scale', 'statefulsets/scale'],
    verbs: ['get', 'patch'],
    scope: 'watched',
    why: 'whether the workload to scale is there; patch sets its replicas with scaling.mode Direct',
  },
  {
    group: 'events.k8s.io',
    resources: ['events'],
    verbs: ['create', 'patch'],
    scope: 'watched',
    why: 'what kubectl describe tells; patch counts repetitions',
  },
  {
    group: 'flowmesh.io',
    resources: ['queues', 'schemas', 'streams'],
    verbs: [...read, 'patch'],
    scope: 'cluster',
    why: 'what is declared; get and patch set and take away the finalizer, whatever roles are left',
  },
  {
    group: 'storage.k8s.io',
    resources: ['storageclasses'],
    verbs: watch,
    scope: 'cluster',
    why: 'whether volumes can grow',
  },
  {
    group: 'apiregistration.k8s.io',
    resources: ['apiservices'],
    verbs: watch,
    scope: 'cluster',
    why: 'who serves external metrics to autoscalers',
    names: ['v1beta1.external.metrics.k8s.io'],
  },
  {
    group: '',
    resources: ['namespaces'],
    verbs: read,
    scope: 'cluster',
    why: 'labels, for allowedNamespaces with a selector; get tells this Kubernetes cluster from others',
  },
  {
    group: 'coordination.k8s.io',
    resources: ['leases'],
    verbs: ['get', 'create', 'update'],
    scope: 'own',
    why: 'one operator acts at a time',
  },
  {
    group: '',
    resources: ['secrets'],
    verbs: apply,
    scope: 'own',
    why: 'the certificate of the webhook',
    names: ['OPERATOR-webhook-tls'],
    when: 'webhook.enabled',
  },
  {
    group: '',
    resources: ['secrets'],
    verbs: apply,
    scope: 'own',
    why: 'the certificate of the external metrics',
    names: ['OPERATOR-metrics-api-tls'],
    when: 'metricsApi.enabled',
  },
  {
    group: 'apiregistration.k8s.io',
    resources: ['apiservices'],
    verbs: ['create', 'patch'],
    scope: 'cluster',
    why: 'registers the external metrics where nobody else has',
    names: ['v1beta1.external.metrics.k8s.io'],
    when: 'metricsApi.enabled',
  },
  {
    group: 'rbac.authorization.k8s.io',
    resources: ['clusterroles'],
    verbs: ['get'],
    scope: 'cluster',
    why: 'the registration goes with this role, which goes with the chart',
    names: ['OPERATOR-metrics-api'],
    when: 'metricsApi.enabled',
  },
  {
    group: 'admissionregistration.k8s.io',
    resources: ['validatingwebhookconfigurations'],
    verbs: [...watch, 'patch'],
    scope: 'cluster',
    why: 'the authority that the API server trusts the webhook by',
    names: ['OPERATOR-webhook'],
    when: 'webhook.enabled',
  },
];
