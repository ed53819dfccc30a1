// Scaling by kubectl apply: a real API server with real controllers and the definitions of KEDA, data planes
// on loopback, the operator between them. What carries the number comes and goes while it runs.
import { X509Certificate } from 'node:crypto';
import { connect } from '@flowmesh/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import { BUSY_COST, COST } from '../../operator/controllers/scaling/deletion-cost.ts';
import { renewCertificates } from '../../operator/resources/certificates.ts';
import { realKeys } from '../../operator/resources/key-source.ts';
import { labelsOf, namesOf } from '../../operator/resources/names.ts';
import { kubectl } from './definitions.ts';
import { type DataPlane, Fleet } from './fleet.ts';
import { installKedaDefinitions, removeKedaDefinitions } from './keda-definitions.ts';

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind
type Any = any;

/** The operator looks for an API that is not there once a minute. */
const A_LOOK_MS = 90_000;

let fleet: Fleet;
let main: DataPlane;
const authority = renewCertificates({ name: 'main', nowMs: Date.now(), names: ['main'] }, realKeys).authority;

beforeAll(async () => {
  fleet = await Fleet.start({ controllers: true });
  main = await fleet.dataPlane('default/main');
  const data = Object.entries(authority).flatMap(([key, text]) =>
    text === undefined ? [] : [[key, Buffer.from(text).toString('base64')]],
  );
  await make('/api/v1/namespaces/default/secrets', {
    metadata: { name: namesOf('main').authoritySecret, labels: labelsOf('main') },
    data: Object.fromEntries(data),
  });
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 } });
});
afterAll(() => fleet?.stop());

const AUTOSCALERS = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers';
const SCALED_OBJECTS = '/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects';
const DEPLOYMENTS = '/apis/apps/v1/namespaces/default/deployments';

async function make(path: string, object: object): Promise<Any> {
  const { status, body } = await fleet.plane.api('POST', path, object);
  if (status !== 201) throw new Error(`${path}: ${body.message}`);
  return body;
}

async function read(path: string): Promise<Any> {
  const { status, body } = await fleet.plane.api('GET', path);
  return status === 200 ? body : undefined;
}

function deployment(name: string, replicas = 1, path = DEPLOYMENTS): Promise<Any> {
  const labels = { app: name };
  const containers = [{ name: 'main', image: 'example.org/none' }];
  const template = { metadata: { labels }, spec: { containers } };
  return make(path, {
    metadata: { name },
    spec: { replicas, selector: { matchLabels: labels }, template },
  });
}

const scaling = (name: string, more: object = {}) => ({
  scaling: {
    targetRef: { kind: 'Deployment', name },
    scaleFrom: 2,
    scaleTo: 9,
    basedOn: ['queue_lag > 100'],
    ...more,
  },
});

const says = (name: string, wanted: string, timeoutMs?: number) =>
  fleet.condition('Queue', `default/${name}`, `ScalingReady=${wanted}`, timeoutMs);

const messageOf = (object: Any) =>
  object.status.conditions.find(({ type }: Any) => type === 'ScalingReady').message as string;

const readFor = (name: string) => read(`${SCALED_OBJECTS}/${name}-flowmesh-queue`);

/** Its ScaledObject, once it is there. */
async function madeFor(name: string): Promise<Any> {
  await until(`a ScaledObject for ${name}`, async () => (await readFor(name)) !== undefined);
  return readFor(name);
}

const goneFor = (name: string) =>
  until(`no ScaledObject for ${name}`, async () => (await readFor(name)) === undefined);

/** As KEDA's operator would. */
async function kedaSays(
  name: string,
  status: 'True' | 'False',
  reason: string,
  message: string,
): Promise<void> {
  const change = { status: { conditions: [{ type: 'Ready', status, reason, message }] } };
  const path = `${SCALED_OBJECTS}/${name}-flowmesh-queue/status`;
  const type = 'application/merge-patch+json';
  const { status: code, body } = await fleet.plane.api('PATCH', path, change, type);
  if (code !== 200) throw new Error(body.message);
}

describe('without KEDA and without external metrics', () => {
  test('it says what to do, and declares the queue all the same', async () => {
    await deployment('early');
    await fleet.create('Queue', 'default/early', scaling('early'));
    await fleet.condition('Queue', 'default/early', 'Ready=True');
    const object = await says('early', 'False/NoScaler');
    expect(messageOf(object)).toMatch(/install KEDA.*scaling.mode: Direct/);
  });

  test(
    'KEDA that appears is used without a restart',
    async () => {
      await installKedaDefinitions(fleet.plane);
      await says('early', 'Unknown/Pending', A_LOOK_MS);
      expect(await madeFor('early')).toMatchObject({
        spec: {
          scaleTargetRef: { kind: 'Deployment', name: 'early' },
          minReplicaCount: 2,
          maxReplicaCount: 9,
        },
      });
    },
    A_LOOK_MS,
  );
});

