// FlowMeshClusters on a real API server with real controllers; pods are there and no node runs them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { installDefinitions } from '../definitions.ts';
import {
  type Any,
  type Client,
  clientOf,
  installApisOfOthers,
  type Operator,
  served,
  startAnyEngine,
  within,
  writesOf,
} from './support.ts';

let plane: ControlPlane;
let operator: Operator;
const log = (line: string) => void process.stderr.write(`${line}\n`);

async function namespace(name: string): Promise<Client> {
  const created = await plane.api('POST', '/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name },
  });
  expect(created.status).toBe(201);
  return clientOf(plane, name);
}

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true, log });
  await installDefinitions(plane);
  await installApisOfOthers(plane);
  operator = startAnyEngine(plane, 'operator-a', '--image', 'flowmesh:1.0.0');
});
afterAll(async () => {
  if (process.env['FLOWMESH_SHOW_OPERATOR']) log(operator?.lines.join('\n'));
  await operator?.kill('SIGKILL');
  await plane?.stop();
});

describe('a new cluster', () => {
  let client: Client;
  beforeAll(async () => {
    client = await namespace('create');
    await client.cluster('main', {
      listeners: { redis: { enabled: true } },
      networkPolicy: { enabled: true },
    });
    await served(client, 'main');
  });

  test('gets everything that it needs, each owned by it', async () => {
    const { metadata } = await client.get('FlowMeshCluster', 'main');
    const names = {
      ServiceAccount: ['main-flowmesh'],
      ConfigMap: ['main-flowmesh-config'],
      Service: ['main-flowmesh', 'main-flowmesh-pods'],
      Secret: ['main-flowmesh-binding', 'main-flowmesh-ca', 'main-flowmesh-tls', 'main-flowmesh-token'],
      StatefulSet: ['main-flowmesh'],
      NetworkPolicy: ['main-flowmesh'],
      PodDisruptionBudget: [],
    } as const;
    for (const [kind, wanted] of Object.entries(names)) {
      const all = await client.list(kind as keyof typeof names);
      const ours = all.filter((each) =>
        each.metadata.ownerReferences?.some((o: Any) => o.uid === metadata.uid),
      );
      expect([kind, ours.map((each) => each.metadata.name).sort()]).toEqual([kind, [...wanted]]);
    }
  });

  test('tells honestly how it is', async () => {
    const { status } = await client.get('FlowMeshCluster', 'main');
    expect(status).toMatchObject({
      observedGeneration: 1,
      replicas: 1,
      readyReplicas: 1,
      updatedReplicas: 1,
      version: '1.0.0',
      binding: { name: 'main-flowmesh-binding' },
      pods: [{ name: 'main-flowmesh-0', ready: true, version: '1.0.0' }],
      listeners: [
        { name: 'grpc', port: 7070, tls: true, ready: true, address: expect.stringContaining(':7070') },
        { name: 'http', port: 7080, tls: true, ready: true },
        { name: 'redis', port: 6379, tls: true, ready: true },
      ],
      effective: { replicas: 1, shards: 1, image: 'flowmesh:1.0.0', storage: { size: '20Gi' } },
    });
    const said = status.conditions.map((each: Any) => [each.type, each.status, each.reason]);
    expect(said).toEqual([
      ['Accepted', 'True', 'Valid'],
      ['Synced', 'True', 'Applied'],
      ['Ready', 'True', 'Serving'],
      ['Drifted', 'False', 'NoDrift'],
    ]);
    await client.becomes('main-flowmesh-0', false);
    await expect.poll(async () => (await client.condition('main', 'Ready')).status, within).toBe('False');
    await client.becomes('main-flowmesh-0', true);
    await expect.poll(async () => (await client.condition('main', 'Ready')).status, within).toBe('True');
  });

  test('what others delete or change is set back at once, and told', async () => {
    const { uid } = (await client.get('Service', 'main-flowmesh')).metadata;
    await client.remove('Service', 'main-flowmesh');
    await expect
      .poll(async () => (await client.get('Service', 'main-flowmesh'))?.metadata.uid ?? uid, within)
      .not.toBe(uid);
    const template = { spec: { terminationGracePeriodSeconds: 30 } };
    await client.patch('StatefulSet', 'main-flowmesh', { spec: { template } });
    const grace = async () =>
      (await client.get('StatefulSet', 'main-flowmesh')).spec.template.spec.terminationGracePeriodSeconds;
    await expect.poll(grace, within).toBe(60);
    await expect
      .poll(() => client.reasons(), within)
      .toEqual(expect.arrayContaining(['ObjectRecreated', 'DriftRepaired']));
  });

  test('its token outlives a restart of the operator, and a lost certificate is made again', async () => {
    const token = (await client.get('Secret', 'main-flowmesh-token')).data.token;
    const leaf = (await client.get('Secret', 'main-flowmesh-tls')).data['tls.crt'];
    await client.remove('Secret', 'main-flowmesh-tls');
    await expect
      .poll(async () => (await client.get('Secret', 'main-flowmesh-tls'))?.data['tls.crt'] ?? leaf, within)
      .not.toBe(leaf);
    await operator.kill('SIGTERM');
    operator = startAnyEngine(plane, 'operator-a', '--image', 'flowmesh:1.0.0');
    await client.remove('ConfigMap', 'main-flowmesh-config');
    await expect.poll(() => client.get('ConfigMap', 'main-flowmesh-config'), within).toBeDefined();
    expect((await client.get('Secret', 'main-flowmesh-token')).data.token).toBe(token);
  });
});

