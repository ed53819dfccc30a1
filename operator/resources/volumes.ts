// How the volumes become what `storage` says. Pure: what there is in, what to do out.
//   V1. Volumes grow and never shrink; a smaller size is refused with a reason and nothing is touched.
//   V2. Claims are patched first. When all have the new size, the StatefulSet is made anew around its pods
//       (deleted as an orphan), as its claim template cannot be changed and new pods must get the new size.
//   V3. No volume is ever deleted here. `deletionPolicy: Delete` makes the cluster the owner of its claims,
//       so that they go with it; `Retain` takes that back.
import type { V1PersistentVolumeClaim, V1StatefulSet } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import { ownerOf, selectorLabels } from './names.ts';
import type { Wire } from './objects.ts';
import { DATA_VOLUME } from './pod.ts';
import { quantity } from './quantities.ts';
import type { ClaimTemplate } from './stateful-set.ts';

export interface VolumeInput {
  /** Unset: not there yet. */
  readonly statefulSet: Wire<V1StatefulSet> | undefined;
  /** Those of this cluster. */
  readonly claims: readonly Wire<V1PersistentVolumeClaim>[];
  /** Of a class by name; undefined: no such class, or unknown. */
  readonly canExpand: (storageClassName: string | undefined) => boolean | undefined;
}

export interface VolumePlan {
  /** What the StatefulSet must be rendered with, as it cannot change its own. */
  readonly claim: ClaimTemplate;
  /** Server-side apply these: the size and the owner of claims that differ. */
  readonly patches: readonly Wire<V1PersistentVolumeClaim>[];
  /** Delete the StatefulSet with `propagationPolicy: Orphan`, then apply it again. */
  readonly recreate: boolean;
  /** The size of `storage` cannot be had, and why; everything else goes on. */
  readonly refused: { readonly reason: string; readonly message: string } | undefined;
  /** Claims that are not as large as they should be yet, by name. */
  readonly resizing: readonly string[];
  /** Of these, those that wait for their node; drivers that cannot grow in use need the pod started again. */
  readonly awaitingNode: readonly string[];
}

export function planVolumes(cluster: ResolvedCluster, input: VolumeInput): VolumePlan {
  const { size } = cluster.storage;
  const { claims } = input;
  const created = claimTemplateOf(input.statefulSet);
  const refused = refusalOf(cluster, input, created);
  const mayGrow = refused === undefined;
  const isBehind = created !== undefined && bytes(created.size) < bytes(size);
  const recreate = mayGrow && isBehind && claims.every((claim) => bytes(requestOf(claim)) >= bytes(size));
  const resizing = claims.filter(isResizing);
  return {
    claim: created === undefined ? cluster.storage : { ...created, ...(recreate ? { size } : {}) },
    patches: claims.flatMap((claim) => patchOf(cluster, claim, mayGrow ? size : requestOf(claim))),
    recreate,
    refused,
    resizing: resizing.map(nameOf),
    awaitingNode: resizing.filter(awaitsNode).map(nameOf),
  };
}

function refusalOf(
  { storage }: ResolvedCluster,
  { claims, canExpand }: VolumeInput,
  created: ClaimTemplate | undefined,
): VolumePlan['refused'] {
  const sizes = [...(created ? [created.size] : []), ...claims.map(requestOf)];
  const largest = sizes.reduce((most, each) => (bytes(each) > bytes(most) ? each : most), '0');
  if (bytes(storage.size) < bytes(largest)) {
    const cure = `write storage.size: ${largest}, or move to another cluster`;
    const message = `volumes cannot shrink from ${largest} to ${storage.size}; ${cure}`;
    return { reason: 'VolumeShrinkRefused', message };
  }
  const fixed = claims.find(
    (claim) =>
      bytes(requestOf(claim)) < bytes(storage.size) && canExpand(claim.spec?.storageClassName) === false,
  );
  if (fixed === undefined) return undefined;
  const name = fixed.spec?.storageClassName ?? '(default)';
  const cure = `set allowVolumeExpansion on it, or write storage.size: ${requestOf(fixed)}`;
  const message = `storage class ${name} does not let volumes grow to ${storage.size}; ${cure}`;
  return { reason: 'VolumeExpansionUnsupported', message };
}

/** Nothing, or the whole of what we own of a claim: what a later apply leaves out would be taken away. */
function patchOf(
  cluster: ResolvedCluster,
  claim: Wire<V1PersistentVolumeClaim>,
  size: string,
): Wire<V1PersistentVolumeClaim>[] {
  const { storage, name, namespace, uid } = cluster;
  const isOurs = claim.metadata?.ownerReferences?.some((owner) => owner.uid === uid) ?? false;
  const shouldBeOurs = storage.deletionPolicy === 'Delete';
  const mustGrow = bytes(requestOf(claim)) < bytes(size);
  if (!mustGrow && isOurs === shouldBeOurs) return [];
  // Not as its controller: the StatefulSet keeps its hands off claims that somebody else controls.
  const { controller: _, blockOwnerDeletion: __, ...owner } = ownerOf(cluster);
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: nameOf(claim),
        namespace,
        labels: selectorLabels(name),
        ...(shouldBeOurs ? { ownerReferences: [owner] } : {}),
      },
      spec: { resources: { requests: { storage: mustGrow ? size : requestOf(claim) } } },
    },
  ];
}

function claimTemplateOf(statefulSet: VolumeInput['statefulSet']): ClaimTemplate | undefined {
  const claims = statefulSet?.spec?.volumeClaimTemplates ?? [];
  const claim = claims.find(({ metadata }) => metadata?.name === DATA_VOLUME);
  return claim && { size: requestOf(claim), storageClassName: claim.spec?.storageClassName };
}

const nameOf = (claim: Wire<V1PersistentVolumeClaim>) => claim.metadata?.name ?? '';
const requestOf = (claim: Wire<V1PersistentVolumeClaim>) =>
  claim.spec?.resources?.requests?.['storage'] ?? '0';
const bytes = (size: string) => quantity(size) ?? 0;

function isResizing({ status, ...claim }: Wire<V1PersistentVolumeClaim>): boolean {
  const capacity = status?.capacity?.['storage'];
  return capacity !== undefined && bytes(capacity) < bytes(requestOf(claim));
}

function awaitsNode({ status }: Wire<V1PersistentVolumeClaim>): boolean {
  return (
    status?.conditions?.some(
      (condition) => condition.type === 'FileSystemResizePending' && condition.status === 'True',
    ) ?? false
  );
}
