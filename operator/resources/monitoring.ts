// What Prometheus should read and when it should call somebody, for clusters that have its operator.
//   O1. Every pod is read, also one that is not ready: through the headless Service.
//   O2. An alert says what is wrong and what to do; each can fire for one cluster alone.
import { alertsOf } from './alerts.ts';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf, selectorLabels } from './names.ts';
import type { KubernetesObject, OwnedMetadata } from './objects.ts';
import { SERVICE_KIND, serviceHost } from './services.ts';

export const MONITORING_API = 'monitoring.coreos.com/v1';

type MonitoringObject = KubernetesObject & { spec: Record<string, unknown> };

export function serviceMonitor(cluster: ResolvedCluster): MonitoringObject {
  const { names, tls, monitoring } = cluster;
  const hasTls = tls.mode !== 'Disabled';
  return {
    apiVersion: MONITORING_API,
    kind: 'ServiceMonitor',
    metadata: selectable(cluster, names.serviceMonitor),
    spec: {
      selector: { matchLabels: { ...selectorLabels(cluster.name), [SERVICE_KIND]: 'pods' } },
      endpoints: [
        {
          port: 'http',
          path: '/metrics',
          scheme: hasTls ? 'https' : 'http',
          ...(monitoring.interval === undefined ? {} : { interval: monitoring.interval }),
          authorization: { type: 'Bearer', credentials: { name: names.tokenSecret, key: 'token' } },
          ...(hasTls
            ? {
                tlsConfig: {
                  ca: { secret: { name: names.tlsSecret, key: 'ca.crt' } },
                  serverName: serviceHost(cluster),
                },
              }
            : {}),
        },
      ],
    },
  };
}

export function prometheusRule(cluster: ResolvedCluster): MonitoringObject {
  return {
    apiVersion: MONITORING_API,
    kind: 'PrometheusRule',
    metadata: selectable(cluster, cluster.names.prometheusRule),
    spec: { groups: [{ name: `${cluster.namespace}-${cluster.names.service}`, rules: alertsOf(cluster) }] },
  };
}

/** With the labels by which Prometheus selects what it obeys; ours stay. */
function selectable(cluster: ResolvedCluster, name: string): OwnedMetadata {
  const metadata = metadataOf(cluster, name);
  return { ...metadata, labels: { ...cluster.monitoring.labels, ...metadata.labels } };
}
