// The whole way of a person who installs FlowMesh: kubectl apply, traffic through the Service, what kubectl
// get shows of it, changes, drift, deletion by every policy, and what is left of it. Operator and data plane
// are pods.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type ClientPod, startClientPod, tableOf } from './support/client-pod.ts';
import { IMAGE } from './support/data-plane.ts';
import { install, operatorLog, repository, uninstall } from './support/installed.ts';
import { kubectl, type Namespace, namespaceOf } from './support/kubectl.ts';
import { startLaptop } from './support/laptop.ts';
import { spec } from './support/spec.ts';

const NEEDS = ['needs:kubelet', 'needs:pv'] as const;
const RESTRICTED = 'pod-security.kubernetes.io/enforce';
const HOLDER = 'holder';
/** Figures are looked at every 30 s. */
const FIGURES = { timeout: 90_000, interval: 1000 };

describe('from kubectl apply to traffic and back', () => {
  let space: Namespace;
  let client: ClientPod;
  beforeAll(async () => {
    space = namespaceOf('default');
    await kubectl('label', 'namespace', 'default', `${RESTRICTED}=restricted`, '--overwrite');
    await install();
  });
  afterAll(async () => {
    await space?.kubectl('delete', 'pod', 'flowmesh-client', HOLDER, '--ignore-not-found', '--wait=false');
    await uninstall();
    await space?.kubectl('delete', 'pvc', '--all', '--wait=false');
    await kubectl('label', 'namespace', 'default', `${RESTRICTED}-`);
    await space?.remove();
  });

  const becomes = async (what: string, ...conditions: string[]) => {
    const waits = conditions.map((each) => `--for=condition=${each}`);
    await space
      .kubectl('wait', ...what.split(' '), ...waits, '--timeout=150s')
      .catch(async (error: Error) => {
        const objects = await space.kubectl('get', 'flowmesh,pods', '-o', 'wide').catch(() => '');
        throw new Error(`${error.message}\n${objects}\n${await operatorLog()}`);
      });
  };
  const reasons = async (name: string): Promise<string[]> => {
    const { items } = await space.get('events', `--field-selector=involvedObject.name=${name}`);
    return items.map(({ reason }: { reason: string }) => reason);
  };
  const queue = (name: string, more: object = {}) => ({
    apiVersion: 'flowmesh.io/v1alpha1',
    kind: 'Queue',
    metadata: { name },
    spec: more,
  });

  spec('what is applied becomes ready: cluster, queues, stream', NEEDS, async () => {
    await space.kubectl('apply', '-f', join(repository, 'examples/kubernetes/main.yaml'));
    await space.kubectl('apply', '-f', join(repository, 'examples/manifests'));
    await becomes('fmc/main', 'Ready', 'Synced');
    await becomes('fmq,fms --all', 'Accepted', 'Synced', 'Ready');
    const pods = await space.get('pods', '--selector=app.kubernetes.io/name=flowmesh');
    expect(pods.items.map(({ metadata }: { metadata: { name: string } }) => metadata.name)).toEqual([
      'main-flowmesh-0',
    ]);
  });

  spec('flowmesh dev makes of the very same files the very same queues and streams', NEEDS, async () => {
    client = await startClientPod(space);
    const laptop = await startLaptop('examples/kubernetes/main.yaml', 'examples/manifests');
    try {
      for (const kind of ['queue', 'stream']) {
        const [there, here] = [await client.json(kind, 'ls'), await laptop.json(kind, 'ls')];
        expect(there.map(asDeclared)).toEqual(here.map(asDeclared));
        expect(there.length).toBeGreaterThan(1);
      }
    } finally {
      await laptop.stop();
    }
  });

  spec('an application finds all in the binding Secret: jobs, records, keys, over TLS', NEEDS, async () => {
    const report = JSON.parse(await client.run('traffic.ts'));
    expect(report).toEqual({
      address: 'main-flowmesh.default.svc.cluster.local:7070',
      jobs: Array.from({ length: 20 }, (_, n) => n),
      records: 5,
      redis: '+OK\r\n$5\r\nhello\r\n+OK\r\n+OK\r\n',
      kv: 'hello again',
    });
  });

  spec('whoever has not, does not get in', NEEDS, async () => {
    await expect(client.flowmesh('queue', 'ls', '--token', 'guessed')).rejects.toThrow('UNAUTHENTICATED');
    const strange = ['--tls-ca', 'system'];
    await expect(client.flowmesh('queue', 'ls', ...strange)).rejects.toThrow(/UNAVAILABLE|certificate/);
  });

  spec('kubectl get shows depth, lag, age and workers', NEEDS, async () => {
    await space.apply(holderPod());
    await space.kubectl('wait', `pod/${HOLDER}`, '--for=condition=Ready', '--timeout=60s');
    const rowOf = async (...what: string[]) => tableOf(await space.kubectl('get', ...what))[0];
    await expect
      .poll(() => rowOf('fmq', 'emails-send'), FIGURES)
      .toMatchObject({
        QUEUE: 'emails.send',
        READY: 'True',
        WAITING: '3',
        LEASED: '1',
        DEAD: '1',
        WORKERS: '1',
        // Shown from 30 s on, as a date, so that it grows without a write.
        OLDEST: expect.stringMatching(/^\d+(s|m)/),
      });
    await expect
      .poll(() => rowOf('fms', 'orders-events'), FIGURES)
      .toMatchObject({ STREAM: 'orders.events', READY: 'True', PARTITIONS: '4', RECORDS: '10', LAG: '6' });
    expect(await rowOf('fmc', 'main')).toMatchObject({ READY: 'True', REPLICAS: '1', STORAGE: '1Gi' });
    const { status } = await space.get('fms', 'orders-events');
    expect(status.consumerGroups ?? status.figures).toBeDefined();
    await space.kubectl('delete', 'pod', HOLDER);
  });

  spec('a change of a spec reaches the data plane', NEEDS, async () => {
    const change = JSON.stringify({ spec: { delivery: { maxAttempts: 9 }, limits: { maxDepth: 50 } } });
    await space.kubectl('patch', 'fmq/emails-send', '--type=merge', '-p', change);
    await space.kubectl(
      'wait',
      'fmq/emails-send',
      '--for=jsonpath={.status.observedGeneration}=2',
      '--timeout=30s',
    );
    await becomes('fmq/emails-send', 'Synced', 'Ready');
    expect(await client.json('queue', 'get', 'emails.send')).toMatchObject({ maxAttempts: 9, maxDepth: 50 });
    await space.kubectl('patch', 'fms/orders-events', '--type=merge', '-p', '{"spec":{"partitions":6}}');
    await space.kubectl(
      'wait',
      'fms/orders-events',
      '--for=jsonpath={.status.effective.partitions}=6',
      '--timeout=30s',
    );
    expect((await client.json('stream', 'get', 'orders.events')).partitions).toHaveLength(6);
  });

  spec('drift is shown and set back', NEEDS, async () => {
    await client.flowmesh('queue', 'declare', 'emails.send', '--max-attempts', '2');
    await becomes('fmq/emails-send', 'Drifted');
    const { status } = await space.get('fmq', 'emails-send');
    const drifted = status.conditions.find(({ type }: { type: string }) => type === 'Drifted');
    expect(drifted.message).toMatch(/maxAttempts 2 -> 9/);
    expect(await client.json('queue', 'get', 'emails.send')).toMatchObject({ maxAttempts: 9 });
    await expect.poll(() => reasons('emails-send'), { timeout: 30_000 }).toContain('DriftCorrected');
    await becomes('fmq/emails-send', 'Synced', 'Ready');
    // Gone by hand, it is there again.
    await client.flowmesh('queue', 'delete', '{flights}.delayed', '--yes');
    await expect
      .poll(() => client.json('queue', 'get', '{flights}.delayed').catch(() => ({})), { timeout: 30_000 })
      .toMatchObject({ owner: { name: 'flights-delayed' } });
  });

  spec('deletion: Retain keeps the jobs, and another object takes them over', NEEDS, async () => {
    await space.apply(queue('kept'));
    await becomes('fmq/kept', 'Ready');
    await client.flowmesh('queue', 'enqueue', 'kept', '"a job"');
    await space.kubectl('delete', 'fmq/kept', '--timeout=30s');
    const released = await client.json('queue', 'get', 'kept');
    expect([released.owner, released.figures.waiting]).toEqual([undefined, 1]);
    await space.apply(queue('heir', { queueName: 'kept', delivery: { maxAttempts: 3 } }));
    await space.kubectl(
      'wait',
      'fmq/heir',
      '--for=jsonpath={.status.conditions[?(@.type=="Synced")].reason}=Refused',
      '--timeout=30s',
    );
    await space.apply(
      queue('heir', { queueName: 'kept', delivery: { maxAttempts: 3 }, adoptionPolicy: 'Always' }),
    );
    await becomes('fmq/heir', 'Synced', 'Ready');
    expect(await client.json('queue', 'get', 'kept')).toMatchObject({
      maxAttempts: 3,
      owner: { name: 'heir' },
      figures: { waiting: 1 },
    });
    await expect.poll(() => reasons('heir'), { timeout: 30_000 }).toContain('Adopted');
  });

  spec('deletion: DeleteIfEmpty and Delete do what they say, for queues and streams', NEEDS, async () => {
    const stream = (name: string, deletionPolicy: string) => ({
      ...queue(name, { deletionPolicy }),
      kind: 'Stream',
    });
    await space.apply(
      queue('if-empty', { deletionPolicy: 'DeleteIfEmpty' }),
      queue('if-full', { deletionPolicy: 'DeleteIfEmpty' }),
      queue('dropped', { deletionPolicy: 'Delete' }),
      stream('events-kept', 'Retain'),
      stream('events-if-empty', 'DeleteIfEmpty'),
      stream('events-if-full', 'DeleteIfEmpty'),
      stream('events-dropped', 'Delete'),
    );
    await becomes('fmq,fms --all', 'Ready');
    for (const name of ['if-full', 'dropped']) await client.flowmesh('queue', 'enqueue', name, '1');
    for (const name of ['events-kept', 'events-if-full', 'events-dropped']) {
      await client.flowmesh('stream', 'write', name, '1');
    }
    const queues = ['if-empty', 'if-full', 'dropped'].map((name) => `fmq/${name}`);
    const streams = ['kept', 'if-empty', 'if-full', 'dropped'].map((name) => `fms/events-${name}`);
    await space.kubectl('delete', ...queues, ...streams, '--timeout=60s');
    expect(await left('queue', ['if-empty', 'if-full', 'dropped'])).toEqual(['if-full']);
    const names = ['events-kept', 'events-if-empty', 'events-if-full', 'events-dropped'];
    expect(await left('stream', names)).toEqual(['events-if-full', 'events-kept']);
    await expect.poll(() => reasons('if-full'), { timeout: 30_000 }).toContain('NotEmpty');
  });

  /** Those of `names` that the data plane has, all of them without an owner. */
  const left = async (kind: string, names: string[]) => {
    const there: { name: string; owner?: unknown }[] = await client.json(kind, 'ls');
    const ours = there.filter(({ name }) => names.includes(name));
    expect(ours.filter(({ owner }) => owner !== undefined)).toEqual([]);
    return ours.map(({ name }) => name).sort();
  };

  spec('a deleted cluster leaves its volume, and one of its name goes on with it', NEEDS, async () => {
    await space.kubectl('delete', 'fmc/main', '--timeout=60s');
    await space.kubectl('wait', 'pod/main-flowmesh-0', '--for=delete', '--timeout=60s');
    await space.kubectl('wait', 'fmq/heir', '--for=condition=Ready=False', '--timeout=60s');
    await space.kubectl('apply', '-f', join(repository, 'examples/kubernetes/main.yaml'));
    await becomes('fmc/main', 'Ready', 'Synced');
    await becomes('fmq,fms --all', 'Ready');
    // The binding is a new one: whoever had the old one gets it with its next start.
    await space.kubectl('delete', 'pod', 'flowmesh-client');
    client = await startClientPod(space);
    expect(await client.flowmesh('kv', 'get', 'from-sdk')).toBe('hello');
    expect(await client.json('queue', 'get', 'kept')).toMatchObject({ figures: { waiting: 1 } });
  });

  spec('taken out again, nothing of it is left but the volume', NEEDS, async () => {
    await uninstall();
    const kinds = 'statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings';
    const names = (await space.kubectl('get', kinds, '-o', 'name')).split('\n');
    expect(names.filter((name) => name.includes('flowmesh'))).toEqual([]);
    expect(await kubectl('get', 'crd', '-o', 'name')).not.toContain('flowmesh.io');
    expect(await space.kubectl('get', 'pvc', '-o', 'name')).toContain('data-main-flowmesh-0');
  });
});

/** Without what is not of the manifest: when it was made, who has it there, and what is in it. */
const asDeclared = ({
  createdAtMs,
  owner,
  generation,
  drifted,
  figures,
  ...settings
}: Record<string, unknown>) => settings;

/** One job in hand for as long as it runs. */
function holderPod(): object {
  const script = `import { connect } from '@flowmesh/client';
    const { FLOWMESH_ADDRESS: address, FLOWMESH_TOKEN: token, FLOWMESH_CA: ca } = process.env;
    const fm = await connect({ address, token, tls: { ca } });
    fm.queue.worker('emails.send', () => new Promise(() => {}), { concurrency: 1, prefetch: 0 });`;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: HOLDER },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'worker',
          image: IMAGE,
          imagePullPolicy: 'IfNotPresent',
          command: ['node', '--conditions=flowmesh-source', '--input-type=module', '-e', script],
          envFrom: [{ secretRef: { name: 'main-flowmesh-binding' } }],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  };
}
