// The shape of objects as they go over the wire. The client's own types rename fields that are words of the
// language (`from` is `_from` there) and hold dates as objects; builders write what the API server reads.
import type { V1OwnerReference } from '@kubernetes/client-node';

export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Entry)[]
    ? Wire<Entry>[]
    : T extends object
      ? { [Name in keyof T as Name extends `_${infer Plain}` ? Plain : Name]: Wire<T[Name]> }
      : T;

/** An object that a builder makes: with its name, its kind and its owner. */
export type Built<T> = Omit<Wire<T>, 'apiVersion' | 'kind' | 'metadata'> & KubernetesObject;

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: OwnedMetadata;
}

export interface OwnedMetadata {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences: V1OwnerReference[];
}

/** Enough to read or delete an object. */
export interface ObjectName {
  apiVersion: string;
  kind: string;
  namespace: string;
  name: string;
}
