// What scaling is decided from, read off the informers.
//   G1. At rest it costs no request but one look at each workload in a resync.
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/objects.ts';
import type { ClusterDefaults } from '../../resources/cluster.ts';
import { resolveCluster } from '../../resources/cluster.ts';
import { nameOfScaler, type ScalingOwner, type ScalingTarget } from '../../resources/scaling/target.ts';
import type { DeclaredKind, DeclaredObject } from '../declared/kinds.ts';
import { type ClusterView, rivalOf } from '../declared/reference.ts';
import type { MetricsApi, Owned, ScalingWorld, TargetWorld } from './decide.ts';
import {
  type ApiService,
  AUTOSCALERS,
  type Autoscaler,
  EXTERNAL_METRICS,
  isOurs,
  SCALED_OBJECTS,
  type Scale,
  type ScaledObject,
  WORKLOADS,
} from './kinds.ts';
import type { ScalingReports } from './report.ts';
import { targetsOf, workloadKey } from './targets.ts';

export interface ScalableKind {
  readonly kind: DeclaredKind;
  readonly objects: Informer<DeclaredObject>;
  /** Where its status is written from. */
  readonly reports: ScalingReports;
}

export interface ScalingSources {
  readonly kinds: readonly ScalableKind[];
  readonly keda: KedaPresence;
  readonly scaledObjects: Informer<ScaledObject>;
  readonly autoscalers: Informer<Autoscaler>;
  readonly apiServices: Informer<ApiService>;
  readonly defaults: ClusterDefaults;
  /** The Service of our own metrics; undefined: they are not served. */
  readonly metricsService: { readonly name: string; readonly namespace: string } | undefined;
  readonly viewOf: (object: DeclaredObject) => ClusterView;
  readonly scaleOf: (
    resource: Resource<Scale>,
    at: { readonly name: string; readonly namespace: string },
    signal: AbortSignal,
  ) => Promise<Scale | undefined>;
}

/** For as long an API server keeps watches of a kind that is gone; then the informer knows as well. */
const GONE_MS = 180_000;

/** Whether there is KEDA: its API is served, and nobody has just met its absence. */
export class KedaPresence {
  readonly #scaledObjects: Pick<Informer, 'isServed'>;
  readonly #monotonicMs: () => number;
  #goneUntilMs = 0;

  constructor(scaledObjects: Pick<Informer, 'isServed'>, monotonicMs: () => number) {
    this.#scaledObjects = scaledObjects;
    this.#monotonicMs = monotonicMs;
  }

  get isThere(): boolean {
    return this.#scaledObjects.isServed && this.#monotonicMs() >= this.#goneUntilMs;
  }

  isMissed(): void {
    this.#goneUntilMs = this.#monotonicMs() + GONE_MS;
  }
}

/** For indexes of ScaledObjects and autoscalers. */
export const ownersOf = ({ metadata }: KubeObject): string[] =>
  (metadata.ownerReferences ?? []).map(({ uid }) => uid);

export const scalerWorkload = ({ metadata, spec }: ScaledObject | Autoscaler): string[] => {
  // KEDA takes a Deployment where no kind is named.
  const { kind = 'Deployment', ...reference } = spec.scaleTargetRef;
  return [workloadKey(metadata.namespace ?? '', { kind, ...reference })];
};

export async function gather(
  s: ScalingSources,
  kind: DeclaredKind,
  object: DeclaredObject,
  isPaused: boolean,
  signal: AbortSignal,
): Promise<ScalingWorld> {
  const view = s.viewOf(object);
  const isRefused = object.status?.conditions?.some(
    ({ type, status, observedGeneration }) =>
      type === 'Accepted' && status === 'False' && observedGeneration === object.metadata.generation,
  );
  const targets: TargetWorld[] = [];
  for (const target of targetsOf(object, kind)) targets.push(await targetWorld(s, target, object, signal));
  return {
    isPaused,
    cluster: view.kind === 'serving' && !isRefused ? resolveCluster(view.cluster, s.defaults) : undefined,
    hasKeda: s.keda.isThere,
    metricsApi: metricsApiOf(s),
    owned: ownedOf(s, object),
    targets,
  };
}

