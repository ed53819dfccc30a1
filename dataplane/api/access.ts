// Who asks, and may they? Every listener asks here; no handler decides for itself.
//   A1. Default deny: without credentials there is an identity only if anonymous access was switched on.
//   A2. Tokens are kept as SHA-256 and compared in constant time; they are never logged.
//   A3. The tenant comes from the identity, never from the payload.
//   A4. A certificate of our authority may do everything, that of the scaler nothing but ask how to scale. An
//       authority that signs for others, too, is trusted for the scaler alone.
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { FlowError, SCALER_COMMON_NAME } from '@flowmesh/protocol';
import type { Caller } from '../shard/state-machine.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import { NEEDS, type Need, type Permission, type Verb } from './permissions.ts';

export interface TokenGrant {
  /** Name for logs and timelines. */
  readonly identity: string;
  /** Hex SHA-256 of the token, see `hashToken`. */
  readonly sha256: string;
  /** What it may do; unset: everything. */
  readonly verbs?: readonly Verb[];
}

export interface AccessOptions {
  /** Anyone may do anything: only for loopback in dev, or `insecure`. */
  readonly anonymous: boolean;
  readonly tokens: readonly TokenGrant[];
  /** What their authority is trusted for; the default is everything. */
  readonly certificates?: CertificateTrust | undefined;
}

export type CertificateTrust = 'everything' | 'scaling';

export interface Identity {
  readonly name: string;
  readonly tenant: number;
  /** null: everything. */
  readonly verbs: ReadonlySet<Verb> | null;
}

export interface Credentials {
  /** The value of the `authorization` header or metadata. */
  readonly authorization: string | undefined;
  /** Common name of a client certificate that the TLS layer has verified. */
  readonly certificate?: string | undefined;
}

export interface Access {
  /** Throws UNAUTHENTICATED. */
  identify(credentials: Credentials): Identity;
  /** Throws PERMISSION_DENIED. With the message, if the operation is judged by what it carries. */
  authorize(identity: Identity, operation: string, message?: unknown): void;
  /**
   * Whether the operation needs no credentials. Throws on an operation without an entry: a listener must
   * not start.
   */
  isOpen(operation: string): boolean;
  /** From now on these are known, and no others. */
  replaceTokens(tokens: readonly TokenGrant[]): void;
}

const SCHEME = /^bearer +/i;
/** Longer than any token; hashing must not be a lever. */
const AUTHORIZATION_BYTES_MAX = 4096;

const ANONYMOUS: Identity = { name: 'anonymous', tenant: DEFAULT_TENANT, verbs: null };

export const hashToken = (token: string): string => createHash('sha256').update(token).digest('hex');

export function createAccess({ anonymous, tokens, certificates = 'everything' }: AccessOptions): Access {
  let known = tokens.map(knownToken);

  function byToken(authorization: string): Identity {
    const token = authorization.replace(SCHEME, '');
    if (authorization.length > AUTHORIZATION_BYTES_MAX || token === authorization) {
      throw new FlowError('UNAUTHENTICATED', 'authorization must be "Bearer <token>"');
    }
    const digest = createHash('sha256').update(token).digest();
    let found: Identity | undefined;
    // Every entry is compared, so that the time does not tell which one came close (A2).
    for (const each of known) if (timingSafeEqual(each.digest, digest)) found = each.identity;
    if (!found) throw new FlowError('UNAUTHENTICATED', 'the token is not known here');
    return found;
  }

  return {
    identify({ authorization, certificate }) {
      if (authorization !== undefined && known.length > 0) return byToken(authorization);
      const isScaler = certificate === SCALER_COMMON_NAME;
      if (certificate !== undefined && (isScaler || certificates === 'everything'))
        return byCertificate(certificate, isScaler);
      if (anonymous) return ANONYMOUS;
      throw new FlowError('UNAUTHENTICATED', 'no credentials: send authorization: Bearer <token>');
    },
    authorize(identity, operation, message) {
      if (identity.verbs === null) return;
      const missing = missingOf(needOf(operation), identity.verbs, message);
      if (!missing) return;
      throw new FlowError(
        'PERMISSION_DENIED',
        `${identity.name} may not ${missing.verb} (${missing.kind}), which ${operation} needs`,
      );
    },
    isOpen: (operation) => needOf(operation).kind === 'open',
    replaceTokens(next) {
      known = next.map(knownToken);
    },
  };
}

/** A4: what KEDA shows lies in the namespaces of workers, for whoever may read Secrets there. */
function byCertificate(commonName: string, isScaler: boolean): Identity {
  const verbs = isScaler ? new Set<Verb>(['scale']) : null;
  return { name: `certificate:${commonName}`, tenant: DEFAULT_TENANT, verbs };
}

function knownToken({ identity, sha256, verbs }: TokenGrant): { digest: Buffer; identity: Identity } {
  const digest = Buffer.from(sha256, 'hex');
  if (digest.length !== 32) {
    throw new FlowError('INVALID_ARGUMENT', `token of ${identity}: sha256 must be 64 hexadecimal digits`);
  }
  const name: Identity = {
    name: identity,
    tenant: DEFAULT_TENANT,
    verbs: verbs === undefined ? null : new Set(verbs),
  };
  return { digest, identity: name };
}

function needOf(operation: string): Need {
  const need = NEEDS.get(operation);
  if (!need) throw new Error(`${operation} has no entry in dataplane/api/permissions.ts`);
  return need;
}

function missingOf(need: Need, verbs: ReadonlySet<Verb>, message: unknown): Permission | undefined {
  const lacks = ({ verb }: Permission) => !verbs.has(verb);
  if (need.kind === 'open') return undefined;
  if (need.kind === 'all') return need.permissions.find(lacks);
  if (message !== undefined) return need.of(message).find(lacks);
  return need.possible.every(lacks) ? need.possible[0] : undefined;
}

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface CallTerms {
  /** Wall clock, ms; 0: none. */
  readonly deadlineMs: number;
  /** As it came; anything that is not a W3C traceparent is dropped. */
  readonly traceparent: string | undefined;
}

export function callerOf(identity: Identity, { deadlineMs, traceparent }: CallTerms): Caller {
  const caller = { identity: identity.name, tenant: identity.tenant, deadlineMs };
  return traceparent !== undefined && TRACEPARENT.test(traceparent) ? { ...caller, traceparent } : caller;
}

export interface Exposure {
  readonly host: string;
  /** Whether a token is configured. */
  readonly token: boolean;
  /** `clientCa`: a certificate of this authority is an identity. */
  readonly tls?: { readonly clientCa?: unknown } | undefined;
  readonly insecure: boolean;
}

/** Throws unless the server is on loopback, asks for credentials, or was told to be open. */
export function checkExposure({ host, token, tls, insecure }: Exposure): void {
  if (isLoopback(host) || token || tls?.clientCa !== undefined || insecure) return;
  throw new FlowError(
    'INVALID_ARGUMENT',
    `refusing to listen on ${host} without credentials: set a token, require client certificates (mTLS), ` +
      'listen on 127.0.0.1, or pass --insecure to let everyone in',
  );
}

export function isLoopback(host: string): boolean {
  const bare = host.startsWith('[') ? host.slice(1, -1) : host;
  if (isIP(bare) === 4) return bare.startsWith('127.');
  return bare === 'localhost' || bare === '::1';
}
