// The names, labels and owner of everything that a cluster owns.
//   N1. Every derived name ends in `-flowmesh` or `-flowmesh-PART`, so the objects of two clusters never
//       share a name, and an application called like its cluster keeps its own Service.
//   N2. Names fit where Kubernetes puts them: 52 characters for a StatefulSet (its revision hash goes into
//       a label of 63), RFC 1035 for Services. A cluster name that does not fit is shortened with a hash.
//   N3. Selector labels depend on the name of the cluster alone, as a StatefulSet cannot change them.
import { createHash } from 'node:crypto';
import type { V1OwnerReference } from '@kubernetes/client-node';
import { API_VERSION } from '../../crds/definitions.ts';
import type { OwnedMetadata } from './objects.ts';

export const CONTAINER = 'flowmesh';
export const FIELD_PREFIX = 'flowmesh.io';
const MANAGER = 'flowmesh-operator';
/** 52 less `-flowmesh`. */
const STEM_MAX = 43;
const HASH_LENGTH = 8;

export interface Subject {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

export interface Names {
  /** For labels: the name of the cluster where it fits. */
  readonly stem: string;
  readonly statefulSet: string;
  /** What clients connect to. */
  readonly service: string;
  /** Headless: one DNS name for each pod. */
  readonly podService: string;
  readonly configMap: string;
  readonly serviceAccount: string;
  readonly disruptionBudget: string;
  readonly networkPolicy: string;
  /** For applications. */
  readonly bindingSecret: string;
  /** What the pods read. */
  readonly tokenSecret: string;
  readonly tlsSecret: string;
  /** The private key of the authority; no pod mounts it. */
  readonly authoritySecret: string;
  readonly certificate: string;
  readonly serviceMonitor: string;
  readonly prometheusRule: string;
}

export function namesOf(clusterName: string): Names {
  const stem = stemOf(clusterName);
  const base = `${stem}-flowmesh`;
  return {
    stem,
    statefulSet: base,
    service: base,
    podService: `${base}-pods`,
    configMap: `${base}-config`,
    serviceAccount: base,
    disruptionBudget: base,
    networkPolicy: base,
    bindingSecret: `${base}-binding`,
    tokenSecret: `${base}-token`,
    tlsSecret: `${base}-tls`,
    authoritySecret: `${base}-ca`,
    certificate: `${base}-tls`,
    serviceMonitor: base,
    prometheusRule: base,
  };
}

function stemOf(name: string): string {
  if (name.length <= STEM_MAX && /^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(name)) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_LENGTH);
  const plain = `c${name}`.replace(/^c(?=[a-z])/, '').replaceAll(/[^a-z0-9]/g, '-');
  return `${plain.slice(0, STEM_MAX - HASH_LENGTH - 1).replace(/-+$/, '')}-${hash}`;
}

export function selectorLabels(clusterName: string): Record<string, string> {
  return {
    'app.kubernetes.io/component': 'data-plane',
    'app.kubernetes.io/instance': namesOf(clusterName).stem,
    'app.kubernetes.io/name': 'flowmesh',
  };
}

/** The recommended labels. `version` is that of the image, if its tag says one. */
export function labelsOf(clusterName: string, version?: string): Record<string, string> {
  return {
    ...selectorLabels(clusterName),
    'app.kubernetes.io/managed-by': MANAGER,
    'app.kubernetes.io/part-of': 'flowmesh',
    ...(version === undefined ? {} : { 'app.kubernetes.io/version': version }),
  };
}

export function ownerOf({ name, uid }: Subject): V1OwnerReference {
  return {
    apiVersion: API_VERSION,
    kind: 'FlowMeshCluster',
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Whether an object that exists may be changed: another owner's objects are never taken over. */
export function isOwnedBy(
  metadata: { ownerReferences?: V1OwnerReference[] } | undefined,
  { uid }: Pick<Subject, 'uid'>,
): boolean {
  return metadata?.ownerReferences?.some((owner) => owner.controller === true && owner.uid === uid) ?? false;
}

export function metadataOf(subject: Subject & { version?: string | undefined }, name: string): OwnedMetadata {
  return {
    name,
    namespace: subject.namespace,
    labels: labelsOf(subject.name, subject.version),
    ownerReferences: [ownerOf(subject)],
  };
}
