// Workers scaled by the autoscaler of Kubernetes alone: the operator serves the metrics it asks for.
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { createNamespace, kubectl, type Namespace } from './support/kubectl.ts';
import { declared, mainCluster } from './support/objects.ts';
import { type Release, releaseIn } from './support/release.ts';
import { ScaledWorkers, workers } from './support/scaled-workers.ts';
import { spec } from './support/spec.ts';

const NEEDS = ['needs:kubelet', 'needs:pv'] as const;
const AUTOSCALER = 'emails-flowmesh-queue';
const API = 'apiservice/v1beta1.external.metrics.k8s.io';
/** Workers at most. */
const MOST = 5;
/** Long enough for those who came last to be told to go while they load. */
const LOAD_MS = 5000;
const PATIENT = { timeout: 700_000 };
const PATIENCE = { timeout: 120_000, interval: 500 };
/** Workers are kept for three minutes after they were needed last. */
const SETTLED = { timeout: 360_000 };

describe('workers, scaled by the autoscaler alone', () => {
  let system: Namespace;
  let space: Namespace;
  let release: Release;
  let crew: ScaledWorkers;
  beforeAll(async () => {
    [system, space] = await Promise.all([createNamespace('hpa-system'), createNamespace('hpa-workers')]);
    release = await releaseIn(system, [space]);
    release.install('metricsApi.enabled=true');
    await space.apply(mainCluster());
    await space.kubectl('wait', 'fmc/main', '--for=condition=Ready', '--timeout=150s');
    await space.apply(declared('Stream', 'runs', { partitions: 1 }), declared('Queue', 'emails'));
    await space.apply(workers(1, LOAD_MS));
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

  const scaledEmails = (scaleFrom: number, scaleTo = MOST) =>
    declared('Queue', 'emails', {
      scaling: {
        targetRef: { kind: 'Deployment', name: 'worker' },
        ...{ scaleFrom, scaleTo, basedOn: ['queue_lag > 20', 'message_age > 5s'] },
      },
    });
  const becomes = async (message: string, is: () => Promise<boolean>, patience: object = {}) => {
    await expect
      .poll(is, { ...PATIENCE, ...patience, message })
      .toBe(true)
      .catch(async (error: Error) => {
        const objects = await space.kubectl('get', 'fmc,fmq,hpa,deployments,pods', '-o', 'wide');
        const about = await space.kubectl('get', 'fmq,hpa', '-o', 'yaml');
        const api = await kubectl('get', API, '-o', 'yaml').catch((none: Error) => none.message);
        throw new Error(`${error.message}\n${objects}\n${about}\n${api}`);
      });
  };
  const conditionOf = async (kind: string, name: string, type: string): Promise<string | undefined> => {
    const { status } = await space.get(kind, name);
    return status?.conditions?.find((each: { type: string }) => each.type === type)?.status;
  };
  const isScaled = async () => (await conditionOf('fmq', 'emails', 'ScalingReady')) === 'True';

  spec('the metrics are registered, and the API server reads them', NEEDS, async () => {
    await kubectl('wait', API, '--for=create', '--timeout=60s');
    await kubectl('wait', API, '--for=condition=Available', '--timeout=60s');
    await space.apply(scaledEmails(1));
    await becomes('scaling is set up', isScaled);
    const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${space.name}/flowmesh-demand`;
    const { items } = JSON.parse(await kubectl('get', '--raw', `${path}?labelSelector=queue%3Demails`));
    expect(items).toHaveLength(1);
  });

  spec(
    'come under load and go in the middle of it, and no job is lost or run twice for it',
    NEEDS,
    async () => {
      // So many that fast workers are not through with them when fewer are asked for.
      await crew.enqueue(800, 500);
      await becomes('all the workers there may be', async () => (await crew.ready()) === MOST);
      // Fewer may be there from now on: those who have to go have a job in their hands.
      await space.apply(scaledEmails(1, 2));
      await becomes('two workers', async () => (await crew.pods()) === 2);
      expect(await crew.open()).toBeGreaterThan(0);
      await becomes('all is done', async () => (await crew.open()) === 0, SETTLED);
      expect(await crew.notOnce()).toEqual([]);
    },
    PATIENT,
  );

  spec('stay as many as they are while nobody answers, and the condition says so', NEEDS, async () => {
    await space.apply(scaledEmails(1));
    await crew.enqueue(100, 1000);
    await becomes('all the workers there may be', async () => (await crew.asked()) === MOST);
    await space.apply(mainCluster({ replicas: 0 }));
    await becomes('the autoscaler asks in vain', async () => {
      return (await conditionOf('hpa', AUTOSCALER, 'ScalingActive')) === 'False';
    });
    await becomes('the queue says so', async () => !(await isScaled()));
    expect(await crew.asked()).toBe(MOST);
    // A pod that still ends would answer for the cluster, and be gone a moment later.
    await space.kubectl('wait', 'pod/main-flowmesh-0', '--for=delete', '--timeout=90s');
    await space.apply(mainCluster());
    await becomes('scaling goes on', isScaled);
    expect(await crew.asked()).toBe(MOST);
    // What leads to a pod ends with it.
    await crew.redial();
  });

  spec(
    'go to none and come from none, as this API server takes autoscalers from 0',
    NEEDS,
    async () => {
      await space.apply(scaledEmails(0));
      await becomes('no worker', async () => (await crew.asked()) === 0, SETTLED);
      const first = await crew.enqueue(1, 100);
      await becomes('the job is done', async () => (await crew.open()) === 0);
      expect(await crew.notOnce(first)).toEqual([]);
    },
    PATIENT,
  );

  spec('the registration goes with the chart that made it', NEEDS, async () => {
    release.upgrade('metricsApi.enabled=false');
    await kubectl('wait', API, '--for=delete', '--timeout=60s');
    await space.kubectl('wait', `hpa/${AUTOSCALER}`, '--for=delete', '--timeout=120s');
    await becomes('the queue says so', async () => !(await isScaled()));
  });
});
