// From what there is to what is done about it. Pure.
//   C1. Nothing is done to a cluster that is going (its objects have owner references), that is paused, or
//       whose spec would endanger data.
//   C2. Order: Secrets, then what the pods need, then the pods; growing volumes before what waits for them; a
//       restart last.
//   C3. A failure ends the rest; the status says so.
import type { FlowMeshClusterStatus } from '../../../crds/types.ts';
import type { EventDraft } from '../../kube/events.ts';
import { isTerminating, type KubeObject, type Resource } from '../../kube/objects.ts';
import type { Outcome, Plan } from '../../kube/reconciler.ts';
import { CLAIMS, type FlowMeshCluster, STATEFUL_SETS } from './kinds.ts';
import { isReady } from './pods.ts';
import { planRestart, type Restart, type RestartReason } from './restart.ts';
import { statusOf, type Verdict } from './status.ts';
import type { World } from './world.ts';

export type Reason =
  | RestartReason
  | 'ApplyFailed'
  | 'CertManagerMissing'
  | 'CertificatesRenewed'
  | 'DriftRepaired'
  | 'EmbeddedReplicas'
  | 'EngineNotServed'
  | 'NameTaken'
  | 'ObjectRecreated'
  | 'Paused'
  | 'PodTemplateIgnored'
  | 'PodTemplateInvalid'
  | 'VolumeExpansionUnsupported'
  | 'VolumeShrinkRefused'
  | 'VolumesGrow';

export type Action =
  | { kind: 'apply'; resource: Resource; wanted: KubeObject; live: KubeObject | undefined }
  | { kind: 'delete'; resource: Resource; live: KubeObject; propagation?: 'Orphan' }
  | { kind: 'restart'; restart: Restart }
  /** No pod is left to restart, and all serve. */
  | { kind: 'rest' };

export const PAUSED = 'flowmesh.io/paused';
const SLOT_LOOK_MS = 5_000;

export function decide(
  object: FlowMeshCluster,
  world: World,
  nowMs: number,
): Plan<FlowMeshClusterStatus, Action, Reason> {
  if (isTerminating(object)) return { actions: [{ kind: 'rest' }] };
  const { cluster, pods, claims, statefulSet } = world;
  const refused = refusalOf(world);
  const isPaused = object.metadata.annotations?.[PAUSED] === 'true';
  const restart = planRestart({ statefulSet, pods, claims, replicas: cluster.replicas, nowMs });
  const verdict: Verdict = { refused, isPaused, restart };
  const status = (outcomes: readonly Outcome<Action>[]) =>
    statusOf(object, world, { ...verdict, ...outcomeOf(outcomes) }, nowMs);
  const mayAct = refused === undefined && !isPaused;
  return {
    actions: mayAct ? actionsOf(world, verdict) : [],
    status,
    events: eventsOf(object, world, statusOf(object, world, verdict, nowMs), mayAct),
    ...(mayAct && restart.kind === 'restart' && { requeueAfterMs: SLOT_LOOK_MS }),
  };
}

/** What the API server refuses as well; where it did not (older definitions), data is at stake. */
function refusalOf({ cluster, isEngineServed }: World): Verdict['refused'] {
  const { engine } = cluster.journal;
  if (!isEngineServed) {
    const message =
      `the ${engine} journal comes in a later version: no pod of this one would start. ` +
      'An engine cannot be changed, so delete this cluster and create one with Embedded';
    return { reason: 'EngineNotServed', message };
  }
  if (engine !== 'Embedded' || cluster.replicas <= 1) return undefined;
  const message = 'the Embedded journal lives in one pod; write replicas 1, or use another engine';
  return { reason: 'EmbeddedReplicas', message };
}

function actionsOf(world: World, { restart }: Verdict): Action[] {
  const { wanted, volumes, statefulSet, unwanted, claims } = world;
  const isKept = (resource: Resource) =>
    resource.kind === STATEFUL_SETS.kind &&
    (world.problems.length > 0 ||
      volumes.recreate ||
      (statefulSet !== undefined && isTerminating(statefulSet)));
  const apply = wanted.flatMap(({ resource, object, found }): Action[] => {
    if (found.kind === 'foreign' || isKept(resource)) return [];
    return [
      { kind: 'apply', resource, wanted: object, live: found.kind === 'ours' ? found.object : undefined },
    ];
  });
  const grow = volumes.patches.map((patch): Action => {
    const live = claims.find(({ metadata }) => metadata.name === patch.metadata?.name);
    return { kind: 'apply', resource: CLAIMS as Resource, wanted: patch as KubeObject, live };
  });
  const remove = unwanted.map((each): Action => ({ kind: 'delete', ...each }));
  const recreate: Action[] =
    volumes.recreate && statefulSet !== undefined && !isTerminating(statefulSet)
      ? [{ kind: 'delete', resource: STATEFUL_SETS as Resource, live: statefulSet, propagation: 'Orphan' }]
      : [];
  return [...apply, ...grow, ...remove, ...recreate, ...restartOf(world, restart, recreate.length > 0)];
}

