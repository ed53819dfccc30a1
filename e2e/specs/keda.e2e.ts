// Real KEDA, operator and metrics adapter, in front of a scaler.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Authority } from '../../test/api/issued.ts';
import { catalog } from '../build/catalog.ts';
import { repository } from './support/installed.ts';
import { installKeda, kedaLog, uninstallKeda } from './support/keda.ts';
import { createNamespace, type Namespace } from './support/kubectl.ts';
import { declared, mainCluster } from './support/objects.ts';
import { type Release, releaseIn } from './support/release.ts';
import { consumers, ScaledWorkers, workers } from './support/scaled-workers.ts';
import { spec } from './support/spec.ts';
import { workload } from './support/workload.ts';

const NEEDS = ['needs:kubelet', 'needs:keda'] as const;
const NEEDS_ALL = [...NEEDS, 'needs:pv'] as const;
/** Workers at most. */
const MOST = 5;
const PARTITIONS = 3;
const SCALED_OBJECT = 'emails-flowmesh-queue';
/** Written anew where FLOWMESH_KEDA_RECORD is set. */
const RECORDED = join(repository, 'test/scaling/keda-messages.json');
const PATIENT = { timeout: 400_000 };
const PATIENCE = { timeout: 120_000, interval: 500 };

beforeAll(() => installKeda(), 300_000);
afterAll(() => uninstallKeda(), 300_000);

