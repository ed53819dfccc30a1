// What every HTTP request passes before its handler: who may speak to us, from where, as whom, for what.
//   H1. The Host must be a name that we serve (DNS rebinding: a page on evil.example resolves its own name to
//       127.0.0.1, and the browser then lets it read our answers).
//   H2. An unsafe request that a page of another origin sends is refused, whatever its content type.
//   H3. Credentials are checked before a body is read.
import { isIP } from 'node:net';
import { FlowError } from '@flowmesh/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Fabric } from '../../services.ts';
import type { Caller } from '../../shard/state-machine.ts';
import { type Access, callerOf, type Identity } from '../access.ts';
import { checkServing, closing } from '../refusals.ts';

export interface GuardOptions {
  readonly fabric: Fabric;
  readonly access: Access;
  readonly host: string;
  /** Names beyond localhost and the bound host; '*': any; '*.example': those directly below it. */
  readonly allowedHosts: readonly string[];
  isClosing(): boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set for every route that needs credentials. */
    caller: Caller;
    identity: Identity | null;
  }
}

const NOBODY: Caller = { identity: '', tenant: 0, deadlineMs: 0 };
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** 'POST /v1/queues/:queue/lease', the name of a route in the permission table. */
export const operationOf = ({ method, routeOptions }: FastifyRequest): string | undefined =>
  routeOptions.url === undefined ? undefined : `${method} ${routeOptions.url}`;

export function addGuards(app: FastifyInstance, options: GuardOptions): void {
  const { access, fabric } = options;
  const isAllowedHost = hostCheck(options);

  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) access.isOpen(`${each} ${url}`);
  });
  app.decorateRequest('identity', null);
  app.decorateRequest('caller', undefined as unknown as Caller);

  app.addHook('onRequest', async (request) => {
    request.caller = NOBODY;
    const operation = operationOf(request);
    if (operation !== undefined && access.isOpen(operation)) return;
    if (!isAllowedHost(request)) {
      throw new FlowError('HOST_REFUSED', `host ${request.headers.host ?? ''} is not served here`);
    }
    if (!SAFE_METHODS.has(request.method)) checkOrigin(request);
    checkEncoding(request);
    const identity = access.identify({
      authorization: request.headers.authorization,
      certificate: certificateName(request),
    });
    if (operation === undefined) return;
    access.authorize(identity, operation);
    if (options.isClosing()) throw closing();
    if (operation.includes(' /v1/')) checkServing(fabric.state());
    request.identity = identity;
    request.caller = callerOf(identity, {
      deadlineMs: 0,
      traceparent: single(request.headers['traceparent']),
    });
  });
}

const single = (value: string | string[] | undefined) => (Array.isArray(value) ? value[0] : value);

function certificateName({ socket }: FastifyRequest): string | undefined {
  if (!('authorized' in socket) || socket.authorized !== true) return undefined;
  const { getPeerCertificate } = socket as unknown as import('node:tls').TLSSocket;
  const name = getPeerCertificate.call(socket).subject?.CN;
  return Array.isArray(name) ? name[0] : name;
}

/** Host names in lower case and without port or brackets. */
function hostname(authority: string): string {
  if (isIP(authority) === 6) return authority.toLowerCase();
  const bracketed = /^\[([^\]]*)\]/.exec(authority);
  return (bracketed?.[1] ?? authority.replace(/:\d+$/, '')).toLowerCase().replace(/\.$/, '');
}

function hostCheck({ host, allowedHosts }: GuardOptions): (request: FastifyRequest) => boolean {
  if (allowedHosts.includes('*')) return () => true;
  const names = new Set(['localhost', '127.0.0.1', '::1', host, ...allowedHosts].map(hostname));
  // `*.pods.shop` is any name directly below it, as in certificates.
  const parents = new Set([...names].flatMap((name) => (name.startsWith('*.') ? [name.slice(2)] : [])));
  return ({ headers, socket }) => {
    const name = hostname(headers.host ?? '');
    if (names.has(name) || (name.includes('.') && parents.has(name.slice(name.indexOf('.') + 1))))
      return true;
    // The address that the connection came in on: a pod is probed and scraped by its own. A name cannot
    // rebind to it, because then the name would stand here.
    return isIP(name) !== 0 && name === (socket.localAddress ?? '').replace(/^::ffff:/, '');
  };
}

function checkOrigin({ headers }: FastifyRequest): void {
  const { origin, host } = headers;
  const site = single(headers['sec-fetch-site']);
  const isForeign =
    origin === undefined ? site === 'cross-site' : authorityOf(origin) !== host?.toLowerCase();
  if (!isForeign) return;
  throw new FlowError(
    'PERMISSION_DENIED',
    `pages of ${origin ?? 'another site'} may not change anything here`,
  );
}

/** Bytes are stored and parsed as they come: compressed ones would come back as something else. */
function checkEncoding({ headers }: FastifyRequest): void {
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() === 'identity') return;
  throw new FlowError('UNSUPPORTED_MEDIA_TYPE', `content-encoding ${encoding}: send the body as it is`);
}

function authorityOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
