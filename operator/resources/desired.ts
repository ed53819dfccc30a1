// Everything of a cluster that its spec alone determines, in the order in which it must be there. Secrets
// hold what is made once or renewed (tokenSecret, bindingSecret, renewCertificates) and are not among them,
// but must exist before the StatefulSet.
//   R1. Equal specs give equal bytes.
//   R2. `absent` names every object that an earlier spec may have had and this one has not.
import { canonical } from './canonical.ts';
import { CERT_MANAGER_API, certificate } from './cert-manager.ts';
import type { ResolvedCluster } from './cluster.ts';
import { configMap } from './configuration.ts';
import { disruptionBudget } from './disruption-budget.ts';
import { MONITORING_API, prometheusRule, serviceMonitor } from './monitoring.ts';
import { networkPolicy } from './network-policy.ts';
import type { KubernetesObject, ObjectName } from './objects.ts';
import { podTemplate } from './pod-template.ts';
import { serviceAccount } from './service-account.ts';
import { clientService, podService } from './services.ts';
import { type ClaimTemplate, statefulSet } from './stateful-set.ts';

/** Which APIs the Kubernetes cluster has beside its own. */
export interface ClusterApis {
  readonly serviceMonitor: boolean;
  readonly prometheusRule: boolean;
  readonly certificate: boolean;
}

export interface DesiredObjects {
  /** Apply in this order; the StatefulSet comes last but for monitoring. */
  readonly objects: readonly KubernetesObject[];
  /** Delete if they exist and are ours. */
  readonly absent: readonly ObjectName[];
  /** Parts of `podTemplate` that are not taken over, and why. */
  readonly warnings: readonly string[];
  /** Parts of `podTemplate` that are mistakes: better leave the running StatefulSet as it is. */
  readonly problems: readonly string[];
}

export function desiredObjects(
  cluster: ResolvedCluster,
  apis: ClusterApis,
  /** Of planVolumes. */
  claim?: ClaimTemplate,
): DesiredObjects {
  const { names, namespace, monitoring } = cluster;
  const { template, warnings, problems } = podTemplate(cluster);
  const optional = (
    apiVersion: string,
    kind: string,
    name: string,
    object: KubernetesObject | undefined,
  ) => ({
    name: { apiVersion, kind, namespace, name },
    object,
  });
  const fixed: KubernetesObject[] = [
    serviceAccount(cluster),
    configMap(cluster),
    podService(cluster),
    clientService(cluster),
  ];
  const before = [
    optional('networking.k8s.io/v1', 'NetworkPolicy', names.networkPolicy, networkPolicy(cluster)),
    optional('policy/v1', 'PodDisruptionBudget', names.disruptionBudget, disruptionBudget(cluster)),
    ...(apis.certificate
      ? [optional(CERT_MANAGER_API, 'Certificate', names.certificate, certificate(cluster))]
      : []),
  ];
  const isWatched = (object: KubernetesObject) => (monitoring.enabled ? object : undefined);
  const after = [
    ...(apis.serviceMonitor
      ? [optional(MONITORING_API, 'ServiceMonitor', names.serviceMonitor, isWatched(serviceMonitor(cluster)))]
      : []),
    ...(apis.prometheusRule
      ? [optional(MONITORING_API, 'PrometheusRule', names.prometheusRule, isWatched(prometheusRule(cluster)))]
      : []),
  ];
  const present = ({ object }: (typeof before)[number]) => (object === undefined ? [] : [object]);
  return {
    objects: canonical([
      ...fixed,
      ...before.flatMap(present),
      statefulSet(cluster, template, claim),
      ...after.flatMap(present),
    ]),
    absent: [...before, ...after].filter(({ object }) => object === undefined).map(({ name }) => name),
    warnings,
    problems,
  };
}
