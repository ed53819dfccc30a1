// What operators are known to get wrong (e2e/README.md has the list, and where each is also tested without
// pods), with two operator pods of the chart, a real data plane and kubectl.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type ClientPod, startClientPod } from './support/client-pod.ts';
import { apply, createNamespace, diff, kubectl, type Namespace } from './support/kubectl.ts';
import { declared, mainCluster } from './support/objects.ts';
import { type Release, releaseIn } from './support/release.ts';
import { spec } from './support/spec.ts';

const NEEDS = ['needs:kubelet', 'needs:pv'] as const;
const SETTLING_MS = 40_000;

describe('an operator of two pods', () => {
  let system: Namespace;
  let space: Namespace;
  let guests: Namespace;
  let release: Release;
  let client: ClientPod;
  beforeAll(async () => {
    [system, space, guests] = await Promise.all([
      createNamespace('system'),
      createNamespace('conformance'),
      createNamespace('guests'),
    ]);
    release = await releaseIn(system, [space, guests]);
    release.install('replicas=2');
    await space.apply(mainCluster());
    await space.kubectl('wait', 'fmc/main', '--for=condition=Ready', '--timeout=150s');
    client = await startClientPod(space);
  });
  afterAll(async () => {
    // The operator has to let go of what it looks after before it goes.
    for (const each of [guests, space]) {
      await each
        ?.kubectl('delete', 'fmq,fms', '--all', '--ignore-not-found', '--timeout=90s')
        .catch(() => '');
      await each?.kubectl('delete', 'fmc', '--all', '--ignore-not-found', '--timeout=60s').catch(() => '');
    }
    release?.remove();
    await Promise.all([space, guests, system].map((each) => each?.remove()));
  });

  const becomes = (where: Namespace, what: string, condition: string) =>
    where.kubectl('wait', ...what.split(' '), `--for=condition=${condition}`, '--timeout=120s');
  const says = (where: Namespace, what: string, type: string, reason: string) => {
    const path = `{.status.conditions[?(@.type=="${type}")].reason}`;
    return where.kubectl('wait', what, `--for=jsonpath=${path}=${reason}`, '--timeout=60s');
  };
  const reasons = async (where: Namespace, name: string): Promise<string[]> => {
    const { items } = await where.get('events', `--field-selector=involvedObject.name=${name}`);
    return items.map(({ reason }: { reason: string }) => reason);
  };
  const killOperators = (...pods: string[]) =>
    system.kubectl('delete', 'pod', ...pods, '--grace-period=0', '--force', '--ignore-not-found');

  spec('duplicate owner: the older object has the queue, the other one says who', NEEDS, async () => {
    await space.apply(declared('Queue', 'first', { queueName: 'shared' }));
    await becomes(space, 'fmq/first', 'Ready');
    await space.apply(declared('Queue', 'second', { queueName: 'shared', deletionPolicy: 'Delete' }));
    await says(space, 'fmq/second', 'Accepted', 'NameTaken');
    await client.flowmesh('queue', 'enqueue', 'shared', '1');
    await space.kubectl('delete', 'fmq/second', '--timeout=30s');
    expect(await client.json('queue', 'get', 'shared')).toMatchObject({
      owner: { name: 'first' },
      figures: { waiting: 1 },
    });
  });

  spec('denied reference: another namespace waits for the consent of the cluster', NEEDS, async () => {
    await guests.apply(declared('Queue', 'visitor', { clusterRef: { name: 'main', namespace: space.name } }));
    await says(guests, 'fmq/visitor', 'Accepted', 'RefNotPermitted');
    const { metadata } = await guests.get('fmq', 'visitor');
    expect(metadata.finalizers).toBeUndefined();
    await space.apply(mainCluster({ allowedNamespaces: { from: 'All' } }));
    await becomes(guests, 'fmq/visitor', 'Ready');
    await space.apply(mainCluster());
    await says(guests, 'fmq/visitor', 'Accepted', 'RefNotPermitted');
    await guests.kubectl('delete', 'fmq/visitor', '--timeout=30s');
    expect(await client.json('queue', 'get', 'visitor')).toMatchObject({ name: 'visitor' });
  });

  spec('prune: what is taken out of the manifests keeps its jobs', NEEDS, async () => {
    const labelled = (name: string) => {
      const queue = declared('Queue', name);
      return { ...queue, metadata: { ...queue.metadata, labels: { app: 'shop' } } };
    };
    const prune = ['--prune', '--selector=app=shop', '--prune-allowlist=flowmesh.io/v1alpha1/Queue'];
    const applyAll = (...names: string[]) =>
      apply(names.map(labelled), '-n', space.name, '--server-side=false', ...prune);
    await applyAll('pruned', 'stays');
    await becomes(space, 'fmq/pruned fmq/stays', 'Ready');
    await client.flowmesh('queue', 'enqueue', 'pruned', '1');
    expect(await applyAll('stays')).toContain('queue.flowmesh.io/pruned pruned');
    await space.kubectl('wait', 'fmq/pruned', '--for=delete', '--timeout=30s');
    const left = await client.json('queue', 'get', 'pruned');
    expect([left.owner, left.figures.waiting]).toEqual([undefined, 1]);
    // Put in again, it goes on where it was.
    await applyAll('pruned', 'stays');
    await becomes(space, 'fmq/pruned', 'Ready');
    expect(await client.json('queue', 'get', 'pruned')).toMatchObject({ figures: { waiting: 1 } });
  });

  spec('GitOps: what was applied shows no difference, whoever applied it', NEEDS, async () => {
    const objects = [
      mainCluster(),
      declared('Queue', 'in-git', { delivery: { visibilityTimeout: '90s' }, limits: { ratePerKey: '50/s' } }),
      declared('Stream', 'in-git', { partitions: 2, retention: { time: '36h' } }),
    ];
    await apply(objects, '-n', space.name, '--field-manager=argocd-controller');
    await becomes(space, 'fmq/in-git fms/in-git fmc/main', 'Synced');
    for (const manager of ['argocd-controller', 'kustomize-controller']) {
      expect(await diff(objects, '-n', space.name, `--field-manager=${manager}`)).toBe('');
    }
  });

  spec('409: others write the same objects all the time, and what is declared arrives', NEEDS, async () => {
    await space.apply(declared('Queue', 'contended'));
    let isOver = false;
    const others = ['a', 'b'].map(async (name) => {
      for (let n = 0; !isOver; n++) {
        await space.kubectl('annotate', 'fmq/contended', `example.org/${name}=${n}`, '--overwrite');
      }
      return true;
    });
    for (const maxDepth of [1, 2, 3]) {
      await space.apply(declared('Queue', 'contended', { limits: { maxDepth } }));
      const path = `{.status.effective.limits.maxDepth}=${maxDepth}`;
      await space.kubectl('wait', 'fmq/contended', `--for=jsonpath=${path}`, '--timeout=60s');
    }
    isOver = true;
    await Promise.all(others);
    expect(await client.json('queue', 'get', 'contended')).toMatchObject({ maxDepth: 3 });
    const { metadata } = await space.get('fmq', 'contended');
    expect(Object.keys(metadata.annotations)).toEqual(
      expect.arrayContaining(['example.org/a', 'example.org/b']),
    );
  });

  spec(
    'hand-over in the middle of a rollout: the other pod ends it, and restarts nothing twice',
    NEEDS,
    async () => {
      const pod = await space.get('pod', 'main-flowmesh-0');
      await client.flowmesh('kv', 'set', 'before', 'the rollout');
      const first = await release.leader();
      await space.apply(mainCluster({ listeners: { redis: { enabled: true } } }));
      const { name } = pod.metadata;
      await expect
        .poll(async () => (await space.get('pod', name).catch(() => pod)).metadata, { timeout: 60_000 })
        .not.toMatchObject({ uid: pod.metadata.uid, deletionTimestamp: undefined });
      await killOperators(first);
      await expect.poll(() => release.leader(), { timeout: 60_000 }).not.toBe(first);
      const { generation } = (await space.get('fmc', 'main')).metadata;
      const observed = `{.status.observedGeneration}=${generation}`;
      await space.kubectl('wait', 'fmc/main', `--for=jsonpath=${observed}`, '--timeout=60s');
      await becomes(space, 'fmc/main', 'Synced');
      await becomes(space, 'fmc/main', 'Ready');
      const { metadata } = await space.get('pod', name);
      expect(metadata.uid).not.toBe(pod.metadata.uid);
      expect(await client.flowmesh('kv', 'get', 'before')).toBe('the rollout');
      // It stays that pod: whoever took over looks at it once more and leaves it alone.
      await space.apply(declared('Queue', 'after-hand-over'));
      await becomes(space, 'fmq/after-hand-over', 'Ready');
      expect((await space.get('pod', name)).metadata.uid).toBe(metadata.uid);
    },
  );

  spec(
    'kill -9 of every operator pod, at any moment: all that was applied is there, once',
    NEEDS,
    async () => {
      const rounds = 3;
      const names = (round: number) => Array.from({ length: 5 }, (_, i) => `killed-${round}-${i}`);
      for (let round = 0; round < rounds; round++) {
        const objects = names(round).map((name) => declared('Queue', name, { deletionPolicy: 'Delete' }));
        await space.apply(...objects);
        await sleep(Math.random() * 1500);
        await killOperators('--selector=app.kubernetes.io/component=operator');
        if (round > 0) await space.kubectl('delete', 'fmq', ...names(round - 1).slice(0, 2), '--wait=false');
      }
      await system.kubectl('rollout', 'status', 'deployment/flowmesh-operator', '--timeout=90s');
      const wanted = Array.from({ length: rounds }, (_, round) =>
        names(round).slice(round < rounds - 1 ? 2 : 0),
      ).flat();
      for (let round = 0; round < rounds - 1; round++) {
        const deleted = names(round)
          .slice(0, 2)
          .map((name) => `fmq/${name}`);
        await space.kubectl('wait', ...deleted, '--for=delete', '--timeout=60s');
      }
      // Only now: a wait for `--all` fails on an object that goes meanwhile.
      await becomes(space, 'fmq --all', 'Ready');
      const there: { name: string }[] = await client.json('queue', 'ls');
      const ours = there.filter(({ name }) => name.startsWith('killed-'));
      expect(ours.map(({ name }) => name).sort()).toEqual(wanted.sort());
    },
    { timeout: 300_000 },
  );

  spec(
    'a steady minute: nothing changes but the figures of the queue that has traffic',
    NEEDS,
    async () => {
      await space.apply(declared('Queue', 'busy'), declared('Queue', 'idle'), declared('Stream', 'idle'));
      await becomes(space, 'fmq,fms --all', 'Ready');
      const traffic = client.run('steady.ts');
      // Its workers are counted, and events about the start of it all are told.
      await sleep(SETTLING_MS);
      const before = await objectsOf(space);
      await sleep(60_000);
      const after = await objectsOf(space);
      before.delete('Queue/busy');
      after.delete('Queue/busy');
      expect(Object.fromEntries(after)).toEqual(Object.fromEntries(before));
      expect(Number(await traffic)).toBeGreaterThan(500);
    },
    { timeout: 240_000 },
  );

  spec(
    'a dead data plane: the status says so, and a deletion is over within its bound',
    NEEDS,
    async () => {
      await space.apply(declared('Queue', 'doomed'), declared('Queue', 'patient'));
      await becomes(space, 'fmq/doomed fmq/patient', 'Ready');
      // Its pod is replaced by one that cannot start.
      await space.apply(mainCluster({ image: { tag: 'never-built' } }));
      await says(space, 'fmq/patient', 'Synced', 'Unreachable');
      const startedMs = performance.now();
      await space.kubectl('delete', 'fmq/doomed', '--timeout=90s');
      expect(performance.now() - startedMs).toBeLessThan(90_000);
      await expect.poll(() => reasons(space, 'doomed'), { timeout: 30_000 }).toContain('DataPlaneNotAsked');
      await space.apply(mainCluster());
      await becomes(space, 'fmc/main', 'Ready');
      await becomes(space, 'fmq/patient', 'Ready');
    },
    { timeout: 400_000 },
  );

  spec(
    'a namespace with all that is in it goes, and nothing holds it',
    NEEDS,
    async () => {
      await guests.apply(
        mainCluster(),
        declared('Queue', 'going', { deletionPolicy: 'Delete' }),
        declared('Stream', 'going'),
      );
      await becomes(guests, 'fmq/going fms/going', 'Ready');
      await kubectl('delete', 'namespace', guests.name, '--timeout=120s');
      // The operator has lost a namespace that it looks after, and goes on with the other.
      await space.apply(declared('Queue', 'unmoved'));
      await becomes(space, 'fmq/unmoved', 'Ready');
    },
    { timeout: 300_000 },
  );
});

/** Every object of the namespace that the operator makes, states or tells of, with its version, by name. */
async function objectsOf(space: Namespace): Promise<Map<string, object>> {
  const kinds = 'fmc,fmq,fms,statefulsets,services,configmaps,secrets,serviceaccounts,pods,pvc,pdb,events';
  const { items } = JSON.parse(await space.kubectl('get', kinds, '-o', 'json'));
  type Item = { kind: string; metadata: { name: string } };
  return new Map(items.map((item: Item) => [`${item.kind}/${item.metadata.name}`, item]));
}
