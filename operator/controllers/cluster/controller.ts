// The controller of FlowMeshClusters: its informers, its triggers, and how its decisions are carried out.
//   R1. A change of anything that a cluster owns or is made of concerns that cluster at once.
//   R2. A restart deletes one pod by its uid, under a slot, and is told with its reason; not when this very
//       round has changed the StatefulSet, whose pods would restart twice.

import { ENGINES, type Engine } from '../../../crds/notices.ts';
import type { Writer } from '../../kube/apply.ts';
import type { ReconcileContext } from '../../kube/controller.ts';
import { beyondStatus, owned, type Source, watched } from '../../kube/controller.ts';
import type { Recorder } from '../../kube/events.ts';
import type { ControllerHost } from '../../kube/host.ts';
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/objects.ts';
import { reconciler } from '../../kube/reconciler.ts';
import type { KeySource } from '../../resources/certificates.ts';
import type { ClusterDefaults } from '../../resources/cluster.ts';
import { namesOf } from '../../resources/names.ts';
import type { Planes } from '../declared/planes.ts';
import { type Action, decide, type Reason } from './decide.ts';
import {
  CLAIMS,
  CLUSTERS,
  type FlowMeshCluster,
  leanPod,
  OPTIONAL,
  OWNED,
  PODS,
  STATEFUL_SETS,
  STORAGE_CLASSES,
  type StatefulSet,
} from './kinds.ts';
import { isRollingOut, isSettled, type Restart } from './restart.ts';
import { RolloutSlots } from './slots.ts';
import { clusterIndex, gather, idOf, PARTS, type Sources } from './world.ts';

const NAME = 'flowmesh-cluster';
/** Where the chart puts it, for an operator that runs outside of a pod. */
const OPERATOR_NAMESPACE = 'flowmesh-system';

export interface ClusterControllerOptions {
  readonly defaults: ClusterDefaults;
  readonly keys: KeySource;
  /** Journals that the data plane starts with. */
  readonly engines?: readonly Engine[];
  /** Unset: nobody asks the data planes of themselves. */
  readonly planes?: Planes;
}

/** What the process was told. */
export function clusterDefaults(told: {
  readonly image: string;
  readonly clusterDomain: string;
  readonly leaseNamespace: string | undefined;
}): ClusterDefaults {
  const { image, clusterDomain, leaseNamespace = OPERATOR_NAMESPACE } = told;
  return { image, clusterDomain, operatorNamespace: leaseNamespace };
}

/** Answers the informers of what clusters own, by plural and group. */
export function clusterController(
  host: ControllerHost,
  o: ClusterControllerOptions,
): ReadonlyMap<string, Informer> {
  const { defaults, keys, engines = ENGINES, planes } = o;
  const clusters = host.informer({ resource: CLUSTERS });
  const parts = { labelSelector: PARTS };
  const ownedInformers = [
    ...OWNED.map((resource) => host.informer({ resource, ...parts })),
    ...OPTIONAL.map((resource) => host.informer({ resource, ...parts, optional: true })),
  ];
  const indexes = { cluster: clusterIndex };
  const pods = host.informer({ resource: PODS, ...parts, indexes, transform: leanPod });
  const claims = host.informer({ resource: CLAIMS, ...parts, indexes });
  const storageClasses = host.informer({ resource: STORAGE_CLASSES });
  const writer = host.writer(NAME);
  const recorder = host.recorder<Reason>('flowmesh.io/cluster-controller');
  const sources: Sources = {
    owned: new Map(ownedInformers.map((each) => [idOf(each.resource), each])),
    pods,
    claims,
    storageClasses,
    defaults,
    engines,
    keys,
    wallMs: host.runtime.wallMs,
    factsOf: (cluster) => planes?.of(cluster).facts,
    get: (resource, at, signal) => host.client.get(resource, at, signal),
  };
  const slots = new RolloutSlots({
    monotonicMs: host.runtime.monotonicMs,
    rollingOut: () =>
      [...clusters.values()]
        .filter((each) => isRollingOut(partsOf(sources, each)))
        .map(({ metadata }) => keyOf(metadata)),
  });
  const hands = new Hands(writer, recorder, sources, slots);
  host.controller({
    name: 'cluster',
    primary: clusters,
    sources: [
      ...ownedInformers.map((each) => owned(each, CLUSTERS as Resource)),
      partOf(pods as unknown as Informer),
      partOf(claims as unknown as Informer),
      ...(planes === undefined ? [] : [planes.clusterSource()]),
    ],
    concerns: beyondStatus,
    reconcile: reconciler({
      primary: clusters,
      writer,
      recorder,
      wallMs: host.runtime.wallMs,
      gather: (object, context) => gather(sources, object, context),
      decide,
      act: (action, object, context) => hands.carryOut(action, object, context),
    }),
  });
  return sources.owned;
}

