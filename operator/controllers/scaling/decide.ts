// Who scales each target of an object, and what has to be there for it. Pure.
//   D1. KEDA where its API is there; else the autoscaler, where its metrics come from us; with mode Direct
//       the operator itself. Exactly one of them: what belongs to the others is taken away first.
//   D2. Nobody is fought with: while somebody else scales the workload, ours is taken away and says so. Where
//       two groups of a stream name one workload, the first has it.
//   D3. What is in the way of making anything anew leaves what is there: a cluster that is stopped or cannot
//       be reached for a while must not end the scaling of its workers.

import type { KubeError } from '../../kube/errors.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import type { ResolvedCluster } from '../../resources/cluster.ts';
import { autoscaler } from '../../resources/scaling/autoscaler.ts';
import { scaledObject } from '../../resources/scaling/scaled-object.ts';
import { nameOfScaler, type ScalingTarget } from '../../resources/scaling/target.ts';
import {
  AUTOSCALERS,
  type Autoscaler,
  SCALED_OBJECTS,
  type Scale,
  type ScaledObject,
  WORKLOADS,
} from './kinds.ts';
import type { ScalingReason, ScalingVerdict } from './report.ts';
import { workloadKey } from './targets.ts';

/** Who serves external.metrics.k8s.io. */
export type MetricsApi =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'ours' }
  | { readonly kind: 'other'; readonly service: string };

export interface TargetWorld {
  readonly target: ScalingTarget;
  /** Of Deployments and StatefulSets; others are not looked at. */
  readonly workload: 'there' | 'missing' | 'not-looked-at';
  /** Its `/scale`, where it is there. */
  readonly scale: Scale | undefined;
  /** Who else scales it, such as `HorizontalPodAutoscaler web`. */
  readonly rival: string | undefined;
  /** Of the name that ours has; may be somebody else's. */
  readonly scaledObject: ScaledObject | undefined;
  readonly autoscaler: Autoscaler | undefined;
  /** Which KEDA has made for ours. */
  readonly kedaAutoscaler: Autoscaler | undefined;
}

export interface ScalingWorld {
  readonly isPaused: boolean;
  /** Undefined: it does not serve, or not this object. */
  readonly cluster: ResolvedCluster | undefined;
  readonly hasKeda: boolean;
  readonly metricsApi: MetricsApi;
  /** Ours, of this object, whatever spec says now. */
  readonly owned: readonly Owned[];
  readonly targets: readonly TargetWorld[];
}

export interface Owned {
  readonly resource: Resource;
  readonly live: KubeObject;
}

export type Way = 'KEDA' | 'HPA' | 'Direct';

export interface TargetPlan {
  readonly target: ScalingTarget;
  /** Undefined: nobody scales it. */
  readonly by: Way | undefined;
  readonly wanted:
    | { readonly resource: Resource; readonly object: KubeObject; readonly live: KubeObject | undefined }
    | undefined;
  /** If all goes well. */
  readonly verdict: ScalingVerdict;
}

export interface ScalingPlan {
  /** Taken away before anything is made. */
  readonly remove: readonly Owned[];
  readonly targets: readonly TargetPlan[];
}

const verdict = (
  status: ScalingVerdict['status'],
  reason: ScalingReason,
  message: string,
): ScalingVerdict => ({ status, reason, message });

const no = (reason: ScalingReason, message: string) => verdict('False', reason, message);

export function decide(world: ScalingWorld): ScalingPlan {
  if (world.isPaused) return held(world, verdict('Unknown', 'Paused', 'left alone while it is paused'));
  const { cluster } = world;
  if (cluster === undefined && world.targets.length > 0) {
    const message = 'its cluster does not serve it: see Accepted and Synced';
    return held(world, verdict('Unknown', 'ClusterNotServing', message));
  }
  const targets = world.targets.map((each) => {
    const first = world.targets.find(({ target }) => isSameWorkload(target, each.target));
    if (first === undefined || first === each) return planOf(each, world, cluster as ResolvedCluster);
    return nobodyFor(each.target, shared(each.target, first.target));
  });
  const kept = new Set(
    targets.flatMap(({ wanted }) => (wanted ? [idOf(wanted.resource, wanted.object)] : [])),
  );
  return { remove: world.owned.filter(({ resource, live }) => !kept.has(idOf(resource, live))), targets };
}