test('a change that needs another start restarts the pods when they are ready, with a reason', async () => {
  const client = await namespace('restart');
  await client.cluster('main', {});
  await served(client, 'main');
  const uidOf = async () => (await client.get('Pod', 'main-flowmesh-0'))?.metadata.uid;
  const before = await uidOf();
  await client.patch('FlowMeshCluster', 'main', { spec: { listeners: { http: { port: 8080 } } } });
  await expect.poll(async () => (await uidOf()) ?? before, within).not.toBe(before);
  await served(client, 'main');
  expect(await client.reasons()).toContain('ConfigurationChanged');
  const second = await uidOf();
  await client.patch('FlowMeshCluster', 'main', { spec: { image: { tag: '2.0.0' } } });
  await expect.poll(async () => (await uidOf()) ?? second, within).not.toBe(second);
  await served(client, 'main');
  expect((await client.get('FlowMeshCluster', 'main')).status.version).toBe('2.0.0');
  expect(await client.reasons()).toContain('ImageChanged');
});

test('with several pods one starts again at a time, and only while the others serve', async () => {
  const client = await namespace('rolling');
  const journal = { engine: 'JetStream', jetStream: { url: 'nats://nats.example:4222' } };
  await client.cluster('main', { replicas: 3, journal });
  await served(client, 'main', 3);
  expect(await client.get('PodDisruptionBudget', 'main-flowmesh')).toMatchObject({
    spec: { maxUnavailable: 1 },
  });
  const uids = async () =>
    Promise.all([0, 1, 2].map(async (at) => (await client.get('Pod', `main-flowmesh-${at}`))?.metadata.uid));
  let before = await uids();
  await client.patch('FlowMeshCluster', 'main', { spec: { image: { tag: '2.0.0' } } });
  for (const ordinal of [2, 1, 0]) {
    await expect
      .poll(async () => (await uids())[ordinal] ?? before[ordinal], within)
      .not.toBe(before[ordinal]);
    const synced = async () => (await client.condition('main', 'Synced')).reason;
    // The new one does not serve yet: the others stay.
    if (ordinal > 0) await expect.poll(synced, within).toBe('RestartWaits');
    const now = await uids();
    expect(now.filter((uid, at) => uid !== before[at])).toHaveLength(1);
    before = now;
    await client.becomes(`main-flowmesh-${ordinal}`, true);
  }
  await served(client, 'main', 3);
  expect((await client.get('FlowMeshCluster', 'main')).status).toMatchObject({
    version: '2.0.0',
    updatedReplicas: 3,
    readyReplicas: 3,
  });
  const restarts = (await client.reasons()).filter((reason) => reason === 'ImageChanged');
  expect(restarts).toHaveLength(3);
});

