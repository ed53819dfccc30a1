// Certificates and tokens in files, read again when they change: an operator or a person puts new ones in
// place, and nobody restarts anything.
//   C1. What is in force is whole: files that do not belong together, are half written or gone change
//       nothing. They are reported once and read again until they are right.
//   C2. Looking is reading and comparing: names, times and links tell nothing on volumes that are swapped by
//       a link, and the files are small.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { FlowError } from '@flowmesh/protocol';
import { type CertificateTrust, hashToken, type TokenGrant } from './api/access.ts';
import { contextOf, type LiveTls, type Tls } from './api/tls.ts';
import type { Runtime } from './runtime.ts';
import type { Log } from './telemetry/log.ts';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Set: certificates of these authorities are identities. */
  readonly caFile?: string | undefined;
  readonly clientAuth?: Tls['clientAuth'];
  /** `scaling`: of the scaler alone; then `caFile` may be missing, as some issuers give none. */
  readonly caTrustedFor?: CertificateTrust | undefined;
}

const FILE_BYTES_MAX = 1024 * 1024;
const TOKEN_BYTES_MIN = 16;
const TOKENS_MAX = 100;

export interface WatchParts {
  readonly runtime: Pick<Runtime, 'after'>;
  readonly log: Log;
  readonly everyMs: number;
}

/** Throws INVALID_ARGUMENT if they are not right at the start. */
export async function watchTls(files: TlsFiles, parts: WatchParts): Promise<LiveTls & { close(): void }> {
  const { certFile, keyFile, clientAuth } = files;
  const caFile = files.caTrustedFor === 'scaling' ? await ifThere(files.caFile) : files.caFile;
  const paths = [certFile, keyFile, ...(caFile === undefined ? [] : [caFile])];
  const listeners = new Set<(tls: Tls) => void>();
  const read = ([cert, key, clientCa]: readonly Buffer[]): Tls =>
    checkTls({ cert: cert as Buffer, key: key as Buffer, clientCa, clientAuth }, { ...files, caFile });
  const watched = await watchFiles(paths, read, parts, (tls) => {
    const { validTo, subject } = new X509Certificate(tls.cert);
    parts.log.info({ event: 'tls.reloaded', validTo, subject }, 'new certificates are in force');
    for (const listener of listeners) listener(tls);
  });
  return {
    get current() {
      return watched.current();
    },
    follow(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: watched.close,
  };
}

const ifThere = (path = '') =>
  access(path).then(
    () => path,
    () => undefined,
  );

function checkTls(tls: Tls, { certFile, keyFile, caFile }: TlsFiles): Tls {
  const leaf = parsed(certFile, 'a certificate', () => new X509Certificate(tls.cert));
  const key = parsed(keyFile, 'a private key', () => createPrivateKey(tls.key));
  if (!leaf.checkPrivateKey(key))
    throw new FlowError('INVALID_ARGUMENT', `the key in ${keyFile} is not that of ${certFile}`);
  if (caFile !== undefined)
    parsed(caFile, 'a certificate', () => new X509Certificate(tls.clientCa as Buffer));
  parsed(certFile, 'a chain of certificates that can be served', () => createSecureContext(contextOf(tls)));
  return tls;
}

function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new FlowError('INVALID_ARGUMENT', `${path} does not hold ${what} in PEM`, { cause });
  }
}

/**
 * One token a line; several are valid at the same time, so that clients can change over. Throws
 * INVALID_ARGUMENT if the file is not right at the start.
 */
export async function watchTokens(
  path: string,
  parts: WatchParts,
  onChange: (tokens: readonly TokenGrant[]) => void,
): Promise<{ current(): readonly TokenGrant[]; close(): void }> {
  const read = ([text]: readonly Buffer[]) => readTokens(path, (text as Buffer).toString());
  return watchFiles([path], read, parts, (tokens) => {
    parts.log.info({ event: 'token.reloaded', count: tokens.length }, 'new tokens are in force');
    onChange(tokens);
  });
}

function readTokens(path: string, text: string): TokenGrant[] {
  const lines = text.split('\n').map((line) => line.trim());
  const tokens = lines.filter((line) => line !== '');
  if (tokens.length === 0 || tokens.length > TOKENS_MAX)
    throw new FlowError('INVALID_ARGUMENT', `${path} holds ${tokens.length} tokens: 1 to ${TOKENS_MAX}`);
  if (tokens.some((token) => token.length < TOKEN_BYTES_MIN || /\s/.test(token))) {
    const rule = `a token has at least ${TOKEN_BYTES_MIN} characters, without spaces`;
    throw new FlowError('INVALID_ARGUMENT', `${path}: ${rule}`);
  }
  return tokens.map((token) => ({ identity: 'token', sha256: hashToken(token) }));
}

/** `read` throws on what is not right. */
async function watchFiles<T>(
  paths: readonly string[],
  read: (contents: readonly Buffer[]) => T,
  { runtime, log, everyMs }: WatchParts,
  onChange: (value: T) => void,
): Promise<{ current(): T; close(): void }> {
  let inForce = await contentsOf(paths);
  let current = read(inForce);
  let seen = inForce;
  let complaint = '';
  let isClosed = false;
  const look = async () => {
    try {
      const now = await contentsOf(paths);
      complaint = '';
      if (isClosed || isSame(now, seen)) return;
      seen = now;
      const next = read(now);
      if (isSame(now, inForce)) return;
      inForce = now;
      current = next;
      onChange(next);
    } catch (err) {
      const { message } = err as Error;
      if (isClosed || message === complaint) return;
      complaint = message;
      log.warn(
        { event: 'credentials.refused', err },
        'the files are not right; what was there stays in force',
      );
    } finally {
      if (!isClosed) cancel = runtime.after(everyMs, look);
    }
  };
  let cancel = runtime.after(everyMs, look);
  return {
    current: () => current,
    close() {
      isClosed = true;
      cancel();
    },
  };
}

async function contentsOf(paths: readonly string[]): Promise<Buffer[]> {
  const read = async (path: string) => {
    const content = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
      throw new FlowError('INVALID_ARGUMENT', `${path} cannot be read: ${cause.code ?? cause.message}`, {
        cause,
      });
    });
    if (content.length <= FILE_BYTES_MAX) return content;
    throw new FlowError('INVALID_ARGUMENT', `${path} has ${content.length} bytes, at most ${FILE_BYTES_MAX}`);
  };
  return Promise.all(paths.map(read));
}

const isSame = (a: readonly Buffer[], b: readonly Buffer[]): boolean =>
  a.every((each, i) => each.equals(b[i] as Buffer));
