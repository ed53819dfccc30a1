// A FlowMeshCluster with everything that it leaves open filled in. Builders take only this, so a default is
// written down once; the result belongs in `status`, never in `spec` (a GitOps tool must see no difference).
import type { FlowMeshClusterSpec } from '../../crds/types.ts';
import { type ResolvedImage, resolveImage } from './image.ts';
import type { Mapping } from './merge.ts';
import { type Names, namesOf, type Subject } from './names.ts';

/** What the operator knows and no manifest says. */
export interface ClusterDefaults {
  /** The image of this version, in full. */
  readonly image: string;
  /** Such as cluster.local. */
  readonly clusterDomain: string;
  /** Where the operator runs: its requests are let in. */
  readonly operatorNamespace: string;
}

export type ListenerName = 'grpc' | 'http' | 'redis';

export interface ResolvedListener {
  readonly name: ListenerName;
  readonly port: number;
}

export interface JetStreamJournal {
  readonly engine: 'JetStream';
  readonly url: string;
  readonly credentialsSecret: string | undefined;
}

/** Who may use the fabric from other namespaces. */
export interface AllowedNamespaces {
  readonly from: 'Same' | 'All' | 'Selector';
  /** With `Selector`; as everywhere in Kubernetes, an empty one selects all. */
  readonly selector?: NamespaceSelector;
}

export interface NamespaceSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface ResolvedTls {
  readonly mode: 'Operator' | 'CertManager' | 'Disabled';
  /** With `CertManager`. */
  readonly issuerRef?: { readonly name: string; readonly kind: string; readonly group: string };
}

export interface Resources {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

export interface ResolvedCluster extends Subject {
  readonly names: Names;
  readonly image: ResolvedImage;
  /** Of the image, if its tag says one. */
  readonly version: string | undefined;
  readonly replicas: number;
  readonly shards: number;
  readonly journal: { readonly engine: 'Embedded' } | JetStreamJournal;
  readonly storage: {
    readonly size: string;
    readonly storageClassName: string | undefined;
    readonly deletionPolicy: 'Retain' | 'Delete';
  };
  /** Those that are enabled, always in this order. */
  readonly listeners: readonly ResolvedListener[];
  readonly tls: ResolvedTls;
  readonly autoCreate: boolean;
  readonly allowedNamespaces: AllowedNamespaces;
  readonly resources: Resources;
  readonly podTemplate: Mapping;
  readonly hasDisruptionBudget: boolean;
  readonly hasNetworkPolicy: boolean;
  readonly monitoring: {
    readonly enabled: boolean;
    readonly interval: string | undefined;
    readonly labels: Record<string, string>;
  };
  readonly clusterDomain: string;
  readonly operatorNamespace: string;
}

export interface ClusterObject {
  metadata: { name: string; namespace?: string; uid?: string };
  spec: FlowMeshClusterSpec;
}

const STORAGE_SIZE = '20Gi';
const PORTS: Readonly<Record<ListenerName, number>> = { grpc: 7070, http: 7080, redis: 6379 };
/** Memory asked for is memory granted: a data plane that is evicted or killed for memory serves nobody. */
const RESOURCES: Resources = { requests: { cpu: '100m', memory: '1Gi' }, limits: { memory: '1Gi' } };

export function resolveCluster(
  { metadata, spec }: ClusterObject,
  defaults: ClusterDefaults,
): ResolvedCluster {
  const image = resolveImage(spec.image, defaults.image);
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    uid: metadata.uid ?? '',
    names: namesOf(metadata.name),
    image,
    version: image.version,
    replicas: spec.replicas ?? 1,
    shards: spec.shards ?? 1,
    journal: journalOf(spec),
    storage: {
      size: spec.storage?.size ?? STORAGE_SIZE,
      storageClassName: spec.storage?.storageClassName,
      deletionPolicy: spec.storage?.deletionPolicy ?? 'Retain',
    },
    listeners: listenersOf(spec),
    tls: tlsOf(spec),
    autoCreate: spec.autoCreate ?? false,
    allowedNamespaces: allowedOf(spec),
    resources: resourcesOf(spec),
    podTemplate: (spec.podTemplate ?? {}) as Mapping,
    hasDisruptionBudget: spec.podDisruptionBudget?.enabled ?? true,
    hasNetworkPolicy: spec.networkPolicy?.enabled ?? false,
    monitoring: {
      enabled: spec.monitoring?.enabled ?? true,
      interval: spec.monitoring?.interval,
      labels: spec.monitoring?.labels ?? {},
    },
    clusterDomain: defaults.clusterDomain,
    operatorNamespace: defaults.operatorNamespace,
  };
}

function journalOf({ journal }: FlowMeshClusterSpec): ResolvedCluster['journal'] {
  if (journal?.engine !== 'JetStream') return { engine: 'Embedded' };
  const { url = '', credentialsSecret } = journal.jetStream ?? {};
  return { engine: 'JetStream', url, credentialsSecret };
}

function listenersOf({ listeners = {} }: FlowMeshClusterSpec): ResolvedListener[] {
  const names: ListenerName[] = ['grpc', 'http', ...(listeners.redis?.enabled ? (['redis'] as const) : [])];
  return names.map((name) => ({ name, port: listeners[name]?.port ?? PORTS[name] }));
}

function tlsOf({ tls }: FlowMeshClusterSpec): ResolvedTls {
  const mode = tls?.mode ?? 'Operator';
  if (mode !== 'CertManager' || tls?.issuerRef === undefined) return { mode };
  const { name, kind = 'Issuer', group = 'cert-manager.io' } = tls.issuerRef;
  return { mode, issuerRef: { name, kind, group } };
}

function allowedOf({ allowedNamespaces }: FlowMeshClusterSpec): AllowedNamespaces {
  const { from = 'Same', selector } = allowedNamespaces ?? {};
  if (from !== 'Selector') return { from };
  return { from, selector: selector ?? {} };
}

function resourcesOf({ resources }: FlowMeshClusterSpec): Resources {
  if (resources === undefined) return RESOURCES;
  const amounts = (given: Record<string, number | string>) =>
    Object.fromEntries(Object.entries(given).map(([name, amount]) => [name, String(amount)]));
  return {
    ...(resources.requests ? { requests: amounts(resources.requests) } : {}),
    ...(resources.limits ? { limits: amounts(resources.limits) } : {}),
  };
}

/** For `status.effective`: what is in force, with every default resolved. */
export function effectiveOf(cluster: ResolvedCluster) {
  const { replicas, shards, image, journal, storage, tls, allowedNamespaces } = cluster;
  return {
    replicas,
    shards,
    image: image.reference,
    journal: { engine: journal.engine },
    storage: {
      size: storage.size,
      ...(storage.storageClassName === undefined ? {} : { storageClassName: storage.storageClassName }),
      deletionPolicy: storage.deletionPolicy,
    },
    tls: { mode: tls.mode },
    allowedNamespaces: { from: allowedNamespaces.from },
  };
}