/** Whatever its API group's version. */
const isSameWorkload = (a: ScalingTarget, b: ScalingTarget) =>
  workloadKey(a.owner.namespace, a.workload) === workloadKey(b.owner.namespace, b.workload);

const nobodyFor = (target: ScalingTarget, said: ScalingVerdict): TargetPlan => ({
  ...{ target, by: undefined, wanted: undefined, verdict: said },
});

const shared = (target: ScalingTarget, { subject }: ScalingTarget) => {
  const what = workloadText(target);
  const cure = 'give each group a workload of its own, or take scaling out of one of them';
  return no('TargetTaken', `group ${subject.group} of this stream scales ${what} already: ${cure}`);
};

const idOf = ({ kind }: Resource, { metadata }: KubeObject) => `${kind} ${metadata.name}`;

/** D3. */
function held({ targets }: ScalingWorld, said: ScalingVerdict): ScalingPlan {
  return {
    remove: [],
    targets: targets.map(({ target }) => nobodyFor(target, said)),
  };
}

function planOf(
  world: TargetWorld,
  { hasKeda, metricsApi }: ScalingWorld,
  cluster: ResolvedCluster,
): TargetPlan {
  const { target, rival } = world;
  const nobody = (said: ScalingVerdict) => nobodyFor(target, said);
  const what = workloadText(target);
  if (rival !== undefined) {
    const message = `${rival} scales ${what} already: delete that, or take scaling out of this object`;
    return nobody(no('TargetTaken', message));
  }
  if (world.workload === 'missing') {
    const message = `there is no ${what} in this namespace: create it, or correct scaling.targetRef`;
    return nobody(no('TargetNotFound', message));
  }
  if (target.mode === 'Direct') return direct(world, nobody);
  if (hasKeda) return byKeda(world, cluster, nobody);
  if (metricsApi.kind === 'ours') return byAutoscaler(world, cluster, nobody);
  if (metricsApi.kind === 'other') {
    const message =
      `${metricsApi.service} serves external.metrics.k8s.io, which only one can: ` +
      'install KEDA, or set scaling.mode: Direct';
    return nobody(no('MetricsApiTaken', message));
  }
  const message =
    'this cluster has neither KEDA nor external metrics: install KEDA, set metricsApi.enabled in the ' +
    'chart of the operator, or set scaling.mode: Direct';
  return nobody(no('NoScaler', message));
}

type Nobody = (said: ScalingVerdict) => TargetPlan;

/** As autoscalers do, it leaves a workload alone that somebody has stopped. */
function direct({ target, scale }: TargetWorld, nobody: Nobody): TargetPlan {
  if (WORKLOADS[`${target.workload.apiVersion} ${target.workload.kind}`] === undefined) {
    const message =
      `mode Direct scales Deployments and StatefulSets, not ${workloadText(target)}: ` +
      'set scaling.mode: Auto, for KEDA';
    return nobody(no('TargetNotSupported', message));
  }
  if (scale?.spec.replicas === 0 && target.from > 0) return nobody(stopped(target));
  return { target, by: 'Direct', wanted: undefined, verdict: scaled(target, 'the operator') };
}

function byKeda(world: TargetWorld, cluster: ResolvedCluster, nobody: Nobody): TargetPlan {
  const { target, scaledObject: live, kedaAutoscaler } = world;
  if (cluster.tls.mode === 'Disabled') {
    const message =
      `KEDA shows a certificate, and ${cluster.namespace}/${cluster.name} has TLS switched off: ` +
      'set its tls.mode: Operator, or scaling.mode: Direct here';
    return nobody(no('TlsDisabled', message));
  }
  if (live !== undefined && !isOf(live, target)) return nobody(taken('ScaledObject', target));
  const object = scaledObject(target, cluster) as KubeObject;
  return {
    ...{ target, by: 'KEDA' },
    wanted: { resource: SCALED_OBJECTS as Resource, object, live },
    verdict: saidByKeda(target, live, kedaAutoscaler),
  };
}

