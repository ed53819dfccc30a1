// The operator under the roles of install.yaml, before a real API server with its audit log: nothing that
// it asks is forbidden, and nothing that it may ask is unused.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { PERMISSIONS } from '../../operator/permissions.ts';
import { type Any, type Client, clientOf, type Operator, startAnyEngine } from './cluster/support.ts';
import { applyInstall } from './install.ts';

/** Used, but not here; where instead, or why not at all. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'patch flowmesh.io/queues': 'finalizers come with a data plane: test/kube/queues.test.ts',
  'patch flowmesh.io/streams': 'as queues',
  'patch flowmesh.io/schemas': 'as queues',
  'get flowmesh.io/queues': 'when a finalizer meets a change of somebody else: test/kube/operator',
  'get flowmesh.io/streams': 'as queues',
  'get flowmesh.io/schemas': 'as queues',
  'get /namespaces': 'kube-system, once a data plane is there: test/kube/queues.test.ts',
  'patch events.k8s.io/events': 'the count of an event that repeats: test/operator/kube',
  'patch /pods': 'busy workers of a Deployment that shrinks: test/kube/scaling.test.ts',
  'patch apps/deployments/scale': 'mode Direct: test/kube/scaling.test.ts',
  'patch apps/statefulsets/scale': 'as deployments/scale, there',
  'create autoscaling/horizontalpodautoscalers': 'without KEDA: test/kube/external-metrics.test.ts',
  'patch autoscaling/horizontalpodautoscalers': 'as create',
  'delete autoscaling/horizontalpodautoscalers': 'as create',
  'update flowmesh.io/flowmeshclusters/finalizers': 'asked by an admission plugin that is off here',
};

const OPERATOR = 'system:serviceaccount:flowmesh-system:flowmesh-operator';
const within = { timeout: 60_000, interval: 100 };
let plane: ControlPlane;
let client: Client;
let operator: Operator;

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true });
  client = clientOf(plane, 'default');
  await applyInstall(plane);
  for (const [group, kind, version] of [
    ['cert-manager.io', 'Certificate', 'v1'],
    ['keda.sh', 'ScaledObject', 'v1alpha1'],
    ['keda.sh', 'TriggerAuthentication', 'v1alpha1'],
    ['monitoring.coreos.com', 'ServiceMonitor', 'v1'],
    ['monitoring.coreos.com', 'PrometheusRule', 'v1'],
  ] as const) {
    await defineAnything(group, kind, version);
  }
  const groups = ['system:serviceaccounts', 'system:serviceaccounts:flowmesh-system', 'system:authenticated'];
  const kubeconfig = await plane.kubeconfigFor(OPERATOR, groups);
  const flags = [
    '--kubeconfig',
    kubeconfig,
    '--namespaces',
    'default',
    '--lease-namespace',
    'flowmesh-system',
  ];
  operator = startAnyEngine(plane, 'operator', ...flags, '--image', 'flowmesh:1.0.0');
});
afterAll(async () => {
  await operator?.kill('SIGKILL');
  await plane?.stop();
});

/** Whatever it holds: the real definitions are not needed to see what is asked. */
async function defineAnything(group: string, kind: string, version: string): Promise<void> {
  const [plural, singular] = [`${kind.toLowerCase()}s`, kind.toLowerCase()];
  const openAPIV3Schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const { status } = await plane.api('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, singular, kind, listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }],
    },
  });
  expect(status).toBe(201);
}

async function serves(pod: string): Promise<void> {
  await vi.waitFor(async () => expect(await client.get('Pod', pod)).toBeDefined(), within);
  await client.becomes(pod, true);
  await vi.waitFor(
    async () => expect((await client.condition('main', 'Ready'))?.status).toBe('True'),
    within,
  );
}

/** One verb of the log: `patch apps/statefulsets`. A patch that made its object needed `create` as well. */
function asked(): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const { user, stage, verb, objectRef, responseStatus } of plane.auditEvents()) {
    if (user.username !== OPERATOR || objectRef === undefined || stage === 'RequestReceived') continue;
    const { apiGroup = '', resource, subresource } = objectRef;
    const code = responseStatus?.code ?? 0;
    for (const each of verb === 'patch' && code === 201 ? [verb, 'create'] : [verb]) {
      const what = `${each} ${apiGroup}/${resource}${subresource ? `/${subresource}` : ''}`;
      found.set(what, [...(found.get(what) ?? []), code]);
    }
  }
  return found;
}

