// Targets, clusters and worlds for what is decided about scaling.
import type { ScalingWorld, TargetWorld } from '../../../operator/controllers/scaling/decide.ts';
import { type ClusterObject, resolveCluster } from '../../../operator/resources/cluster.ts';
import type { ScalingTarget } from '../../../operator/resources/scaling/target.ts';
import { DEFAULTS } from '../render-cases.ts';

export const aTarget = (target: Partial<ScalingTarget> = {}): ScalingTarget => ({
  owner: { kind: 'Queue', name: 'emails', namespace: 'shop', uid: 'u1' },
  subject: { queue: 'emails.send' },
  workload: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'email-worker' },
  ...{ mode: 'Auto', from: 2, to: 20, lagMax: 10_000 },
  ...target,
});

export const aResolved = (spec: ClusterObject['spec'] = {}, namespace = 'infra') =>
  resolveCluster({ metadata: { name: 'main', namespace, uid: 'c1' }, spec }, DEFAULTS);

export const aTargetWorld = (world: Partial<TargetWorld> = {}): TargetWorld => ({
  ...{ target: aTarget(), workload: 'there', scale: undefined, rival: undefined },
  ...{ scaledObject: undefined, autoscaler: undefined, kedaAutoscaler: undefined },
  ...world,
});

export const aScalingWorld = (
  world: Partial<ScalingWorld> = {},
  target: Partial<TargetWorld> = {},
): ScalingWorld => ({
  ...{ isPaused: false, cluster: aResolved(), hasKeda: true, metricsApi: { kind: 'nobody' }, owned: [] },
  targets: [aTargetWorld(target)],
  ...world,
});
