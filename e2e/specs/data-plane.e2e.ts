// The FlowMesh image as a pod: restricted, on a volume, with probes, reached as clients reach it.
import { connect, type FlowMesh } from '@flowmesh/client';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { clientPod, dataPlane, ports } from './support/data-plane.ts';
import { createNamespace, type Namespace } from './support/kubectl.ts';
import { spec } from './support/spec.ts';

describe('a data-plane pod', () => {
  let space: Namespace;
  beforeAll(async () => {
    space = await createNamespace('data-plane');
  });
  afterAll(() => space?.remove());

  const ready = () => space.kubectl('rollout', 'status', 'statefulset/main', '--timeout=120s');
  const client = async () => {
    const { port, close } = await space.forward('pod/main-0', ports.grpc);
    const fm = await connect({ address: `127.0.0.1:${port}` });
    return {
      fm,
      async [Symbol.asyncDispose]() {
        await fm.close();
        await close();
      },
    };
  };

  spec(
    'becomes ready under restricted Pod Security, with a read-only root',
    ['needs:kubelet', 'needs:pv'],
    async () => {
      await space.apply(...dataPlane('main'));
      await ready();
      const { status } = await space.get('pod', 'main-0');
      expect(status.containerStatuses).toEqual([expect.objectContaining({ ready: true, restartCount: 0 })]);
    },
  );

  spec(
    'loses nothing that was acknowledged when its pod is killed',
    ['needs:kubelet', 'needs:pv'],
    async () => {
      const before = await space.get('pod', 'main-0');
      {
        await using session = await client();
        const { fm } = session;
        await fm.kv.set('kept', { over: 'restart' });
        for (const n of [1, 2]) await fm.queue.enqueue('e2e.waiting', { n });
        await fm.queue.enqueue('e2e.done', { n: 'before' });
        expect(await take(fm, 'e2e.done', 1)).toEqual([{ n: 'before' }]);
      }
      await space.kubectl('delete', 'pod', 'main-0', '--grace-period=0', '--force');
      await space.kubectl('wait', '--for=create', 'pod/main-0', '--timeout=60s');
      await ready();
      const after = await space.get('pod', 'main-0');
      expect(after.metadata.uid).not.toBe(before.metadata.uid);
      await using session = await client();
      const { fm } = session;
      expect(await fm.kv.get('kept')).toEqual({ over: 'restart' });
      expect(await take(fm, 'e2e.waiting', 2)).toEqual([{ n: 1 }, { n: 2 }]);
      // What was acked does not come again: the next one is the first.
      await fm.queue.enqueue('e2e.done', { n: 'after' });
      expect(await take(fm, 'e2e.done', 1)).toEqual([{ n: 'after' }]);
    },
  );

  spec('is found by name, through its Service, by other pods', ['needs:kubelet', 'needs:pv'], async () => {
    await space.apply(clientPod('client'));
    await space.kubectl('wait', '--for=condition=Ready', 'pod/client', '--timeout=60s');
    const address = JSON.stringify(`main.${space.name}.svc:${ports.grpc}`);
    const script = `import { connect } from '@flowmesh/client';
      const fm = await connect({ address: ${address} });
      console.log(JSON.stringify(await fm.kv.get('kept')));
      await fm.close();`;
    const node = ['node', '--conditions=flowmesh-source', '--input-type=module', '-e', script];
    expect(await space.kubectl('exec', 'client', '--', ...node)).toBe('{"over":"restart"}');
  });

  spec(
    'ends in order when it is asked to, well within its grace period',
    ['needs:kubelet', 'needs:pv'],
    async () => {
      const startedMs = performance.now();
      await space.kubectl('delete', 'pod', 'main-0', '--timeout=25s');
      expect(performance.now() - startedMs).toBeLessThan(25_000);
      await ready();
    },
  );
});

describe('a claim', () => {
  let space: Namespace;
  beforeAll(async () => {
    space = await createNamespace('claims');
  });
  afterAll(() => space?.remove());

  spec('is bound by the default storage class, and grows', ['needs:kubelet', 'needs:expansion'], async () => {
    await space.apply(...dataPlane('growing', '1Gi'));
    await space.kubectl(
      'wait',
      'pvc/data-growing-0',
      '--for=jsonpath={.status.phase}=Bound',
      '--timeout=60s',
    );
    const larger = JSON.stringify({ spec: { resources: { requests: { storage: '2Gi' } } } });
    await space.kubectl('patch', 'pvc', 'data-growing-0', '--type=merge', '-p', larger);
    const grown = '--for=jsonpath={.status.capacity.storage}=2Gi';
    await space.kubectl('wait', 'pvc/data-growing-0', grown, '--timeout=60s');
  });

  spec('takes its volume along when it is deleted', ['needs:kubelet', 'needs:pv'], async () => {
    await space.apply(...dataPlane('short-lived'));
    await space.kubectl('rollout', 'status', 'statefulset/short-lived', '--timeout=120s');
    const { spec: claim } = await space.get('pvc', 'data-short-lived-0');
    await space.kubectl('delete', 'statefulset/short-lived', 'pvc/data-short-lived-0');
    await space.kubectl('wait', '--for=delete', `pv/${claim.volumeName}`, '--timeout=60s');
  });
});

/** Leases and acks, one after the other, until there were `count`. */
async function take(fm: FlowMesh, queue: string, count: number): Promise<unknown[]> {
  const payloads: unknown[] = [];
  const enough = Promise.withResolvers<void>();
  const worker = fm.queue.worker(queue, (job) => {
    payloads.push(job.payload);
    if (payloads.length === count) enough.resolve();
  });
  await enough.promise;
  await worker.drain();
  return payloads;
}
