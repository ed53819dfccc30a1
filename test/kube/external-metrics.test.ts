// Autoscalers without KEDA: a real API server passes on what a real controller of autoscalers asks, and the
// operator answers with what a real data plane computes.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePorts } from '../../e2e/parts/ports.ts';
import { until } from '../../e2e/parts/process.ts';
import { PERMISSIONS } from '../../operator/permissions.ts';
import { kubectl } from './definitions.ts';
import { type DataPlane, Fleet, type Operator } from './fleet.ts';

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind
type Any = any;

const USER = 'operator';
const SERVICE = 'fm-metrics-api';
const API = 'v1beta1.external.metrics.k8s.io';
const API_SERVICES = '/apis/apiregistration.k8s.io/v1/apiservices';
const ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const AUTOSCALERS = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers';
const DEPLOYMENTS = '/apis/apps/v1/namespaces/default/deployments';
const METRICS = '/apis/external.metrics.k8s.io/v1beta1';
/** Autoscalers are looked at every two seconds here; a data plane that went takes ten to be missed. */
const SOON = { timeout: 60_000, interval: 500 };

let fleet: Fleet;
let main: DataPlane;
let operator: Operator;
let port = 0;

beforeAll(async () => {
  // By name, as there is no node that would give a Service its address.
  fleet = await Fleet.start({ controllers: true, apiServerFlags: ['--enable-aggregator-routing=false'] });
  [port = 0] = await freePorts(1);
  main = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
  await make('/api/v1/namespaces/default/services', {
    metadata: { name: SERVICE },
    spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
  });
  await grant();
  operator = await start();
});

async function start(): Promise<Operator> {
  const kubeconfig = await fleet.plane.kubeconfigFor(USER);
  return fleet.operator(
    { times: { figuresMs: 1000, graceMs: 1000 }, metricsApi: { port, service: SERVICE } },
    ['--kubeconfig', kubeconfig, '--namespaces', 'default'],
  );
}
afterAll(() => fleet?.stop());

async function make(path: string, object: object): Promise<Any> {
  const { status, body } = await fleet.plane.api('POST', path, object);
  if (status !== 201) throw new Error(`${path}: ${body.message}`);
  return body;
}

async function read(path: string): Promise<Any> {
  const { status, body } = await fleet.plane.api('GET', path);
  return status === 200 ? body : undefined;
}

function deployment(name: string, replicas = 1): Promise<Any> {
  const labels = { app: name };
  const spec = { containers: [{ name: 'main', image: 'example.org/none' }] };
  return make(DEPLOYMENTS, {
    metadata: { name },
    spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  });
}

const scaling = (name: string, more: object = {}) => ({
  scaling: { targetRef: { kind: 'Deployment', name }, scaleTo: 6, basedOn: ['queue_lag > 10'], ...more },
});

const says = (name: string, wanted: string) =>
  fleet.condition('Queue', `default/${name}`, `ScalingReady=${wanted}`, 60_000);
const replicasOf = async (name: string) => (await read(`${DEPLOYMENTS}/${name}`)).spec.replicas as number;
/** What the chart grants with `metricsApi.enabled`, and what the API server brings itself. */
async function grant(): Promise<void> {
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const subjects = [{ kind: 'User', name: USER, apiGroup: 'rbac.authorization.k8s.io' }];
  const bind = (at: string, kind: string, name: string) =>
    make(at, {
      metadata: { name: 'operator' },
      ...{ roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name }, subjects },
    });
  const rulesOf = (isIn: (scope: string) => boolean) =>
    PERMISSIONS.filter(({ when, scope }) => when !== 'webhook.enabled' && isIn(scope)).map(
      ({ group, resources, verbs, names }) => {
        const resourceNames = names?.map((name) => name.replace('OPERATOR-metrics-api', SERVICE));
        return { apiGroups: [group], resources, verbs, ...(resourceNames && { resourceNames }) };
      },
    );
  const metadata = { name: 'operator' };
  await make(`${rbac}/clusterroles`, { metadata, rules: rulesOf((scope) => scope === 'cluster') });
  await bind(`${rbac}/clusterrolebindings`, 'ClusterRole', 'operator');
  const here = `${rbac}/namespaces/default`;
  await make(`${here}/roles`, { metadata, rules: rulesOf((scope) => scope !== 'cluster') });
  await bind(`${here}/rolebindings`, 'Role', 'operator');
  const system = `${rbac}/namespaces/kube-system/rolebindings`;
  await bind(system, 'Role', 'extension-apiserver-authentication-reader');
}