describe('what KEDA sends to a scaler', () => {
  let space: Namespace;
  const authority = new Authority('the cluster');
  beforeAll(async () => {
    space = await createNamespace('keda-recorder');
  });
  afterAll(async () => {
    // While KEDA is there: its objects have finalizers.
    await space?.kubectl('delete', 'scaledobjects', '--all', '--timeout=60s');
    await space?.remove();
  });

  interface Sent {
    readonly path: string;
    readonly commonName: string;
    readonly headers: Record<string, string>;
    readonly message: object;
    readonly base64: string;
  }

  /** Of every method and metric the first message. */
  async function sent(): Promise<Sent[]> {
    const log = await space.kubectl('logs', 'deployment/recorder');
    const all: Sent[] = log.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
    const kindOf = ({ path, message }: Sent) => `${path} ${/"metric":"\w+"/.exec(JSON.stringify(message))}`;
    const byKind = Map.groupBy(all, kindOf);
    return [...byKind].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, each]) => each.slice(0, 1));
  }

  /** The same in every run: without its namespace, and without the order of a map in the bytes. */
  const said = ({ path, commonName, message }: Sent) => {
    const text = JSON.stringify(message).replaceAll(/keda-recorder-\w+/g, 'keda-recorder');
    return { path, commonName, message: JSON.parse(text) };
  };

  spec('is what test/scaling replays against ours', NEEDS, async () => {
    const host = `recorder.${space.name}.svc`;
    const server = authority.issue('recorder', undefined, [host]);
    const client = authority.issue('flowmesh-scaler');
    await space.apply(
      secret('recorder', { 'ca.crt': authority.cert, 'tls.crt': server.cert, 'tls.key': server.key }),
      secret('main-flowmesh-scaler', {
        'ca.crt': authority.cert,
        'tls.crt': client.cert,
        'tls.key': client.key,
      }),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'recorder' },
        spec: { clusterIP: 'None', selector: { app: 'recorder' }, ports: [{ port: 7070 }] },
      },
      workload('recorder', 'recorder.ts', { replicas: 1, tlsSecret: 'recorder' }),
      workload('worker', 'recorder.ts', { replicas: 0, tlsSecret: 'recorder' }),
    );
    await space.kubectl('rollout', 'status', 'deployment/recorder', '--timeout=60s');
    const metadata = { scalerAddress: `${host}:7070`, enableTLS: 'true', queue: 'orders' };
    const authenticationRef = { name: 'main-flowmesh-scaler' };
    const trigger = (metric: string) => ({
      type: 'external-push',
      name: metric,
      metricType: 'AverageValue',
      authenticationRef,
      metadata: { ...metadata, metric },
    });
    await space.apply(
      {
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'TriggerAuthentication',
        metadata: { name: 'main-flowmesh-scaler' },
        spec: {
          secretTargetRef: [
            { parameter: 'caCert', name: 'main-flowmesh-scaler', key: 'ca.crt' },
            { parameter: 'tlsClientCert', name: 'main-flowmesh-scaler', key: 'tls.crt' },
            { parameter: 'tlsClientKey', name: 'main-flowmesh-scaler', key: 'tls.key' },
          ],
        },
      },
      {
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'ScaledObject',
        metadata: { name: 'worker' },
        spec: {
          scaleTargetRef: { name: 'worker' },
          minReplicaCount: 0,
          maxReplicaCount: 3,
          pollingInterval: 5,
          triggers: [trigger('lag'), trigger('demand')],
        },
      },
    );
    const methods = ['GetMetricSpec', 'GetMetrics', 'IsActive', 'StreamIsActive', 'StreamMetricSpec'];
    const paths = methods.map((method) => `/externalscaler.ExternalScaler/${method}`);
    await expect
      .poll(async () => (await sent()).map(({ path }) => path), PATIENCE)
      .toEqual(paths.flatMap((path) => [path, path]))
      .catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await kedaLog()}`);
      });
    const all = await sent();
    if (process.env['FLOWMESH_KEDA_RECORD'] !== undefined) record(all);
    const { messages } = JSON.parse(readFileSync(RECORDED, 'utf8'));
    expect(all.map(said)).toEqual(messages.map(said));
  });

  function record(messages: readonly Sent[]): void {
    const text = JSON.stringify({ keda: catalog.keda.version, messages }, null, 2);
    writeFileSync(RECORDED, `${text}\n`);
  }

  const secret = (name: string, stringData: Record<string, string>) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData,
  });
});

describe('workers, scaled by what the operator declares to KEDA', () => {
  let system: Namespace;
  let space: Namespace;
  let release: Release;
  let crew: ScaledWorkers;
  beforeAll(async () => {
    [system, space] = await Promise.all([createNamespace('keda-system'), createNamespace('keda-workers')]);
    release = await releaseIn(system, [space]);
    release.install();
    await space.apply(mainCluster());
    await space.kubectl('wait', 'fmc/main', '--for=condition=Ready', '--timeout=150s');
    const runs = declared('Stream', 'runs', { partitions: 1 });
    await space.apply(runs, declared('Queue', 'emails'), orders(), workers(0));
    await space.kubectl('wait', 'fmq,fms', '--all', '--for=condition=Ready', '--timeout=60s');
    crew = await ScaledWorkers.dial(space);
  }, 400_000);
  afterAll(async () => {
    await crew?.close();
    await space?.kubectl('delete', 'fmq,fms', '--all', '--ignore-not-found', '--timeout=90s');
    await space?.kubectl('delete', 'fmc', '--all', '--ignore-not-found', '--timeout=60s');
    release?.remove();
    await Promise.all([space, system].map((each) => each?.remove()));
  }, 300_000);

  const scaledEmails = declared('Queue', 'emails', {
    scaling: {
      targetRef: { kind: 'Deployment', name: 'worker' },
      scaleFrom: 0,
      scaleTo: MOST,
      basedOn: ['queue_lag > 20', 'message_age > 5s'],
    },
  });
  const orders = (scaling?: object) =>
    declared('Stream', 'orders', {
      partitions: PARTITIONS,
      consumerGroups: [{ name: 'billing', startFrom: 'Earliest', scaling }],
    });
  const becomes = async (message: string, is: () => Promise<boolean>) => {
    await expect
      .poll(is, { ...PATIENCE, message })
      .toBe(true)
      .catch(async (error: Error) => {
        const kinds = 'fmc,scaledobjects,hpa,deployments,pods';
        const objects = await space.kubectl('get', kinds, '-o', 'wide');
        const scaled = await space.kubectl('get', 'fmq/emails', 'fms/orders', '-o', 'yaml');
        throw new Error(`${error.message}\n${objects}\n${scaled}\n${await kedaLog()}`);
      });
  };
  const conditionOf = async (what: string, type: string): Promise<string | undefined> => {
    const { status } = await space.get(...(what.split('/') as [string, string]));
    return status?.conditions?.find((each: { type: string }) => each.type === type)?.status;
  };
  const isScaled = async () => (await conditionOf('fmq/emails', 'ScalingReady')) === 'True';

  spec(
    'come from none under load and go when it is done, and no job is lost or run twice for it',
    NEEDS_ALL,
    async () => {
      await crew.enqueue(300, 500);
      // What a server finds when it starts does not say that more will come: when it is done, workers go
      // within seconds, where they would be kept for minutes.
      await restart();
      await space.apply(scaledEmails);
      await becomes('scaling is set up', isScaled);
      await hasten();
      await becomes('all the workers there may be', async () => (await crew.ready()) === MOST);
      await becomes('nothing waits', async () => (await crew.open()) === 0);
      // Some work goes on, so that those who have to go may have a job in their hands.
      let isShrinking = true;
      const some = (async () => {
        while (isShrinking) {
          if ((await crew.open()) === 0) await crew.enqueue(1, 700);
          else await sleep(50);
        }
      })();
      await becomes('fewer workers', async () => (await crew.ready()) <= 2).finally(() => {
        isShrinking = false;
      });
      await some;
      await becomes('no worker', async () => (await crew.open()) === 0 && (await crew.pods()) === 0);
      expect(await crew.notOnce()).toEqual([]);
    },
    PATIENT,
  );

  spec('are there at once for the first job after a rest', NEEDS_ALL, async () => {
    expect(await crew.asked()).toBe(0);
    await crew.enqueue(1, 100);
    await becomes('the job is done', async () => (await crew.open()) === 0);
    expect(await crew.notOnce()).toEqual([]);
  });

  spec(
    'stay as many as they are while nobody answers KEDA, and the condition says so',
    NEEDS_ALL,
    async () => {
      // KEDA is in a hurry still: whatever it took for an answer would cost workers within seconds.
      await crew.enqueue(400, 1000);
      await becomes('all the workers there may be', async () => (await crew.ready()) === MOST);
      await space.apply(mainCluster({ replicas: 0 }));
      await becomes('the autoscaler asks in vain', async () => {
        return (await conditionOf(`hpa/keda-hpa-${SCALED_OBJECT}`, 'ScalingActive')) === 'False';
      });
      await becomes('KEDA asks in vain', async () => {
        return (await conditionOf(`scaledobject/${SCALED_OBJECT}`, 'HPAActive')) === 'False';
      });
      expect(await crew.asked()).toBe(MOST);
      await lookAgain();
      await becomes('the queue says so', async () => !(await isScaled()));
      await space.kubectl('wait', 'pod/main-flowmesh-0', '--for=delete', '--timeout=90s');
      await space.apply(mainCluster());
      await becomes('scaling goes on', isScaled);
      expect(await crew.asked()).toBe(MOST);
    },
    PATIENT,
  );

  spec('of a consumer group are as many as there are partitions at most', NEEDS_ALL, async () => {
    await crew.redial();
    await space.apply(consumers(1));
    await crew.publish(400, 200);
    const targetRef = { kind: 'Deployment', name: 'consumer' };
    await space.apply(orders({ targetRef, scaleFrom: 1, scaleTo: 9, basedOn: ['stream_lag > 20'] }));
    let most = 0;
    await becomes('all is read', async () => {
      most = Math.max(most, await crew.asked('consumer'));
      return (await crew.lag()) === 0;
    });
    expect(most).toBe(PARTITIONS);
  });

  async function restart(): Promise<void> {
    const pod = 'pod/main-flowmesh-0';
    await space.kubectl('delete', pod);
    await space.kubectl('wait', pod, '--for=create', '--timeout=60s');
    await space.kubectl('wait', pod, '--for=condition=Ready', '--timeout=60s');
    await crew.redial();
  }

  /** The operator lets half of them go in a minute. It looks away, and it is two in five seconds. */
  async function hasten(): Promise<void> {
    await space.kubectl('annotate', 'fmq/emails', 'flowmesh.io/paused=true');
    const policies = [{ type: 'Pods', value: 2, periodSeconds: 5 }];
    const behavior = { scaleDown: { stabilizationWindowSeconds: 0, selectPolicy: 'Max', policies } };
    const advanced = { horizontalPodAutoscalerConfig: { behavior } };
    const patch = JSON.stringify({ spec: { pollingInterval: 2, cooldownPeriod: 3, advanced } });
    await space.kubectl('patch', 'scaledobject', SCALED_OBJECT, '--type=merge', '-p', patch);
  }

  const lookAgain = () => space.kubectl('annotate', 'fmq/emails', 'flowmesh.io/paused-');
});
