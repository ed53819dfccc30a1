// The controllers of queues, streams and schemas: informers, what brings an object back, and what is gathered
// of it.
//   C1. All kinds share the data planes, so that there is one watch and one list of figures for a cluster.
//   C2. An object comes back when it changes, its cluster, its namespace's labels, a rival of its name, the
//       schema that it names or who names it, or its data plane; without any of that at the resync only.
import { inOneLine, judge, problemsIn } from '../../../crds/judge.ts';
import type { Writer } from '../../kube/apply.ts';
import { beyondStatus, type ReconcileContext, type Source, watched } from '../../kube/controller.ts';
import type { ControllerHost } from '../../kube/host.ts';
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/objects.ts';
import { reconciler } from '../../kube/reconciler.ts';
import { QUEUE } from '../queue/kind.ts';
import { ScalingReports } from '../scaling/report.ts';
import type { ScalableKind } from '../scaling/sources.ts';
import { metricsOf, workloadsOf } from '../scaling/targets.ts';
import { SCHEMA } from '../schema/kind.ts';
import { linkSources, type Objects, schemasIn, usersOf } from '../schema/links.ts';
import { usedSchemas, viewSchema } from '../schema/reference.ts';
import { STREAM } from '../stream/kind.ts';
import { declare, type Place, remove } from './act.ts';
import { type Action, DELETION_WAIT_MS, decide, FINALIZER, type Reason, type World } from './decide.ts';
import { fromBinding, type ResolveEndpoint } from './endpoint.ts';
import type { DeclaredKind, DeclaredObject, DeclaredStatus } from './kinds.ts';
import { type Kind, PLANE_TIMES, type PlaneTimes } from './plane.ts';
import { Planes } from './planes.ts';
import {
  type ClusterObject,
  type ClusterView,
  clusterKeyOf,
  type Labels,
  rivalOf,
  viewCluster,
} from './reference.ts';

const CLUSTERS: Resource<ClusterObject> = {
  ...{ group: 'flowmesh.io', version: 'v1alpha1', plural: 'flowmeshclusters', kind: 'FlowMeshCluster' },
  namespaced: true,
};
const NAMESPACES: Resource = {
  ...{ group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false },
};
const WORKERS_MAX = 8;
const BACKOFF = { baseMs: 250, maxMs: 30_000 };

export interface PlanesOptions {
  /** Default: the binding Secret of the cluster. */
  readonly resolve?: ResolveEndpoint;
  readonly times?: PlaneTimes;
}

export interface DeclaredOptions extends PlanesOptions {
  /** Shared with others; default: its own. */
  readonly planes?: Planes;
  readonly resyncMs?: number;
  readonly deletionWaitMs?: number;
}

interface Shared {
  readonly host: ControllerHost;
  readonly clusters: Informer<ClusterObject>;
  readonly namespaces: Informer;
  readonly objects: Objects;
  readonly planes: Planes;
  readonly reports: Readonly<Record<Kind, ScalingReports>>;
  readonly clusterUid: () => Promise<string>;
  readonly resyncMs: number | undefined;
  readonly deletionWaitMs: number;
}

const KINDS = [QUEUE, STREAM, SCHEMA] as unknown as DeclaredKind[];

export function dataPlanes(host: ControllerHost, o: PlanesOptions = {}): Planes {
  return new Planes({
    runtime: host.runtime,
    log: host.log,
    clusters: host.informer({ resource: CLUSTERS }),
    resolve: o.resolve ?? fromBinding(host.client),
    times: o.times ?? PLANE_TIMES,
  });
}

/** For the scaling of what is declared. */
export interface Declared {
  readonly planes: Planes;
  readonly kinds: readonly ScalableKind[];
  viewOf(object: DeclaredObject): ClusterView;
}

