// The leader goes while clusters roll out: the next one, which remembers nothing, lets no third one begin.
// And a cluster that this version cannot run starts no pod at all.
import assert from 'node:assert';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { installDefinitions } from '../definitions.ts';
import { type Client, clientOf, type Operator, startOperator, within } from './support.ts';

/** Who waits for a slot asks for it every 5 s. */
const TWO_LOOKS_MS = 11_000;
const JETSTREAM = { engine: 'JetStream', jetStream: { url: 'nats://nats.example:4222' } };

let plane: ControlPlane;
const operators: Operator[] = [];

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true });
  await installDefinitions(plane);
});
afterAll(async () => {
  await Promise.all(operators.map((each) => each.kill('SIGKILL')));
  await plane?.stop();
});

async function namespace(name: string): Promise<Client> {
  const made = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
  expect((await plane.api('POST', '/api/v1/namespaces', made)).status).toBe(201);
  return clientOf(plane, name);
}

/** Of one namespace, each under the Lease of that name. */
async function leader(of: string, image: string): Promise<Operator> {
  const operator = startOperator(plane, 'operator', '--namespaces', of, '--lease-name', of, '--image', image);
  operators.push(operator);
  const leads = () => assert(operator.lines.some((line) => line.includes('leader.acquired')));
  await vi.waitFor(leads, within);
  return operator;
}

const uidsOf = async (client: Client): Promise<Map<string, string>> => {
  const pods = (await client.list('Pod')).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  return new Map(pods.map(({ metadata }) => [metadata.name, metadata.uid]));
};

const podThere = (client: Client, name: string) =>
  vi.waitFor(async () => assert((await uidsOf(client)).has(name), `${name} is there`), within);

/** The pods that are other ones than before. */
async function renewed(client: Client, before: ReadonlyMap<string, string>): Promise<string[]> {
  return [...(await uidsOf(client))].filter(([name, uid]) => before.get(name) !== uid).map(([name]) => name);
}

const twoLooks = () => new Promise((resolve) => setTimeout(resolve, TWO_LOOKS_MS));

test.for(['SIGTERM', 'SIGKILL'] as const)(
  'the leader ends by %s while two of three clusters restart: the third one waits as it did before',
  async (signal) => {
    const name = `slots-${signal.toLowerCase()}`;
    const client = await namespace(name);
    let operator = await leader(name, 'flowmesh:1.0.0');
    for (const each of ['a', 'b', 'c']) {
      await client.cluster(each, {});
      await podThere(client, `${each}-flowmesh-0`);
      await client.becomes(`${each}-flowmesh-0`, true);
    }
    const before = await uidsOf(client);
    await operator.kill('SIGTERM');
    // An upgrade: every pod is to start again.
    operator = await leader(name, 'flowmesh:2.0.0');
    await vi.waitFor(async () => expect(await renewed(client, before)).toHaveLength(2), within);
    await operator.kill(signal);
    operator = await leader(name, 'flowmesh:2.0.0');
    await twoLooks();
    const two = await renewed(client, before);
    expect(two).toHaveLength(2);
    await client.becomes(two[0] ?? '', true);
    await vi.waitFor(async () => expect(await renewed(client, before)).toHaveLength(3), within);
    await operator.kill('SIGKILL');
  },
);

test('a cluster whose journal comes later says so, and starts no pod', async () => {
  const client = await namespace('later');
  await leader('later', 'flowmesh:1.0.0');
  await client.cluster('main', { replicas: 3, journal: JETSTREAM });
  const accepted = { status: 'False', reason: 'EngineNotServed' };
  await expect.poll(() => client.condition('main', 'Accepted'), within).toMatchObject(accepted);
  expect(await client.condition('main', 'Ready')).toMatchObject({ status: 'False', reason: 'NotAccepted' });
  await expect.poll(() => client.reasons(), within).toEqual(['EngineNotServed']);
  for (const kind of ['StatefulSet', 'Pod', 'Secret'] as const) expect(await client.list(kind)).toEqual([]);
});
