// What the cluster controller decides, by situation: a world in, a plan out.
import { expect, test } from 'vitest';
import { type Action, decide } from '../../../operator/controllers/cluster/decide.ts';
import type { KubeObject } from '../../../operator/kube/objects.ts';
import { madeBy, planOf, worldOf } from './rounds.ts';
import { aClaim, aCluster, aPod, DAY, NOW } from './support.ts';

test('a new cluster: Secrets first, the StatefulSet last', async () => {
  const { did, condition, status } = await planOf(aCluster());
  expect(did).toEqual([
    'apply Secret main-flowmesh-token',
    'apply Secret main-flowmesh-ca',
    'apply Secret main-flowmesh-tls',
    'apply Secret main-flowmesh-binding',
    'apply ServiceAccount main-flowmesh',
    'apply ConfigMap main-flowmesh-config',
    'apply Service main-flowmesh-pods',
    'apply Service main-flowmesh',
    'apply StatefulSet main-flowmesh',
  ]);
  expect([condition('Accepted'), condition('Ready')]).toEqual(['True Valid', 'False Missing']);
  expect(status.observedGeneration).toBe(3);
});

test('what is there is kept: the same world gives the same Secrets and the same status', async () => {
  const cluster = aCluster();
  const there = { objects: await madeBy(cluster), pods: [aPod(0)], claims: [aClaim()] };
  const first = await planOf(cluster, there);
  expect([first.condition('Synced'), first.condition('Ready'), first.condition('Drifted')]).toEqual([
    'True Applied',
    'True Serving',
    'False NoDrift',
  ]);
  const again = await planOf({ ...cluster, status: first.status }, { ...there, nowMs: NOW + 60_000 });
  expect(again.status).toEqual(first.status);
  expect(again.plan.events).toEqual([]);
  const secrets = (actions: Action[]) => actions.filter((each) => each.kind === 'apply').slice(0, 4);
  expect(secrets(again.actions)).toEqual(secrets(first.actions));
});

test('what the data plane says of itself: kept while it is away, rounded so that it rests', async () => {
  const cluster = aCluster();
  const there = { objects: await madeBy(cluster), pods: [aPod(0)], claims: [aClaim()] };
  const after = async (used: number | undefined, usedPercent: number | undefined, ready = true) => {
    const storage = { capacity: '20Gi', resizing: false, ...(used !== undefined && { used }) };
    const facts = { clusterId: 'now', usedPercent };
    const pods = [aPod(0, { ready })];
    const before = { ...cluster, status: { clusterId: 'before', storage } };
    const { status } = await planOf(before, { ...there, pods, facts });
    return [status.clusterId, status.storage?.used];
  };
  expect(await after(undefined, 41.7)).toEqual(['now', 42]);
  expect(await after(42, 41.1)).toEqual(['now', 42]);
  expect(await after(42, 42.9)).toEqual(['now', 42]);
  expect(await after(42, 43.2)).toEqual(['now', 43]);
  expect(await after(42, 99, false)).toEqual(['before', 42]);
  expect(await after(undefined, undefined)).toEqual(['now', undefined]);
});

test('a certificate is renewed after two thirds of its life, with an event', async () => {
  const cluster = aCluster();
  const objects = await madeBy(cluster);
  const there = { objects, pods: [aPod(0)], claims: [aClaim()] };
  expect((await planOf(cluster, { ...there, nowMs: NOW + 59 * DAY })).reasons).toEqual([]);
  const due = await planOf(cluster, { ...there, nowMs: NOW + 61 * DAY });
  expect(due.reasons).toEqual(['CertificatesRenewed']);
  expect(due.did).not.toContain('restart main-flowmesh-0');
  expect(Date.parse(due.status.certificates?.renewAt ?? '')).toBeGreaterThan(NOW + 61 * DAY);
});

test('what was there and is not any more is told as deleted', async () => {
  const cluster = aCluster();
  const objects = await madeBy(cluster);
  const there = { objects, pods: [aPod(0)], claims: [aClaim()] };
  const { status } = await planOf(cluster, there);
  const without = objects.filter(({ kind }) => kind !== 'ConfigMap');
  const { plan } = await planOf({ ...cluster, status }, { ...there, objects: without });
  expect(plan.events).toMatchObject([
    { reason: 'ObjectRecreated', note: 'ConfigMap main-flowmesh-config was deleted and is made again' },
  ]);
});

test.for([
  ['is going', aCluster({}, { deletionTimestamp: '2026-06-01T00:00:00Z' }), ['rest']],
  ['is paused', aCluster({}, { annotations: { 'flowmesh.io/paused': 'true' } }), []],
  ['would split its data over pods', aCluster({ replicas: 3 }), []],
  [
    'has a journal that no pod of this version starts with',
    aCluster({ journal: { engine: 'JetStream', jetStream: { url: 'nats://nats' } } }),
    [],
  ],
] as const)('a cluster that %s: nothing is written', async ([, cluster, did]) => {
  expect((await planOf(cluster)).did).toEqual(did);
});

test.for([
  ['is paused', aCluster({}, { annotations: { 'flowmesh.io/paused': 'true' } })],
  ['is refused', aCluster({ replicas: 3 })],
] as const)('the status of a new cluster that %s stays as it is', async ([, cluster]) => {
  const { status } = await planOf(cluster);
  const later = await planOf({ ...cluster, status }, { nowMs: NOW + DAY });
  expect(later.status).toEqual(status);
});

