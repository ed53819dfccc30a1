// `helm install`, `helm upgrade` and `helm uninstall` of the operator, and what each of them leaves alone.
import { connect } from '@flowmesh/client';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { ports } from './support/data-plane.ts';
import { createNamespace, kubectl, type Namespace } from './support/kubectl.ts';
import { type Release, releaseIn } from './support/release.ts';
import { spec } from './support/spec.ts';

const NEEDS = ['needs:kubelet', 'needs:pv'] as const;

describe('the chart', () => {
  let system: Namespace;
  let space: Namespace;
  let release: Release;
  beforeAll(async () => {
    [system, space] = await Promise.all([createNamespace('system'), createNamespace('chart')]);
    release = await releaseIn(system, [space]);
  });
  afterAll(async () => {
    await space?.kubectl('delete', 'fmc', '--all', '--ignore-not-found').catch(() => '');
    release?.remove();
    await Promise.all([space?.remove(), system?.remove()]);
  });

  const becomesReady = () => space.kubectl('wait', 'fmc/main', '--for=condition=Ready', '--timeout=150s');
  const uidOf = async (kind: string, name: string): Promise<string> =>
    (await space.get(kind, name)).metadata.uid;
  const client = async () => {
    const { data } = await space.get('secret', 'main-flowmesh-binding');
    const text = (key: string) => Buffer.from(data[key], 'base64').toString();
    const { port, close } = await space.forward('service/main-flowmesh', ports.grpc);
    const tls = { ca: text('FLOWMESH_CA') };
    const fm = await connect({ address: `localhost:${port}`, token: text('FLOWMESH_TOKEN'), tls });
    return {
      fm,
      async [Symbol.asyncDispose]() {
        await fm.close();
        await close();
      },
    };
  };

  spec('runs an operator whose roles suffice for a cluster', NEEDS, async () => {
    release.install();
    const resources = { requests: { cpu: '50m', memory: '256Mi' }, limits: { memory: '512Mi' } };
    await space.apply({
      apiVersion: 'flowmesh.io/v1alpha1',
      kind: 'FlowMeshCluster',
      metadata: { name: 'main' },
      spec: { storage: { size: '1Gi' }, resources, networkPolicy: { enabled: true } },
    });
    await becomesReady();
    await using session = await client();
    await session.fm.kv.set('kept', 'yes');
  });

  spec('takes a second operator in, and lets the first one go, without touching a pod', NEEDS, async () => {
    const pod = await uidOf('pod', 'main-flowmesh-0');
    release.upgrade('replicas=2');
    const first = await release.leader();
    await system.kubectl('delete', 'pod', first);
    await expect.poll(() => release.leader(), { timeout: 60_000 }).not.toBe(first);
    // The new one acts: a change of the spec arrives.
    await space.kubectl(
      'patch',
      'fmc/main',
      '--type=merge',
      '-p',
      '{"spec":{"networkPolicy":{"enabled":false}}}',
    );
    await space.kubectl('wait', '--for=delete', 'networkpolicy/main-flowmesh', '--timeout=60s');
    expect(await uidOf('pod', 'main-flowmesh-0')).toBe(pod);
  });

  const queue = (cron: string, maxDepth = 1000) => ({
    apiVersion: 'flowmesh.io/v1alpha1',
    kind: 'Queue',
    metadata: { name: 'nightly' },
    spec: { clusterRef: { name: 'main' }, limits: { maxDepth }, schedules: [{ name: 'nightly', cron }] },
  });
  /** What a refusal says; empty: it is taken. */
  const told = (object: object) =>
    space.apply(object).then(
      () => '',
      (error: Error) => error.message,
    );

  spec('turns its webhook on and off while it runs, and replaces its pods under applies', NEEDS, async () => {
    release.upgrade('replicas=2', 'webhook.enabled=true', 'webhook.failurePolicy=Fail');
    const refuses = () => told(queue('0 3 31 2 *'));
    const words = 'spec.schedules[0].cron: "0 3 31 2 *" is not a cron expression: that never comes';
    await expect.poll(refuses, { timeout: 60_000, interval: 500 }).toContain(words);
    await space.apply(queue('0 3 * * *'));

    const failures: string[] = [];
    let applies = 0;
    let isOver = false;
    const applying = (async () => {
      for (; !isOver; applies++) {
        const said = await told(queue('0 3 * * *', 1000 + applies));
        if (said !== '') failures.push(said);
      }
    })();
    await system.kubectl('rollout', 'restart', 'deployment/flowmesh-operator');
    await system.kubectl('rollout', 'status', 'deployment/flowmesh-operator', '--timeout=120s');
    // The old pods answer to their end.
    const pods = async () => (await system.kubectl('get', 'pods', '-o', 'name')).split('\n').length;
    await expect.poll(pods, { timeout: 60_000, interval: 500 }).toBe(2);
    isOver = true;
    await applying;
    expect(failures).toEqual([]);
    expect(applies).toBeGreaterThan(3);

    release.upgrade('replicas=2');
    await system.kubectl('wait', '--for=delete', 'secret/flowmesh-operator-webhook-tls', '--timeout=60s');
    expect(await refuses()).toBe('');
    await space.kubectl('delete', 'fmq/nightly', '--timeout=60s');
  });

  spec('leaves definitions, clusters and data behind when it is uninstalled', NEEDS, async () => {
    const [pod, volume] = [await uidOf('pod', 'main-flowmesh-0'), await uidOf('pvc', 'data-main-flowmesh-0')];
    release.uninstall();
    expect(await system.kubectl('get', 'deployments,roles,rolebindings', '-o', 'name')).toBe('');
    const definitions = await kubectl('get', 'crd', '-o', 'name');
    for (const plural of ['flowmeshclusters', 'queues', 'schemas', 'streams']) {
      expect(definitions).toContain(`customresourcedefinition.apiextensions.k8s.io/${plural}.flowmesh.io`);
    }
    {
      await using session = await client();
      expect(await session.fm.kv.get('kept')).toBe('yes');
    }
    release.install();
    await becomesReady();
    expect(await uidOf('pod', 'main-flowmesh-0')).toBe(pod);
    expect(await uidOf('pvc', 'data-main-flowmesh-0')).toBe(volume);
  });
});
