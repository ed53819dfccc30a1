// The certificate by which API servers know a server of the operator: one Secret that all replicas read, and
// the authority that API servers read where the server is registered. Pure: what there is and the time in,
// what has to be there out.
//   C1. What is due is decided by resources/certificate-plan.ts, as for clusters: 90 days, renewed after 60,
//       and an authority is published before it signs.
//   C2. A Secret that is gone is made anew; whoever still presents the old certificate stays trusted.
//   C3. A Secret of somebody else under this name is left alone.

import type { KubeObject, OwnerReference, Resource } from '../kube/objects.ts';
import type { SecretText } from '../resources/certificate-plan.ts';
import { type KeySource, renewCertificates } from '../resources/certificates.ts';

export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export const SECRETS: Resource<Secret> = {
  ...{ group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true },
};

export interface Place {
  readonly namespace: string;
  /** Of the Service; the other names follow from it. */
  readonly service: string;
  readonly clusterDomain: string;
}

/** Who serves. */
export interface Server {
  /** In names of controllers, field managers, logs and labels: `webhook`. */
  readonly name: string;
  readonly place: Place;
}

export const secretNameOf = ({ service }: Place) => `${service}-tls`;

/** What the API server calls it (`service.namespace.svc`), and a laptop. */
export function namesOf({ service, namespace, clusterDomain }: Place): string[] {
  const full = `${service}.${namespace}.svc`;
  return [full, `${full}.${clusterDomain}`, `${service}.${namespace}`, service, 'localhost', '127.0.0.1'];
}

export const MANAGED = { 'app.kubernetes.io/managed-by': 'flowmesh-operator' };

export const labelsOf = ({ name }: Server) => ({
  ...MANAGED,
  ...{ 'app.kubernetes.io/name': 'flowmesh', 'app.kubernetes.io/component': name },
});

export const isManaged = ({ metadata }: KubeObject) =>
  Object.entries(MANAGED).every(([label, value]) => metadata.labels?.[label] === value);

export interface FoundSecret {
  readonly secret: Secret | undefined;
  /** With whom it goes. */
  readonly owner: OwnerReference | undefined;
  /** What this process presents: `ca.crt` says who was trusted when there is no Secret any more (C2). */
  readonly presented: SecretText | undefined;
  readonly nowMs: number;
}

export interface DueSecret {
  /** Unset: it is as it has to be. */
  readonly secret: Secret | undefined;
  /** PEM, who has to be trusted. */
  readonly bundle: string;
  readonly reasons: readonly string[];
  readonly renewAtMs: number;
}

export class ForeignSecret extends Error {}

export function dueSecret(
  { secret, owner, presented, nowMs }: FoundSecret,
  server: Server,
  keys: KeySource,
): DueSecret {
  const { place } = server;
  if (secret !== undefined && !isManaged(secret)) {
    const where = `Secret ${place.namespace}/${secretNameOf(place)}`;
    throw new ForeignSecret(
      `${where} is not the operator's: delete or rename it, the ${server.name} needs the name`,
    );
  }
  const renewed = renewCertificates(
    {
      ...{ name: `flowmesh-${server.name}`, names: namesOf(place), nowMs },
      authority: secret && authorityIn(secret),
      leaf: secret === undefined ? presented : leafIn(secret),
    },
    keys,
  );
  const isWritten = !renewed.hasChanged && secret !== undefined && isOwned(secret, owner);
  return {
    secret: isWritten ? undefined : secretOf(server, renewed, secret, owner),
    bundle: renewed.leaf['ca.crt'] ?? '',
    reasons: renewed.reasons,
    renewAtMs: renewed.renewAtMs,
  };
}

/** What is presented: key, certificate and the authorities that go with it. */
export function leafIn({ data = {} }: Secret): SecretText {
  const text = (key: string) => decoded(data[key]);
  return { 'tls.crt': text('tls.crt'), 'tls.key': text('tls.key'), 'ca.crt': text('ca.crt') };
}

function authorityIn({ data = {} }: Secret): SecretText {
  const text = (key: string) => decoded(data[key]);
  return {
    ...{ 'tls.crt': text('authority.crt'), 'tls.key': text('authority.key'), 'ca.crt': text('ca.crt') },
    ...{ 'next.crt': text('next.crt'), 'next.key': text('next.key') },
  };
}

function secretOf(
  server: Server,
  { authority, leaf }: { readonly authority: SecretText; readonly leaf: SecretText },
  live: Secret | undefined,
  owner: OwnerReference | undefined,
): Secret {
  const text = {
    ...{ 'tls.crt': leaf['tls.crt'], 'tls.key': leaf['tls.key'], 'ca.crt': leaf['ca.crt'] },
    ...{ 'authority.crt': authority['tls.crt'], 'authority.key': authority['tls.key'] },
    ...{ 'next.crt': authority['next.crt'], 'next.key': authority['next.key'] },
  };
  const data = Object.entries(text).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, encoded(value)]],
  );
  const resourceVersion = live?.metadata.resourceVersion;
  const { place } = server;
  return {
    metadata: {
      ...{ name: secretNameOf(place), namespace: place.namespace, labels: labelsOf(server) },
      // Somebody else's newer one is never written over.
      ...(resourceVersion !== undefined && { resourceVersion }),
      ...(owner && { ownerReferences: [owner] }),
    },
    type: 'kubernetes.io/tls',
    data: Object.fromEntries(data),
  };
}

function isOwned({ metadata }: Secret, owner: OwnerReference | undefined): boolean {
  return owner === undefined || (metadata.ownerReferences ?? []).some(({ uid }) => uid === owner.uid);
}

export const encoded = (text: string) => Buffer.from(text).toString('base64');

export const decoded = (base64: string | undefined) =>
  base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString();