function byAutoscaler(world: TargetWorld, cluster: ResolvedCluster, nobody: Nobody): TargetPlan {
  const { target, autoscaler: live, kedaAutoscaler } = world;
  if (live !== undefined && !isOf(live, target)) return nobody(taken('HorizontalPodAutoscaler', target));
  if (kedaAutoscaler !== undefined) {
    const message = `waits until ${kedaAutoscaler.metadata.name}, which KEDA has left behind, is gone`;
    return nobody(verdict('Unknown', 'Pending', message));
  }
  const object = autoscaler(target, cluster.name) as KubeObject;
  return {
    ...{ target, by: 'HPA' },
    wanted: { resource: AUTOSCALERS as Resource, object, live },
    verdict: saidByAutoscaler(target, live),
  };
}

const stopped = (target: ScalingTarget) =>
  verdict(
    'Unknown',
    'Paused',
    `${workloadText(target)} was set to 0 by somebody: scale it up, and it goes on`,
  );

const isOf = (live: KubeObject, { owner }: ScalingTarget) =>
  live.metadata.ownerReferences?.some(({ uid }) => uid === owner.uid) ?? false;

const taken = (kind: string, target: ScalingTarget) =>
  no('NameTaken', `${kind} ${nameOfScaler(target)} is somebody else's: delete or rename it`);

export const workloadText = ({ workload }: ScalingTarget) => `${workload.kind} ${workload.name}`;

function scaled(target: ScalingTarget, by: string): ScalingVerdict {
  const message = `${by} scales ${workloadText(target)} between ${target.from} and ${target.to}`;
  return verdict('True', 'Scaled', message);
}

type Conditions = ScaledObject['status'] | Autoscaler['status'];

const conditionOf = (status: Conditions, type: string) =>
  status?.conditions?.find((each) => each.type === type);

const pending = (who: string, cure: string) =>
  verdict('Unknown', 'Pending', `${who} has not said anything about it yet: ${cure}`);

function saidByKeda(
  target: ScalingTarget,
  live: ScaledObject | undefined,
  kedaAutoscaler: Autoscaler | undefined,
): ScalingVerdict {
  const ready = conditionOf(live?.status, 'Ready');
  if (ready === undefined || (ready.status === 'Unknown' && !ready.reason))
    return pending('KEDA', 'if that lasts, see the log of its operator');
  const bad = ready.status === 'True' ? inactive(kedaAutoscaler) : ready;
  if (bad === undefined) return scaled(target, 'KEDA');
  return no('KedaNotReady', `the number stays as it is. KEDA says ${bad.reason}: ${bad.message}`);
}

function saidByAutoscaler(target: ScalingTarget, live: Autoscaler | undefined): ScalingVerdict {
  if (conditionOf(live?.status, 'AbleToScale') === undefined)
    return pending('the controller of autoscalers', 'if that lasts, see kube-controller-manager');
  // It wakes what it has put to rest itself, and nothing else.
  if (conditionOf(live?.status, 'ScalingActive')?.reason === DISABLED) return stopped(target);
  const bad = inactive(live);
  if (bad === undefined) return scaled(target, 'the autoscaler');
  return no('HpaNotActive', `the number stays as it is. The autoscaler says ${bad.reason}: ${bad.message}`);
}

const DISABLED = 'ScalingDisabled';

/** Disabled it is while the target has no replicas, which KEDA wakes. */
function inactive(live: Autoscaler | undefined) {
  const able = conditionOf(live?.status, 'AbleToScale');
  if (able?.status === 'False') return able;
  const active = conditionOf(live?.status, 'ScalingActive');
  return active?.status === 'False' && active.reason !== DISABLED ? active : undefined;
}

const REFUSALS: ReadonlySet<number> = new Set([400, 403, 409, 422]);

/** What the API server, or a webhook of KEDA, does not take; undefined: trying again may help. */
export function refusal(
  { status, message, causes }: Pick<KubeError, 'status' | 'message' | 'causes'>,
  from: number,
): ScalingVerdict | undefined {
  if (!REFUSALS.has(status)) return undefined;
  const isZero = from === 0 && causes.some(({ field }) => field === 'spec.minReplicas');
  if (!isZero) return no('Refused', message);
  const cure = 'this API server takes no autoscaler from 0: write scaleFrom: 1, or install KEDA';
  return no('ScaleToZeroNotServed', cure);
}
