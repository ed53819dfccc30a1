// Volumes grow, never shrink, and are never lost.
import { expect, test } from 'vitest';
import { resolveCluster } from '../../operator/resources/cluster.ts';
import { podTemplate } from '../../operator/resources/pod-template.ts';
import { quantity } from '../../operator/resources/quantities.ts';
import { statefulSet } from '../../operator/resources/stateful-set.ts';
import { planVolumes, type VolumeInput } from '../../operator/resources/volumes.ts';
import { caseOf, DEFAULTS } from './render-cases.ts';

const { metadata } = caseOf('default').cluster;
const clusterOf = (storage: { size?: string; deletionPolicy?: 'Retain' | 'Delete' }) =>
  resolveCluster({ metadata, spec: { storage } }, DEFAULTS);
const setOf = (size: string) => {
  const cluster = clusterOf({ size });
  return statefulSet(cluster, podTemplate(cluster).template);
};
const claimOf = (request: string, capacity = request, extra: object = {}): VolumeInput['claims'][number] => ({
  metadata: { name: 'data-main-flowmesh-0', namespace: 'shop' },
  spec: { storageClassName: 'fast', resources: { requests: { storage: request } } },
  status: { capacity: { storage: capacity }, ...extra },
});
const plan = (storage: Parameters<typeof clusterOf>[0], input: Partial<VolumeInput>) =>
  planVolumes(clusterOf(storage), { statefulSet: undefined, claims: [], canExpand: () => true, ...input });

test('a new cluster gets what it asks for', () => {
  expect(plan({ size: '5Gi' }, {})).toMatchObject({ claim: { size: '5Gi' }, patches: [], recreate: false });
});

test('a larger size goes to the claims first, to the StatefulSet when all have it, and then rests', () => {
  const asked = plan({ size: '50Gi' }, { statefulSet: setOf('20Gi'), claims: [claimOf('20Gi')] });
  expect(asked).toMatchObject({ recreate: false, claim: { size: '20Gi' }, refused: undefined });
  expect(asked.patches).toMatchObject([
    { metadata: { name: 'data-main-flowmesh-0' }, spec: { resources: { requests: { storage: '50Gi' } } } },
  ]);
  const growing = plan({ size: '50Gi' }, { statefulSet: setOf('20Gi'), claims: [claimOf('50Gi', '20Gi')] });
  expect(growing).toMatchObject({ recreate: true, claim: { size: '50Gi' }, patches: [] });
  expect(growing.resizing).toEqual(['data-main-flowmesh-0']);
  const done = plan({ size: '50Gi' }, { statefulSet: setOf('50Gi'), claims: [claimOf('50Gi')] });
  expect(done).toMatchObject({ recreate: false, patches: [], resizing: [], claim: { size: '50Gi' } });
});

test('with 0 replicas and no claims only the template grows', () => {
  expect(plan({ size: '50Gi' }, { statefulSet: setOf('20Gi') })).toMatchObject({
    recreate: true,
    patches: [],
  });
});

test('a smaller size is refused with the cure, and nothing is touched', () => {
  const refused = plan({ size: '5Gi' }, { statefulSet: setOf('20Gi'), claims: [claimOf('20Gi')] });
  expect(refused).toMatchObject({ patches: [], recreate: false, claim: { size: '20Gi' } });
  expect(refused.refused).toEqual({
    reason: 'VolumeShrinkRefused',
    message: 'volumes cannot shrink from 20Gi to 5Gi; write storage.size: 20Gi, or move to another cluster',
  });
});

test('the same size written differently is no change', () => {
  const input = { statefulSet: setOf('1Gi'), claims: [claimOf('1Gi')] };
  expect(plan({ size: '1024Mi' }, input)).toMatchObject({ patches: [], recreate: false, refused: undefined });
});

test('a class that cannot expand is named, one that nobody knows is tried', () => {
  const input = { statefulSet: setOf('20Gi'), claims: [claimOf('20Gi')] };
  expect(plan({ size: '50Gi' }, { ...input, canExpand: () => false }).refused).toEqual({
    reason: 'VolumeExpansionUnsupported',
    message:
      'storage class fast does not let volumes grow to 50Gi; ' +
      'set allowVolumeExpansion on it, or write storage.size: 20Gi',
  });
  expect(plan({ size: '50Gi' }, { ...input, canExpand: () => undefined }).patches).toHaveLength(1);
});

test('a file system that waits for its node is told', () => {
  const conditions = [{ type: 'FileSystemResizePending', status: 'True' }];
  const claims = [claimOf('50Gi', '20Gi', { conditions })];
  expect(plan({ size: '50Gi' }, { statefulSet: setOf('50Gi'), claims }).awaitingNode).toEqual([
    'data-main-flowmesh-0',
  ]);
});

test('with deletionPolicy Delete the cluster owns its claims, with Retain it gives them back', () => {
  const [owned] = plan(
    { deletionPolicy: 'Delete' },
    { statefulSet: setOf('20Gi'), claims: [claimOf('20Gi')] },
  ).patches;
  expect(owned?.metadata?.ownerReferences).toEqual([
    { apiVersion: 'flowmesh.io/v1alpha1', kind: 'FlowMeshCluster', name: 'main', uid: metadata.uid },
  ]);
  const claim = claimOf('20Gi');
  const claims = [
    { ...claim, metadata: { ...claim.metadata, ownerReferences: owned?.metadata?.ownerReferences } },
  ];
  expect(plan({ deletionPolicy: 'Delete' }, { statefulSet: setOf('20Gi'), claims }).patches).toEqual([]);
  const [released] = plan({ deletionPolicy: 'Retain' }, { statefulSet: setOf('20Gi'), claims }).patches;
  expect(released?.metadata).not.toHaveProperty('ownerReferences');
  expect(released?.spec?.resources?.requests).toEqual({ storage: '20Gi' });
});

test.each([
  ['20Gi', 20 * 2 ** 30],
  ['1500m', 1.5],
  ['1e3', 1000],
  ['2.5M', 2_500_000],
  ['1E', 1e18],
  ['12', 12],
  ['x', undefined],
  ['1Zi', undefined],
])('the quantity %s is %s', (text, value) => {
  expect(quantity(text)).toBe(value);
});
