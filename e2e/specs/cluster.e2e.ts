// `kubectl apply` of a FlowMeshCluster, and a client that comes to it with what the binding Secret says.
import { connect } from '@flowmesh/client';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { IMAGE, ports } from './support/data-plane.ts';
import { createNamespace, type Namespace } from './support/kubectl.ts';
import { type OperatorProcess, startOperator } from './support/operator.ts';
import { spec } from './support/spec.ts';

describe('a FlowMeshCluster', () => {
  let space: Namespace;
  let operator: OperatorProcess;
  beforeAll(async () => {
    space = await createNamespace('cluster');
    operator = await startOperator(space.name, IMAGE);
  });
  afterAll(async () => {
    await operator?.stop();
    await space?.remove();
  });

  const becomes = async (...condition: string[]) => {
    const waits = condition.map((each) => `--for=condition=${each}`);
    await space.kubectl('wait', 'fmc/main', ...waits, '--timeout=150s').catch(async (error: Error) => {
      const pod = await space.kubectl('describe', 'pods').catch(() => '');
      const log = await space.kubectl('logs', 'main-flowmesh-0', '--tail=30').catch(() => '');
      throw new Error(`${error.message}\n${pod}\n${log}\n${operator.lines.slice(-30).join('\n')}`);
    });
  };
  const client = async () => {
    const { data } = await space.get('secret', 'main-flowmesh-binding');
    const text = (key: string) => Buffer.from(data[key], 'base64').toString();
    const { port, close } = await space.forward('service/main-flowmesh', ports.grpc);
    const fm = await connect({
      // The certificate names localhost, for port-forward.
      address: `localhost:${port}`,
      token: text('token'),
      tls: { ca: text('ca.crt') },
    });
    return {
      fm,
      async [Symbol.asyncDispose]() {
        await fm.close();
        await close();
      },
    };
  };

  spec('becomes ready, and says how', ['needs:kubelet', 'needs:pv'], async () => {
    await space.apply({
      apiVersion: 'flowmesh.io/v1alpha1',
      kind: 'FlowMeshCluster',
      metadata: { name: 'main' },
      spec: {
        autoCreate: true,
        storage: { size: '1Gi' },
        resources: { requests: { cpu: '50m', memory: '256Mi' }, limits: { memory: '512Mi' } },
      },
    });
    await becomes('Ready', 'Synced');
    const { status } = await space.get('fmc', 'main');
    expect(status.pods).toEqual([expect.objectContaining({ name: 'main-flowmesh-0', ready: true })]);
    expect(status.listeners.map((each: { ready: boolean }) => each.ready)).toEqual([true, true]);
  });

  spec(
    'serves a client that has the binding Secret, and loses nothing when its pod is killed',
    ['needs:kubelet', 'needs:pv'],
    async () => {
      {
        await using session = await client();
        for (const n of [1, 2]) await session.fm.queue.enqueue('work', { n });
        await session.fm.kv.set('kept', 'yes');
      }
      const { uid } = (await space.get('pod', 'main-flowmesh-0')).metadata;
      await space.kubectl('delete', 'pod', 'main-flowmesh-0', '--grace-period=0', '--force');
      await space.kubectl('wait', '--for=create', 'pod/main-flowmesh-0', '--timeout=60s');
      await space.kubectl('wait', 'pod/main-flowmesh-0', '--for=condition=Ready', '--timeout=150s');
      await becomes('Ready');
      expect((await space.get('pod', 'main-flowmesh-0')).metadata.uid).not.toBe(uid);
      await using session = await client();
      expect(await session.fm.kv.get('kept')).toBe('yes');
      const done = Promise.withResolvers<unknown[]>();
      const payloads: unknown[] = [];
      const worker = session.fm.queue.worker('work', (job) => {
        payloads.push(job.payload);
        if (payloads.length === 2) done.resolve(payloads);
      });
      expect(await done.promise).toEqual([{ n: 1 }, { n: 2 }]);
      await worker.drain();
    },
  );

  spec('starts its pod again for a new configuration, in order', ['needs:kubelet', 'needs:pv'], async () => {
    const { uid } = (await space.get('pod', 'main-flowmesh-0')).metadata;
    const change = JSON.stringify({ spec: { listeners: { redis: { enabled: true } } } });
    await space.kubectl('patch', 'fmc/main', '--type=merge', '-p', change);
    await space.kubectl('wait', 'fmc/main', '--for=jsonpath={.status.observedGeneration}=2', '--timeout=60s');
    await becomes('Ready', 'Synced');
    await expect
      .poll(async () => (await space.get('pod', 'main-flowmesh-0')).metadata.uid, { timeout: 120_000 })
      .not.toBe(uid);
    await becomes('Ready', 'Synced');
    const { items } = await space.get('events', '--field-selector=reason=ConfigurationChanged');
    expect(items).toHaveLength(1);
    await using session = await client();
    expect(await session.fm.kv.get('kept')).toBe('yes');
  });
});
