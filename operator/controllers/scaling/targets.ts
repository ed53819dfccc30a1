// What a queue or stream asks to be scaled, as far as that can be read. Pure.
import { readPolicy } from '../../../crds/based-on.ts';
import { metricLabels } from '../../resources/scaling/autoscaler.ts';
import type { ScalingTarget } from '../../resources/scaling/target.ts';
import type { DeclaredKind, DeclaredObject } from '../declared/kinds.ts';

export function targetsOf(object: DeclaredObject, kind: DeclaredKind): ScalingTarget[] {
  const { name, namespace = 'default', uid = '' } = object.metadata;
  const owner = { kind: kind.resource.kind as 'Queue' | 'Stream', name, namespace, uid };
  const served = kind.nameOf(object);
  return (kind.scaled?.(object) ?? []).flatMap(({ group, scaling }): ScalingTarget[] => {
    // What is wrong with it is told by Accepted.
    const { policy } = readPolicy(owner.kind, scaling);
    if (policy === undefined) return [];
    const { apiVersion = 'apps/v1', kind: workloadKind, name: workloadName } = scaling.targetRef;
    const { from, to, lagMax } = policy;
    const target = {
      owner,
      subject: group === undefined ? { queue: served } : { stream: served, group },
      workload: { apiVersion, kind: workloadKind, name: workloadName },
      mode: scaling.mode ?? 'Auto',
      ...{ from, to, lagMax },
    };
    return [target];
  });
}

/** Whatever its API group's version: one workload has one. */
export const workloadKey = (
  namespace: string,
  { apiVersion = 'apps/v1', kind, name }: { apiVersion?: string; kind: string; name: string },
) => `${namespace} ${apiVersion.split('/')[0]} ${kind} ${name}`;

/** Of a queue, or of a consumer group, by the labels of its metrics. */
export const metricKey = (namespace: string, labels: Readonly<Record<string, string>>) =>
  [namespace, labels['queue'], labels['stream'], labels['group']].join(' ');

/** For an index of objects. */
export const metricsOf =
  (kind: DeclaredKind) =>
  (object: DeclaredObject): string[] =>
    targetsOf(object, kind).map(({ owner, subject }) =>
      metricKey(owner.namespace, metricLabels(subject, '')),
    );

/** For an index of objects. */
export const workloadsOf =
  (kind: DeclaredKind) =>
  (object: DeclaredObject): string[] =>
    targetsOf(object, kind).map(({ owner, workload }) => workloadKey(owner.namespace, workload));
