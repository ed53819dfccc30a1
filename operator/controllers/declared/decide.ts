// What to do about one queue, stream or schema. Pure, the same for all.
//   D1. Nothing is asked of a data plane that is not reachable, not allowed or not there: the status says
//       why, and whoever can tell of a change (a watch, never a timer) brings the object back.
//   D2. It is declared once by this process for each generation, and again when something says that it is
//       not as declared: the change feed, or figures that were listed after the declaration.
//   D3. A deletion ends in any case: at once where no data plane can be asked, else within a bound. It waits
//       longer only for people: a schema goes after the last object that refers to it.
import { ERRORS, FlowError } from '@flowmesh/protocol';
import { conditionOf } from '../../kube/conditions.ts';
import type { EventDraft } from '../../kube/events.ts';
import { isTerminating, type Key, nameOf } from '../../kube/objects.ts';
import type { Outcome, Plan } from '../../kube/reconciler.ts';
import { type SchemaView, usersText } from '../schema/reference.ts';
import { showsAfterMs } from './age.ts';
import type { DeclaredObject, DeclaredStatus } from './kinds.ts';
import type { ClusterView } from './reference.ts';
import { type Facts, reasonOf, type Verdict, verdictStatus } from './status.ts';

export const FINALIZER = 'flowmesh.io/data-plane';
export const PAUSED = 'flowmesh.io/paused';
/** How long a deletion waits for a data plane that cannot be reached, and for one that does not do it. */
export const DELETION_WAIT_MS = 60_000;
const REFUSING_MS = 300_000;

export type Action =
  | { readonly kind: 'declare' }
  | { readonly kind: 'remove'; readonly policy: 'Retain' | 'DeleteIfEmpty' | 'Delete' };

/** Of events, and of conditions that are not as one wants; docs/reference/controllers.md has the cures. */
export const REASONS = [
  'Adopted',
  'ClusterNotFound',
  'ClusterStopped',
  'ClusterTerminating',
  'Created',
  'DataPlaneNotAsked',
  'Deleted',
  'Deleting',
  'DriftCorrected',
  'InUse',
  'Invalid',
  'NameTaken',
  'NotEmpty',
  'Paused',
  'RefNotPermitted',
  'Refused',
  'Released',
  'SchemaElsewhere',
  'SchemaNotFound',
  'SchemaNotReady',
  'SchemaVersionNotFound',
  'Unreachable',
  'Updated',
] as const;
export type Reason = (typeof REASONS)[number];

export interface World {
  readonly name: string;
  readonly clusterKey: Key;
  readonly view: ClusterView;
  /** `namespace/name` of the object that has the name. */
  readonly rival: string | undefined;
  /** The one that it names. */
  readonly schema: SchemaView;
  /** `Queue namespace/name` of each that refers to it. */
  readonly users: readonly string[];
  /** What is wrong with the spec, where the API server has let it pass. */
  readonly problems: readonly string[];
  readonly plane: 'connecting' | 'up' | 'down';
  /** This process has declared this generation, and nothing has said otherwise since (D2). */
  readonly isAsDeclared: boolean;
  readonly facts: Facts;
  /** How long a deletion waits for a data plane that cannot be reached. */
  readonly deletionWaitMs: number;
}

type DeclaredPlan = Plan<DeclaredStatus, Action, Reason>;

export function decide(object: DeclaredObject, world: World, nowMs: number): DeclaredPlan {
  if (isTerminating(object)) return decideDeletion(object, world, nowMs);
  const obstacle = obstacleOf(object, world);
  if (obstacle !== undefined) return tell(object, world, obstacle, nowMs);
  if (world.plane === 'connecting') return {};
  if (world.plane === 'down') return tell(object, world, unreachable(world), nowMs);
  if (world.isAsDeclared) {
    const verdict = lastVerdict(object);
    if (verdict !== undefined) return tell(object, world, verdict, nowMs);
  }
  if (world.schema.kind === 'pending') return tell(object, world, pending(world.schema), nowMs);
  return {
    finalizer: 'on',
    actions: [{ kind: 'declare' }],
    requeueAfterMs: showsAfterMs(world.facts.oldestReadyAtMs, nowMs),
    status: (outcomes) => verdictStatus(object, world, verdictOf(outcomes), nowMs),
  };
}