const granted = PERMISSIONS.filter(({ when }) => when === undefined).flatMap(({ group, resources, verbs }) =>
  resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)),
);

test('clusters, queues and streams need each permission of the operator, and no other', async () => {
  const change = (name: string, spec: object) => client.patch('FlowMeshCluster', name, { spec });
  await client.cluster('main', { networkPolicy: { enabled: true }, storage: { size: '1Gi' } });
  await serves('main-flowmesh-0');

  const { uid } = (await client.get('Pod', 'main-flowmesh-0')).metadata;
  await change('main', { listeners: { http: { port: 8080 } } });
  const now = async () => (await client.get('Pod', 'main-flowmesh-0'))?.metadata.uid ?? uid;
  await expect.poll(now, within).not.toBe(uid);
  await serves('main-flowmesh-0');

  await change('main', { networkPolicy: { enabled: false }, monitoring: { enabled: false } });
  await change('main', { storage: { deletionPolicy: 'Delete' } });
  const owners = async () =>
    (await client.get('PersistentVolumeClaim', 'data-main-flowmesh-0')).metadata.ownerReferences ?? [];
  await expect.poll(async () => (await owners()).length, within).toBe(1);

  const journal = { engine: 'JetStream', jetStream: { url: 'nats://nats:4222' } };
  await client.cluster('two', {
    replicas: 2,
    journal,
    tls: { mode: 'CertManager', issuerRef: { name: 'local' } },
  });
  await vi.waitFor(
    async () => expect(await client.get('PodDisruptionBudget', 'two-flowmesh')).toBeDefined(),
    within,
  );
  await change('two', { replicas: 0, tls: { mode: 'Operator', issuerRef: null } });
  await vi.waitFor(
    async () => expect(await client.get('PodDisruptionBudget', 'two-flowmesh')).toBeUndefined(),
    within,
  );
  // With no claims the StatefulSet is made anew at once.
  await client.cluster('none', { replicas: 0, storage: { size: '1Gi' } });
  await vi.waitFor(
    async () => expect(await client.get('StatefulSet', 'none-flowmesh')).toBeDefined(),
    within,
  );
  await change('none', { storage: { size: '2Gi' } });

  for (const kind of ['Queue', 'Stream', 'Schema']) await declare(kind);
  await stopScaling();
  await client.remove('Service', 'main-flowmesh');

  const unused = () => granted.filter((each) => !asked().has(each) && !Object.hasOwn(ELSEWHERE, each));
  await expect.poll(unused, { ...within, interval: 500 }).toEqual([]);
  const forbidden = [...asked()].filter(([, codes]) => codes.includes(403)).map(([what]) => what);
  expect(forbidden).toEqual([]);
  expect(Object.keys(ELSEWHERE).filter((each) => !granted.includes(each))).toEqual([]);
});

/** A ScaledObject is made for it, then taken away. */
async function stopScaling(): Promise<void> {
  const made = async () => {
    const { body } = await plane.api('GET', '/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects');
    return body.items.length;
  };
  await expect.poll(made, within).toBe(1);
  const path = '/apis/flowmesh.io/v1alpha1/namespaces/default/queues/orders';
  await plane.api('PATCH', path, { spec: { scaling: null } }, 'application/merge-patch+json');
  await expect.poll(made, within).toBe(0);
}

async function declare(kind: string): Promise<void> {
  const scaled = (workload: string, name: string) => ({ targetRef: { kind: workload, name }, scaleTo: 2 });
  const group = { name: 'billing', scaling: scaled('Deployment', 'missing') };
  const specs: Record<string, Any> = {
    Queue: { clusterRef: { name: 'main' }, scaling: scaled('StatefulSet', 'main-flowmesh') },
    Stream: { clusterRef: { name: 'main' }, partitions: 1, consumerGroups: [group] },
    Schema: { clusterRef: { name: 'main' }, versions: [{ version: 1, fields: { id: 'string' } }] },
  };
  const path = `/apis/flowmesh.io/v1alpha1/namespaces/default/${kind.toLowerCase()}s`;
  const object = {
    apiVersion: 'flowmesh.io/v1alpha1',
    kind,
    metadata: { name: 'orders' },
    spec: specs[kind],
  };
  const { status, body } = await plane.api('POST', path, object);
  expect(`${status} ${status < 300 ? '' : body.message}`).toMatch(/^201 $/);
}