describe('with KEDA', () => {
  test('the ScaledObject belongs to the queue, and KEDA gets a certificate of the cluster', async () => {
    await deployment('emails');
    await fleet.create('Queue', 'default/emails', { queueName: 'emails.send', ...scaling('emails') });
    const { metadata } = await says('emails', 'Unknown/Pending');
    const made = await madeFor('emails');
    expect(made.metadata.ownerReferences).toEqual([
      { apiVersion: 'flowmesh.io/v1alpha1', kind: 'Queue', name: 'emails', uid: metadata.uid },
    ]);
    expect(made.metadata.managedFields[0].manager).toBe('flowmesh-scaling');
    expect(
      made.spec.triggers.map(({ type, name, metadata: about }: Any) => [type, name, about.queue]),
    ).toEqual([
      ['external', 'lag', 'emails.send'],
      ['external', 'demand', 'emails.send'],
    ]);
    const name = made.spec.triggers[0].authenticationRef.name;
    const access = await read(`/apis/keda.sh/v1alpha1/namespaces/default/triggerauthentications/${name}`);
    expect(access.spec.secretTargetRef.map(({ name: secret }: Any) => secret)).toEqual([name, name, name]);
    const { data } = await read(`/api/v1/namespaces/default/secrets/${name}`);
    const certificate = new X509Certificate(Buffer.from(data['tls.crt'], 'base64'));
    const signer = new X509Certificate(authority['tls.crt'] ?? '');
    expect([certificate.subject, certificate.verify(signer.publicKey)]).toEqual(['CN=flowmesh-scaler', true]);
    expect(data).not.toHaveProperty('authority.key');
  });

  test('its state is told in its own words', async () => {
    await kedaSays('emails', 'True', 'ScaledObjectReady', 'ready');
    const object = await says('emails', 'True/Scaled');
    expect(object.status?.scaling?.by).toBe('KEDA');
    await kedaSays('emails', 'False', 'TriggerError', 'no answer from the scaler');
    expect(messageOf(await says('emails', 'False/KedaNotReady'))).toMatch(
      /TriggerError: no answer from the scaler/,
    );
    await kedaSays('emails', 'True', 'ScaledObjectReady', 'ready');
    await says('emails', 'True/Scaled');
    const { out } = await kubectl(fleet.plane, 'get', 'queue', 'emails', '-o', 'wide');
    expect(out).toMatch(/WANTED.*SCALING/s);
  });

  test('a change of spec is carried over, and what others change is set back', async () => {
    await fleet.patch('Queue', 'default/emails', { spec: scaling('emails', { scaleFrom: 3, scaleTo: 30 }) });
    const spec = async () => (await readFor('emails'))?.spec;
    await expect.poll(spec).toMatchObject({ minReplicaCount: 3, maxReplicaCount: 30 });
    const type = 'application/merge-patch+json';
    const meddled = {
      metadata: { annotations: { 'autoscaling.keda.sh/paused': 'true' } },
      spec: { maxReplicaCount: 5 },
    };
    await fleet.plane.api('PATCH', `${SCALED_OBJECTS}/emails-flowmesh-queue`, meddled, type);
    await expect.poll(spec).toMatchObject({ maxReplicaCount: 30 });
    expect((await madeFor('emails')).metadata.annotations).toMatchObject({
      'autoscaling.keda.sh/paused': 'true',
    });
    await fleet.plane.api('DELETE', `${SCALED_OBJECTS}/emails-flowmesh-queue`);
    await expect.poll(spec).toMatchObject({ minReplicaCount: 3 });
  });

  test('it goes when spec asks for it no more, and comes back', async () => {
    await fleet.patch('Queue', 'default/emails', { spec: { scaling: null } });
    await says('emails', 'False/NotConfigured');
    await goneFor('emails');
    expect((await fleet.get('Queue', 'default/emails'))?.status).not.toHaveProperty('scaling');
    await fleet.patch('Queue', 'default/emails', { spec: scaling('emails') });
    await says('emails', 'Unknown/Pending');
    expect(await madeFor('emails')).toBeDefined();
  });

  test('it goes with the queue', async () => {
    await fleet.delete('Queue', 'default/emails');
    await fleet.gone('Queue', 'default/emails');
    await goneFor('emails');
  });

  test('a workload that is not there is waited for', async () => {
    await fleet.create('Queue', 'default/late', scaling('late'));
    expect(messageOf(await says('late', 'False/TargetNotFound'))).toContain('there is no Deployment late');
    expect(await readFor('late')).toBeUndefined();
    await deployment('late');
    await says('late', 'Unknown/Pending');
  });

  test('groups of a stream are scaled each by itself', async () => {
    for (const name of ['billing', 'audit']) await deployment(name);
    const group = (name: string, scaleFrom: number) => ({
      name,
      scaling: { targetRef: { kind: 'Deployment', name }, scaleFrom, scaleTo: 4 },
    });
    const consumerGroups = [group('billing', 0), group('audit', 1), { name: 'other' }];
    await fleet.create('Stream', 'default/orders', { partitions: 4, consumerGroups });
    const { status } = await fleet.condition('Stream', 'default/orders', 'ScalingReady=Unknown/Pending');
    expect((status as Any)?.scaling).toEqual([
      { group: 'billing', by: 'KEDA' },
      { group: 'audit', by: 'KEDA' },
    ]);
    const { items } = await read(SCALED_OBJECTS);
    const made = items.filter(({ metadata }: Any) => metadata.ownerReferences?.[0]?.name === 'orders');
    const triggers = made.flatMap(({ spec }: Any) =>
      spec.triggers.map(({ type, metadata }: Any) => [type, metadata.group]),
    );
    expect(triggers.sort()).toEqual([
      ['external', 'audit'],
      ['external-push', 'billing'],
    ]);
  });
});