function tell(object: DeclaredObject, world: World, verdict: Verdict, nowMs: number): DeclaredPlan {
  const status = verdictStatus(object, world, verdict, nowMs);
  const plan = { status, requeueAfterMs: showsAfterMs(world.facts.oldestReadyAtMs, nowMs) };
  const isNews = verdict.kind === 'obstacle' && reasonOf(object, verdict.of) !== verdict.reason;
  if (!isNews) return plan;
  const note = verdict.message;
  return { ...plan, events: [{ type: 'Warning', reason: verdict.reason, action: 'Reconcile', note }] };
}

const obstacle = (of: 'Accepted' | 'Synced', reason: Reason, message: string): Verdict => {
  return { kind: 'obstacle', of, reason, message };
};

/** What keeps it from being declared, the first that holds. */
function obstacleOf(object: DeclaredObject, world: World): Verdict | undefined {
  const { clusterKey, view, rival, problems } = world;
  if (object.metadata.annotations?.[PAUSED] === 'true') {
    return obstacle('Synced', 'Paused', `left alone: remove the annotation ${PAUSED} to go on`);
  }
  if (problems.length > 0) return obstacle('Accepted', 'Invalid', problems.join('; '));
  if (view.kind === 'unknown') {
    const message = `there is no FlowMeshCluster ${clusterKey}: create it, or correct spec.clusterRef`;
    return obstacle('Accepted', 'ClusterNotFound', message);
  }
  if (view.kind === 'denied') {
    const message =
      `FlowMeshCluster ${clusterKey} does not admit this namespace: ` +
      'its owner can do so in spec.allowedNamespaces';
    return obstacle('Accepted', 'RefNotPermitted', message);
  }
  if (rival !== undefined) {
    const message = `${rival} is older and has ${world.name} on ${clusterKey}: delete one of them`;
    return obstacle('Accepted', 'NameTaken', message);
  }
  const unusable = unusableSchema(world);
  if (unusable !== undefined) return unusable;
  if (view.kind === 'terminating') {
    return obstacle('Synced', 'ClusterTerminating', `FlowMeshCluster ${clusterKey} is being deleted`);
  }
  if (view.kind === 'stopped') {
    return obstacle('Synced', 'ClusterStopped', `FlowMeshCluster ${clusterKey} has 0 replicas: scale it up`);
  }
  return undefined;
}

function unusableSchema({ schema, clusterKey }: World): Verdict | undefined {
  if (schema.kind === 'missing') {
    const message = `there is no Schema ${schema.key}: create it, or correct spec.schemaRef`;
    return obstacle('Accepted', 'SchemaNotFound', message);
  }
  if (schema.kind === 'elsewhere') {
    const message =
      `Schema ${schema.key} is kept on ${schema.clusterKey}, not on ${clusterKey}: ` +
      'refer to a Schema with the same clusterRef';
    return obstacle('Accepted', 'SchemaElsewhere', message);
  }
  if (schema.kind !== 'no-version') return undefined;
  const message =
    `Schema ${schema.key} has no version ${schema.version}: ` +
    'add it to its spec.versions, or correct spec.schemaRef.version';
  return obstacle('Accepted', 'SchemaVersionNotFound', message);
}

function pending({ key }: { key: Key }): Verdict {
  const { namespace, name } = nameOf(key);
  const message = `Schema ${key} is not in force yet: see kubectl -n ${namespace} describe schema ${name}`;
  return obstacle('Synced', 'SchemaNotReady', message);
}

function unreachable({ clusterKey }: World): Verdict {
  const message =
    `the data plane of ${clusterKey} cannot be reached: ` +
    'see its pods, and kubectl describe flowmeshcluster';
  return obstacle('Synced', 'Unreachable', message);
}