test('objects of Prometheus and cert-manager are made where their APIs are, and go again', async () => {
  const client = await namespace('others');
  const issuerRef = { name: 'internal' };
  await client.cluster('main', { tls: { mode: 'CertManager', issuerRef } });
  const names = async () => ({
    monitors: (await client.list('ServiceMonitor')).length,
    rules: (await client.list('PrometheusRule')).length,
    certificates: (await client.list('Certificate')).map((each) => each.spec.issuerRef.name),
  });
  await expect.poll(names, within).toEqual({ monitors: 1, rules: 1, certificates: ['internal'] });
  expect(await client.get('Secret', 'main-flowmesh-ca')).toBeUndefined();
  await client.patch('FlowMeshCluster', 'main', {
    spec: { monitoring: { enabled: false }, tls: { mode: 'Operator', issuerRef: null } },
  });
  await expect.poll(names, within).toEqual({ monitors: 0, rules: 0, certificates: [] });
  await expect.poll(() => client.get('Secret', 'main-flowmesh-ca'), within).toBeDefined();
});

test('scales to nothing and back by the scale subresource, and keeps its volume', async () => {
  const client = await namespace('scale');
  await client.cluster('main', {});
  await served(client, 'main');
  const claim = (await client.list('PersistentVolumeClaim')).map(({ metadata }) => metadata.uid);
  expect(claim).toHaveLength(1);
  await client.scale('FlowMeshCluster', 'main', 0);
  await expect
    .poll(async () => (await client.condition('main', 'Ready')).reason, within)
    .toBe('ScaledToZero');
  await expect.poll(() => client.list('Pod'), within).toEqual([]);
  await client.scale('FlowMeshCluster', 'main', 1);
  await served(client, 'main');
  expect((await client.list('PersistentVolumeClaim')).map(({ metadata }) => metadata.uid)).toEqual(claim);
});

test('a smaller volume is refused, with a condition and an event', async () => {
  const client = await namespace('shrink');
  await client.cluster('main', { storage: { size: '2Gi' } });
  await served(client, 'main');
  await client.patch('FlowMeshCluster', 'main', { spec: { storage: { size: '1Gi' } } });
  await expect
    .poll(() => client.condition('main', 'Synced'), within)
    .toMatchObject({
      status: 'False',
      reason: 'VolumeShrinkRefused',
      message: expect.stringContaining('2Gi'),
    });
  await expect.poll(() => client.reasons(), within).toContain('VolumeShrinkRefused');
  await client.patch('FlowMeshCluster', 'main', { spec: { storage: { size: '2Gi' } } });
  await expect.poll(async () => (await client.condition('main', 'Synced')).status, within).toBe('True');
});

test('a larger volume goes to the claims, and to the StatefulSet around its pods', async () => {
  const client = await namespace('grow');
  const className = await plane.api('POST', '/apis/storage.k8s.io/v1/storageclasses', {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'grows' },
    provisioner: 'example.org/none',
    allowVolumeExpansion: true,
  });
  expect(className.status).toBe(201);
  await client.cluster('main', { storage: { size: '1Gi', storageClassName: 'grows' } });
  await served(client, 'main');
  const pod = (await client.get('Pod', 'main-flowmesh-0')).metadata.uid;
  const volume = await plane.api('POST', '/api/v1/persistentvolumes', {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'grown' },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'grows',
      hostPath: { path: '/nowhere' },
      claimRef: { namespace: 'grow', name: 'data-main-flowmesh-0' },
    },
  });
  expect(volume.status).toBe(201);
  const phase = async () => (await client.get('PersistentVolumeClaim', 'data-main-flowmesh-0')).status.phase;
  await expect.poll(phase, within).toBe('Bound');
  await client.patch('FlowMeshCluster', 'main', { spec: { storage: { size: '3Gi' } } });
  const template = async () =>
    (await client.get('StatefulSet', 'main-flowmesh'))?.spec.volumeClaimTemplates[0].spec.resources.requests
      .storage;
  await expect.poll(template, within).toBe('3Gi');
  const claim = await client.get('PersistentVolumeClaim', 'data-main-flowmesh-0');
  expect(claim.spec.resources.requests.storage).toBe('3Gi');
  expect((await client.get('Pod', 'main-flowmesh-0')).metadata.uid).toBe(pod);
  await expect
    .poll(async () => (await client.condition('main', 'Synced')).reason, within)
    .toBe('VolumesGrow');
});

