// Everything that `decide` looks at, read off the informers; only what these do not have is asked for, so
// that a cluster at rest costs no request.
//   W1. An object that exists and is not ours is never changed: it is `foreign`. What the informers lack is
//       looked up before it counts as absent, as they hold only objects with our labels.
//   W2. Keys, tokens and certificates that are due are drawn here, so that decide stays a function.

import type { Engine } from '../../../crds/notices.ts';
import type { ReconcileContext } from '../../kube/controller.ts';
import type { Informer } from '../../kube/informer.ts';
import { isTerminating, type KubeObject, keyOf, type Resource } from '../../kube/objects.ts';
import { bindingSecret, tokenSecret } from '../../resources/binding.ts';
import { certificateNames } from '../../resources/cert-manager.ts';
import type { SecretText } from '../../resources/certificate-plan.ts';
import {
  authoritySecret,
  type KeySource,
  type RenewedCertificates,
  renewCertificates,
  tlsSecret,
} from '../../resources/certificates.ts';
import { type ClusterDefaults, type ResolvedCluster, resolveCluster } from '../../resources/cluster.ts';
import { type DesiredObjects, desiredObjects } from '../../resources/desired.ts';
import { isOwnedBy, selectorLabels } from '../../resources/names.ts';
import type { KubernetesObject } from '../../resources/objects.ts';
import { planVolumes, type VolumePlan } from '../../resources/volumes.ts';
import type { PlaneFacts } from '../declared/plane.ts';
import {
  CERTIFICATES,
  type Claim,
  type FlowMeshCluster,
  type Pod,
  PROMETHEUS_RULES,
  resourceOf,
  SECRETS,
  SERVICE_MONITORS,
  type Secret,
  STATEFUL_SETS,
  type StatefulSet,
  type StorageClass,
  textOf,
} from './kinds.ts';
import { isReady } from './pods.ts';
import { ordinalOf } from './restart.ts';

export type Found =
  | { readonly kind: 'absent' }
  | { readonly kind: 'ours'; readonly object: KubeObject }
  | { readonly kind: 'foreign'; readonly owner: string };

export interface Wanted {
  readonly resource: Resource;
  readonly object: KubeObject;
  readonly found: Found;
}

export interface World {
  readonly cluster: ResolvedCluster;
  /** Whether a data plane of this version starts with such a journal. */
  readonly isEngineServed: boolean;
  /** In the order in which they must be there. */
  readonly wanted: readonly Wanted[];
  readonly unwanted: readonly { readonly resource: Resource; readonly live: KubeObject }[];
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
  readonly statefulSet: StatefulSet | undefined;
  readonly volumes: VolumePlan;
  readonly claims: readonly Claim[];
  /** By ordinal. */
  readonly pods: readonly Pod[];
  /** With certificates of our own. */
  readonly certificates: RenewedCertificates | undefined;
  readonly hasCertManager: boolean;
  /** What its data plane said of itself last; undefined: nothing yet. */
  readonly facts: PlaneFacts | undefined;
}

export interface Sources {
  readonly owned: ReadonlyMap<string, Informer>;
  readonly pods: Informer<Pod>;
  readonly claims: Informer<Claim>;
  readonly storageClasses: Informer<StorageClass>;
  readonly defaults: ClusterDefaults;
  readonly engines: readonly Engine[];
  readonly keys: KeySource;
  readonly wallMs: () => number;
  /** Asked only while a pod is ready: before that, nobody answers. */
  readonly factsOf: (cluster: FlowMeshCluster) => PlaneFacts | undefined;
  readonly get: (
    resource: Resource,
    at: KubeObject['metadata'],
    signal: AbortSignal,
  ) => Promise<KubeObject | undefined>;
}

const TOKEN_BYTES = 32;

export const idOf = (resource: Resource) => `${resource.plural}.${resource.group}`;

