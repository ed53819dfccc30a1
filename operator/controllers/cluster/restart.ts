// Which pod may be restarted now, and why. Pure.
//   G1. One pod at a time: none while another one is missing, on its way out, or new and not ready.
//   G2. A pod is only restarted while every pod that needs no restart is ready: those hold the data. Ready
//       is what /readyz of the data plane says: the journal is replayed and takes durable writes.
//       With one pod a restart is a drain: what it acknowledged is in its journal.
//   G3. Pods that serve nobody go first, then from the last ordinal to the first.
//   G4. Nothing is concluded from a StatefulSet whose controller has not seen its newest form.
import { CONTAINER } from '../../resources/names.ts';
import { CONFIG_HASH } from '../../resources/pod.ts';
import type { Claim, Pod, StatefulSet } from './kinds.ts';
import { isReady } from './pods.ts';

export type RestartReason = 'ImageChanged' | 'ConfigurationChanged' | 'PodTemplateChanged' | 'VolumeGrew';

export interface Restart {
  readonly pod: Pod;
  readonly reason: RestartReason;
  /** For people. */
  readonly why: string;
}

export type RestartPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'restart'; readonly restart: Restart; readonly left: number }
  | { readonly kind: 'wait'; readonly restart: Restart; readonly until: string };

export interface RestartInput {
  readonly statefulSet: StatefulSet | undefined;
  readonly pods: readonly Pod[];
  readonly claims: readonly Claim[];
  readonly replicas: number;
  readonly nowMs: number;
}

/** Drivers that grow volumes in use have done so by then. */
const GROWS_IN_USE_MS = 5 * 60_000;

export function planRestart(input: RestartInput): RestartPlan {
  const { statefulSet, pods, replicas } = input;
  if (statefulSet === undefined || !isSettled(statefulSet)) return { kind: 'none' };
  const needed = pods.flatMap((pod) => {
    const needs = isLeaving(pod) ? undefined : needOf(pod, statefulSet, input);
    return needs === undefined ? [] : [{ pod, ...needs }];
  });
  const [first] = needed.sort(
    (a, b) => Number(isReady(a.pod)) - Number(isReady(b.pod)) || ordinalOf(b.pod) - ordinalOf(a.pod),
  );
  if (first === undefined) return { kind: 'none' };
  const wait = (until: string) => ({ kind: 'wait', restart: first, until }) as const;
  const leaving = pods.find(isLeaving);
  if (leaving !== undefined) return wait(`pod ${leaving.metadata.name} has ended`);
  if (pods.length < replicas) return wait('all pods are there');
  const kept = pods.filter((pod) => !needed.some((each) => each.pod === pod));
  const broken = kept.find((pod) => !isReady(pod));
  if (broken !== undefined) return wait(`pod ${broken.metadata.name} is ready`);
  return { kind: 'restart', restart: first, left: needed.length - 1 };
}

/**
 * Whether its pods are in the middle of becoming what the StatefulSet says, as anybody can see who has not
 * begun it. Not so while they come for the first time.
 */
export function isRollingOut({ statefulSet, pods, claims, replicas }: Omit<RestartInput, 'nowMs'>): boolean {
  const { currentRevision, updateRevision } = statefulSet?.status ?? {};
  if (statefulSet === undefined || replicas === 0) return false;
  const hasChanged = currentRevision !== updateRevision || claims.some((claim) => pendingOf(claim));
  if (!hasChanged) return false;
  const isAway = pods.length < replicas || pods.some(isLeaving);
  const updated = pods.filter((pod) => isUpdated(pod, statefulSet));
  return (
    isAway || updated.some((pod) => !isReady(pod)) || (updated.length > 0 && updated.length < pods.length)
  );
}

/** G4. */
export function isSettled({ metadata, status }: StatefulSet): boolean {
  return (
    metadata.deletionTimestamp === undefined &&
    status?.observedGeneration === metadata.generation &&
    status?.updateRevision !== undefined
  );
}

export function isUpdated(pod: Pod, statefulSet: StatefulSet): boolean {
  return pod.metadata.labels?.['controller-revision-hash'] === statefulSet.status?.updateRevision;
}

function needOf(
  pod: Pod,
  statefulSet: StatefulSet,
  { claims, nowMs }: RestartInput,
): { reason: RestartReason; why: string } | undefined {
  if (!isUpdated(pod, statefulSet)) return differenceOf(pod, statefulSet);
  const claim = claims.find(({ metadata }) => metadata.name.endsWith(`-${pod.metadata.name}`));
  const pending = claim && pendingOf(claim);
  const sinceMs = Date.parse(pending?.lastTransitionTime ?? '');
  const isOlder = Date.parse(pod.metadata.creationTimestamp ?? '') < sinceMs;
  if (!isOlder || nowMs - sinceMs < GROWS_IN_USE_MS) return undefined;
  return { reason: 'VolumeGrew', why: `the file system of ${claim?.metadata.name} grows only at a start` };
}

const isLeaving = ({ metadata }: Pod) => metadata.deletionTimestamp !== undefined;

const pendingOf = ({ status }: Claim) =>
  status?.conditions?.find((each) => each.type === 'FileSystemResizePending' && each.status === 'True');

function differenceOf(pod: Pod, { spec }: StatefulSet): { reason: RestartReason; why: string } {
  const imageOf = (containers: readonly { name: string; image?: string }[] | undefined) =>
    containers?.find(({ name }) => name === CONTAINER)?.image;
  const [before, after] = [imageOf(pod.spec?.containers), imageOf(spec?.template.spec?.containers)];
  if (before !== after) return { reason: 'ImageChanged', why: `image ${after} instead of ${before}` };
  const hash = spec?.template.metadata?.annotations?.[CONFIG_HASH];
  if (pod.metadata.annotations?.[CONFIG_HASH] !== hash) {
    return { reason: 'ConfigurationChanged', why: 'it reads its configuration at start only' };
  }
  return { reason: 'PodTemplateChanged', why: 'it is not as the pod template says' };
}

export function ordinalOf({ metadata: { name } }: Pod): number {
  return Number(/-(\d+)$/.exec(name)?.[1] ?? -1);
}