test('a paused cluster says so, and why nothing is known', async () => {
  const { condition, reasons } = await planOf(
    aCluster({}, { annotations: { 'flowmesh.io/paused': 'true' } }),
  );
  expect([condition('Synced'), condition('Drifted'), reasons]).toEqual([
    'Unknown Paused',
    'Unknown Paused',
    ['Paused'],
  ]);
});

test('an object of somebody else is left alone, and the rest is made', async () => {
  const mine: KubeObject = { kind: 'Service', metadata: { name: 'main-flowmesh', namespace: 'shop' } };
  const { did, condition, reasons } = await planOf(aCluster(), { objects: [mine] });
  expect(did).not.toContain('apply Service main-flowmesh');
  expect(did).toContain('apply StatefulSet main-flowmesh');
  expect([condition('Synced'), condition('Drifted'), reasons]).toEqual([
    'False NameTaken',
    'True NameTaken',
    ['NameTaken'],
  ]);
});

test('a pod template with a mistake leaves the StatefulSet as it is', async () => {
  const podTemplate = { spec: { containers: 'none' } } as never;
  const { did, condition } = await planOf(aCluster({ podTemplate }));
  expect(did).not.toContain('apply StatefulSet main-flowmesh');
  expect([condition('Accepted'), condition('Synced')]).toEqual([
    'False PodTemplateInvalid',
    'False NotAccepted',
  ]);
});

test('a write that fails is in the status', async () => {
  const cluster = aCluster();
  const plan = decide(cluster, await worldOf(cluster), NOW);
  const [action] = plan.actions ?? [];
  if (action === undefined || typeof plan.status !== 'function') throw new Error('a plan has both');
  const error = new Error('admission webhook says no');
  const status = plan.status([{ action, kind: 'failed', error }]);
  expect(status.conditions).toContainEqual(
    expect.objectContaining({
      type: 'Synced',
      status: 'False',
      reason: 'ApplyFailed',
      message: error.message,
    }),
  );
});

test('cert-manager is asked where it is, and missed where it is not', async () => {
  const cluster = aCluster({ tls: { mode: 'CertManager', issuerRef: { name: 'ca' } } });
  const without = await planOf(cluster);
  expect(without.condition('Synced')).toBe('False CertManagerMissing');
  expect(without.did.filter((each) => /Certificate|-ca|-tls/.test(each))).toEqual([]);
  const present = await planOf(cluster, { served: true });
  expect(present.did).toContain('apply Certificate main-flowmesh-tls');
  expect(present.did).toContain('apply ServiceMonitor main-flowmesh');
});

test('scaled to nothing it is not ready, and everything stays', async () => {
  const cluster = aCluster({ replicas: 0 });
  const there = { objects: await madeBy(cluster), claims: [aClaim()] };
  const { condition, did } = await planOf(cluster, there);
  expect([condition('Ready'), condition('Synced')]).toEqual(['False ScaledToZero', 'True Applied']);
  expect(did.filter((each) => each.startsWith('delete'))).toEqual([]);
});

test('a volume grows by its claim first, then the StatefulSet is made anew around its pods', async () => {
  const cluster = aCluster({ storage: { size: '50Gi' } });
  const there = { objects: await madeBy(cluster), pods: [aPod(0)] };
  const first = await planOf(cluster, { ...there, claims: [aClaim('20Gi')] });
  expect(first.did).toContain('apply PersistentVolumeClaim data-main-flowmesh-0');
  expect(first.did).not.toContain('delete StatefulSet main-flowmesh');
  const then = await planOf(cluster, { ...there, claims: [aClaim('50Gi', '20Gi')] });
  expect(then.actions).toContainEqual(
    expect.objectContaining({ kind: 'delete', propagation: 'Orphan', resource: expect.anything() }),
  );
  expect(then.did).not.toContain('apply StatefulSet main-flowmesh');
  expect(then.condition('Synced')).toBe('False VolumesGrow');
  const fixed = await planOf(cluster, { ...there, claims: [aClaim('20Gi')], canExpand: false });
  expect(fixed.condition('Synced')).toBe('False VolumeExpansionUnsupported');
  expect(fixed.did.filter((each) => /Claim|delete/.test(each))).toEqual([]);
});

test('a restart is in the plan and in the status', async () => {
  const cluster = aCluster();
  const there = { objects: await madeBy(cluster), pods: [aPod(0, { revision: 'old' })], claims: [aClaim()] };
  const { did, condition } = await planOf(cluster, there);
  expect([did.at(-1), condition('Synced')]).toEqual(['restart main-flowmesh-0', 'False RollingOut']);
});

test('it is not synced while Kubernetes has not acted on a StatefulSet that was just changed', async () => {
  const cluster = aCluster();
  const there = { objects: await madeBy(cluster), pods: [aPod(0)], claims: [aClaim()] };
  const { plan, actions } = await planOf(cluster, there);
  const set = actions.find((each) => each.kind === 'apply' && each.resource.kind === 'StatefulSet');
  const { status } = plan;
  if (set === undefined || typeof status !== 'function') throw new Error('a plan has both');
  const syncedAfter = (answer: unknown) =>
    status([{ action: set, kind: 'done', answer }]).conditions?.find(({ type }) => type === 'Synced')?.reason;
  expect([syncedAfter('changed'), syncedAfter(undefined)]).toEqual(['RollingOut', 'Applied']);
});