test('pods that are busy cost more than idle ones, while fewer are wanted than run', async () => {
  // Two of them never come: three workers are enough, as far as anybody knows.
  await deployment('kept', 5);
  const costs = async () => {
    const { items } = await read('/api/v1/namespaces/default/pods?labelSelector=app%3Dkept');
    const costOf = ({ metadata }: Any) => [metadata.name, metadata.annotations?.[COST]] as const;
    return new Map<string, string | undefined>(items.map(costOf));
  };
  await expect.poll(async () => (await costs()).size).toBe(5);
  await fleet.create('Queue', 'default/kept', scaling('kept', { scaleFrom: 0 }));
  await says('kept', 'Unknown/Pending');
  await using fm = await connect({ address: main.address });
  const isDone = Promise.withResolvers<void>();
  const busy = Promise.withResolvers<string>();
  for (const name of [...(await costs()).keys()].slice(0, 3)) {
    const work = () => {
      busy.resolve(name);
      return isDone.promise;
    };
    fm.queue.worker('kept', work, { concurrency: 1, name });
  }
  await fm.queue.enqueue('kept', {});
  const kept = await busy.promise;
  const within = { timeout: 60_000, interval: 500 };
  await expect.poll(async () => (await costs()).get(kept), within).toBe(BUSY_COST);
  const others = [...(await costs())].filter(([name]) => name !== kept).map(([, cost]) => cost);
  expect(new Set(others)).toEqual(new Set([undefined]));
  isDone.resolve();
  await expect.poll(async () => (await costs()).get(kept), within).toBeUndefined();
});

describe('somebody else', () => {
  const other = (name: string, target: string) => ({
    metadata: { name },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: target },
      ...{ minReplicas: 1, maxReplicas: 3 },
    },
  });

  test('who scales the workload keeps it, until it is gone', async () => {
    await deployment('contested');
    await fleet.create('Queue', 'default/contested', scaling('contested'));
    await says('contested', 'Unknown/Pending');
    await make(AUTOSCALERS, other('theirs', 'contested'));
    const object = await says('contested', 'False/TargetTaken');
    expect(messageOf(object)).toContain('HorizontalPodAutoscaler theirs scales Deployment contested already');
    await goneFor('contested');
    expect((await read(`${AUTOSCALERS}/theirs`)).spec.maxReplicas).toBe(3);
    await fleet.plane.api('DELETE', `${AUTOSCALERS}/theirs`);
    await says('contested', 'Unknown/Pending');
  });

  test('of two queues the older has the workload, then the other one', async () => {
    await deployment('shared');
    await fleet.create('Queue', 'default/shared', scaling('shared'));
    await says('shared', 'Unknown/Pending');
    await new Promise((resolve) => setTimeout(resolve, 1100)); // dates have seconds
    await fleet.create('Queue', 'default/younger', scaling('shared'));
    expect(messageOf(await says('younger', 'False/TargetTaken'))).toContain('Queue shared');
    await fleet.delete('Queue', 'default/shared');
    await says('younger', 'Unknown/Pending');
  });

  test('who has the name keeps it', async () => {
    await deployment('named');
    const { spec } = await madeFor('early');
    await make(SCALED_OBJECTS, {
      ...{ apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject' },
      metadata: { name: 'named-flowmesh-queue' },
      spec: { ...spec, scaleTargetRef: { name: 'elsewhere' } },
    });
    await fleet.create('Queue', 'default/named', scaling('named'));
    await says('named', 'False/NameTaken');
    expect((await madeFor('named')).spec.scaleTargetRef).toEqual({ name: 'elsewhere' });
  });
});