async function targetWorld(
  s: ScalingSources,
  target: ScalingTarget,
  object: DeclaredObject,
  signal: AbortSignal,
): Promise<TargetWorld> {
  const { namespace } = target.owner;
  const name = nameOfScaler(target);
  const at = keyOf({ namespace, name });
  return {
    target,
    ...(await workloadOf(s, target, signal)),
    rival: rivalText(s, target, object),
    scaledObject: s.scaledObjects.get(at),
    autoscaler: s.autoscalers.get(at),
    kedaAutoscaler: s.autoscalers.get(keyOf({ namespace, name: `keda-hpa-${name}` })),
  };
}

async function workloadOf(
  s: ScalingSources,
  { workload, owner }: ScalingTarget,
  signal: AbortSignal,
): Promise<Pick<TargetWorld, 'workload' | 'scale'>> {
  const resource = WORKLOADS[`${workload.apiVersion} ${workload.kind}`];
  if (resource === undefined) return { workload: 'not-looked-at', scale: undefined };
  const scale = await s.scaleOf(resource, { name: workload.name, namespace: owner.namespace }, signal);
  return { workload: scale === undefined ? 'missing' : 'there', scale };
}

/** The one that was there first, among ours; whoever it is, among others. */
function rivalText(s: ScalingSources, target: ScalingTarget, object: DeclaredObject): string | undefined {
  const key = workloadKey(target.owner.namespace, target.workload);
  const ours = s.kinds.flatMap(({ objects }) => objects.byIndex('workload', key));
  const first = rivalOf(
    object,
    ours.filter(({ metadata }) => metadata.uid !== object.metadata.uid),
  );
  if (first !== undefined) {
    const kind = s.kinds.find(({ objects }) => objects.get(keyOf(first.metadata)) === first)?.kind;
    return `${kind?.resource.kind} ${first.metadata.name}`;
  }
  const ownName = nameOfScaler(target);
  const others = [
    ...s.scaledObjects.byIndex('workload', key).map((each) => ({ kind: SCALED_OBJECTS.kind, each })),
    ...s.autoscalers.byIndex('workload', key).map((each) => ({ kind: AUTOSCALERS.kind, each })),
  ].filter(({ each }) => !isOurs(each) && !isOfKeda(each, ownName));
  const [other] = others;
  return other && `${other.kind} ${other.each.metadata.name}`;
}

/** The autoscaler that KEDA makes of our ScaledObject, or of one whose own entry says it already. */
const isOfKeda = ({ metadata }: KubeObject, name: string) =>
  metadata.ownerReferences?.some((each) => each.kind === SCALED_OBJECTS.kind && each.name === name) ?? false;

function ownedOf(s: ScalingSources, { metadata }: DeclaredObject): Owned[] {
  const { uid = '' } = metadata;
  const scaledObjects = s.scaledObjects.byIndex('owner', uid);
  const autoscalers = s.autoscalers.byIndex('owner', uid);
  return [
    ...scaledObjects.map((live) => ({ resource: SCALED_OBJECTS as Resource, live: live as KubeObject })),
    ...autoscalers.map((live) => ({ resource: AUTOSCALERS as Resource, live: live as KubeObject })),
  ].filter(({ live }) => isOurs(live) && live.metadata.deletionTimestamp === undefined);
}

function metricsApiOf({ apiServices, metricsService }: ScalingSources): MetricsApi {
  const found = apiServices.get(keyOf({ name: EXTERNAL_METRICS }));
  if (found === undefined) return { kind: 'nobody' };
  const { name, namespace } = found.spec?.service ?? {};
  const isOwn = metricsService?.name === name && metricsService?.namespace === namespace;
  return isOwn ? { kind: 'ours' } : { kind: 'other', service: `Service ${namespace}/${name}` };
}

/** The objects of a namespace that KEDA scales for with one cluster, the oldest first. */
export function usersOf(s: ScalingSources, clusterKey: string, namespace: string): ScalingOwner[] {
  const users = s.kinds.flatMap(({ kind, objects }) =>
    objects
      .byIndex('cluster', clusterKey)
      .filter(
        (each) =>
          each.metadata.namespace === namespace &&
          each.metadata.deletionTimestamp === undefined &&
          targetsOf(each, kind).some(({ mode }) => mode === 'Auto'),
      )
      .map((each) => ({
        since: `${each.metadata.creationTimestamp} ${each.metadata.uid}`,
        owner: {
          kind: kind.resource.kind as ScalingOwner['kind'],
          ...{ name: each.metadata.name, namespace, uid: each.metadata.uid ?? '' },
        },
      })),
  );
  users.sort((a, b) => (a.since < b.since ? -1 : 1));
  return users.map(({ owner }) => owner);
}
