// A queue, stream or schema and the world around it, for tables of what is decided.
import { decide, type World } from '../../operator/controllers/declared/decide.ts';
import type { Declaration, DeclaredObject } from '../../operator/controllers/declared/kinds.ts';
import type { ClusterObject } from '../../operator/controllers/declared/reference.ts';
import { verdictStatus } from '../../operator/controllers/declared/status.ts';

export const NOW = Date.parse('2026-11-26T12:00:00Z');
export const at = (ms: number) => new Date(NOW + ms).toISOString();

export function anObject(
  metadata: Partial<DeclaredObject['metadata']> = {},
  more: Partial<DeclaredObject> = {},
) {
  const base = { name: 'emails', namespace: 'shop', uid: 'u1', generation: 2, creationTimestamp: at(-1e6) };
  return { spec: {}, ...more, metadata: { ...base, ...metadata } } as DeclaredObject;
}

export const aCluster = (spec: ClusterObject['spec'] = {}): ClusterObject => ({
  metadata: { name: 'main', namespace: 'infra', uid: 'c1' },
  spec,
});

export const FACTS: World['facts'] = {
  always: { queueName: 'emails' },
  figures: undefined,
  oldestReadyAtMs: 0,
  isOurs: false,
  isListed: false,
  scaling: { isAsked: false, report: undefined },
};
export const aWorld = (world: Partial<World> = {}): World => ({
  ...{ name: 'emails', clusterKey: 'infra/main', view: { kind: 'serving', cluster: aCluster() } },
  ...{
    rival: undefined,
    schema: { kind: 'unneeded' },
    users: [],
    problems: [],
    plane: 'up',
    isAsDeclared: false,
    facts: FACTS,
  },
  ...{ deletionWaitMs: 60_000 },
  ...world,
});

export const DECLARATION: Declaration = {
  ...{ result: 'created', changes: [], drifted: false, effective: { fair: false } },
  figures: { waiting: 0 },
};

/** As it is after a declaration that went well. */
export function aSynced(facts: Partial<World['facts']> = {}): DeclaredObject {
  const object = anObject();
  const world = aWorld({ facts: { ...FACTS, ...facts } });
  const verdict = { kind: 'synced', declaration: DECLARATION } as const;
  return { ...object, status: verdictStatus(object, world, verdict, NOW - 100_000) };
}

/** What a plan comes to, in short. */
export function planOf(object: DeclaredObject, world: World) {
  const plan = decide(object, world, NOW);
  const status = typeof plan.status === 'function' ? plan.status([]) : plan.status;
  const shown = status?.conditions
    ?.slice(0, 3)
    .map(({ type, status: is, reason }) => `${type}=${is}/${reason}`);
  return { plan, does: plan.actions?.map(({ kind }) => kind) ?? [], shown };
}