test('an object of somebody else is not taken over', async () => {
  const client = await namespace('taken');
  await client.create('ConfigMap', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'main-flowmesh-config' },
    data: { mine: 'yes' },
  });
  await client.cluster('main', {});
  await expect
    .poll(() => client.condition('main', 'Synced'), within)
    .toMatchObject({ status: 'False', reason: 'NameTaken', message: expect.stringContaining('ConfigMap') });
  expect((await client.get('ConfigMap', 'main-flowmesh-config')).data).toEqual({ mine: 'yes' });
});

test('a paused cluster is left alone, and goes on when the annotation is gone', async () => {
  const client = await namespace('pause');
  await client.cluster('main', {}, { 'flowmesh.io/paused': 'true' });
  await expect.poll(async () => (await client.condition('main', 'Synced')).reason, within).toBe('Paused');
  expect(await client.list('StatefulSet')).toEqual([]);
  await client.patch('FlowMeshCluster', 'main', {
    metadata: { annotations: { 'flowmesh.io/paused': null } },
  });
  await served(client, 'main');
});

test('deletion takes everything with it but the volumes, or these too, by policy', async () => {
  const client = await namespace('delete');
  await client.cluster('keeps', {});
  await client.cluster('drops', { storage: { deletionPolicy: 'Delete' } });
  await served(client, 'keeps');
  await served(client, 'drops');
  const owner = async () =>
    (await client.get('PersistentVolumeClaim', 'data-drops-flowmesh-0')).metadata.ownerReferences?.length;
  await expect.poll(owner, within).toBe(1);
  await client.remove('FlowMeshCluster', 'keeps');
  await client.remove('FlowMeshCluster', 'drops');
  for (const kind of ['StatefulSet', 'Service', 'Secret', 'Pod'] as const) {
    await expect.poll(async () => (await client.list(kind)).length, within).toBe(0);
  }
  const claims = async () =>
    (await client.list('PersistentVolumeClaim')).map(({ metadata }) => metadata.name);
  await expect.poll(claims, within).toEqual(['data-keeps-flowmesh-0']);
});

test('survives a restart of the API server', async () => {
  const client = await namespace('restarted');
  await client.cluster('main', {});
  await served(client, 'main');
  await plane.restartApiServer('SIGKILL');
  // On a slow machine the lease is lost meanwhile, and the operator ends: a kubelet starts it again.
  if (!operator.isAlive) operator = startAnyEngine(plane, 'operator-a', '--image', 'flowmesh:1.0.0');
  await client.remove('Service', 'main-flowmesh');
  await expect.poll(() => client.get('Service', 'main-flowmesh'), within).toBeDefined();
});

test('in a steady minute it writes its Lease and nothing else', { timeout: 300_000 }, async () => {
  // Everything above has come to rest: events are through, every object was looked at.
  await expect
    .poll(() => writesOf(plane, Date.now() - 20_000), { timeout: 120_000, interval: 1_000 })
    .toEqual([]);
  const quietSinceMs = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 61_000));
  expect(writesOf(plane, quietSinceMs)).toEqual([]);
  expect(operator.isAlive).toBe(true);
});
