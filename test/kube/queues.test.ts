// Queues by kubectl apply: a real API server, real data plane processes, the operator between them. What
// users lose sleep over with other operators (OPERATORS: deletion with a dead cluster, prune, duplicates,
// drift, references across namespaces) has a spec each.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import { kubectl } from './definitions.ts';
import { type DataPlane, Fleet } from './fleet.ts';

let fleet: Fleet;
let main: DataPlane;

beforeAll(async () => {
  fleet = await Fleet.start();
  main = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 }, deletionWaitMs: 6000 });
});
afterAll(() => fleet?.stop());

const conditionsOf = (object: { status?: { conditions?: { type: string; status: string }[] } }) =>
  Object.fromEntries((object.status?.conditions ?? []).map(({ type, status }) => [type, status]));

const queueOf = async (name: string) => {
  const { queues } = await main.api.listQueues({});
  return queues.find(({ spec }) => spec?.name === name);
};

async function enqueue(queue: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await main.api.enqueue({ queue, jobs: [{ payload: Buffer.from('x') }], mutation: main.api.mutation() });
  }
}

async function ready(name: string, spec: object = {}) {
  await fleet.create('Queue', `default/${name}`, spec);
  return fleet.condition('Queue', `default/${name}`, 'Ready=True');
}

/** What the events of an object say is told a little later than its status. */
const told = (name: string, reason: string) =>
  until(`event ${reason} of ${name}`, async () => (await fleet.events(name)).includes(reason));

describe('a queue that is applied', () => {
  test('is there with owner and generation, and its status and columns say so', async () => {
    const object = await ready('emails', { queueName: 'emails.send', delivery: { maxAttempts: 5 } });
    expect(conditionsOf(object)).toEqual({
      Accepted: 'True',
      Synced: 'True',
      Ready: 'True',
      Drifted: 'False',
      ScalingReady: 'False',
    });
    const queue = await queueOf('emails.send');
    expect(queue?.spec?.maxAttempts).toBe(5);
    expect(queue).toMatchObject({
      owner: { uid: object.metadata.uid, kind: 'Queue', namespace: 'default', name: 'emails' },
      generation: 1,
    });
    expect(queue?.owner?.clusterUid).not.toBe('');
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
    const { code } = await kubectl(fleet.plane, 'wait', '--for=condition=Ready', 'queue/emails');
    expect(code).toBe(0);
  });

  test('is changed when its spec is', async () => {
    await ready('changed');
    await fleet.patch('Queue', 'default/changed', { spec: { limits: { maxDepth: 7 } } });
    const { status } = await fleet.condition('Queue', 'default/changed', 'Synced=True');
    expect([status?.observedGeneration, status?.effective?.limits?.maxDepth]).toEqual([2, 7]);
    expect(await queueOf('changed')).toMatchObject({ generation: 2, spec: { maxDepth: 7 } });
  });

  test('shows its figures, rounded, and how long its oldest job waits', async () => {
    await ready('busy');
    await enqueue('busy', 3);
    await until('figures', async () => {
      const object = await fleet.get('Queue', 'default/busy');
      return object?.status?.figures?.waiting === 3;
    });
  });

  test('with a name that is taken over from an older life is adopted, if it is identical', async () => {
    await main.api.applyQueue({ name: 'same', maxAttempts: 4, mutation: main.api.mutation() });
    await enqueue('same', 1);
    await ready('same', { delivery: { maxAttempts: 4 } });
    expect((await queueOf('same'))?.figures?.waiting).toBe(1);
    await told('same', 'Adopted');
  });

  test('is refused where another one of its name differs, until the policy says otherwise', async () => {
    await main.api.applyQueue({ name: 'other', maxAttempts: 4, mutation: main.api.mutation() });
    await fleet.create('Queue', 'default/other');
    const refused = await fleet.condition('Queue', 'default/other', 'Synced=False/Refused');
    const message = refused.status?.conditions?.find(({ type }) => type === 'Synced')?.message;
    expect(message).toMatch(/maxAttempts 4 -> 10.*adoptionPolicy: Always/);
    expect((await queueOf('other'))?.spec?.maxAttempts).toBe(4);
    await fleet.patch('Queue', 'default/other', { spec: { adoptionPolicy: 'Always' } });
    await fleet.condition('Queue', 'default/other', 'Ready=True');
    expect((await queueOf('other'))?.spec?.maxAttempts).toBe(10);
  });
});

