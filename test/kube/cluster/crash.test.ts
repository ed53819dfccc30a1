// An operator that is killed at any moment, and one that waits to take over.
import assert from 'node:assert';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { installDefinitions } from '../definitions.ts';
import { type Any, type Client, clientOf, startOperator, writesOf } from './support.ts';

let plane: ControlPlane;
const within = { timeout: 60_000, interval: 50 };
const ROUNDS = 10;
/** Creation and change are through before that on an idle machine. */
const KILL_WITHIN_MS = 1_200;

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true });
  await installDefinitions(plane);
});
afterAll(() => plane?.stop());

async function namespace(name: string): Promise<Client> {
  const made = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
  expect((await plane.api('POST', '/api/v1/namespaces', made)).status).toBe(201);
  return clientOf(plane, name);
}

const first = { networkPolicy: { enabled: true }, listeners: { redis: { enabled: true } } };
const change = {
  spec: {
    networkPolicy: { enabled: false },
    listeners: { redis: { enabled: false }, http: { port: 8080 } },
    image: { tag: '2.0.0' },
  },
};

/** Applied in full, and the pod is a new one that serves. */
async function settled(client: Client, generation: number): Promise<void> {
  const isSettled = async () => {
    const cluster = await client.get('FlowMeshCluster', 'main');
    const pod = await client.get('Pod', 'main-flowmesh-0');
    const isReady = pod?.status.conditions?.some(
      (each: Any) => each.type === 'Ready' && each.status === 'True',
    );
    if (pod !== undefined && !isReady) await client.becomes('main-flowmesh-0', true);
    const condition = (type: string) => cluster.status.conditions.find((each: Any) => each.type === type);
    const [synced, ready] = [condition('Synced'), condition('Ready')];
    assert(synced.observedGeneration === generation, `generation ${synced.observedGeneration}`);
    assert(synced.status === 'True', `Synced ${synced.reason}: ${synced.message}`);
    assert(ready.status === 'True', `Ready ${ready.reason}: ${ready.message}`);
  };
  await vi.waitFor(isSettled, within);
}

const KINDS = [
  'ServiceAccount',
  'ConfigMap',
  'Service',
  'Secret',
  'StatefulSet',
  'NetworkPolicy',
  'PodDisruptionBudget',
  'PersistentVolumeClaim',
  'Pod',
] as const;

/** All objects, without what every creation draws anew. */
async function shapeOf(client: Client): Promise<Any> {
  // The names of the namespace are in the configuration, and so in its hash and in that of the template.
  const drawn =
    /^(uid|resourceVersion|generation|.*Timestamp|managedFields|clusterIPs?|namespace|.*time|.*-hash)$/i;
  const plain = (value: Any, key = ''): Any => {
    if (drawn.test(key)) return undefined;
    if (Array.isArray(value)) return value.map((each) => plain(each));
    if (value === null || typeof value !== 'object') return value;
    const entries = Object.entries(value).map(([name, each]) => [name, plain(each, name)]);
    return Object.fromEntries(entries.filter(([, each]) => each !== undefined));
  };
  const lists = KINDS.map(async (kind) => {
    const all = (await client.list(kind)).filter(({ metadata }) => metadata.name.includes('flowmesh'));
    const shown = all.map(({ data, ...object }: Any) => ({
      ...plain(object),
      // Names of namespaces are in the addresses; keys and tokens are drawn.
      keys: Object.keys(data ?? {}),
    }));
    return [kind, shown.map(({ status: _, ...rest }: Any) => rest)];
  });
  const { status } = plain(await client.get('FlowMeshCluster', 'main'));
  return {
    ...Object.fromEntries(await Promise.all(lists)),
    conditions: status.conditions,
    pods: status.pods,
  };
}

/** One life of a cluster; `killMs`: when kill -9 comes, after its creation and after its change. */
async function life(name: string, killMs: readonly [number, number] | undefined): Promise<Any> {
  const client = await namespace(name);
  const start = () => startOperator(plane, 'operator', '--leader-elect', 'false', '--namespaces', name);
  let operator = await start();
  const kill = async (afterMs: number | undefined) => {
    if (afterMs === undefined) return;
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await operator.kill('SIGKILL');
    operator = await start();
  };
  try {
    await vi.waitFor(() => assert(operator.lines.length > 0), within);
    await client.cluster('main', first);
    await kill(killMs?.[0]);
    await settled(client, 1);
    const token = (await client.get('Secret', 'main-flowmesh-token')).data.token;
    await client.patch('FlowMeshCluster', 'main', change);
    await kill(killMs?.[1]);
    await settled(client, 2);
    // What applications were given stays good.
    expect((await client.get('Secret', 'main-flowmesh-token')).data.token).toBe(token);
    return await shapeOf(client);
  } finally {
    await operator.kill('SIGKILL');
  }
}

test('killed at random moments of a creation and a change, it ends in the same objects', async () => {
  const wanted = await life('whole', undefined);
  expect(wanted.NetworkPolicy).toEqual([]);
  expect(wanted.StatefulSet).toHaveLength(1);
  for (let round = 0; round < ROUNDS; round++) {
    const killMs = [Math.random() * KILL_WITHIN_MS, Math.random() * KILL_WITHIN_MS] as const;
    const shape = await life(`killed-${round}`, killMs);
    const text = (value: Any) => JSON.stringify(value, null, 1).replaceAll(`killed-${round}`, 'whole');
    expect(text(shape), `killed after ${killMs.map(Math.round).join(' and ')} ms`).toBe(text(wanted));
  }
}, 600_000);

test('of two operators one acts; when it is killed, the other takes over', async () => {
  const client = await namespace('two');
  const a = startOperator(plane, 'operator-a');
  await vi.waitFor(() => assert(a.lines.length > 0), within);
  await client.cluster('main', {});
  await settled(client, 1);
  const b = startOperator(plane, 'operator-b');
  try {
    const sinceMs = Date.now();
    await client.remove('Service', 'main-flowmesh');
    await vi.waitFor(async () => assert(await client.get('Service', 'main-flowmesh')), within);
    const twice = writesOf(plane, sinceMs).filter((each) => each.endsWith('services/ main-flowmesh'));
    expect(twice).toEqual(['patch services/ main-flowmesh']);
    await a.kill('SIGKILL');
    await client.remove('Service', 'main-flowmesh');
    await vi.waitFor(async () => assert(await client.get('Service', 'main-flowmesh')), within);
    await settled(client, 1);
  } finally {
    await Promise.all([a.kill('SIGKILL'), b.kill('SIGKILL')]);
  }
});
