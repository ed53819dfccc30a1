// The controllers of scaling, one for queues and one for streams: what brings an object back, how what is
// decided is carried out, and what is told of it.
//   S1. They declare nothing in data planes and write no status: a scaler that is away keeps no queue from
//       being declared, and a data plane that is away keeps none from being scaled.
//   S2. What the API server refuses for good is told, and tried again when something changes or at the
//       resync; everything else comes back with backoff.
//   S3. A workload that the operator scales itself, or that may shrink soon, is looked at every LOOK_MS.
import { FlowError } from '@flowmesh/protocol';
import type { Writer } from '../../kube/apply.ts';
import {
  beyondStatus,
  type ReconcileContext,
  type ReconcileResult,
  type Source,
  watched,
} from '../../kube/controller.ts';
import { isNotFound, KubeError } from '../../kube/errors.ts';
import type { ControllerHost } from '../../kube/host.ts';
import type { Informer } from '../../kube/informer.ts';
import { isTerminating, type Key, type KubeObject, keyOf } from '../../kube/objects.ts';
import type { KeySource } from '../../resources/certificates.ts';
import type { ClusterDefaults } from '../../resources/cluster.ts';
import { SECRETS, type Secret } from '../cluster/kinds.ts';
import { PAUSED } from '../declared/decide.ts';
import type { DeclaredKind, DeclaredObject } from '../declared/kinds.ts';
import type { Planes } from '../declared/planes.ts';
import { type ClusterView, clusterKeyOf } from '../declared/reference.ts';
import { type AccessParts, keepAccess } from './access.ts';
import type { Advice, AdviceDesk } from './advice.ts';
import { decide, refusal, type ScalingWorld, type TargetPlan } from './decide.ts';
import { DeletionCosts, PODS } from './deletion-cost.ts';
import {
  API_SERVICES,
  AUTOSCALERS,
  type Autoscaler,
  EXTERNAL_METRICS,
  leanScaler,
  SCALED_OBJECTS,
  type ScaledObject,
  TRIGGER_AUTHENTICATIONS,
} from './kinds.ts';
import { Replicas } from './replicas.ts';
import { type ScalingReports, type ScalingShown, type ScalingVerdict, worstOf } from './report.ts';
import {
  gather,
  KedaPresence,
  ownersOf,
  type ScalableKind,
  type ScalingSources,
  scalerWorkload,
  usersOf,
} from './sources.ts';
import { targetsOf, workloadKey } from './targets.ts';

export interface ScalingOptions {
  readonly kinds: readonly ScalableKind[];
  readonly planes: Planes;
  readonly viewOf: (object: DeclaredObject) => ClusterView;
  readonly defaults: ClusterDefaults;
  readonly keys: KeySource;
  /** With the labels of clusters. */
  readonly secrets: Informer<Secret>;
  readonly certificates?: Informer | undefined;
  readonly advice: AdviceDesk;
  readonly metricsService?: ScalingSources['metricsService'];
  readonly resyncMs?: number | undefined;
}

const NAME = 'flowmesh-scaling';
const BACKOFF = { baseMs: 500, maxMs: 30_000 };
/** Until what is waited for is looked for again, such as a Deployment that is about to be created. */
const LOOK_MS = 5_000;

export function scalingControllers(host: ControllerHost, o: ScalingOptions): void {
  const scaledObjects = host.informer({
    ...{ resource: SCALED_OBJECTS, optional: true, transform: leanScaler<ScaledObject> },
    indexes: { owner: ownersOf, workload: scalerWorkload },
  });
  const autoscalers = host.informer({
    ...{ resource: AUTOSCALERS, transform: leanScaler<Autoscaler> },
    indexes: { owner: ownersOf, workload: scalerWorkload },
  });
  const triggerAuthentications = host.informer({ resource: TRIGGER_AUTHENTICATIONS, optional: true });
  const apiServices = host.informer({
    ...{ resource: API_SERVICES, fieldSelector: `metadata.name=${EXTERNAL_METRICS}` },
  });
  const { client, runtime } = host;
  const sources: ScalingSources = {
    keda: new KedaPresence(scaledObjects as unknown as Informer, runtime.monotonicMs),
    ...{ kinds: o.kinds, scaledObjects, autoscalers, apiServices, defaults: o.defaults },
    ...{ metricsService: o.metricsService, viewOf: o.viewOf },
    scaleOf: (resource, at, signal) => client.get(resource, at, signal, 'scale'),
  };
  const writer = host.writer(NAME);
  const access: AccessParts = {
    ...{ writer, keys: o.keys, wallMs: runtime.wallMs, secrets: o.secrets, certificates: o.certificates },
    triggerAuthentications: triggerAuthentications as Informer,
    readSecret: (at, signal) => client.get(SECRETS, at, signal),
  };
  const recorder = host.recorder<'Scaled'>('flowmesh.io/scaling-controller');
  const { monotonicMs } = runtime;
  const hands: Hands = {
    ...{ access, writer },
    replicas: new Replicas({ writer, recorder, monotonicMs }),
    costs: new DeletionCosts({
      ...{ writer, monotonicMs },
      podsOf: (namespace, labelSelector, signal) =>
        client.list(PODS, { namespace, labelSelector, metadataOnly: true, signal }),
    }),
  };
  for (const scalable of o.kinds) {
    const one = new Scaling(scalable, o, sources, hands);
    host.controller({
      name: `${scalable.kind.kind}-scaling`,
      primary: scalable.objects,
      sources: one.sources(),
      concerns: beyondStatus,
      backoff: BACKOFF,
      ...(o.resyncMs !== undefined && { resyncMs: o.resyncMs }),
      reconcile: (key, context) => one.reconcile(key, context),
    });
  }
}

