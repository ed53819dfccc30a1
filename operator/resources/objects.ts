// The shape of objects as they go over the wire. The client's own types rename fields that are words of the
// language (`from` is `_from` there) and hold dates as objects; builders write what the API server reads.
import type { V1ObjectMeta } from '@kubernetes/client-node';

export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Entry)[]
    ? Wire<Entry>[]
    : T extends object
      ? { [Name in keyof T as Name extends `_${infer Plain}` ? Plain : Name]: Wire<T[Name]> }
      : T;

export interface KubernetesObject {
  apiVersion?: string;
  kind?: string;
  metadata?: Wire<V1ObjectMeta>;
}

/** Enough to read or delete an object. */
export interface ObjectName {
  apiVersion: string;
  kind: string;
  namespace: string;
  name: string;
}
