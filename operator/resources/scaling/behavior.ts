// How fast the number of workers may change, whoever changes it: KEDA's autoscaler, ours, or the operator.
//   B1. Up at once, at most doubled, or four more, in half a minute.
//   B2. Down to the most that was wanted in the last five minutes, at most a quarter a minute: what is
//       started anew after a pause costs more than what idles through it.
import type { V2HorizontalPodAutoscalerBehavior } from '@kubernetes/client-node';
import type { Wire } from '../objects.ts';

export const UP = { percent: 100, pods: 4, periodSeconds: 30 } as const;
export const DOWN = { percent: 25, periodSeconds: 60, windowSeconds: 300 } as const;

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
