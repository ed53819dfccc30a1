// The figures of a queue or consumer group for whoever knows it by the labels of its metrics, in its
// namespace only.
import { FlowError } from '@flowmesh/protocol';
import { metricLabels } from '../../resources/scaling/autoscaler.ts';
import type { ScalingTarget } from '../../resources/scaling/target.ts';
import type { DeclaredObject } from '../declared/kinds.ts';
import type { ClusterView } from '../declared/reference.ts';
import type { Advice, AdviceDesk } from './advice.ts';
import type { ScalableKind } from './sources.ts';
import { metricKey, targetsOf } from './targets.ts';

export interface FigureParts {
  readonly kinds: readonly ScalableKind[];
  readonly viewOf: (object: DeclaredObject) => ClusterView;
  readonly advice: AdviceDesk;
}

/** Undefined: nothing there has these labels and asks for scaling. */
export const figuresOf =
  ({ kinds, viewOf, advice }: FigureParts) =>
  (namespace: string, labels: Readonly<Record<string, string>>): Promise<Advice> | undefined => {
    for (const { kind, objects } of kinds) {
      for (const object of objects.byIndex('metric', metricKey(namespace, labels))) {
        const view = viewOf(object);
        const target = targetsOf(object, kind).find((each) => hasLabels(each, labels));
        if (target === undefined) continue;
        if (view.kind !== 'serving') return Promise.reject(unavailable(view));
        if (labels['cluster'] !== undefined && labels['cluster'] !== clusterLabel(view)) continue;
        return advice.of(view.cluster, target.subject);
      }
    }
    return undefined;
  };

const clusterLabel = ({ cluster }: Extract<ClusterView, { kind: 'serving' }>) =>
  metricLabels({ queue: '' }, cluster.metadata.name)['cluster'];

function hasLabels({ subject }: ScalingTarget, labels: Readonly<Record<string, string>>): boolean {
  const { cluster: _, ...own } = metricLabels(subject, '');
  return Object.entries(own).every(([label, value]) => labels[label] === value);
}

const unavailable = ({ kind }: ClusterView) =>
  new FlowError('UNAVAILABLE', `its cluster does not serve it (${kind})`);
