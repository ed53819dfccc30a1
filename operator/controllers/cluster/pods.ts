// What a pod is doing, in words for the owner of the cluster.
//   P1. Nothing that changes by itself (counts, back-off times, ages) is in a message, so that a pod that
//       stays as it is causes no write.
import { CONTAINER } from '../../resources/names.ts';
import type { Pod } from './kinds.ts';

export interface PodState {
  readonly name: string;
  readonly ready: boolean;
  /** Unset when it is ready. */
  readonly reason?: string;
  readonly message?: string;
  readonly version?: string;
  readonly node?: string;
}

const SCHEDULER_MESSAGE_MAX = 300;

export function podState(pod: Pod): PodState {
  const trouble = isReady(pod) ? undefined : troubleOf(pod);
  const version = versionOf(pod);
  const node = pod.spec?.nodeName;
  return {
    name: pod.metadata.name,
    ready: trouble === undefined,
    ...trouble,
    ...(version !== undefined && { version }),
    ...(node !== undefined && { node }),
  };
}

/** Serves, and is not on its way out. */
export function isReady(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp === undefined && conditionOf(pod, 'Ready')?.status === 'True';
}

export function missingPod(name: string): PodState {
  const message = 'the pod is not there yet; if it stays so, see the events of the StatefulSet';
  return { name, ready: false, reason: 'Missing', message };
}

interface Trouble {
  readonly reason: string;
  readonly message: string;
}

function troubleOf(pod: Pod): Trouble {
  if (pod.metadata.deletionTimestamp !== undefined) {
    return { reason: 'Terminating', message: 'it finishes what it holds and ends' };
  }
  const container = pod.status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  const waiting = container?.state?.waiting?.reason;
  if (waiting !== undefined && waiting !== 'ContainerCreating' && waiting !== 'PodInitializing') {
    return waitingTrouble(pod, waiting, container?.lastState?.terminated);
  }
  const ended = container?.state?.terminated;
  if (ended !== undefined) return { reason: ended.reason ?? 'Ended', message: endOf(ended, pod) };
  const scheduled = conditionOf(pod, 'PodScheduled');
  if (scheduled?.status === 'False') {
    const said = (scheduled.message ?? '').slice(0, SCHEDULER_MESSAGE_MAX);
    return { reason: scheduled.reason ?? 'Unschedulable', message: said || 'no node takes it' };
  }
  if (container?.state?.running === undefined) {
    return { reason: 'Starting', message: 'its node prepares volumes, Secrets and image' };
  }
  if (container.started !== true) {
    return { reason: 'Recovering', message: 'it reads its journal and serves when it is through' };
  }
  const cure = `see /readyz and kubectl logs ${pod.metadata.name}`;
  return { reason: 'NotReady', message: `it runs and says that it cannot serve; ${cure}` };
}

type Terminated = { exitCode: number; reason?: string };

function waitingTrouble(pod: Pod, reason: string, last: Terminated | undefined): Trouble {
  const image = pod.spec?.containers.find(({ name }) => name === CONTAINER)?.image;
  switch (reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
      return {
        // The two take turns.
        reason: 'ImagePullBackOff',
        message: `image ${image} cannot be pulled; check spec.image, its pullSecrets and the registry`,
      };
    case 'CrashLoopBackOff':
      return { reason, message: last === undefined ? 'it ends again and again' : endOf(last, pod) };
    default:
      return { reason, message: `see kubectl describe pod ${pod.metadata.name}` };
  }
}

function endOf({ exitCode, reason }: Terminated, pod: Pod): string {
  if (reason === 'OOMKilled') return 'it was killed for want of memory; raise spec.resources.limits.memory';
  return `it ended with exit code ${exitCode}; see kubectl logs --previous ${pod.metadata.name}`;
}

function versionOf(pod: Pod): string | undefined {
  const image = pod.spec?.containers.find(({ name }) => name === CONTAINER)?.image ?? '';
  return /:([^:/@]+)(?:@.*)?$/.exec(image.replace(/@.*$/, ''))?.[1];
}

export function conditionOf(pod: Pod, type: string) {
  return pod.status?.conditions?.find((each) => each.type === type);
}