/** Pods and claims belong to the StatefulSet, or to nobody; their labels say which cluster they are for. */
function partOf(informer: Informer): Source {
  return watched(informer, clusterIndex);
}

class Hands {
  readonly #writer: Writer;
  readonly #recorder: Recorder<Reason>;
  readonly #sources: Sources;
  readonly #slots: RolloutSlots;

  constructor(writer: Writer, recorder: Recorder<Reason>, sources: Sources, slots: RolloutSlots) {
    this.#writer = writer;
    this.#recorder = recorder;
    this.#sources = sources;
    this.#slots = slots;
  }

  /** Of an apply, whether the server has made something else of it: its generation is a new one. */
  async carryOut(
    action: Action,
    object: FlowMeshCluster,
    { signal }: ReconcileContext,
  ): Promise<'changed' | undefined> {
    switch (action.kind) {
      case 'apply':
        return this.#apply(action, object, signal);
      case 'delete': {
        const { resource, live, propagation } = action;
        await this.#writer.delete(resource, live, { signal, ...(propagation && { propagation }) });
        return undefined;
      }
      case 'restart':
        await this.#restart(action.restart, object, signal);
        return undefined;
      case 'rest':
        this.#slots.release(keyOf(object.metadata));
        return undefined;
    }
  }

  async #apply(
    { resource, wanted, live }: Extract<Action, { kind: 'apply' }>,
    object: FlowMeshCluster,
    signal: AbortSignal,
  ): Promise<'changed' | undefined> {
    try {
      const { taken, object: made } = await this.#writer.apply(resource, wanted, { live, signal });
      // Claims are made by the controller of StatefulSets: what we take over there is its default.
      if (taken.length > 0 && resource.kind !== CLAIMS.kind)
        this.#say(object, 'DriftRepaired', 'Repair', tell(resource, wanted, taken));
      return made.metadata.generation === live?.metadata.generation ? undefined : 'changed';
    } catch (error) {
      const note = error instanceof Error ? error.message : String(error);
      if (!signal.aborted) this.#say(object, 'ApplyFailed', 'Apply', note);
      throw error;
    }
  }

  /** R2. */
  async #restart({ pod, reason, why }: Restart, object: FlowMeshCluster, signal: AbortSignal): Promise<void> {
    const { statefulSet } = partsOf(this.#sources, object);
    if (statefulSet === undefined || !isSettled(statefulSet)) return;
    if (!this.#slots.claim(keyOf(object.metadata))) return;
    const outcome = await this.#writer.delete(PODS, pod, { signal });
    if (outcome !== 'deleted') return;
    this.#recorder.record(CLUSTERS as Resource, object, {
      type: 'Normal',
      reason,
      action: 'Restart',
      note: `pod ${pod.metadata.name} starts again: ${why}`,
    });
  }

  #say(object: FlowMeshCluster, reason: Reason, action: string, note: string): void {
    this.#recorder.record(CLUSTERS as Resource, object, { type: 'Warning', reason, action, note });
  }
}

/** What the informers hold of it now. */
function partsOf({ owned, pods, claims }: Sources, { metadata, spec }: FlowMeshCluster) {
  const { namespace = '', name } = metadata;
  const { statefulSet, stem } = namesOf(name);
  const sets = owned.get(idOf(STATEFUL_SETS as Resource));
  return {
    statefulSet: sets?.get(keyOf({ namespace, name: statefulSet })) as StatefulSet | undefined,
    pods: pods.byIndex('cluster', `${namespace}/${stem}`),
    claims: claims.byIndex('cluster', `${namespace}/${stem}`),
    replicas: spec.replicas ?? 1,
  };
}

function tell(
  resource: Resource,
  { metadata }: KubeObject,
  taken: readonly { field: string; manager: string }[],
) {
  const fields = taken.map(({ field, manager }) => `${field} (${manager})`).join(', ');
  return `${resource.kind} ${metadata.name}: set back what another manager had set: ${fields}`;
}