export function declaredControllers(host: ControllerHost, o: DeclaredOptions = {}): Declared {
  const namespaces = host.informer({ resource: NAMESPACES, metadataOnly: true });
  const planes = o.planes ?? dataPlanes(host, o);
  const { clusters } = planes;
  const clusterUid = remembered(async () => {
    const system = await host.client.get(NAMESPACES, { name: 'kube-system' });
    return system?.metadata.uid ?? '';
  });
  const shared: Shared = {
    host,
    clusters,
    namespaces,
    objects: Object.fromEntries(KINDS.map((kind) => [kind.kind, informerOf(host, kind)])) as Objects,
    planes,
    reports: Object.fromEntries(
      KINDS.map(({ kind }) => [kind, new ScalingReports(host.runtime.monotonicMs)]),
    ) as Shared['reports'],
    clusterUid,
    ...{ resyncMs: o.resyncMs, deletionWaitMs: o.deletionWaitMs ?? DELETION_WAIT_MS },
  };
  for (const kind of KINDS) register(shared, kind);
  const scalable = KINDS.filter(({ scaled }) => scaled !== undefined);
  return {
    planes,
    viewOf: (object) => viewOf(shared, object),
    kinds: scalable.map((kind) => ({
      ...{ kind, objects: shared.objects[kind.kind], reports: shared.reports[kind.kind] },
    })),
  };
}

const claimOf = (object: DeclaredObject, kind: DeclaredKind) =>
  `${clusterKeyOf(object)} ${kind.nameOf(object)}`;

function informerOf(host: ControllerHost, kind: DeclaredKind): Informer<DeclaredObject> {
  return host.informer({
    resource: kind.resource,
    indexes: {
      cluster: (object) => [clusterKeyOf(object)],
      claim: (object) => [claimOf(object, kind)],
      namespace: ({ metadata }) => [metadata.namespace ?? ''],
      schema: usedSchemas,
      workload: workloadsOf(kind),
      metric: metricsOf(kind),
    },
  });
}

/** Until it fails. */
function remembered<T>(get: () => Promise<T>): () => Promise<T> {
  let known: Promise<T> | undefined;
  return () => {
    known ??= get().catch((error) => {
      known = undefined;
      throw error;
    });
    return known;
  };
}

function register(shared: Shared, kind: DeclaredKind): void {
  const { host, objects, planes, resyncMs } = shared;
  const informer = objects[kind.kind];
  const name = `flowmesh-${kind.kind}`;
  const writer = host.writer(name);
  const recorder = host.recorder<Reason>(`flowmesh.io/${kind.kind}-controller`);
  const rivals = (object: DeclaredObject) =>
    informer.byIndex('claim', claimOf(object, kind)).filter((each) => each !== object);
  host.controller({
    name: kind.kind,
    primary: informer,
    sources: [
      ...sourcesOf(shared, kind, informer, rivals),
      ...linkSources(objects, kind.kind),
      shared.reports[kind.kind].source(),
    ],
    concerns: beyondStatus,
    workersMax: WORKERS_MAX,
    backoff: BACKOFF,
    ...(resyncMs !== undefined && { resyncMs }),
    reconcile: reconciler<DeclaredObject, DeclaredStatus, World, Action, Reason>({
      primary: informer,
      writer: writer as Writer,
      recorder,
      finalizer: FINALIZER,
      wallMs: () => host.runtime.wallMs(),
      gather: (object) => gather(object, shared, kind, rivals(object)),
      decide,
      act: async (action, object, context) => {
        const place = await placeOf(object, shared, kind, context);
        const told: Place<DeclaredObject> = {
          ...place,
          tell: (event) => recorder.record(kind.resource, object, event),
        };
        if (action.kind === 'remove') return remove(object, action, told);
        const verdict = await declare(object, told);
        planes.declared(object);
        return verdict;
      },
    }),
  });
}

const keys = (objects: readonly KubeObject[]) => objects.map(({ metadata }) => keyOf(metadata));

