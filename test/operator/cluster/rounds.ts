// A round of the controller without a server: the real gather and decide over a world that stands still.
import { ENGINES } from '../../../crds/notices.ts';
import type { FlowMeshClusterStatus } from '../../../crds/types.ts';
import { type Action, decide } from '../../../operator/controllers/cluster/decide.ts';
import type { Claim, FlowMeshCluster, Pod } from '../../../operator/controllers/cluster/kinds.ts';
import {
  clusterIndex,
  gather,
  type Sources,
  type World,
} from '../../../operator/controllers/cluster/world.ts';
import type { PlaneFacts } from '../../../operator/controllers/declared/plane.ts';
import type { Informer } from '../../../operator/kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../../operator/kube/objects.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';
import { testLog } from '../kube/support.ts';
import { DEFAULTS } from '../render-cases.ts';
import { aSet, NOW } from './support.ts';

type Status = FlowMeshClusterStatus;

export interface There {
  readonly objects?: readonly KubeObject[];
  readonly pods?: readonly Pod[];
  readonly claims?: readonly Claim[];
  readonly served?: boolean;
  readonly nowMs?: number;
  readonly canExpand?: boolean;
  /** What its data plane says, once a pod is ready. */
  readonly facts?: PlaneFacts;
}

/** The real gather over a world that stands still. */
export function worldOf(cluster: FlowMeshCluster, there: There = {}): Promise<World> {
  const { objects = [], pods = [], claims = [], served = false, nowMs = NOW } = there;
  const find = (plural: string) => ({
    isServed: served,
    get: (key: string) => objects.find((each) => plural === pluralOf(each) && keyOf(each.metadata) === key),
  });
  const byIndex = <T extends KubeObject>(all: readonly T[]) => ({
    byIndex: (_: string, value: string) => all.filter((each) => clusterIndex(each).includes(value)),
  });
  const sources: Sources = {
    owned: { get: (id: string) => find(id.split('.')[0] ?? '') } as unknown as ReadonlyMap<string, Informer>,
    pods: byIndex(pods) as never,
    claims: byIndex(claims) as never,
    storageClasses: { get: () => ({ allowVolumeExpansion: there.canExpand ?? true }) } as never,
    defaults: DEFAULTS,
    engines: ENGINES,
    keys: realKeys,
    wallMs: () => nowMs,
    factsOf: () => there.facts,
    get: async (resource: Resource, at) => find(resource.plural).get(keyOf(at)),
  };
  return gather(sources, cluster, { signal: new AbortController().signal, log: testLog(), failures: 0 });
}

const pluralOf = ({ kind = '' }: KubeObject) =>
  kind === 'NetworkPolicy' ? 'networkpolicies' : `${kind.toLowerCase()}s`;

export async function planOf(cluster: FlowMeshCluster, there: There = {}) {
  const plan = decide(cluster, await worldOf(cluster, there), there.nowMs ?? NOW);
  const actions = (plan.actions ?? []) as Action[];
  const status = (typeof plan.status === 'function' ? plan.status([]) : plan.status) as Status;
  const told = (action: Action) => {
    if (action.kind === 'apply') return `apply ${action.resource.kind} ${action.wanted.metadata.name}`;
    if (action.kind === 'delete') return `delete ${action.resource.kind} ${action.live.metadata.name}`;
    return action.kind === 'restart' ? `restart ${action.restart.pod.metadata.name}` : action.kind;
  };
  const condition = (type: string) => {
    const found = status.conditions?.find((each) => each.type === type);
    return found && `${found.status} ${found.reason}`;
  };
  return {
    plan,
    actions,
    did: actions.map(told),
    status,
    condition,
    reasons: plan.events?.map((e) => e.reason),
  };
}

/** What a first round makes, as the API server would have it. */
export async function madeBy(cluster: FlowMeshCluster, nowMs = NOW): Promise<KubeObject[]> {
  const { actions } = await planOf(cluster, { nowMs });
  const made = actions.flatMap((each) => (each.kind === 'apply' ? [each.wanted] : []));
  return [...made.filter(({ kind }) => kind !== 'StatefulSet'), aSet()];
}