const role = () => make(ROLES, { metadata: { name: SERVICE }, rules: [] });

async function enqueue(queue: string, count: number): Promise<void> {
  const jobs = Array.from({ length: count }, () => ({ payload: Buffer.from('x') }));
  await main.api.enqueue({ queue, jobs, mutation: main.api.mutation() });
}

describe('the registration', () => {
  test('waits for the role of the chart', async () => {
    await deployment('emails');
    await fleet.create('Queue', 'default/emails', scaling('emails'));
    await says('emails', 'False/NoScaler');
    expect(await read(`${API_SERVICES}/${API}`)).toBeUndefined();
  });

  test('is made with it, belongs to it, and the API server can use it', async () => {
    const { metadata } = await role();
    // As its next resync would.
    await fleet.plane.api('DELETE', `/api/v1/namespaces/default/secrets/${SERVICE}-tls`);
    const available = async () =>
      (await read(`${API_SERVICES}/${API}`))?.status?.conditions?.find(
        ({ type }: Any) => type === 'Available',
      );
    await expect
      .poll(async () => (await available())?.status, SOON)
      .toBe('True')
      .catch(async (error) => {
        throw new Error(`${error.message}: ${JSON.stringify(await available())}`);
      });
    const { metadata: own } = await read(`${API_SERVICES}/${API}`);
    expect(own.ownerReferences).toEqual([
      expect.objectContaining({ kind: 'ClusterRole', name: SERVICE, uid: metadata.uid }),
    ]);
    const { code, out } = await kubectl(fleet.plane, 'get', '--raw', METRICS);
    expect([code, JSON.parse(out).resources.map(({ name }: Any) => name)]).toEqual([
      0,
      ['flowmesh-lag', 'flowmesh-demand'],
    ]);
    const { err } = await kubectl(fleet.plane, 'api-resources', '--api-group', 'external.metrics.k8s.io');
    expect(err).toBe('');
  });
});

