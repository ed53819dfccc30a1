// Gives claims their volumes: a folder on the node's disk, as a local volume.
//   1. Local volumes and not host paths, as only they obey `fsGroup`: a pod without root can write.
//   2. A larger request makes the volume larger: a folder needs no more than new figures.
//   3. Nothing here is remembered: every round looks at what there is, so a restart changes nothing.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Api } from '../parts/api.ts';
import { NODE } from './configs.ts';

export const PROVISIONER = 'flowmesh.io/local-folder';
const EVERY_MS = 200;
const HOST = 'kubernetes.io/hostname';
const MERGE = 'application/merge-patch+json';

export async function createStorageClass(api: Api): Promise<void> {
  await api('POST', '/apis/storage.k8s.io/v1/storageclasses', {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    // As the one of kind.
    metadata: { name: 'standard', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    provisioner: PROVISIONER,
    volumeBindingMode: 'WaitForFirstConsumer',
    reclaimPolicy: 'Delete',
    allowVolumeExpansion: true,
  });
}

export function startProvisioner(api: Api, folder: string, log: (line: string) => void): { stop(): void } {
  let running = true;
  let lastProblem = '';
  const loop = async () => {
    while (running) {
      try {
        await round(api, folder);
      } catch (error) {
        // The API server may be away for a while; say it once.
        const problem = String(error);
        if (problem !== lastProblem) log(`provisioner: ${problem}`);
        lastProblem = problem;
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  };
  void loop();
  return {
    stop() {
      running = false;
    },
  };
}

async function round(api: Api, folder: string): Promise<void> {
  // From the API server's memory: a round costs etcd nothing.
  const list = async (path: string) => (await api('GET', `${path}?resourceVersion=0`)).body.items;
  const [claims, volumes] = [
    await list('/api/v1/persistentvolumeclaims'),
    await list('/api/v1/persistentvolumes'),
  ];
  for (const claim of claims) await serve(api, folder, claim, volumes);
  for (const volume of volumes) {
    const { metadata, spec, status } = volume;
    const ours = metadata.annotations?.['pv.kubernetes.io/provisioned-by'] === PROVISIONER;
    if (!ours || status.phase !== 'Released' || spec.persistentVolumeReclaimPolicy !== 'Delete') continue;
    rmSync(spec.local.path, { recursive: true, force: true });
    await api('DELETE', `/api/v1/persistentvolumes/${metadata.name}`);
  }
}

// biome-ignore-start lint/suspicious/noExplicitAny: objects as the API server has them
async function serve(api: Api, folder: string, claim: any, volumes: any[]): Promise<void> {
  const { annotations = {}, deletionTimestamp, namespace, name, uid } = claim.metadata;
  if (deletionTimestamp !== undefined) return;
  const size = claim.spec.resources.requests.storage;
  const volumeName = `pvc-${uid}`;
  const volume = volumes.find((each) => each.metadata.name === volumeName);
  if (claim.spec.volumeName === undefined) {
    const ours = annotations['volume.kubernetes.io/storage-provisioner'] === PROVISIONER;
    const node = annotations['volume.kubernetes.io/selected-node'];
    if (ours && node !== undefined && volume === undefined) await provision(api, folder, claim);
    return;
  }
  if (volume === undefined || claim.status.phase !== 'Bound' || claim.status.capacity?.storage === size)
    return;
  const larger = { capacity: { storage: size } };
  await api('PATCH', `/api/v1/persistentvolumes/${volumeName}`, { spec: larger }, MERGE);
  const status = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${name}/status`;
  await api('PATCH', status, { status: larger }, MERGE);
}

async function provision(api: Api, folder: string, claim: any): Promise<void> {
  const { namespace, name, uid, resourceVersion } = claim.metadata;
  const path = join(folder, `pvc-${uid}`);
  mkdirSync(path, { recursive: true });
  await api('POST', '/api/v1/persistentvolumes', {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `pvc-${uid}`, annotations: { 'pv.kubernetes.io/provisioned-by': PROVISIONER } },
    spec: {
      capacity: { storage: claim.spec.resources.requests.storage },
      accessModes: claim.spec.accessModes,
      persistentVolumeReclaimPolicy: 'Delete',
      storageClassName: claim.spec.storageClassName,
      volumeMode: 'Filesystem',
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid, resourceVersion },
      local: { path },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: HOST, operator: 'In', values: [NODE] }] }],
        },
      },
    },
  });
}
// biome-ignore-end lint/suspicious/noExplicitAny: see above
