// How KEDA gets in: a Secret with a client certificate of the cluster's authority, and the
// TriggerAuthentication that tells KEDA to use it. Both serve every ScaledObject of a cluster in a namespace.
//   A1. They belong to the objects that need them, the oldest ones: garbage collection takes them away with
//       the last one, and nobody has to be allowed to delete Secrets.
//   A2. The certificate is `flowmesh-scaler`: it may ask how many workers are wanted, and nothing else.
import type { V1Secret } from '@kubernetes/client-node';
import { CERT_MANAGER_API } from '../cert-manager.ts';
import { LEAF_DAYS, type SecretText } from '../certificate-plan.ts';
import type { ResolvedCluster } from '../cluster.ts';
import { labelsOf } from '../names.ts';
import type { Built, KubernetesObject, OwnedMetadata } from '../objects.ts';
import { fitting, type ScalingOwner, scalerOwner, shortHash } from './target.ts';

export const KEDA_API = 'keda.sh/v1alpha1';
export const SCALER = 'flowmesh-scaler';
const NAME_MAX = 63;
/** A1: enough that one of them stays while others go. */
const OWNERS_MAX = 8;

export type TriggerAuthentication = KubernetesObject & { spec: object };
type Certificate = KubernetesObject & { spec: Record<string, unknown> };

/** Of the Secret and of the TriggerAuthentication, in a namespace that uses the cluster. */
export function accessName(
  cluster: Pick<ResolvedCluster, 'name' | 'namespace' | 'names'>,
  namespace: string,
) {
  const isHome = cluster.namespace === namespace;
  if (isHome) return `${cluster.names.stem}-${SCALER}`;
  // Clusters of one name in two namespaces may serve a third.
  const hash = shortHash(`${cluster.namespace}/${cluster.name}`);
  return fitting(cluster.names.stem, `-${SCALER}`, NAME_MAX, hash);
}

/** Of the objects of `namespace` that KEDA scales for, all that are there. */
export function accessSecret(
  cluster: ResolvedCluster,
  users: readonly ScalingOwner[],
  leaf: SecretText,
): Built<V1Secret> {
  const keys = ['ca.crt', 'tls.crt', 'tls.key'];
  const data = keys.map((key) => [key, Buffer.from(leaf[key] ?? '').toString('base64')]);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadata(cluster, users),
    type: 'kubernetes.io/tls',
    data: Object.fromEntries(data),
  };
}

/** Where cert-manager issues: it writes the Secret. Undefined: the operator does. */
export function accessCertificate(
  cluster: ResolvedCluster,
  users: readonly ScalingOwner[],
): Certificate | undefined {
  const { tls } = cluster;
  if (tls.mode !== 'CertManager' || tls.issuerRef === undefined) return undefined;
  const about = metadata(cluster, users);
  return {
    apiVersion: CERT_MANAGER_API,
    kind: 'Certificate',
    metadata: about,
    spec: {
      secretName: about.name,
      issuerRef: { ...tls.issuerRef },
      commonName: SCALER,
      duration: `${LEAF_DAYS * 24}h`,
      renewBefore: `${(LEAF_DAYS / 3) * 24}h`,
      usages: ['digital signature', 'client auth'],
      privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' },
    },
  };
}

export function triggerAuthentication(
  cluster: ResolvedCluster,
  users: readonly ScalingOwner[],
): TriggerAuthentication {
  const about = metadata(cluster, users);
  const parameters = { caCert: 'ca.crt', tlsClientCert: 'tls.crt', tlsClientKey: 'tls.key' };
  return {
    apiVersion: KEDA_API,
    kind: 'TriggerAuthentication',
    metadata: about,
    spec: {
      secretTargetRef: Object.entries(parameters).map(([parameter, key]) => ({
        ...{ parameter, name: about.name, key },
      })),
    },
  };
}

function metadata(cluster: ResolvedCluster, users: readonly ScalingOwner[]): OwnedMetadata {
  const [{ namespace } = { namespace: cluster.namespace }] = users;
  return {
    name: accessName(cluster, namespace),
    namespace,
    labels: labelsOf(cluster.name),
    ownerReferences: users.slice(0, OWNERS_MAX).map(scalerOwner),
  };
}