describe('an autoscaler', () => {
  test('is made, and adds replicas when jobs come', async () => {
    const object = await says('emails', 'True/Scaled');
    expect(object.status?.scaling?.by).toBe('HPA');
    await enqueue('emails', 200);
    await expect.poll(() => replicasOf('emails'), SOON).toBeGreaterThan(1);
    const { out } = await kubectl(fleet.plane, 'get', 'hpa', 'emails-flowmesh-queue');
    expect(out).toMatch(/Deployment\/emails/);
  });

  test('reads what the data plane says, in its own namespace only', async () => {
    const path = (namespace: string) =>
      `${METRICS}/namespaces/${namespace}/flowmesh-lag?labelSelector=queue%3Demails%2Ccluster%3Dmain`;
    expect((await read(path('default'))).items[0].value).toBe('200');
    const { status, body } = await fleet.plane.api('GET', path('kube-system'));
    expect([status, body.reason]).toEqual([404, 'NotFound']);
  });

  test('to none and from none, which this API server takes', async () => {
    await deployment('idle');
    await fleet.create('Queue', 'default/idle', scaling('idle', { scaleFrom: 0 }));
    await expect.poll(() => replicasOf('idle'), SOON).toBe(0);
    await says('idle', 'True/Scaled');
    await enqueue('idle', 50);
    await expect.poll(() => replicasOf('idle'), SOON).toBeGreaterThan(0);
  });

  test('leaves a workload alone that somebody has stopped', async () => {
    await deployment('stopped', 0);
    await fleet.create('Queue', 'default/stopped', scaling('stopped'));
    await fleet.condition('Queue', 'default/stopped', 'Ready=True');
    await enqueue('stopped', 50);
    await says('stopped', 'Unknown/Paused');
    expect(await replicasOf('stopped')).toBe(0);
  });

  test('leaves the number while nobody knows, and the queue says so', async () => {
    const before = await replicasOf('emails');
    await main.kill('SIGKILL');
    const object = await says('emails', 'False/HpaNotActive');
    const message = (object as Any).status.conditions.find(
      ({ type }: Any) => type === 'ScalingReady',
    ).message;
    expect(message).toContain('the number stays as it is');
    expect(await replicasOf('emails')).toBe(before);
    main = await fleet.dataPlane('default/main');
    await says('emails', 'True/Scaled');
  });

  test('without the operator, too', async () => {
    const before = await replicasOf('emails');
    await operator.kill('SIGTERM');
    const isActive = async () => {
      const { status } = await read(`${AUTOSCALERS}/emails-flowmesh-queue`);
      return status.conditions.find(({ type }: Any) => type === 'ScalingActive')?.status;
    };
    await expect.poll(isActive, SOON).toBe('False');
    expect(await replicasOf('emails')).toBe(before);
    operator = await start();
    await expect.poll(isActive, SOON).toBe('True');
  });
});

describe('somebody else', () => {
  test('who serves the group keeps it, and autoscalers of ours are taken away', async () => {
    await fleet.plane.api('DELETE', `${ROLES}/${SERVICE}`);
    await until('garbage collection takes the registration', async () => {
      return (await read(`${API_SERVICES}/${API}`)) === undefined;
    });
    await make(API_SERVICES, {
      metadata: { name: API },
      spec: {
        ...{ group: 'external.metrics.k8s.io', version: 'v1beta1' },
        ...{ groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true },
        service: { name: 'prometheus-adapter', namespace: 'default' },
      },
    });
    await role();
    const object = await says('emails', 'False/MetricsApiTaken');
    expect(JSON.stringify(object.status)).toContain('default/prometheus-adapter');
    expect(await read(`${AUTOSCALERS}/emails-flowmesh-queue`)).toBeUndefined();
    expect((await read(`${API_SERVICES}/${API}`)).spec.service.name).toBe('prometheus-adapter');
    await fleet.plane.api('DELETE', `${API_SERVICES}/${API}`);
    await says('emails', 'True/Scaled');
  });
});

test('the permissions of the chart suffice, and those of the metrics are needed', () => {
  const asked = fleet.plane.auditEvents().flatMap(({ user, stage, verb, objectRef, responseStatus }) => {
    if (user.username !== USER || stage === 'RequestReceived' || objectRef === undefined) return [];
    const { apiGroup = '', resource, subresource } = objectRef;
    const what = `${apiGroup}/${resource}${subresource ? `/${subresource}` : ''}`;
    const code = responseStatus?.code ?? 0;
    // A patch that makes its object needs both.
    return (verb === 'patch' && code === 201 ? ['patch', 'create'] : [verb]).map(
      (each) => `${each} ${what} ${code}`,
    );
  });
  expect(asked.filter((each) => each.endsWith(' 403'))).toEqual([]);
  const needed = PERMISSIONS.filter(({ when }) => when === 'metricsApi.enabled').flatMap(
    ({ group, resources, verbs }) =>
      resources.flatMap((each) => verbs.map((verb) => `${verb} ${group}/${each} `)),
  );
  const autoscalers = ['create', 'patch', 'delete'].map(
    (verb) => `${verb} autoscaling/horizontalpodautoscalers `,
  );
  const isUnused = (what: string) => !asked.some((each) => each.startsWith(what));
  expect([...needed, ...autoscalers].filter(isUnused)).toEqual([]);
});
