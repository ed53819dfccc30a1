// The autoscaler where there is no KEDA: the same two metrics, served by the operator itself.
//   H1. A metric is found by labels; what is no value of a label (it is long, or has braces) is found by its
//       hash.

import type { V2HorizontalPodAutoscaler, V2MetricSpec } from '@kubernetes/client-node';
import { lagTargetOf } from '../../../crds/lag-trigger.ts';
import type { Built, Wire } from '../objects.ts';
import { behavior } from './behavior.ts';
import { type ScalingTarget, type Subject, scalerMetadata, shortHash } from './target.ts';

export const METRICS = { lag: 'flowmesh-lag', demand: 'flowmesh-demand' } as const;

export function autoscaler(
  target: ScalingTarget,
  clusterName: string,
): Built<V2HorizontalPodAutoscaler> & { spec: { scaleTargetRef: ScalingTarget['workload'] } } {
  const { workload, from, to } = target;
  const lag = lagTargetOf(target);
  const matchLabels = metricLabels(target.subject, clusterName);
  const metric = (name: string, averageValue: string): Wire<V2MetricSpec> => ({
    type: 'External',
    external: {
      metric: { name, selector: { matchLabels } },
      target: { type: 'AverageValue', averageValue },
    },
  });
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: scalerMetadata(target),
    spec: {
      scaleTargetRef: { ...workload },
      minReplicas: from,
      maxReplicas: to,
      behavior: behavior(),
      metrics: [...(lag > 0 ? [metric(METRICS.lag, quantity(lag))] : []), metric(METRICS.demand, '1')],
    },
  };
}

/** H1. */
export function metricLabels(subject: Subject, cluster: string): Record<string, string> {
  const named = Object.entries({ ...subject, cluster });
  return Object.fromEntries(named.map(([label, name]) => [label, labelValue(name)]));
}

const LABEL_MAX = 63;

export function labelValue(name: string): string {
  const isValue = name.length <= LABEL_MAX && /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name);
  return isValue ? name : `sha256-${shortHash(name)}`;
}

/** Kubernetes writes thousandths as `m`, and quantities have no fractions beyond them here. */
export function quantity(value: number): string {
  const thousandths = Math.max(0, Math.round(value * 1000));
  return thousandths % 1000 === 0 ? String(thousandths / 1000) : `${thousandths}m`;
}
