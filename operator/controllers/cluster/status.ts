// What the status of a cluster says. Pure.
//   S1. It tells what is, not what was meant: a write that was refused, a pod that does not serve and a
//       volume that cannot shrink are in a condition, with what to do.
//   S2. The same world gives the same status: nothing in it grows with time.
import type { FlowMeshClusterStatus } from '../../../crds/types.ts';
import { type Condition, nextConditions, type WantedCondition } from '../../kube/conditions.ts';
import { effectiveOf } from '../../resources/cluster.ts';
import { selectorLabels } from '../../resources/names.ts';
import { quantity } from '../../resources/quantities.ts';
import { serviceHost } from '../../resources/services.ts';
import type { FlowMeshCluster } from './kinds.ts';
import { missingPod, type PodState, podState } from './pods.ts';
import { isSettled, isUpdated, type RestartPlan } from './restart.ts';
import type { World } from './world.ts';

export interface Verdict {
  /** Why the spec is not carried out; undefined: it is. */
  readonly refused: { readonly reason: string; readonly message: string } | undefined;
  readonly isPaused: boolean;
  readonly restart: RestartPlan;
  /** A write that did not succeed. */
  readonly failure?: string | undefined;
  /** The StatefulSet was changed just now: what its controller says is about what it was. */
  readonly hasChanged?: boolean;
}

const PODS_MAX = 99;

export function statusOf(
  object: FlowMeshCluster,
  world: World,
  verdict: Verdict,
  nowMs: number,
): FlowMeshClusterStatus {
  const { cluster, statefulSet } = world;
  // Of a cluster that is refused nobody waits for pods.
  const pods = verdict.refused && world.pods.length === 0 ? [] : podStates(world);
  const version = commonVersion(pods);
  const clusterId = world.facts?.clusterId ?? object.status?.clusterId;
  const before = object.status?.conditions as Condition[] | undefined;
  const isKnown = statefulSet !== undefined && isSettled(statefulSet) && !verdict.hasChanged;
  return {
    observedGeneration: object.metadata.generation ?? 0,
    conditions: nextConditions(before, conditions(object, world, pods, verdict), nowMs),
    replicas: world.pods.length,
    readyReplicas: pods.filter(({ ready }) => ready).length,
    updatedReplicas: isKnown ? world.pods.filter((pod) => isUpdated(pod, statefulSet)).length : 0,
    selector: Object.entries(selectorLabels(cluster.name))
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    ...(version !== undefined && { version }),
    ...(clusterId !== undefined && { clusterId }),
    binding: { name: cluster.names.bindingSecret },
    pods,
    listeners: listeners(world, pods),
    ...storage(world, object.status?.storage?.used),
    ...certificateTimes(world, verdict),
    effective: effectiveOf(cluster),
  };
}

function podStates({ cluster, pods }: World): PodState[] {
  const wanted = Array.from({ length: cluster.replicas }, (_, at) => `${cluster.names.statefulSet}-${at}`);
  const there = pods.map(podState);
  const missing = wanted.filter((name) => !there.some((pod) => pod.name === name)).map(missingPod);
  return [...there, ...missing].slice(0, PODS_MAX);
}

function commonVersion(pods: readonly PodState[]): string | undefined {
  const versions = new Set(pods.map(({ version }) => version));
  return versions.size === 1 ? [...versions][0] : undefined;
}

function conditions(
  { metadata }: FlowMeshCluster,
  world: World,
  pods: readonly PodState[],
  verdict: Verdict,
): WantedCondition[] {
  const observedGeneration = metadata.generation ?? 0;
  const condition = (type: string, said: Said): WantedCondition => ({ type, observedGeneration, ...said });
  return [
    condition('Accepted', accepted(world, verdict)),
    condition('Synced', synced(world, verdict)),
    condition('Ready', ready(world, pods, verdict)),
    condition('Drifted', drifted(world, verdict)),
  ];
}

type Said = Pick<WantedCondition, 'status' | 'reason' | 'message'>;
const yes = (reason: string, message: string): Said => ({ status: 'True', reason, message });
const no = (reason: string, message: string): Said => ({ status: 'False', reason, message });
const unknown = (reason: string, message: string): Said => ({ status: 'Unknown', reason, message });

function accepted({ problems, warnings }: World, { refused }: Verdict): Said {
  if (refused !== undefined) return no(refused.reason, refused.message);
  if (problems.length > 0) {
    return no(
      'PodTemplateInvalid',
      `the pods stay as they are until it is corrected: ${problems.join('; ')}`,
    );
  }
  if (warnings.length > 0) return yes('PartlyIgnored', warnings.join('; '));
  return yes('Valid', 'the spec is valid');
}

