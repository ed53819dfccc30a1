// Queues by kubectl apply: a real API server, a real data plane process, the operator between them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kubectl } from './definitions.ts';
import { type DataPlane, Fleet } from './fleet.ts';

let fleet: Fleet;
let main: DataPlane;

beforeAll(async () => {
  fleet = await Fleet.start();
  main = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 } });
});
afterAll(() => fleet?.stop());

const conditionsOf = (object: { status?: { conditions?: { type: string; status: string }[] } }) =>
  Object.fromEntries((object.status?.conditions ?? []).map(({ type, status }) => [type, status]));

describe('a queue that is applied', () => {
  test('is there with owner and generation, and its status says so', async () => {
    await fleet.create('Queue', 'default/emails', { queueName: 'emails.send', delivery: { maxAttempts: 5 } });
    const object = await fleet.condition('Queue', 'default/emails', 'Ready=True');
    expect(conditionsOf(object)).toEqual({
      Accepted: 'True',
      Synced: 'True',
      Ready: 'True',
      Drifted: 'False',
      ScalingReady: 'False',
    });
    const queue = await main.api.getQueue({ name: 'emails.send' });
    expect(queue.spec?.maxAttempts).toBe(5);
    expect(queue).toMatchObject({
      owner: { uid: object.metadata.uid, kind: 'Queue', namespace: 'default', name: 'emails' },
      generation: 1,
    });
    expect(object.status).toMatchObject({
      observedGeneration: 1,
      queueName: 'emails.send',
      effective: {
        clusterRef: { name: 'main', namespace: 'default' },
        delivery: { visibilityTimeout: '30s', maxAttempts: 5 },
        deadLetter: { queueName: 'emails.send.dead' },
        deletionPolicy: 'Retain',
      },
      figures: { waiting: 0, leased: 0, workers: 0 },
    });
    const { out } = await kubectl(fleet.plane, 'get', 'queues');
    expect(out).toMatch(/emails\s+emails.send\s+True\s+0/);
  });
});