/** What writes. */
interface Hands {
  readonly access: AccessParts;
  readonly writer: Writer;
  readonly replicas: Replicas;
  readonly costs: DeletionCosts;
}

class Scaling {
  readonly #kind: DeclaredKind;
  readonly #objects: Informer<DeclaredObject>;
  readonly #reports: ScalingReports;
  readonly #o: ScalingOptions;
  readonly #s: ScalingSources;
  readonly #hands: Hands;

  constructor({ kind, objects, reports }: ScalableKind, o: ScalingOptions, s: ScalingSources, hands: Hands) {
    [this.#kind, this.#objects, this.#reports] = [kind, objects, reports];
    [this.#o, this.#s, this.#hands] = [o, s, hands];
  }

  async reconcile(key: Key, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const object = this.#objects.get(key);
    // What is owned goes by garbage collection.
    if (object === undefined || isTerminating(object)) {
      this.#reports.forget(key);
      return undefined;
    }
    const isPaused = object.metadata.annotations?.[PAUSED] === 'true';
    const world = await gather(this.#s, this.#kind, object, isPaused, context.signal);
    try {
      return await this.#carryOut(world, object, context);
    } catch (error) {
      if (!isNotFound(error) || !world.hasKeda) throw error;
      // Its API has gone: another way is taken at once.
      this.#s.keda.isMissed();
      return this.#carryOut({ ...world, hasKeda: false }, object, context);
    }
  }

  async #carryOut(
    world: ScalingWorld,
    object: DeclaredObject,
    context: ReconcileContext,
  ): Promise<ReconcileResult | undefined> {
    const plan = decide(world);
    for (const { resource, live } of plan.remove) {
      await this.#hands.writer.delete(resource, live, { signal: context.signal });
    }
    const verdicts: (ScalingVerdict & { group?: string })[] = [];
    const shown: ScalingShown[] = [];
    let failure: { error: unknown } | undefined;
    let isSoon = false;
    for (const each of plan.targets) {
      try {
        const advice = await this.#adviceOn(each, object);
        const { target } = each;
        const scale = world.targets.find((one) => one.target === target)?.scale;
        // Who is busy is told before there are fewer.
        if (each.by !== undefined)
          isSoon = (await this.#hands.costs.keep({ target, scale, advice }, context.signal)) || isSoon;
        isSoon ||= each.by === 'Direct';
        const verdict = (await this.#make(each, world, object, advice, context.signal)) ?? each.verdict;
        const { group } = each.target.subject;
        const of = group === undefined ? {} : { group };
        verdicts.push({ ...verdict, ...of });
        shown.push({ ...of, ...(each.by !== undefined && { by: each.by }), ...shownOf(advice) });
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure !== undefined) throw failure.error;
    const { generation = 1 } = object.metadata;
    if (plan.targets.length === 0) this.#reports.forget(keyOf(object.metadata));
    else this.#reports.tell(object, { generation, verdict: worstOf(verdicts), shown });
    return { requeueAfterMs: isSoon || verdicts.some(isAwaited) ? LOOK_MS : undefined };
  }

  /** Or why it is not known. */
  async #adviceOn(
    { by, target }: TargetPlan,
    object: DeclaredObject,
  ): Promise<Advice | FlowError | undefined> {
    const view = this.#o.viewOf(object);
    if (by === undefined || view.kind !== 'serving') return undefined;
    return this.#o.advice.of(view.cluster, target.subject).catch((error: unknown) => {
      if (error instanceof FlowError) return error;
      throw error;
    });
  }

  /** What is otherwise than planned. */
  async #make(
    { wanted, by, target }: TargetPlan,
    { cluster, targets }: ScalingWorld,
    object: DeclaredObject,
    advice: Advice | FlowError | undefined,
    signal: AbortSignal,
  ): Promise<ScalingVerdict | undefined> {
    if (by === 'Direct') {
      const scale = targets.find((each) => each.target === target)?.scale;
      const about = { resource: this.#kind.resource, object };
      return this.#hands.replicas.set({ target, scale, advice, about }, signal);
    }
    if (wanted === undefined || cluster === undefined) return undefined;
    try {
      if (by === 'KEDA') {
        const users = usersOf(this.#s, clusterKeyOf(object), target.owner.namespace);
        const obstacle = await keepAccess(this.#hands.access, cluster, users, signal);
        if (obstacle !== undefined) {
          const message = `the certificate that KEDA shows cannot be made: ${obstacle}`;
          return { status: 'Unknown', reason: 'CertificatesPending', message };
        }
      }
      await this.#hands.writer.apply(wanted.resource, wanted.object, { live: wanted.live, signal });
      return undefined;
    } catch (error) {
      const refused = error instanceof KubeError ? refusal(error, target.from) : undefined;
      if (refused === undefined) throw error;
      return refused;
    }
  }

  sources(): Source[] {
    const { planes } = this.#o;
    const { scaledObjects, autoscalers, apiServices } = this.#s;
    const scaled = () => [...this.#objects.values()].filter((each) => this.#isScaled(each));
    const all = () => keys(scaled());
    return [
      watched(
        planes.clusters,
        ({ metadata }) =>
          keys(this.#objects.byIndex('cluster', keyOf(metadata)).filter((each) => this.#isScaled(each))),
        beyondStatus,
      ),
      ...this.#o.kinds.map(({ objects, kind }) =>
        watched(
          objects,
          (each) =>
            targetsOf(each, kind).flatMap(({ owner, workload }) => this.#at(owner.namespace, workload)),
          beyondStatus,
        ),
      ),
      this.#scalers(scaledObjects as unknown as Informer<Autoscaler>),
      this.#scalers(autoscalers),
      watched(apiServices, all, (change) => change.kind !== 'updated' || beyondStatus(change)),
      whenServed(scaledObjects as unknown as Informer, all),
      planes.source({
        ...{ kind: this.#kind.kind, declares: false },
        objects: (clusterKey, name) =>
          this.#objects
            .byIndex('cluster', clusterKey)
            .filter(
              (each) => this.#isScaled(each) && (name ?? this.#kind.nameOf(each)) === this.#kind.nameOf(each),
            ),
      }),
    ];
  }

  /** Those that are ours, and those of others that scale the same. */
  #scalers(informer: Informer<Autoscaler>): Source {
    return watched(
      informer,
      (scaler) => {
        const { namespace = '' } = scaler.metadata;
        const owners = new Set(ownersOf(scaler));
        const ours = this.#objects
          .byIndex('namespace', namespace)
          .filter(({ metadata }) => owners.has(metadata.uid ?? ''));
        return new Set([...keys(ours), ...this.#at(namespace, scaler.spec.scaleTargetRef)]);
      },
      (change) => change.kind !== 'updated' || told(change.object) !== told(change.before),
    );
  }

  #at(namespace: string, workload: { apiVersion?: string; kind: string; name: string }): Key[] {
    return keys(this.#objects.byIndex('workload', workloadKey(namespace, workload)));
  }

  #isScaled(object: DeclaredObject): boolean {
    return (this.#kind.scaled?.(object) ?? []).length > 0;
  }
}

function shownOf(advice: Advice | FlowError | undefined): ScalingShown {
  if (advice === undefined || advice instanceof FlowError) return {};
  const { wanted, reason, why } = advice;
  return { wanted, reason, why };
}

const keys = (objects: readonly KubeObject[]) => objects.map(({ metadata }) => keyOf(metadata));

/** Their figures and times move all the time. */
const told = ({ metadata, spec, status }: Autoscaler) =>
  JSON.stringify([
    ...[metadata.uid, metadata.generation, metadata.labels, metadata.ownerReferences, spec],
    status?.conditions?.map(({ type, status: is, reason }) => [type, is, reason]),
  ]);

/** The API comes or goes. */
function whenServed(informer: Informer, all: () => readonly Key[]): Source {
  return {
    synced: informer.synced,
    start: (add) =>
      informer.onServed(() => {
        for (const key of all()) add(key);
      }),
  };
}

/** What no watch tells of. */
const AWAITED: ReadonlySet<string> = new Set(['CertificatesPending', 'TargetNotFound']);
const isAwaited = ({ reason }: ScalingVerdict) => AWAITED.has(reason);
