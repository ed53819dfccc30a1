// The kinds that scaling reads and writes, and what is kept of them in memory.
import type { V2HorizontalPodAutoscaler } from '@kubernetes/client-node';
import { type KubeObject, lean, type Resource } from '../../kube/objects.ts';
import type { Wire } from '../../resources/objects.ts';
import type { ScaledObjectSpec } from '../../resources/scaling/scaled-object.ts';
import { MANAGED_BY, MANAGER } from '../../resources/scaling/target.ts';

/** As KEDA and the autoscaler write them. */
export interface ForeignCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface ScaledObject extends KubeObject {
  spec: ScaledObjectSpec;
  status?: { conditions?: ForeignCondition[] };
}

export type Autoscaler = KubeObject & {
  spec: Partial<Wire<V2HorizontalPodAutoscaler>['spec']> & {
    scaleTargetRef: { apiVersion?: string; kind: string; name: string };
  };
  status?: { conditions?: ForeignCondition[] };
};

export interface ApiService extends KubeObject {
  spec?: {
    service?: { name?: string; namespace?: string; port?: number } | null;
    caBundle?: string;
    [field: string]: unknown;
  };
}

export interface Scale extends KubeObject {
  spec: { replicas?: number };
  status?: { replicas?: number; selector?: string };
}

export const SCALED_OBJECTS: Resource<ScaledObject> = {
  ...{ group: 'keda.sh', version: 'v1alpha1', plural: 'scaledobjects', kind: 'ScaledObject' },
  namespaced: true,
};
export const TRIGGER_AUTHENTICATIONS: Resource = {
  ...{ group: 'keda.sh', version: 'v1alpha1', plural: 'triggerauthentications' },
  ...{ kind: 'TriggerAuthentication', namespaced: true },
};
export const AUTOSCALERS: Resource<Autoscaler> = {
  ...{ group: 'autoscaling', version: 'v2', plural: 'horizontalpodautoscalers' },
  ...{ kind: 'HorizontalPodAutoscaler', namespaced: true },
};
export const API_SERVICES: Resource<ApiService> = {
  ...{ group: 'apiregistration.k8s.io', version: 'v1', plural: 'apiservices', kind: 'APIService' },
  namespaced: false,
};
/** Who serves metrics to autoscalers. */
export const EXTERNAL_METRICS = 'v1beta1.external.metrics.k8s.io';

/** Whose `/scale` the operator reads and writes. */
export const WORKLOADS: Readonly<Record<string, Resource<Scale>>> = Object.fromEntries(
  ['Deployment', 'StatefulSet'].map((kind) => [
    `apps/v1 ${kind}`,
    { group: 'apps', version: 'v1', plural: `${kind.toLowerCase()}s`, kind, namespaced: true },
  ]),
);

export const isOurs = ({ metadata }: KubeObject) => metadata.labels?.[MANAGED_BY] === MANAGER;

/** Of what others made, whom it scales; of ours, all that is applied; of both, what is said of them. */
export function leanScaler<T extends ScaledObject | Autoscaler>(object: T): T {
  const { metadata, spec, status } = lean(object);
  const conditions = status?.conditions?.map(({ type, status: is, reason = '', message = '' }) => ({
    ...{ type, status: is, reason, message },
  }));
  const { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp } = metadata;
  const known = { name, namespace, uid, resourceVersion, labels, ownerReferences, deletionTimestamp };
  const kept = isOurs(object) ? spec : { scaleTargetRef: spec.scaleTargetRef };
  return { metadata: isOurs(object) ? metadata : known, spec: kept, status: { conditions } } as T;
}