function restartOf({ pods, cluster }: World, restart: Verdict['restart'], isBusy: boolean): Action[] {
  if (restart.kind === 'restart' && !isBusy) return [{ kind: 'restart', restart: restart.restart }];
  const isWhole = pods.length >= cluster.replicas && pods.every(isReady);
  return restart.kind === 'none' && isWhole ? [{ kind: 'rest' }] : [];
}

function outcomeOf(outcomes: readonly Outcome<Action>[]): Pick<Verdict, 'failure' | 'hasChanged'> {
  const failed = outcomes.find((each) => each.kind === 'failed');
  const failure = failed && (failed.error instanceof Error ? failed.error.message : String(failed.error));
  const hasChanged = outcomes.some(
    ({ action, ...each }) =>
      action.kind === 'apply' &&
      action.resource.kind === STATEFUL_SETS.kind &&
      each.kind === 'done' &&
      each.answer === 'changed',
  );
  return { failure, hasChanged };
}

/** Only what is new: a trouble is told when it begins, not each time that it is looked at. */
function eventsOf(
  object: FlowMeshCluster,
  world: World,
  status: FlowMeshClusterStatus,
  mayAct: boolean,
): EventDraft<Reason>[] {
  const before = object.status?.conditions ?? [];
  const began = (status.conditions ?? []).flatMap((now): EventDraft<Reason>[] => {
    const was = before.find(({ type }) => type === now.type);
    if (now.status === 'True' || (was?.reason === now.reason && was.message === now.message)) return [];
    const draft = TOLD[now.reason];
    return draft === undefined || now.type === 'Drifted' ? [] : [{ ...draft, note: now.message }];
  });
  const ignored = status.conditions?.find(({ reason }) => reason === 'PartlyIgnored');
  const isNews = ignored !== undefined && !before.some(({ message }) => message === ignored.message);
  return [
    ...began,
    ...(isNews ? [warning('PodTemplateIgnored', 'Validate', ignored.message)] : []),
    ...(mayAct ? madeAgain(object, world, before) : []),
    ...(mayAct ? renewals(world) : []),
  ];
}

const warning = (reason: Reason, action: string, note: string): EventDraft<Reason> => ({
  type: 'Warning',
  reason,
  action,
  note,
});

const TOLD: Readonly<Record<string, Omit<EventDraft<Reason>, 'note'>>> = {
  CertManagerMissing: { type: 'Warning', reason: 'CertManagerMissing', action: 'Apply' },
  EmbeddedReplicas: { type: 'Warning', reason: 'EmbeddedReplicas', action: 'Validate' },
  EngineNotServed: { type: 'Warning', reason: 'EngineNotServed', action: 'Validate' },
  NameTaken: { type: 'Warning', reason: 'NameTaken', action: 'Apply' },
  Paused: { type: 'Normal', reason: 'Paused', action: 'Reconcile' },
  PodTemplateInvalid: { type: 'Warning', reason: 'PodTemplateInvalid', action: 'Validate' },
  VolumeExpansionUnsupported: {
    type: 'Warning',
    reason: 'VolumeExpansionUnsupported',
    action: 'GrowVolumes',
  },
  VolumeShrinkRefused: { type: 'Warning', reason: 'VolumeShrinkRefused', action: 'GrowVolumes' },
  VolumesGrow: { type: 'Normal', reason: 'VolumesGrow', action: 'GrowVolumes' },
};

/** What was there when everything was as the spec says, and is not now, somebody has deleted. */
function madeAgain(
  { metadata }: FlowMeshCluster,
  { wanted }: World,
  before: NonNullable<FlowMeshClusterStatus['conditions']>,
): EventDraft<Reason>[] {
  const wasSynced = before.some(
    ({ type, status, observedGeneration }) =>
      type === 'Synced' && status === 'True' && observedGeneration === metadata.generation,
  );
  if (!wasSynced) return [];
  return wanted.flatMap(({ resource, object, found }) => {
    if (found.kind !== 'absent') return [];
    const note = `${resource.kind} ${object.metadata.name} was deleted and is made again`;
    return [warning('ObjectRecreated', 'Repair', note)];
  });
}

function renewals({ certificates }: World): EventDraft<Reason>[] {
  if (!certificates?.hasChanged || certificates.reasons.length === 0) return [];
  const note = `${certificates.reasons.join('; ')}; pods and clients read the new one without a restart`;
  return [{ type: 'Normal', reason: 'CertificatesRenewed', action: 'RenewCertificates', note }];
}
