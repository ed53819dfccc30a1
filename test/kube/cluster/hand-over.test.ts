// A rollout of three pods while the operators change: whoever leads goes on where the one before it was, and
// what holds for one operator (one pod at a time, none twice) holds for three.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { installDefinitions } from '../definitions.ts';
import { clientOf, type Operator, served, startAnyEngine, within } from './support.ts';

let plane: ControlPlane;
const operators: Operator[] = [];

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true });
  await installDefinitions(plane);
});
afterAll(async () => {
  await Promise.all(operators.map((each) => each.isAlive && each.kill('SIGKILL')));
  await plane?.stop();
});

const operator = (pod: string) => {
  const started = startAnyEngine(plane, pod, '--image', 'flowmesh:1.0.0');
  operators.push(started);
  return started;
};

/** The pod that leads: its name is in front of what makes it unique. */
const leader = async () => {
  const { body } = await plane.api(
    'GET',
    '/apis/coordination.k8s.io/v1/namespaces/default/leases/flowmesh-operator',
  );
  return String(body.spec?.holderIdentity ?? '').split('_')[0];
};

test('a leader that is killed, and one that is asked to go, in the middle of a rollout', async () => {
  const client = clientOf(plane, 'default');
  const first = operator('first');
  await expect.poll(leader, within).toBe('first');
  const second = operator('second');
  const journal = { engine: 'JetStream', jetStream: { url: 'nats://nats.example:4222' } };
  await client.cluster('main', { replicas: 3, journal });
  await served(client, 'main', 3);
  const uids = async () =>
    Promise.all([0, 1, 2].map(async (at) => (await client.get('Pod', `main-flowmesh-${at}`))?.metadata.uid));
  let before = await uids();
  /** Waits until that pod is another one, and looks that it is the only one. */
  const replaced = async (ordinal: number) => {
    const uid = async () => (await client.get('Pod', `main-flowmesh-${ordinal}`))?.metadata.uid;
    await expect.poll(async () => (await uid()) ?? before[ordinal], within).not.toBe(before[ordinal]);
    const now = await uids();
    expect(now.filter((each, at) => each !== before[at])).toHaveLength(1);
    before = now;
  };
  const synced = async () => (await client.condition('main', 'Synced')).reason;

  await client.patch('FlowMeshCluster', 'main', { spec: { image: { tag: '2.0.0' } } });
  await replaced(2);
  await first.kill('SIGKILL');
  const third = operator('third');
  // The lease is not given back: it has to run out.
  await expect.poll(leader, within).not.toBe('first');
  const [acting, waiting, rest] =
    (await leader()) === 'second' ? [second, third, 'third'] : [third, second, 'second'];
  // Pod 2 does not serve yet: whoever took over waits for it as well.
  await expect.poll(synced, within).toBe('RestartWaits');
  expect(await uids()).toEqual(before);

  await client.becomes('main-flowmesh-2', true);
  await replaced(1);
  await acting.kill('SIGTERM');
  await expect.poll(leader, within).toBe(rest);
  await client.becomes('main-flowmesh-1', true);
  await replaced(0);
  await client.becomes('main-flowmesh-0', true);
  await served(client, 'main', 3);
  expect((await client.get('FlowMeshCluster', 'main')).status).toMatchObject({
    version: '2.0.0',
    updatedReplicas: 3,
    readyReplicas: 3,
  });
  const restarts = (await client.reasons()).filter((reason) => reason === 'ImageChanged');
  expect(restarts).toHaveLength(3);
  expect(await uids()).toEqual(before);
  expect(waiting.isAlive).toBe(true);
});