function synced(world: World, { refused, isPaused, restart, failure, hasChanged }: Verdict): Said {
  if (isPaused)
    return unknown('Paused', 'nothing is changed; remove the annotation flowmesh.io/paused to go on');
  if (refused !== undefined) return no('NotAccepted', 'nothing is changed, as the spec is not accepted');
  if (failure !== undefined) return no('ApplyFailed', failure);
  const taken = takenNames(world);
  if (taken !== undefined) return no('NameTaken', taken);
  if (world.problems.length > 0) return no('NotAccepted', 'the pod template is not accepted');
  const { volumes, cluster } = world;
  if (volumes.refused) return no(volumes.refused.reason, volumes.refused.message);
  if (cluster.tls.mode === 'CertManager' && !world.hasCertManager) {
    const cure = 'install cert-manager, or use another tls.mode';
    return no('CertManagerMissing', `this Kubernetes has no Certificate of cert-manager.io/v1; ${cure}`);
  }
  if (volumes.recreate || volumes.patches.length > 0 || volumes.resizing.length > 0) {
    return no('VolumesGrow', `volumes become ${cluster.storage.size}`);
  }
  if (hasChanged || world.statefulSet === undefined || !isSettled(world.statefulSet)) {
    return no('RollingOut', 'the StatefulSet is new, and Kubernetes has not acted on it yet');
  }
  if (restart.kind === 'none') return yes('Applied', 'everything is as the spec says');
  const { pod, reason } = restart.restart;
  const what = `pod ${pod.metadata.name} is to start again (${reason})`;
  if (restart.kind === 'wait') return no('RestartWaits', `${what}, once ${restart.until}`);
  return no('RollingOut', what);
}

function takenNames({ wanted }: World): string | undefined {
  const taken = wanted.flatMap(({ resource, object, found }) =>
    found.kind === 'foreign' ? [`${resource.kind} ${object.metadata.name} belongs to ${found.owner}`] : [],
  );
  if (taken.length === 0) return undefined;
  return `${taken.join('; ')}; delete it, or give this cluster another name`;
}

function ready(world: World, pods: readonly PodState[], { refused }: Verdict): Said {
  const { cluster } = world;
  if (refused !== undefined && world.pods.length === 0)
    return no('NotAccepted', 'no pod is started, as the spec is not accepted');
  if (cluster.replicas === 0)
    return no('ScaledToZero', 'spec.replicas is 0; data is kept, nothing is served');
  const trouble = pods.find((pod) => !pod.ready);
  if (trouble === undefined) return yes('Serving', `${pods.length} of ${pods.length} pods serve`);
  const count = pods.filter((pod) => pod.ready).length;
  const message = `${count} of ${cluster.replicas} pods serve; ${trouble.name}: ${trouble.message}`;
  return no(trouble.reason ?? 'NotReady', message);
}

function drifted(world: World, { isPaused }: Verdict): Said {
  if (isPaused) return unknown('Paused', 'while it is paused nobody looks');
  const taken = takenNames(world);
  return taken === undefined
    ? no('NoDrift', 'what others change is set back at once, with an event')
    : yes('NameTaken', taken);
}

function listeners({ cluster }: World, pods: readonly PodState[]): FlowMeshClusterStatus['listeners'] {
  const isServed = pods.some(({ ready }) => ready);
  return cluster.listeners.map(({ name, port }) => ({
    name,
    address: `${serviceHost(cluster)}:${port}`,
    port,
    tls: cluster.tls.mode !== 'Disabled',
    ready: isServed,
    ...(isServed ? {} : { message: 'no pod serves' }),
  }));
}

function storage(
  { claims, volumes, facts }: World,
  shown: number | undefined,
): Pick<FlowMeshClusterStatus, 'storage'> {
  const capacities = claims.flatMap(({ status }) => status?.capacity?.['storage'] ?? []);
  const [smallest] = capacities.sort((a, b) => (quantity(a) ?? 0) - (quantity(b) ?? 0));
  if (smallest === undefined) return {};
  const used = usedPercent(facts?.usedPercent, shown);
  return {
    storage: {
      capacity: smallest,
      resizing: volumes.resizing.length > 0,
      ...(used !== undefined && { used }),
    },
  };
}

/** S2: a disk that breathes between two numbers costs no writes, and what is not known stays as it was. */
function usedPercent(now: number | undefined, shown: number | undefined): number | undefined {
  if (now === undefined) return shown;
  return shown !== undefined && Math.abs(now - shown) < 1 ? shown : Math.round(now);
}

/** S2: those that were drawn and are not kept, as nothing is written, would be others next time. */
function certificateTimes(
  { certificates }: World,
  { refused, isPaused }: Verdict,
): Pick<FlowMeshClusterStatus, 'certificates'> {
  const isDropped = certificates?.hasChanged && (refused !== undefined || isPaused);
  if (certificates === undefined || isDropped) return {};
  const { notAfterMs, renewAtMs } = certificates;
  return { certificates: { notAfter: time(notAfterMs), renewAt: time(renewAtMs) } };
}

const time = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
