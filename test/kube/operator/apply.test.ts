// What a controller writes, judged by a real API server: conflicts, normalised values, statuses, finalizers.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { Writer } from '../../../operator/kube/apply.ts';
import { nextConditions } from '../../../operator/kube/conditions.ts';
import type { KubeObject, Resource } from '../../../operator/kube/objects.ts';
import { testLog } from '../../operator/kube/support.ts';
import { type Connection, connect, defineWidgets, WIDGETS, type Widget, writesOf } from './support.ts';

let plane: ControlPlane;
let connection: Connection;

beforeAll(async () => {
  plane = await startControlPlane();
  await defineWidgets(plane);
  connection = await connect(plane.kubeconfig);
});
afterAll(async () => {
  connection?.transport.close();
  await plane?.stop();
});

const STATEFUL_SETS: Resource<KubeObject & { spec?: unknown }> = {
  group: 'apps',
  version: 'v1',
  plural: 'statefulsets',
  kind: 'StatefulSet',
  namespaced: true,
};

function aWriter(fieldManager = 'flowmesh-test') {
  const log = testLog();
  return { writer: new Writer({ client: connection.client, fieldManager, log, mayWrite: () => true }), log };
}

const at = (name: string) => ({ name, namespace: 'default' });
const read = async (name: string) => (await connection.client.get(WIDGETS, at(name))) as Widget;
const writes = (name: string) => writesOf(plane, 'operator-test').filter((line) => line.includes(`/${name}`));

const statefulSet = (memory: string, replicas = 1) => ({
  metadata: { ...at('store'), labels: { app: 'store' } },
  spec: {
    replicas,
    serviceName: 'store',
    selector: { matchLabels: { app: 'store' } },
    template: {
      metadata: { labels: { app: 'store' } },
      spec: {
        containers: [
          {
            name: 'main',
            image: 'e2e.local/x:1',
            resources: { requests: { memory, cpu: '0.5' }, limits: {} },
            ports: [{ name: 'http', containerPort: 7080 }],
            env: [{ name: 'A', value: 'b' }],
          },
        ],
        volumes: [{ name: 'config', configMap: { name: 'config' } }],
      },
    },
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2048Mi' } } },
      },
    ],
  },
});

test('[A1] what would change nothing is not sent, though the server writes values differently', async () => {
  const { writer } = aWriter();
  const wanted = statefulSet('1024Mi');
  const first = await writer.apply(STATEFUL_SETS, wanted);
  expect(JSON.stringify(first.object)).toContain('"memory":"1Gi"');
  const before = writes('store').length;
  for (let n = 0; n < 3; n++) {
    const live = await connection.client.get(STATEFUL_SETS, at('store'));
    expect((await writer.apply(STATEFUL_SETS, wanted, { live })).written).toBe(false);
  }
  expect(writes('store')).toHaveLength(before);

  const merge = { type: 'merge' } as const;
  await connection.client.patch(STATEFUL_SETS, at('store'), { spec: { replicas: 3 } }, merge);
  const drifted = await connection.client.get(STATEFUL_SETS, at('store'));
  expect((await writer.apply(STATEFUL_SETS, wanted, { live: drifted })).written).toBe(true);
  const { labels: _, ...metadata } = wanted.metadata;
  const live = await connection.client.get(STATEFUL_SETS, at('store'));
  const without = await writer.apply(STATEFUL_SETS, { ...wanted, metadata }, { live });
  expect([without.written, without.object.metadata.labels]).toEqual([true, undefined]);
});

test('[A2] a field of another manager is taken, and the caller hears whose it was', async () => {
  const { writer, log } = aWriter();
  await writer.apply(WIDGETS, { metadata: at('shared'), spec: { size: 1 } });
  const kubectl = { type: 'apply', fieldManager: 'kubectl', force: true } as const;
  const body = {
    apiVersion: 'test.flowmesh.io/v1',
    kind: 'Widget',
    metadata: at('shared'),
    spec: { size: 7 },
  };
  await connection.client.patch(WIDGETS, at('shared'), body, kubectl);
  const live = await read('shared');
  const applied = await writer.apply(WIDGETS, { metadata: at('shared'), spec: { size: 1 } }, { live });
  expect(applied.taken).toEqual([{ field: '.spec.size', manager: 'kubectl' }]);
  expect((await read('shared')).spec?.size).toBe(1);
  expect(log.lines.map(({ event }) => event)).toEqual(['apply.taken']);
});

