// The certificate of the webhook: one Secret that all replicas read, and the authority that the API server
// reads in the configuration. Pure: what there is and the time in, what has to be there out.
//   C1. What is due is decided by resources/certificate-plan.ts, as for clusters: 90 days, renewed after 60,
//       and an authority is published before it signs.
//   C2. A Secret that is gone is made anew; whoever still presents the old certificate stays trusted.
//   C3. Of the configuration nothing is set but the authorities, of its entries as they are there.
//   C4. A Secret of somebody else under this name is left alone.

import type { KubeObject, Resource } from '../kube/objects.ts';
import type { SecretText } from '../resources/certificate-plan.ts';
import { type KeySource, renewCertificates } from '../resources/certificates.ts';

export interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export interface Configuration extends KubeObject {
  webhooks?: { name: string; clientConfig?: { caBundle?: string } }[];
}

export const SECRETS: Resource<Secret> = {
  ...{ group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true },
};
export const CONFIGURATIONS: Resource<Configuration> = {
  ...{ group: 'admissionregistration.k8s.io', version: 'v1', plural: 'validatingwebhookconfigurations' },
  ...{ kind: 'ValidatingWebhookConfiguration', namespaced: false },
};

export interface Place {
  readonly namespace: string;
  /** Of the Service; the other names follow from it. */
  readonly service: string;
  readonly clusterDomain: string;
}

export const secretNameOf = ({ service }: Place) => `${service}-tls`;
/** The chart calls it as it calls the Service. */
export const configurationNameOf = ({ service }: Place) => service;

/** What the API server calls it (`service.namespace.svc`), and a laptop. */
export function namesOf({ service, namespace, clusterDomain }: Place): string[] {
  const full = `${service}.${namespace}.svc`;
  return [full, `${full}.${clusterDomain}`, `${service}.${namespace}`, service, 'localhost', '127.0.0.1'];
}

/** What people see as the subject. */
const SUBJECT = 'flowmesh-webhook';
const MANAGED = { 'app.kubernetes.io/managed-by': 'flowmesh-operator' };
const LABELS = { ...MANAGED, 'app.kubernetes.io/name': 'flowmesh', 'app.kubernetes.io/component': 'webhook' };

export interface Found {
  readonly secret: Secret | undefined;
  readonly configuration: Configuration | undefined;
  /** What this process presents: `ca.crt` says who was trusted when there is no Secret any more (C2). */
  readonly presented: SecretText | undefined;
  readonly nowMs: number;
}

export interface Due {
  /** Unset: it is as it has to be. */
  readonly secret: Secret | undefined;
  readonly configuration: Configuration | undefined;
  readonly reasons: readonly string[];
  readonly renewAtMs: number;
}

export class ForeignSecret extends Error {}

export function dueOf(found: Found, place: Place, keys: KeySource): Due {
  const { secret, configuration, presented, nowMs } = found;
  const name = secretNameOf(place);
  if (secret !== undefined && !isOurs(secret)) {
    const where = `Secret ${place.namespace}/${name}`;
    throw new ForeignSecret(
      `${where} is not the operator's: delete or rename it, the webhook needs the name`,
    );
  }
  const renewed = renewCertificates(
    {
      ...{ name: SUBJECT, names: namesOf(place), nowMs },
      authority: secret && authorityIn(secret),
      leaf: secret === undefined ? presented : leafIn(secret),
    },
    keys,
  );
  const wanted = secretOf(place, renewed, secret, configuration);
  const isWritten = !renewed.hasChanged && secret !== undefined && isOwned(secret, configuration);
  const bundle = renewed.leaf['ca.crt'] ?? '';
  return {
    secret: isWritten ? undefined : wanted,
    configuration: configuration && trusting(configuration, bundle),
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
  place: Place,
  { authority, leaf }: { readonly authority: SecretText; readonly leaf: SecretText },
  live: Secret | undefined,
  configuration: Configuration | undefined,
): Secret {
  const text = {
    ...{ 'tls.crt': leaf['tls.crt'], 'tls.key': leaf['tls.key'], 'ca.crt': leaf['ca.crt'] },
    ...{ 'authority.crt': authority['tls.crt'], 'authority.key': authority['tls.key'] },
    ...{ 'next.crt': authority['next.crt'], 'next.key': authority['next.key'] },
  };
  const data = Object.entries(text).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, Buffer.from(value).toString('base64')]],
  );
  const resourceVersion = live?.metadata.resourceVersion;
  return {
    metadata: {
      ...{ name: secretNameOf(place), namespace: place.namespace, labels: LABELS },
      // Somebody else's newer one is never written over.
      ...(resourceVersion !== undefined && { resourceVersion }),
      ...(configuration && { ownerReferences: [ownerOf(configuration)] }),
    },
    type: 'kubernetes.io/tls',
    data: Object.fromEntries(data),
  };
}

/** Helm takes the configuration away; garbage collection the Secret then. */
const ownerOf = ({ metadata: { name, uid = '' } }: Configuration) => ({
  ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: CONFIGURATIONS.kind, name, uid },
});

function isOwned({ metadata }: Secret, configuration: Configuration | undefined): boolean {
  const uid = configuration?.metadata.uid;
  return uid === undefined || (metadata.ownerReferences ?? []).some((owner) => owner.uid === uid);
}

const isOurs = ({ metadata }: Secret) =>
  Object.entries(MANAGED).every(([label, value]) => metadata.labels?.[label] === value);

/** C3. Undefined: each entry has it already. */
function trusting(configuration: Configuration, bundle: string): Configuration | undefined {
  const caBundle = Buffer.from(bundle).toString('base64');
  const entries = configuration.webhooks ?? [];
  if (entries.every(({ clientConfig }) => clientConfig?.caBundle === caBundle)) return undefined;
  return {
    metadata: { name: configuration.metadata.name },
    webhooks: entries.map(({ name }) => ({ name, clientConfig: { caBundle } })),
  };
}

/** PEM, one text for each entry. */
export function trustedIn(configuration: Configuration | undefined): readonly string[] {
  return (configuration?.webhooks ?? []).map(({ clientConfig }) => decoded(clientConfig?.caBundle) ?? '');
}

const decoded = (base64: string | undefined) =>
  base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString();
