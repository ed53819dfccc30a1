// Which cluster an object names, and whether it may. Pure.
//   R1. Another namespace only where the cluster admits it: who owns the cluster decides, not who refers.
//   R2. Of several objects that name one thing, the oldest has it; of those made in one second, the one that
//       has it already, then the lower uid.
import type { FlowMeshClusterSpec } from '../../../crds/types.ts';
import { isTerminating, type Key, type KubeObject, keyOf } from '../../kube/objects.ts';
import type { DeclaredObject } from './kinds.ts';

export interface ClusterObject extends KubeObject {
  spec: FlowMeshClusterSpec;
}

export type Labels = Readonly<Record<string, string>>;

export type ClusterView =
  /** There is none of this name. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'denied' }
  | { readonly kind: 'terminating' }
  /** It has no replicas. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'serving'; readonly cluster: ClusterObject };

const DEFAULT_CLUSTER = 'main';

export function clusterRefOf({ metadata, spec }: DeclaredObject): { name: string; namespace: string } {
  const { name = DEFAULT_CLUSTER, namespace = metadata.namespace ?? 'default' } = spec.clusterRef ?? {};
  return { name, namespace };
}

export const clusterKeyOf = (object: DeclaredObject): Key => keyOf(clusterRefOf(object));

export function viewCluster(
  object: DeclaredObject,
  cluster: ClusterObject | undefined,
  labels: Labels,
): ClusterView {
  if (cluster === undefined) return { kind: 'unknown' };
  if (!admits(cluster, object.metadata.namespace ?? 'default', labels)) return { kind: 'denied' };
  if (isTerminating(cluster)) return { kind: 'terminating' };
  if (cluster.spec.replicas === 0) return { kind: 'stopped' };
  return { kind: 'serving', cluster };
}

/** `labels` are those of the namespace. */
export function admits({ metadata, spec }: ClusterObject, namespace: string, labels: Labels): boolean {
  if (namespace === metadata.namespace) return true;
  const { from = 'Same', selector } = spec.allowedNamespaces ?? {};
  if (from === 'All') return true;
  if (from !== 'Selector' || selector === undefined) return false;
  const has = (key: string, value: string) => labels[key] === value;
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => has(key, value)) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const isIn = values.some((value) => has(key, value));
      if (operator === 'In') return isIn;
      if (operator === 'NotIn') return !isIn;
      return (labels[key] !== undefined) === (operator === 'Exists');
    })
  );
}

/** Who has the name, if that is another one. */
export function rivalOf(
  object: DeclaredObject,
  others: readonly DeclaredObject[],
): DeclaredObject | undefined {
  const first = [object, ...others].sort(older)[0];
  return first === object || first?.metadata.uid === object.metadata.uid ? undefined : first;
}

function older(a: DeclaredObject, b: DeclaredObject): number {
  const [x, y] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  if (x !== y) return x < y ? -1 : 1;
  const synced = Number(isSynced(b)) - Number(isSynced(a));
  return synced || ((a.metadata.uid ?? '') < (b.metadata.uid ?? '') ? -1 : 1);
}

const isSynced = ({ status }: DeclaredObject) =>
  status?.conditions?.some(({ type, status: is }) => type === 'Synced' && is === 'True') ?? false;
