// The kinds that the cluster controller reads and writes.
import type {
  V1PersistentVolumeClaim,
  V1Pod,
  V1Secret,
  V1StatefulSet,
  V1StorageClass,
} from '@kubernetes/client-node';
import type { FlowMeshClusterSpec, FlowMeshClusterStatus } from '../../../crds/types.ts';
import { apiVersionOf, type KubeObject, lean, type Resource } from '../../kube/objects.ts';
import type { SecretText } from '../../resources/certificate-plan.ts';
import type { Wire } from '../../resources/objects.ts';

/** An object as the API server has it. */
export type Live<T> = Wire<T> & KubeObject;

export interface FlowMeshCluster extends KubeObject {
  spec: FlowMeshClusterSpec;
  status?: FlowMeshClusterStatus;
}
export type Pod = Live<V1Pod>;
export type Secret = Live<V1Secret>;
export type StatefulSet = Live<V1StatefulSet>;
export type Claim = Live<V1PersistentVolumeClaim>;
export type StorageClass = Live<V1StorageClass>;

function kindOf<T extends KubeObject>(
  apiVersion: string,
  kind: string,
  plural: string,
  namespaced = true,
): Resource<T> {
  const [group = '', version = apiVersion] = apiVersion.includes('/') ? apiVersion.split('/') : [];
  return { group, version, plural, kind, namespaced };
}

export const CLUSTERS = kindOf<FlowMeshCluster>(
  'flowmesh.io/v1alpha1',
  'FlowMeshCluster',
  'flowmeshclusters',
);
export const PODS = kindOf<Pod>('v1', 'Pod', 'pods');
export const CLAIMS = kindOf<Claim>('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims');
export const STORAGE_CLASSES = kindOf<StorageClass>(
  'storage.k8s.io/v1',
  'StorageClass',
  'storageclasses',
  false,
);
export const SECRETS = kindOf<Secret>('v1', 'Secret', 'secrets');
export const STATEFUL_SETS = kindOf<StatefulSet>('apps/v1', 'StatefulSet', 'statefulsets');
export const CERTIFICATES = kindOf('cert-manager.io/v1', 'Certificate', 'certificates');
export const SERVICE_MONITORS = kindOf('monitoring.coreos.com/v1', 'ServiceMonitor', 'servicemonitors');
export const PROMETHEUS_RULES = kindOf('monitoring.coreos.com/v1', 'PrometheusRule', 'prometheusrules');

/** What a cluster owns, by apiVersion and kind. */
export const OWNED: readonly Resource[] = [
  kindOf('v1', 'ServiceAccount', 'serviceaccounts'),
  kindOf('v1', 'ConfigMap', 'configmaps'),
  kindOf('v1', 'Service', 'services'),
  SECRETS as Resource,
  kindOf('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  kindOf('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  STATEFUL_SETS as Resource,
];
/** Also owned, where their APIs are installed. */
export const OPTIONAL: readonly Resource[] = [CERTIFICATES, SERVICE_MONITORS, PROMETHEUS_RULES];

export function resourceOf({ apiVersion = '', kind = '' }: { apiVersion?: string; kind?: string }): Resource {
  const found = [...OWNED, ...OPTIONAL].find(
    (each) => each.kind === kind && apiVersionOf(each) === apiVersion,
  );
  if (found === undefined) throw new Error(`${apiVersion} ${kind} is no kind of a cluster`);
  return found;
}

/** A pod is large, and this is all that is read of it. */
export function leanPod(pod: Pod): Pod {
  const { metadata, spec, status } = lean(pod);
  return {
    metadata,
    spec: {
      ...(spec?.nodeName !== undefined && { nodeName: spec.nodeName }),
      containers: (spec?.containers ?? []).map(({ name, image }) => ({ name, ...(image && { image }) })),
    },
    ...(status && {
      status: {
        ...(status.phase && { phase: status.phase }),
        ...(status.conditions && { conditions: status.conditions }),
        ...(status.containerStatuses && { containerStatuses: status.containerStatuses }),
      },
    }),
  };
}

export function textOf({ data = {} }: Secret): SecretText {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
  );
}