function sourcesOf(
  { clusters, namespaces, planes }: Shared,
  kind: DeclaredKind,
  informer: Informer<DeclaredObject>,
  rivals: (object: DeclaredObject) => DeclaredObject[],
): Source[] {
  return [
    watched(clusters, ({ metadata }) => keys(informer.byIndex('cluster', keyOf(metadata))), beyondStatus),
    watched(
      namespaces,
      ({ metadata }) =>
        keys(
          informer
            .byIndex('namespace', metadata.name)
            .filter((each) => each.spec.clusterRef?.namespace !== undefined),
        ),
      (change) => change.kind === 'updated' && beyondStatus(change),
    ),
    watched(
      informer,
      (object) => keys(rivals(object)),
      (change) => {
        if (change.kind === 'deleted') planes.forget(change.object.metadata.uid);
        return change.kind !== 'updated';
      },
    ),
    planes.source({
      ...{ kind: kind.kind, declares: true },
      objects: (clusterKey, name) =>
        name === undefined
          ? informer.byIndex('cluster', clusterKey)
          : informer.byIndex('claim', `${clusterKey} ${name}`),
    }),
  ];
}

function viewOf({ clusters, namespaces }: Shared, object: DeclaredObject): ClusterView {
  const { namespace = '' } = object.metadata;
  const known = namespaces.get(keyOf({ name: namespace }))?.metadata.labels;
  const labels: Labels = { 'kubernetes.io/metadata.name': namespace, ...known };
  return viewCluster(object, clusters.get(clusterKeyOf(object)), labels);
}

function gather(
  object: DeclaredObject,
  shared: Shared,
  kind: DeclaredKind,
  others: readonly DeclaredObject[],
): World {
  const { host, objects, planes, deletionWaitMs } = shared;
  const nowMs = host.runtime.wallMs();
  const view = viewOf(shared, object);
  const name = kind.nameOf(object);
  const plane = view.kind === 'serving' ? planes.of(view.cluster) : undefined;
  const summary = plane?.summary(kind.kind, name);
  const isOurs = summary !== undefined && summary.ownerUid === object.metadata.uid;
  const rival = rivalOf(
    object,
    others.filter((each) => viewOf(shared, each).kind !== 'denied'),
  );
  const users = kind.kind === 'schema' ? usersOf(object, objects) : [];
  const isAsDeclared = plane !== undefined && planes.isAsDeclared(object, kind.kind, name, plane);
  return {
    name,
    clusterKey: clusterKeyOf(object),
    view,
    rival: rival && `${kind.resource.kind} ${keyOf(rival.metadata)}`,
    schema: viewSchema(object, schemasIn(objects)),
    users,
    problems: isAsDeclared ? [] : problemsOf(object, kind),
    plane: plane?.state ?? 'connecting',
    isAsDeclared,
    deletionWaitMs,
    facts: {
      always: kind.always(name, users.length),
      figures: isOurs ? kind.figures?.(summary, object.status?.figures, nowMs) : undefined,
      oldestReadyAtMs: (isOurs && kind.oldestReadyAtMs?.(summary)) || 0,
      isOurs,
      isListed: summary !== undefined,
      scaling: kind.scaled && {
        isAsked: kind.scaled(object).length > 0,
        report: shared.reports[kind.kind].of(object),
      },
    },
  };
}

/** What the API server has let pass: its definitions cannot say it, or are older than the operator. */
function problemsOf({ metadata, spec }: DeclaredObject, { resource }: DeclaredKind): string[] {
  const { name, namespace } = metadata;
  const verdict = judge(resource.kind as 'Queue' | 'Schema' | 'Stream', {
    metadata: { name, namespace },
    spec,
  });
  return problemsIn(verdict).map(inOneLine);
}

async function placeOf(
  object: DeclaredObject,
  { clusters, planes, clusterUid }: Shared,
  kind: DeclaredKind,
  { signal }: ReconcileContext,
): Promise<Omit<Place<DeclaredObject>, 'tell'>> {
  const clusterKey = clusterKeyOf(object);
  const cluster = clusters.get(clusterKey);
  const connection = cluster && planes.of(cluster).connection;
  if (connection === undefined) throw new Error(`the connection to the data plane of ${clusterKey} is lost`);
  const { uid = '', namespace = '', name } = object.metadata;
  const owner = { uid, kind: kind.resource.kind, namespace, name, clusterUid: await clusterUid() };
  return { kind, connection, owner, clusterKey, signal };
}