export async function gather(
  s: Sources,
  object: FlowMeshCluster,
  { signal }: ReconcileContext,
): Promise<World> {
  const cluster = resolveCluster(object, s.defaults);
  const { names } = cluster;
  const find = (resource: Resource, name: string) => foundOf(s, cluster, resource, name, signal);
  const secrets = await secretsOf(cluster, s, async (name, owner) => {
    if (owner === 'anybody') {
      const at = { name, namespace: cluster.namespace };
      const there = await s.get(SECRETS as Resource, at, signal);
      return there && textOf(there as Secret);
    }
    const found = await find(SECRETS as Resource, name);
    return found.kind === 'ours' ? textOf(found.object as Secret) : undefined;
  });
  const set = await find(STATEFUL_SETS as Resource, names.statefulSet);
  const statefulSet = set.kind === 'ours' ? (set.object as StatefulSet) : undefined;
  const pods = [...s.pods.byIndex('cluster', indexOf(cluster))].sort((a, b) => ordinalOf(a) - ordinalOf(b));
  const claims = s.claims.byIndex('cluster', indexOf(cluster));
  const volumes = planVolumes(cluster, {
    statefulSet,
    claims,
    canExpand: (name) =>
      name === undefined ? undefined : s.storageClasses.get(`/${name}`)?.allowVolumeExpansion,
  });
  const served = (resource: Resource) => s.owned.get(idOf(resource))?.isServed ?? false;
  const desired = desiredObjects(
    cluster,
    {
      certificate: served(CERTIFICATES),
      serviceMonitor: served(SERVICE_MONITORS),
      prometheusRule: served(PROMETHEUS_RULES),
    },
    volumes.claim,
  );
  const wanted: Wanted[] = [];
  for (const each of [...secrets.objects, ...desired.objects] as KubeObject[]) {
    const resource = resourceOf(each);
    wanted.push({ resource, object: each, found: await find(resource, each.metadata.name) });
  }
  return {
    cluster,
    isEngineServed: s.engines.includes(cluster.journal.engine),
    wanted,
    unwanted: unwantedOf(s, cluster, desired),
    warnings: desired.warnings,
    problems: desired.problems,
    statefulSet,
    volumes,
    claims,
    pods,
    certificates: secrets.certificates,
    hasCertManager: served(CERTIFICATES),
    facts: pods.some(isReady) ? s.factsOf(object) : undefined,
  };
}

/** For the indexes of pods and claims. */
export function clusterIndex({ metadata: { namespace = '', labels } }: KubeObject): string[] {
  const instance = labels?.['app.kubernetes.io/instance'];
  return instance === undefined ? [] : [`${namespace}/${instance}`];
}

function indexOf({ namespace, names }: ResolvedCluster): string {
  return `${namespace}/${names.stem}`;
}

/** The labels of everything that a cluster is made of, as a selector for informers. */
export const PARTS = Object.entries(selectorLabels(''))
  .filter(([name]) => name !== 'app.kubernetes.io/instance')
  .map(([name, value]) => `${name}=${value}`)
  .join(',');

/** W1. */
async function foundOf(
  s: Sources,
  cluster: ResolvedCluster,
  resource: Resource,
  name: string,
  signal: AbortSignal,
): Promise<Found> {
  const at = { name, namespace: cluster.namespace };
  const object = s.owned.get(idOf(resource))?.get(keyOf(at)) ?? (await s.get(resource, at, signal));
  if (object === undefined) return { kind: 'absent' };
  if (isOwnedBy(object.metadata as never, cluster)) return { kind: 'ours', object };
  const controller = object.metadata.ownerReferences?.find((each) => each.controller);
  return { kind: 'foreign', owner: controller ? `${controller.kind} ${controller.name}` : 'somebody else' };
}

/** What an earlier spec had, and other names had never: read from the informers alone. */
function unwantedOf(s: Sources, cluster: ResolvedCluster, { absent }: DesiredObjects): World['unwanted'] {
  return absent.flatMap((each) => {
    const resource = resourceOf(each);
    const live = s.owned.get(idOf(resource))?.get(keyOf(each));
    if (live === undefined || isTerminating(live) || !isOwnedBy(live.metadata as never, cluster)) return [];
    return [{ resource, live }];
  });
}

/** W2. */
async function secretsOf(
  cluster: ResolvedCluster,
  s: Sources,
  read: (name: string, owner: 'us' | 'anybody') => Promise<SecretText | undefined>,
): Promise<{ objects: KubernetesObject[]; certificates: RenewedCertificates | undefined }> {
  const { names, tls } = cluster;
  const kept = (await read(names.tokenSecret, 'us'))?.['token'];
  const token = kept || Buffer.from(s.keys.randomBytes(TOKEN_BYTES)).toString('base64url');
  if (tls.mode !== 'Operator') {
    // cert-manager writes it, without our labels.
    const leaf = tls.mode === 'CertManager' ? await read(names.tlsSecret, 'anybody') : undefined;
    const authorities = leaf?.['ca.crt'];
    const objects = [tokenSecret(cluster, token), bindingSecret(cluster, { token, authorities })];
    return { objects, certificates: undefined };
  }
  const certificates = renewCertificates(
    {
      name: cluster.name,
      nowMs: s.wallMs(),
      names: certificateNames(cluster),
      authority: await read(names.authoritySecret, 'us'),
      leaf: await read(names.tlsSecret, 'us'),
    },
    s.keys,
  );
  const objects = [
    tokenSecret(cluster, token),
    // The key of the authority is kept before anything that it signed is used.
    authoritySecret(cluster, certificates.authority),
    tlsSecret(cluster, certificates.leaf),
    bindingSecret(cluster, { token, authorities: certificates.authority['ca.crt'] }),
  ];
  return { objects, certificates };
}