/** Of a declaration that stands: undefined if the status at hand is about another one. */
function lastVerdict({ metadata, status }: DeclaredObject): Verdict | undefined {
  const synced = status?.conditions?.find(({ type }) => type === 'Synced');
  if (synced?.status !== 'True' || synced.observedGeneration !== metadata.generation) return undefined;
  return { kind: 'synced', declaration: undefined };
}

function verdictOf(outcomes: readonly Outcome<Action>[]): Verdict {
  const [outcome] = outcomes;
  if (outcome?.kind === 'done') return outcome.answer as Verdict;
  const error = outcome?.kind === 'failed' ? outcome.error : undefined;
  return { kind: 'failed', message: failureText(error) };
}

/** S1 of status.ts: not the text, which may hold times. */
function failureText(error: unknown): string {
  if (error instanceof FlowError) return `${error.code}: ${ERRORS[error.code].title}; it is tried again`;
  return error instanceof Error ? error.message : 'an earlier step failed; it is tried again';
}

function decideDeletion(object: DeclaredObject, world: World, nowMs: number): DeclaredPlan {
  const { view, plane, clusterKey, name, deletionWaitMs, users } = world;
  if (!object.metadata.finalizers?.includes(FINALIZER)) return {};
  const policy = object.spec.deletionPolicy ?? 'Retain';
  const giveUp = (why: string): DeclaredPlan => {
    const note =
      `${name} was neither released nor deleted: ${why}. ` +
      'Where its data is kept, it still has this object as owner: flowmesh disown';
    return { finalizer: 'off', events: [deletionEvent('DataPlaneNotAsked', note)] };
  };
  if (view.kind !== 'serving') return giveUp(`FlowMeshCluster ${clusterKey} ${GONE[view.kind]}`);
  if (users.length > 0) return tell(object, world, inUse(users), nowMs);
  const { sinceMs, ...held } = afterHold(object, world, nowMs);
  const waitedMs = nowMs - sinceMs;
  if (plane !== 'up') {
    if (waitedMs >= deletionWaitMs) return giveUp(`the data plane of ${clusterKey} cannot be reached`);
    return { ...held, requeueAfterMs: Math.max(1000, deletionWaitMs - waitedMs) };
  }
  if (waitedMs >= REFUSING_MS) return giveUp(`the data plane of ${clusterKey} did not do it`);
  return { ...held, finalizer: 'off', actions: [{ kind: 'remove', policy }] };
}

/** From when on its bounds count. The end of a hold is remembered in the status. */
function afterHold(
  object: DeclaredObject,
  world: World,
  nowMs: number,
): { sinceMs: number; status?: DeclaredStatus } {
  const synced = conditionOf(object.status?.conditions, 'Synced');
  const isHeld = synced?.reason === 'InUse';
  if (!isHeld && synced?.reason !== 'Deleting')
    return { sinceMs: Date.parse(object.metadata.deletionTimestamp ?? '') };
  const deleting = obstacle('Synced', 'Deleting', 'being deleted: nothing refers to it any more');
  const status = verdictStatus(object, world, deleting, nowMs);
  return { sinceMs: isHeld ? nowMs : Date.parse(synced.lastTransitionTime), status };
}

function inUse(users: readonly string[]): Verdict {
  const message =
    `being deleted, and held while these refer to it: ${usersText(users)}; ` +
    'delete them, or take spec.schemaRef out of them, which counts once they are Synced';
  return obstacle('Synced', 'InUse', message);
}

const GONE = {
  unknown: 'is gone',
  denied: 'does not admit this namespace',
  terminating: 'is being deleted',
  stopped: 'has 0 replicas',
} as const;

const WARNINGS: ReadonlySet<Reason> = new Set(['DataPlaneNotAsked', 'InUse', 'NotEmpty']);

export const deletionEvent = (reason: Reason, note: string): EventDraft<Reason> => ({
  ...{ type: WARNINGS.has(reason) ? 'Warning' : 'Normal', reason, action: 'Delete', note },
});