describe('drift', () => {
  test('is set back at once, and shown with what it was', async () => {
    await ready('drifting', { delivery: { maxAttempts: 5 } });
    await main.api.applyQueue({ name: 'drifting', maxAttempts: 3, mutation: main.api.mutation() });
    const object = await fleet.condition('Queue', 'default/drifting', 'Drifted=True', 5000);
    expect(object.status?.conditions?.find(({ type }) => type === 'Drifted')?.message).toMatch(
      /maxAttempts 3 -> 5/,
    );
    expect(await queueOf('drifting')).toMatchObject({ spec: { maxAttempts: 5 }, drifted: false });
    expect(conditionsOf(object)).toMatchObject({ Synced: 'True', Ready: 'True' });
    await told('drifting', 'DriftCorrected');
  });

  test('a queue that somebody else deletes is there again', async () => {
    const { metadata } = await ready('deleted');
    await main.api.deleteQueue({ name: 'deleted', mutation: main.api.mutation() });
    await until('it is back', async () => (await queueOf('deleted'))?.owner?.uid === metadata.uid);
  });
});

describe('deletion', () => {
  test('Retain, the default: a prune keeps the jobs, and lets go of them', async () => {
    await ready('kept');
    await enqueue('kept', 2);
    await fleet.delete('Queue', 'default/kept');
    await fleet.gone('Queue', 'default/kept');
    expect(await queueOf('kept')).toMatchObject({ owner: null, figures: { waiting: 2 } });
    await told('kept', 'Released');
    // Applied again, it goes on where it was.
    await ready('kept');
  });

  test('DeleteIfEmpty: only without jobs', async () => {
    await ready('full', { deletionPolicy: 'DeleteIfEmpty' });
    await ready('empty', { deletionPolicy: 'DeleteIfEmpty' });
    await enqueue('full', 1);
    for (const name of ['full', 'empty']) await fleet.delete('Queue', `default/${name}`);
    for (const name of ['full', 'empty']) await fleet.gone('Queue', `default/${name}`);
    expect(await queueOf('full')).toMatchObject({ owner: null, figures: { waiting: 1 } });
    expect(await queueOf('empty')).toBeUndefined();
    await told('full', 'NotEmpty');
  });

  test('Delete: with its jobs', async () => {
    await ready('dropped', { deletionPolicy: 'Delete' });
    await enqueue('dropped', 1);
    await fleet.delete('Queue', 'default/dropped');
    await fleet.gone('Queue', 'default/dropped');
    expect(await queueOf('dropped')).toBeUndefined();
  });

  test('never takes what belongs to another object', async () => {
    await ready('mine', { queueName: 'contested' });
    await fleet.create('Queue', 'default/yours', { queueName: 'contested', deletionPolicy: 'Delete' });
    await fleet.condition('Queue', 'default/yours', 'Accepted=False/NameTaken');
    await fleet.delete('Queue', 'default/yours');
    await fleet.gone('Queue', 'default/yours');
    expect((await queueOf('contested'))?.owner?.name).toBe('mine');
  });
});

describe('two objects of one name', () => {
  test('the older has it, the other says who; when that goes, it takes over', async () => {
    await ready('first', { queueName: 'shared' });
    await fleet.create('Queue', 'default/second', { queueName: 'shared' });
    const second = await fleet.condition('Queue', 'default/second', 'Accepted=False/NameTaken');
    const message = second.status?.conditions?.find(({ type }) => type === 'Accepted')?.message;
    expect(message).toContain('Queue default/first');
    await fleet.delete('Queue', 'default/first');
    await fleet.condition('Queue', 'default/second', 'Ready=True', 10_000);
    expect((await queueOf('shared'))?.owner?.name).toBe('second');
  });
});

