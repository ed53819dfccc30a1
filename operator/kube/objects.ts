// What every Kubernetes object has, how kinds are addressed, and the key that queues and caches use.
//   O1. A key is `namespace/name`, or `/name` of an object without a namespace.

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: unknown[];
}

export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** A kind as the API serves it. `T` is a phantom: the type of its objects. */
export interface Resource<T extends KubeObject = KubeObject> {
  /** '' is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly object?: T;
}

export type Key = string;

export interface Name {
  readonly name: string;
  readonly namespace?: string | undefined;
}

export function keyOf({ namespace = '', name }: Name): Key {
  return `${namespace}/${name}`;
}

export function nameOf(key: Key): { namespace: string; name: string } {
  const at = key.indexOf('/');
  return { namespace: key.slice(0, at), name: key.slice(at + 1) };
}

export function apiVersionOf({ group, version }: Resource): string {
  return group === '' ? version : `${group}/${version}`;
}

/** Of a collection, or of one object; `namespace` unset is all of them. */
export function pathOf(resource: Resource, at: Partial<Name> = {}, subresource?: string): string {
  const root = resource.group === '' ? '/api' : `/apis/${resource.group}`;
  const inNamespace = resource.namespaced && at.namespace !== undefined && at.namespace !== '';
  return [
    `${root}/${resource.version}`,
    ...(inNamespace ? ['namespaces', encodeURIComponent(at.namespace as string)] : []),
    resource.plural,
    ...(at.name === undefined ? [] : [encodeURIComponent(at.name)]),
    ...(subresource === undefined ? [] : [subresource]),
  ].join('/');
}

export function isTerminating(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined;
}

export function ownerReference(owner: KubeObject, resource: Resource): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The key of the controlling owner, if it is of that kind, in whichever version. */
export function ownerKeyOf(object: KubeObject, owner: Resource): Key | undefined {
  const reference = object.metadata.ownerReferences?.find((each) => each.controller === true);
  if (reference === undefined || reference.kind !== owner.kind) return undefined;
  const [group = ''] = reference.apiVersion.includes('/') ? reference.apiVersion.split('/') : [''];
  if (group !== owner.group) return undefined;
  return keyOf({ name: reference.name, namespace: owner.namespaced ? object.metadata.namespace : undefined });
}

/** Most of the bytes of many objects, and nobody reads them. */
export function lean<T extends KubeObject>(object: T): T {
  const { managedFields: _, annotations, ...metadata } = object.metadata;
  const { 'kubectl.kubernetes.io/last-applied-configuration': __, ...kept } = annotations ?? {};
  return { ...object, metadata: annotations === undefined ? metadata : { ...metadata, annotations: kept } };
}

/** Versions are decimal numbers that grow (Kubernetes 1.35 promises it); other ones are only told apart. */
export function isNewer(version: string | undefined, than: string | undefined): boolean {
  if (version === than) return false;
  if (version === undefined || than === undefined || !/^\d+$/.test(version) || !/^\d+$/.test(than))
    return true;
  return version.length === than.length ? version > than : version.length > than.length;
}