test('[A3] a status: written when it changed, times kept, never into a later object', async () => {
  const { writer } = aWriter();
  await writer.apply(WIDGETS, { metadata: at('stated'), spec: { size: 1 } });
  const first = await read('stated');
  const statusOf = (live: Widget, ready: boolean, nowMs: number) => {
    const status = ready ? ('True' as const) : ('False' as const);
    const wanted = [{ type: 'Ready', status, reason: 'Test', message: '' }];
    return { ready, conditions: nextConditions(live.status?.conditions as never, wanted, nowMs) };
  };
  // The definition seeds conditions, so that `kubectl wait` works before anybody has looked.
  expect(first.status?.conditions).toMatchObject([{ status: 'Unknown' }]);
  expect(await writer.applyStatus(WIDGETS, first, statusOf(first, true, 1_000_000))).toBe(true);
  const second = await read('stated');
  expect(second.status).toMatchObject({
    ready: true,
    conditions: [{ lastTransitionTime: '1970-01-01T00:16:40Z' }],
  });
  const count = writes('stated').length;
  expect(await writer.applyStatus(WIDGETS, second, statusOf(second, true, 9_000_000))).toBe(false);
  // Another process of ours knows nothing of the first, and still sees that there is nothing to do.
  expect(await aWriter().writer.applyStatus(WIDGETS, second, statusOf(second, true, 9_000_000))).toBe(false);
  expect(writes('stated')).toHaveLength(count);
  expect(await writer.applyStatus(WIDGETS, second, statusOf(second, false, 9_000_000))).toBe(true);
  expect((await read('stated')).status?.conditions).toMatchObject([
    { lastTransitionTime: '1970-01-01T02:30:00Z' },
  ]);

  await connection.client.delete(WIDGETS, at('stated'));
  expect(await writer.applyStatus(WIDGETS, second, statusOf(second, true, 0))).toBe(false);
  await writer.apply(WIDGETS, { metadata: at('stated'), spec: { size: 2 } });
  expect(await writer.applyStatus(WIDGETS, second, statusOf(second, true, 0))).toBe(false);
  expect((await read('stated')).status?.ready).toBeUndefined();
});

test('[A4] finalizers: beside others, on stale objects, never bringing back what is gone', async () => {
  const { writer } = aWriter();
  const mine = 'test.flowmesh.io/mine';
  const stale = await connection.client.create(WIDGETS, { metadata: at('held'), spec: {} });
  // Somebody else is faster.
  const other = { metadata: { finalizers: ['test.flowmesh.io/other'] } };
  await connection.client.patch(WIDGETS, at('held'), other, { type: 'merge' });
  const held = await writer.addFinalizer(WIDGETS, stale, mine);
  expect(held?.metadata.finalizers).toEqual(['test.flowmesh.io/other', mine]);
  const count = writes('held').length;
  await writer.addFinalizer(WIDGETS, held as Widget, mine);
  expect(writes('held')).toHaveLength(count);

  await connection.client.delete(WIDGETS, at('held'));
  await connection.client.patch(WIDGETS, at('held'), { metadata: { finalizers: [mine] } }, { type: 'merge' });
  expect(await writer.addFinalizer(WIDGETS, await read('held'), 'test.flowmesh.io/late')).toBeUndefined();
  await writer.removeFinalizer(WIDGETS, held as Widget, mine);
  expect(await read('held')).toBeUndefined();
  expect(await writer.addFinalizer(WIDGETS, stale, mine)).toBeUndefined();
  expect(await writer.removeFinalizer(WIDGETS, held as Widget, mine)).toBeUndefined();
  expect(await read('held')).toBeUndefined();

  const again = await connection.client.create(WIDGETS, { metadata: at('held'), spec: {} });
  expect(await writer.addFinalizer(WIDGETS, stale, mine)).toBeUndefined();
  expect((await read('held')).metadata).toMatchObject({ uid: again.metadata.uid });
  expect((await read('held')).metadata.finalizers).toBeUndefined();
});

test('[A5] deletions: only of the very object that was meant', async () => {
  const { writer } = aWriter();
  const old = await connection.client.create(WIDGETS, { metadata: at('target'), spec: { size: 1 } });
  await connection.client.patch(WIDGETS, at('target'), { spec: { size: 2 } }, { type: 'merge' });
  expect(await writer.delete(WIDGETS, old, { unchanged: true })).toBe('changed');
  expect(await writer.delete(WIDGETS, old)).toBe('deleted');
  expect(await writer.delete(WIDGETS, old)).toBe('gone');
  await connection.client.create(WIDGETS, { metadata: at('target'), spec: { size: 1 } });
  expect(await writer.delete(WIDGETS, old)).toBe('changed');
});

test('a spec that the server refuses says which field', async () => {
  const { writer } = aWriter();
  const wanted = { metadata: at('wrong'), spec: { size: 'large' as never } };
  await expect(writer.apply(WIDGETS, wanted)).rejects.toMatchObject({ name: 'KubeError' });
  await expect(writer.apply(WIDGETS, wanted)).rejects.toThrow(/size/);
});
