// Carries out what certificate-plan.ts decides: new keys and certificates as the text of the two Secrets.
// Keys and random bytes come from the caller.
//   I1. The Secret of the pods holds no key but that of its leaf; the authority's key stays in its own
//       Secret.
//   I2. `ca.crt` is the same in both, so that pods, clients and the operator trust the same authorities.
import type { KeyObject, X509Certificate } from 'node:crypto';
import { X509Certificate as Certificate } from 'node:crypto';
import type { V1Secret } from '@kubernetes/client-node';
import { secret } from './binding.ts';
import {
  AUTHORITY_DAYS,
  BACKDATED_MS,
  type CertificateInput,
  type CertificatePlan,
  LEAF_DAYS,
  type Pair,
  planCertificates,
  readPair,
  type SecretText,
  unique,
} from './certificate-plan.ts';
import type { ResolvedCluster } from './cluster.ts';
import type { Built } from './objects.ts';
import { signCertificate } from './x509.ts';

const DAY_MS = 86_400_000;

/** Where keys come from; key-source.ts has the real one. */
export interface KeySource {
  /** ECDSA on P-256. */
  newKeys(): { publicKey: KeyObject; privateKey: KeyObject };
  randomBytes(count: number): Uint8Array;
}

export interface RenewedCertificates {
  /** What both Secrets must hold; what is not due is as it was. */
  readonly authority: SecretText;
  readonly leaf: SecretText;
  readonly reasons: readonly string[];
  readonly hasChanged: boolean;
  readonly renewAtMs: number;
  readonly notAfterMs: number;
}

/** `name`: what people see as the subject, at most 48 characters. */
export function renewCertificates(
  input: CertificateInput & { readonly name: string },
  keys: KeySource,
): RenewedCertificates {
  const plan = planCertificates(input);
  const authority = renewAuthority(plan, input, keys);
  const isDue = plan.leaf === 'issue' || input.leaf?.['ca.crt'] !== authority.bundle;
  const text: SecretText = {
    'tls.crt': authority.current.certificate.toString(),
    'tls.key': keyText(authority.current.privateKey),
    'ca.crt': authority.bundle,
    'next.crt': authority.next?.certificate.toString(),
    'next.key': authority.next && keyText(authority.next.privateKey),
  };
  const leaf = isDue ? issueLeaf(authority, input, keys) : (input.leaf ?? {});
  // The renewed ones say when they are due themselves.
  const after = planCertificates({ ...input, authority: text, leaf });
  return {
    authority: text,
    leaf,
    reasons: plan.reasons,
    hasChanged: plan.authority !== 'keep' || isDue,
    renewAtMs: after.renewAtMs,
    notAfterMs: after.notAfterMs,
  };
}

/**
 * A leaf that names no server: who calls is its subject. Undefined: the authority cannot sign now, and
 * whoever keeps it has to come first.
 */
export function renewClient(
  input: Omit<CertificateInput, 'names'> & { readonly name: string },
  keys: KeySource,
): { readonly leaf: SecretText; readonly hasChanged: boolean } | undefined {
  const plan = planCertificates({ ...input, names: [] });
  const bundle = input.authority?.['ca.crt'];
  if (plan.current === undefined || plan.authority === 'create' || bundle === undefined) return undefined;
  const pair = readPair(input.leaf?.['tls.crt'], input.leaf?.['tls.key']);
  const isOther = pair !== undefined && pair.certificate.subject !== `CN=${input.name}`;
  // An authority that is about to be promoted has not been by who keeps it: until then the present one signs.
  const isDue = plan.authority === 'promote' ? pair === undefined : plan.leaf === 'issue';
  if (!isDue && !isOther) return { leaf: input.leaf ?? {}, hasChanged: false };
  const authority = { current: plan.current, next: plan.next, bundle };
  return { leaf: issueLeaf(authority, { ...input, names: [] }, keys), hasChanged: true };
}

interface Authority {
  readonly current: Pair;
  readonly next: Pair | undefined;
  readonly bundle: string;
}

type Subject = Pick<CertificateInput, 'nowMs' | 'names'> & { readonly name: string };

function renewAuthority(plan: CertificatePlan, subject: Subject, keys: KeySource): Authority {
  const made =
    plan.authority === 'create' || plan.authority === 'announce' ? newAuthority(subject, keys) : undefined;
  const { current, next } = pairsAfter(plan, made);
  const all = unique([
    ...plan.trusted,
    ...[current, next].flatMap((pair) => (pair ? [pair.certificate] : [])),
  ]);
  return { current, next, bundle: bundleOf(all) };
}

function pairsAfter(
  plan: CertificatePlan,
  made: Pair | undefined,
): { current: Pair; next: Pair | undefined } {
  if (plan.authority === 'promote' && plan.next) return { current: plan.next, next: undefined };
  if (plan.authority === 'announce' && plan.current) return { current: plan.current, next: made };
  if (plan.authority === 'keep' && plan.current) return { current: plan.current, next: plan.next };
  if (made === undefined) throw new Error('a plan that keeps an authority has read one');
  return { current: made, next: undefined };
}

function newAuthority({ name, nowMs }: Subject, keys: KeySource): Pair {
  const { publicKey, privateKey } = keys.newKeys();
  // The date tells authorities of one cluster apart.
  const subject = `${name} CA ${new Date(nowMs).toISOString().slice(0, 10)}`;
  const pem = signCertificate({
    subject,
    publicKey,
    issuer: { name: subject, publicKey, privateKey },
    serial: keys.randomBytes(16),
    notBeforeMs: nowMs - BACKDATED_MS,
    notAfterMs: nowMs + AUTHORITY_DAYS * DAY_MS,
    isAuthority: true,
  });
  return { certificate: new Certificate(pem), privateKey };
}

function issueLeaf(
  { current, bundle }: Authority,
  { name, names, nowMs }: Subject,
  keys: KeySource,
): SecretText {
  const { publicKey, privateKey } = keys.newKeys();
  const pem = signCertificate({
    subject: name,
    publicKey,
    issuer: {
      name: current.certificate.subject.replace(/^CN=/, ''),
      publicKey: current.certificate.publicKey,
      privateKey: current.privateKey,
    },
    serial: keys.randomBytes(16),
    notBeforeMs: nowMs - BACKDATED_MS,
    // A leaf never outlives its authority.
    notAfterMs: Math.min(nowMs + LEAF_DAYS * DAY_MS, current.certificate.validToDate.getTime()),
    isAuthority: false,
    names,
  });
  return { 'tls.crt': pem, 'tls.key': keyText(privateKey), 'ca.crt': bundle };
}

/** In a fixed order, so that the same authorities are the same bytes. */
function bundleOf(certificates: readonly X509Certificate[]): string {
  const byStart = [...certificates].sort(
    (left, right) =>
      left.validFromDate.getTime() - right.validFromDate.getTime() ||
      (left.fingerprint256 < right.fingerprint256 ? -1 : 1),
  );
  return byStart.map((each) => each.toString()).join('');
}

const keyText = (key: KeyObject) => String(key.export({ type: 'pkcs8', format: 'pem' }));

export const authoritySecret = (cluster: ResolvedCluster, text: SecretText): Built<V1Secret> =>
  secret(cluster, cluster.names.authoritySecret, 'kubernetes.io/tls', text);

export const tlsSecret = (cluster: ResolvedCluster, text: SecretText): Built<V1Secret> =>
  secret(cluster, cluster.names.tlsSecret, 'kubernetes.io/tls', text);
