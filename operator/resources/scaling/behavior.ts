// How fast the number of workers may change, whoever changes it: KEDA's autoscaler, ours, or the operator.
// bench/autoscaling runs with it; what it costs to do otherwise is in docs/autoscaling.md.
//   B1. Up at once, to ten times as many: what is asked for has been measured, and a step is late already.
//   B2. Down without a window of its own, as the advice has settled before it is given; at most to half in a
//       minute, so that a mistake is seen before it is finished.
import type { V2HorizontalPodAutoscalerBehavior } from '@kubernetes/client-node';
import type { Wire } from '../objects.ts';

export const UP = { percent: 900, pods: 10, periodSeconds: 15 } as const;
export const DOWN = { percent: 50, periodSeconds: 60, windowSeconds: 0 } as const;

export const behavior = (): Wire<V2HorizontalPodAutoscalerBehavior> => ({
  scaleUp: {
    stabilizationWindowSeconds: 0,
    selectPolicy: 'Max',
    policies: [
      { type: 'Percent', value: UP.percent, periodSeconds: UP.periodSeconds },
      { type: 'Pods', value: UP.pods, periodSeconds: UP.periodSeconds },
    ],
  },
  scaleDown: {
    stabilizationWindowSeconds: DOWN.windowSeconds,
    selectPolicy: 'Min',
    policies: [{ type: 'Percent', value: DOWN.percent, periodSeconds: DOWN.periodSeconds }],
  },
});