describe('references', () => {
  test('to another namespace are denied until its owner admits them', async () => {
    await fleet.namespace('guests', { team: 'blue' });
    const spec = { clusterRef: { name: 'main', namespace: 'default' } };
    await fleet.create('Queue', 'guests/visitor', spec);
    await fleet.condition('Queue', 'guests/visitor', 'Accepted=False/RefNotPermitted');
    expect((await fleet.get('Queue', 'guests/visitor'))?.metadata.finalizers).toBeUndefined();
    const allowedNamespaces = { from: 'Selector', selector: { matchLabels: { team: 'blue' } } };
    await fleet.patch('FlowMeshCluster', 'default/main', { spec: { allowedNamespaces } });
    await fleet.condition('Queue', 'guests/visitor', 'Ready=True', 10_000);
    // And denied again: deletion does not hang on it.
    await fleet.patch('FlowMeshCluster', 'default/main', { spec: { allowedNamespaces: null } });
    await fleet.condition('Queue', 'guests/visitor', 'Accepted=False/RefNotPermitted', 10_000);
    await fleet.delete('Queue', 'guests/visitor');
    await fleet.gone('Queue', 'guests/visitor', 5000);
    await told('visitor', 'DataPlaneNotAsked');
  });

  test('to a cluster that is not there wait for it', async () => {
    await fleet.create('Queue', 'default/early', { clusterRef: { name: 'later' } });
    await fleet.condition('Queue', 'default/early', 'Accepted=False/ClusterNotFound');
    await fleet.dataPlane('default/later');
    await fleet.create('FlowMeshCluster', 'default/later');
    await fleet.condition('Queue', 'default/early', 'Ready=True', 10_000);
  });
});

describe('a cluster that does not serve', () => {
  const clusterOf = (name: string) => ({ clusterRef: { name } });

  test('unreachable: the status says so, others go on, a deletion is over within its bound', async () => {
    fleet.setAddress('default/dead', '127.0.0.1:1');
    await fleet.create('FlowMeshCluster', 'default/dead');
    await fleet.create('Queue', 'default/stuck', clusterOf('dead'));
    const stuck = await fleet.condition('Queue', 'default/stuck', 'Ready=Unknown/Unreachable', 10_000);
    expect(conditionsOf(stuck)).toMatchObject({ Accepted: 'True', Synced: 'Unknown' });
    await ready('unaffected');
  });

  test('gone silent: figures stay, and it comes back by itself', async () => {
    const silent = await fleet.dataPlane('default/silent');
    await fleet.create('FlowMeshCluster', 'default/silent');
    await ready('waits', clusterOf('silent'));
    await ready('dies', clusterOf('silent'));
    await silent.kill('SIGKILL');
    const down = await fleet.condition('Queue', 'default/waits', 'Ready=Unknown/Unreachable', 15_000);
    expect(down.status?.figures).toMatchObject({ waiting: 0 });
    await fleet.delete('Queue', 'default/dies');
    await fleet.gone('Queue', 'default/dies', 15_000);
    await told('dies', 'DataPlaneNotAsked');
    const revived = await fleet.dataPlane('default/silent');
    await fleet.condition('Queue', 'default/waits', 'Ready=True', 30_000);
    const { queues } = await revived.api.listQueues({});
    expect(queues.map(({ spec }) => spec?.name)).toEqual(['waits']);
  });

  test('deleted or at 0 replicas: its queues go at once', async () => {
    await fleet.dataPlane('default/gone');
    await fleet.create('FlowMeshCluster', 'default/gone');
    for (const name of ['orphan', 'sleeper']) await ready(name, clusterOf('gone'));
    await fleet.patch('FlowMeshCluster', 'default/gone', { spec: { replicas: 0 } });
    await fleet.condition('Queue', 'default/sleeper', 'Ready=False/ClusterStopped');
    await fleet.delete('Queue', 'default/sleeper');
    await fleet.gone('Queue', 'default/sleeper', 5000);
    await fleet.delete('FlowMeshCluster', 'default/gone');
    await fleet.condition('Queue', 'default/orphan', 'Ready=False/ClusterNotFound');
    await fleet.delete('Queue', 'default/orphan');
    await fleet.gone('Queue', 'default/orphan', 5000);
    await told('orphan', 'DataPlaneNotAsked');
  });
});

describe('a pause', () => {
  test('leaves the queue alone until it ends', async () => {
    await ready('paused', { delivery: { maxAttempts: 5 } });
    await fleet.patch('Queue', 'default/paused', {
      metadata: { annotations: { 'flowmesh.io/paused': 'true' } },
    });
    await fleet.condition('Queue', 'default/paused', 'Synced=Unknown/Paused');
    await main.api.applyQueue({ name: 'paused', maxAttempts: 3, mutation: main.api.mutation() });
    await fleet.patch('Queue', 'default/paused', {
      metadata: { annotations: { 'flowmesh.io/paused': null } },
    });
    await fleet.condition('Queue', 'default/paused', 'Drifted=True');
    expect((await queueOf('paused'))?.spec?.maxAttempts).toBe(5);
  });
});
