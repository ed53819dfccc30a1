// What is due with the certificates of a cluster. Pure: Secrets and the time in, a decision out.
//   G1. A leaf lives 90 days and is renewed after two thirds, or at once when it no longer fits: other
//       names, another authority, a key that is not its own, damage.
//   G2. A new authority is trusted before it signs: it is announced (added to `ca.crt`) at two thirds of
//       the old one's life, and signs a week later, when everybody has read it. The old one stays trusted
//       until it ends. So a renewal never breaks a connection.
//   G3. What cannot be read counts as missing; the reason says so.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';

const DAY_MS = 86_400_000;
export const LEAF_DAYS = 90;
export const AUTHORITY_DAYS = 3650;
export const ANNOUNCED_DAYS = 7;
/** The clocks of clients may be behind. */
export const BACKDATED_MS = 5 * 60_000;
/** Certificates a bundle may hold: old, present, next. */
const BUNDLE_MAX = 4;

/** The text of the keys of a Secret. */
export type SecretText = Readonly<Record<string, string | undefined>>;

export interface CertificateInput {
  readonly nowMs: number;
  /** DNS names and IPv4 addresses that the leaf must carry. */
  readonly names: readonly string[];
  /** Unset: there is no such Secret. */
  readonly authority?: SecretText | undefined;
  readonly leaf?: SecretText | undefined;
}

export interface Pair {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

export interface CertificatePlan {
  readonly authority: 'keep' | 'create' | 'announce' | 'promote';
  readonly leaf: 'keep' | 'issue';
  /** For events; empty: nothing is due. */
  readonly reasons: readonly string[];
  /** What there is, for those who carry the plan out. */
  readonly current: Pair | undefined;
  readonly next: Pair | undefined;
  /** Still trusted, none of them ended. */
  readonly trusted: readonly X509Certificate[];
  /** When to ask again if nothing changes; for `status.certificates`. */
  readonly renewAtMs: number;
  readonly notAfterMs: number;
}

export function planCertificates({ nowMs, names, authority, leaf }: CertificateInput): CertificatePlan {
  const current = authorityOf(authority?.['tls.crt'], authority?.['tls.key']);
  const next = authorityOf(authority?.['next.crt'], authority?.['next.key']);
  const byAuthority = authorityDue(nowMs, authority, { current, next });
  const signer = byAuthority.due === 'promote' ? next : current;
  const byLeaf =
    byAuthority.due === 'create'
      ? { due: true, reason: '' }
      : leafDue({ nowMs, names, leaf, signer, authority });
  const trusted = [...readBundle(authority?.['ca.crt']), ...readBundle(leaf?.['ca.crt'])].filter(
    (each) => each.ca && endOf(each) > nowMs,
  );
  const leafPair = readPair(leaf?.['tls.crt'], leaf?.['tls.key']);
  const authorityTurnsMs =
    next === undefined ? turnOf(current?.certificate) : startOf(next.certificate) + ANNOUNCED_DAYS * DAY_MS;
  return {
    authority: byAuthority.due,
    leaf: byLeaf.due ? 'issue' : 'keep',
    reasons: [byAuthority.reason, byLeaf.reason].filter((reason) => reason !== ''),
    current,
    next,
    trusted: unique(trusted).slice(-BUNDLE_MAX),
    renewAtMs: Math.min(turnOf(leafPair?.certificate), authorityTurnsMs),
    notAfterMs: leafPair === undefined ? nowMs : endOf(leafPair.certificate),
  };
}

type AuthorityDue = { due: CertificatePlan['authority']; reason: string };

function authorityDue(
  nowMs: number,
  secret: SecretText | undefined,
  { current, next }: { current: Pair | undefined; next: Pair | undefined },
): AuthorityDue {
  if (current === undefined) {
    const reason = secret === undefined ? '' : 'the authority cannot be read';
    return { due: 'create', reason };
  }
  if (endOf(current.certificate) <= nowMs) return { due: 'create', reason: 'the authority has ended' };
  if (next !== undefined) {
    const isKnown = startOf(next.certificate) + ANNOUNCED_DAYS * DAY_MS <= nowMs;
    return isKnown ? { due: 'promote', reason: 'the next authority signs from now on' } : nothing;
  }
  if (turnOf(current.certificate) > nowMs) return nothing;
  return { due: 'announce', reason: 'the authority has used up two thirds of its time' };
}

const nothing: AuthorityDue = { due: 'keep', reason: '' };

function leafDue({
  nowMs,
  names,
  leaf,
  signer,
  authority,
}: CertificateInput & { signer: Pair | undefined }): { due: boolean; reason: string } {
  if (leaf === undefined) return { due: true, reason: '' };
  const pair = readPair(leaf['tls.crt'], leaf['tls.key']);
  if (pair === undefined) return { due: true, reason: 'the certificate cannot be read, or has another key' };
  const { certificate } = pair;
  if (signer !== undefined && !isSignedBy(certificate, signer)) {
    return { due: true, reason: 'the certificate comes from another authority' };
  }
  if (endOf(certificate) <= nowMs) return { due: true, reason: 'the certificate has ended' };
  if (turnOf(certificate) <= nowMs) {
    return { due: true, reason: 'the certificate has used up two thirds of its time' };
  }
  const missing = names.filter((name) => !namesOf(certificate).has(name));
  if (missing.length > 0) return { due: true, reason: `the certificate lacks ${missing.join(', ')}` };
  // An announced authority reaches the pods and the binding Secret through this bundle.
  if (leaf['ca.crt'] !== authority?.['ca.crt']) return { due: true, reason: 'the authorities have changed' };
  return { due: false, reason: '' };
}

function isSignedBy(certificate: X509Certificate, { certificate: issuer }: Pair): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

export function namesOf(certificate: X509Certificate): Set<string> {
  const names = certificate.subjectAltName?.split(', ') ?? [];
  return new Set(names.map((name) => name.replace(/^(?:DNS|IP Address):/, '')));
}

const startOf = (certificate: X509Certificate) => certificate.validFromDate.getTime();
const endOf = (certificate: X509Certificate) => certificate.validToDate.getTime();

/** Two thirds of its life; without one, now. */
function turnOf(certificate: X509Certificate | undefined): number {
  if (certificate === undefined) return 0;
  const from = startOf(certificate);
  return from + Math.floor(((endOf(certificate) - from) * 2) / 3);
}

export function readPair(certificatePem: string | undefined, keyPem: string | undefined): Pair | undefined {
  const [certificate] = readBundle(certificatePem);
  if (certificate === undefined || keyPem === undefined) return undefined;
  try {
    const privateKey = createPrivateKey(keyPem);
    return certificate.checkPrivateKey(privateKey) ? { certificate, privateKey } : undefined;
  } catch {
    return undefined;
  }
}

/** What may not sign is no authority: whatever it issued would be issued again for ever. */
function authorityOf(certificatePem: string | undefined, keyPem: string | undefined): Pair | undefined {
  const pair = readPair(certificatePem, keyPem);
  return pair?.certificate.ca ? pair : undefined;
}

const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

export function readBundle(pem: string | undefined): X509Certificate[] {
  return [...(pem ?? '').matchAll(PEM)].flatMap(([text]) => {
    try {
      return [new X509Certificate(text)];
    } catch {
      return [];
    }
  });
}

export function unique(certificates: readonly X509Certificate[]): X509Certificate[] {
  return [...new Map(certificates.map((each) => [each.fingerprint256, each])).values()];
}
