// What is scaled: the workload that a queue or a consumer group of a stream names, and what everything that
// the operator makes for it is called.
//   T1. Names end in `-flowmesh-queue` or `-flowmesh-group`, and leave room for KEDA, whose autoscaler is
//       called `keda-hpa-NAME` and may have 63 characters.
//   T2. Each is owned by the queue or stream: with it, it goes. It holds up no deletion.
import { createHash } from 'node:crypto';
import type { V1OwnerReference } from '@kubernetes/client-node';
import { API_VERSION } from '../../../crds/definitions.ts';
import type { QueueSpec } from '../../../crds/types.ts';
import type { OwnedMetadata } from '../objects.ts';

export type Scaling = NonNullable<QueueSpec['scaling']>;

/** The queue or stream whose spec asks for it. */
export interface ScalingOwner {
  readonly kind: 'Queue' | 'Stream';
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** As the data plane calls it. */
export type Subject =
  | { readonly queue: string; readonly stream?: never; readonly group?: never }
  | { readonly stream: string; readonly group: string; readonly queue?: never };

export interface ScalingTarget {
  readonly owner: ScalingOwner;
  readonly subject: Subject;
  readonly workload: { readonly apiVersion: string; readonly kind: string; readonly name: string };
  readonly mode: 'Auto' | 'Direct';
  readonly from: number;
  readonly to: number;
  /** Of the lag; 0: no condition is about it. */
  readonly lagMax: number;
}

/** Of the ScaledObject and the autoscaler: 63 less `keda-hpa-`. */
const NAME_MAX = 54;
const HASH_LENGTH = 8;

export const isWord = (name: string) => /^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(name);

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, HASH_LENGTH);
}

/** `stem` with `suffix`, cut to `max` characters; `hash` where the stem alone does not tell them apart. */
export function fitting(stem: string, suffix: string, max: number, hash: string | undefined): string {
  const room = max - suffix.length;
  if (hash === undefined && stem.length <= room && isWord(stem)) return `${stem}${suffix}`;
  const plain = stem
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '-')
    .replace(/^(?![a-z])/, 'n');
  const cut = plain.slice(0, room - HASH_LENGTH - 1).replace(/-+$/, '');
  return `${cut}-${hash ?? shortHash(stem)}${suffix}`;
}

/** T1. */
export function nameOfScaler({ owner, subject }: Pick<ScalingTarget, 'owner' | 'subject'>): string {
  if (subject.queue !== undefined) return fitting(owner.name, '-flowmesh-queue', NAME_MAX, undefined);
  // The hash tells stream a-b, group c from stream a, group b-c.
  const hash = shortHash(`${owner.name}/${subject.group}`);
  return fitting(`${owner.name}-${subject.group}`, '-flowmesh-group', NAME_MAX, hash);
}

export const MANAGED_BY = 'app.kubernetes.io/managed-by';
export const MANAGER = 'flowmesh-operator';

/** By which the operator knows its own. */
export const SCALER_LABELS: Readonly<Record<string, string>> = {
  'app.kubernetes.io/component': 'scaling',
  [MANAGED_BY]: MANAGER,
  'app.kubernetes.io/name': 'flowmesh',
  'app.kubernetes.io/part-of': 'flowmesh',
};

/** T2. */
export const scalerOwner = ({ kind, name, uid }: ScalingOwner): V1OwnerReference => ({
  ...{ apiVersion: API_VERSION, kind, name, uid },
});

export function scalerMetadata(target: ScalingTarget): OwnedMetadata {
  const { owner } = target;
  return {
    name: nameOfScaler(target),
    namespace: owner.namespace,
    labels: { ...SCALER_LABELS },
    ownerReferences: [scalerOwner(owner)],
  };
}
