// The whole status of a cluster in each situation, beside this file: what people and programs read.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { FlowMeshCluster, Pod } from '../../../operator/controllers/cluster/kinds.ts';
import { madeBy, planOf, type There } from './rounds.ts';
import { aClaim, aCluster, aPod } from './support.ts';

const folder = join(import.meta.dirname, 'statuses');
const JETSTREAM = { engine: 'JetStream' as const, jetStream: { url: 'nats://nats' } };
const whole = { pods: [aPod(0)], claims: [aClaim()] };

function aTroubledPod(state: object, last: object = {}): Pod {
  const pod = aPod(0, { ready: false });
  const container = {
    name: 'flowmesh',
    ready: false,
    started: false,
    image: '',
    imageID: '',
    restartCount: 7,
  };
  const status = { ...container, state, lastState: last };
  return { ...pod, status: { ...pod.status, containerStatuses: [status as never] } };
}

const SITUATIONS: Readonly<Record<string, readonly [FlowMeshCluster, There]>> = {
  serving: [
    aCluster({ listeners: { redis: { enabled: true } } }),
    { ...whole, facts: { clusterId: '4j7d0q2kzv', usedPercent: 41.7 } },
  ],
  'without-tls': [aCluster({ tls: { mode: 'Disabled' } }), whole],
  'pod-missing': [aCluster(), { claims: [aClaim()] }],
  'pod-recovering': [aCluster(), { ...whole, pods: [aTroubledPod({ running: {} })] }],
  'image-not-found': [
    aCluster({ image: { tag: 'typo' } }),
    { ...whole, pods: [aTroubledPod({ waiting: { reason: 'ErrImagePull' } })] },
  ],
  'out-of-memory': [
    aCluster(),
    {
      ...whole,
      pods: [
        aTroubledPod(
          { waiting: { reason: 'CrashLoopBackOff' } },
          { terminated: { exitCode: 137, reason: 'OOMKilled' } },
        ),
      ],
    },
  ],
  'rolling-out': [aCluster(), { ...whole, pods: [aPod(0, { revision: 'old' })] }],
  'scaled-to-zero': [aCluster({ replicas: 0 }), { claims: [aClaim()] }],
  'volume-shrink-refused': [aCluster({ storage: { size: '1Gi' } }), whole],
  'volume-growing': [aCluster({ storage: { size: '50Gi' } }), { ...whole, claims: [aClaim('50Gi', '20Gi')] }],
  paused: [aCluster({}, { annotations: { 'flowmesh.io/paused': 'true' } }), whole],
  'embedded-replicas': [aCluster({ replicas: 2 }), whole],
  'engine-not-served': [aCluster({ replicas: 3, journal: JETSTREAM }), {}],
};

test.for(Object.entries(SITUATIONS))('%s', async ([name, [cluster, there]]) => {
  // What exists was made from the same spec, when nothing was in the way.
  const spec = { ...cluster.spec, replicas: 1, storage: {} };
  const objects = await madeBy(aCluster(spec));
  const { status } = await planOf(cluster, { ...there, objects });
  await expect(stringify(status, { lineWidth: 100 })).toMatchFileSnapshot(join(folder, `${name}.txt`));
});

test('every file there is a situation', () => {
  expect(readdirSync(folder).sort()).toEqual(
    Object.keys(SITUATIONS)
      .map((name) => `${name}.txt`)
      .sort(),
  );
});