describe('mode Direct', () => {
  const replicasOf = async (name: string) => (await read(`${DEPLOYMENTS}/${name}`)).spec.replicas as number;
  const direct = { mode: 'Direct', scaleFrom: 0, scaleTo: 5, basedOn: ['queue_lag > 10'] };

  test('the operator writes the number, and what KEDA had is gone', async () => {
    await deployment('straight');
    await fleet.create('Queue', 'default/straight', scaling('straight'));
    await says('straight', 'Unknown/Pending');
    await fleet.patch('Queue', 'default/straight', { spec: scaling('straight', direct) });
    const object = await says('straight', 'True/Scaled');
    expect(object.status?.scaling).toMatchObject({ by: 'Direct' });
    await goneFor('straight');
    const jobs = Array.from({ length: 100 }, () => ({ payload: Buffer.from('x') }));
    await main.api.enqueue({ queue: 'straight', jobs, mutation: main.api.mutation() });
    await until('there are more workers', async () => (await replicasOf('straight')) > 1);
    await until('it is told why', async () => {
      const { status } = (await fleet.get('Queue', 'default/straight')) ?? {};
      return status?.scaling?.why !== undefined && status.figures?.workersWanted !== undefined;
    });
    expect(await fleet.events('straight')).toContain('Scaled');
  });

  test('never while it is not known how many are wanted', async () => {
    const before = await replicasOf('straight');
    await main.kill('SIGKILL');
    await says('straight', 'Unknown/AdviceUnknown');
    expect(await replicasOf('straight')).toBe(before);
    main = await fleet.dataPlane('default/main');
    await says('straight', 'True/Scaled');
  });

  test('a StatefulSet as well', async () => {
    const sets = DEPLOYMENTS.replace('deployments', 'statefulsets');
    await deployment('ordered', 1, sets);
    const targetRef = { kind: 'StatefulSet', name: 'ordered' };
    await fleet.create(
      'Queue',
      'default/ordered',
      scaling('ordered', { ...direct, scaleFrom: 3, targetRef }),
    );
    await says('ordered', 'True/Scaled');
    await until('there are three', async () => (await read(`${sets}/ordered`)).spec.replicas === 3);
  });

  test('a kind that it does not scale is told', async () => {
    const targetRef = { apiVersion: 'example.org/v1', kind: 'Rollout', name: 'straight' };
    await fleet.create('Queue', 'default/strange', scaling('strange', { ...direct, targetRef }));
    await says('strange', 'False/TargetNotSupported');
  });
});

test('a steady half minute has no write about it', async () => {
  const versions = async () => {
    const lists = [
      SCALED_OBJECTS,
      AUTOSCALERS,
      fleet.path('Queue', 'default'),
      fleet.path('Stream', 'default'),
    ];
    const found = await Promise.all(lists.map(read));
    return found.flatMap(({ items }) =>
      items.map(({ metadata }: Any) => `${metadata.name} ${metadata.resourceVersion}`),
    );
  };
  // What went before may still be on its way into figures.
  for (let tries = 1; ; tries++) {
    const before = await versions();
    await new Promise((resolve) => setTimeout(resolve, 30_000));
    const after = await versions();
    if (tries === 3) expect(after).toEqual(before);
    if (after.join() === before.join()) return;
  }
}, 120_000);

test(
  'KEDA that goes takes nothing with it but the scaling',
  async () => {
    await removeKedaDefinitions(fleet.plane);
    await says('early', 'False/NoScaler', A_LOOK_MS);
    await fleet.condition('Queue', 'default/early', 'Ready=True');
  },
  A_LOOK_MS,
);
