// The HTTP listener: REST, probes, metrics and the OpenAPI document on one port.
//   S1. A route without an entry in the permission table stops the start (guards.ts).
//   S2. Every error, from the first byte on, is a problem document with a code.
//   S3. Clients that send slowly are cut by time limits on what they send; what they wait for is not
//       limited by them, so long polls live.
import { createServer, type RequestListener, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import swagger from '@fastify/swagger';
import { FlowError } from '@flowmesh/protocol';
import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerFactory } from 'fastify';
import type { Runtime } from '../../runtime.ts';
import type { Fabric } from '../../services.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Access } from '../access.ts';
import type { Listener } from '../grpc/server.ts';
import { createRefuse } from '../refusals.ts';
import { contextOf, HANDSHAKE_TIMEOUT_MS, type LiveTls, requestOf } from '../tls.ts';
import { addEffectRoutes } from './effects.ts';
import { addFigureRoutes } from './figures.ts';
import { addFlowRoutes } from './flows.ts';
import { addGuards, operationOf } from './guards.ts';
import { addJobRoutes } from './jobs.ts';
import { encodeJson, parseJson } from './json.ts';
import { addKvRoutes } from './kv.ts';
import { addPayloadSchemaRoutes } from './payload-schemas.ts';
import { rawProblem, sendProblem, translate } from './problem.ts';
import { addQueuePastRoutes } from './queue-past.ts';
import { addQueueRoutes } from './queues.ts';
import { addRedriveRoutes } from './redrives.ts';
import { addScalingRoutes } from './scaling.ts';
import { anyBytes, problemSchema, useAjv } from './schemas.ts';
import { addStreamRoutes } from './streams.ts';
import { addSystemRoutes } from './system.ts';

export interface HttpLimits {
  /** How long the head of a request may take. */
  readonly headersTimeoutMs: number;
  /** How long a whole request may take to arrive; its answer may take longer. */
  readonly requestTimeoutMs: number;
  readonly connectionsMax: number;
}

export interface HttpOptions {
  readonly fabric: Fabric;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly access: Access;
  /** Host names beyond localhost and `host`; '*': any. */
  readonly allowedHosts: readonly string[];
  readonly tls?: LiveTls | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly runtime: Runtime;
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpContext {
  readonly fabric: Fabric;
  readonly metrics: Metrics;
  /** What must be ended when the listener closes. */
  readonly drains: Set<() => void>;
  isClosing(): boolean;
}

const LIMITS: HttpLimits = { headersTimeoutMs: 10_000, requestTimeoutMs: 30_000, connectionsMax: 10_000 };

/** A value of 1 MiB in Base64, and what stands around it. */
const JSON_BODY_BYTES = Math.ceil((1024 * 1024 * 4) / 3) + 64 * 1024;

const READ_OFF_BYTES = 16 * 1024 * 1024;

const CHECK_INTERVAL_MS = 1000;

export async function startHttp(options: HttpOptions): Promise<Listener> {
  const { log, host } = options;
  const { app, context, beginClosing } = await buildHttp(options);
  await app.listen({ host, port: options.port }).catch((cause: Error) => {
    throw new FlowError('UNAVAILABLE', `cannot listen on ${host}:${options.port}: ${cause.message}`, {
      cause,
    });
  });
  const { port } = app.server.address() as AddressInfo;
  log.info({ event: 'http.listening', host, port }, 'HTTP listener is up');

  return {
    port,
    async close(graceMs) {
      if (context.isClosing()) return;
      beginClosing();
      for (const drain of [...context.drains]) drain();
      const timer = setTimeout(() => app.server.closeAllConnections(), graceMs);
      await app.close();
      clearTimeout(timer);
      log.info({ event: 'http.closed', port }, 'HTTP listener is closed');
    },
  };
}

export interface BuiltHttp {
  readonly app: FastifyInstance;
  readonly context: HttpContext;
  beginClosing(): void;
}

/** Everything but the socket; tests ask it directly. */
export async function buildHttp(options: HttpOptions): Promise<BuiltHttp> {
  const { fabric, metrics, log, runtime } = options;
  let isClosing = false;
  const context: HttpContext = { fabric, metrics, drains: new Set(), isClosing: () => isClosing };
  const refuse = createRefuse({ log, runtime });

  const app = Fastify({
    logger: false,
    serverFactory: serverFactory(options),
    bodyLimit: JSON_BODY_BYTES,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    // A key of 1 KiB, percent-encoded.
    routerOptions: { maxParamLength: 3072 },
    frameworkErrors: (error, request, reply) => void fail(error, request as FastifyRequest, reply),
    clientErrorHandler,
  });
  // Framework errors are sent before hooks and decorators exist, so this needs neither.
  const fail = (error: unknown, request: FastifyRequest, reply: Parameters<typeof sendProblem>[0]) => {
    const refusal = refuse(translate(error), operationOf(request) ?? 'unknown route');
    codes.set(request, refusal.code);
    return sendProblem(reply, refusal);
  };
  const codes = new WeakMap<FastifyRequest, string>();

  useAjv(app);
  app.setSerializerCompiler(() => encodeJson);
  app.setReplySerializer((payload) => encodeJson(payload));
  app.setErrorHandler(async (error, request, reply) => {
    if ((error as { code?: string }).code === 'FST_ERR_CTP_BODY_TOO_LARGE') await readOff(request);
    return fail(error, request, reply);
  });
  app.setNotFoundHandler((request, reply) =>
    fail(
      new FlowError('NOT_FOUND', `no route ${request.method} ${request.url.split('?', 1)[0]}`),
      request,
      reply,
    ),
  );
  addJsonParser(app);
  addMeasures(app, { options, codes });
  addSafetyHeaders(app);
  addGuards(app, { ...options, isClosing: context.isClosing });
  await addDescription(app);

  addSystemRoutes(app, context);
  addFigureRoutes(app, context);
  await app.register(async (scope) => addKvRoutes(scope, context));
  addQueueRoutes(app, context);
  addScalingRoutes(app, context);
  addJobRoutes(app, context);
  addFlowRoutes(app, context);
  addRedriveRoutes(app, context);
  addPayloadSchemaRoutes(app, context);
  addStreamRoutes(app, context);
  addEffectRoutes(app, context);
  addQueuePastRoutes(app, context);
  await app.ready();
  return {
    app,
    context,
    beginClosing() {
      isClosing = true;
    },
  };
}

function serverFactory({ tls, limits }: HttpOptions): FastifyServerFactory {
  const { headersTimeoutMs, requestTimeoutMs, connectionsMax } = { ...LIMITS, ...limits };
  const settings: ServerOptions = {
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, headersTimeoutMs),
    maxHeaderSize: 16 * 1024,
    keepAliveTimeout: 72_000,
  };
  return (handler) => {
    const server = tls ? secureServer(tls, settings, handler) : createServer(settings, handler);
    server.maxConnections = connectionsMax;
    return server;
  };
}

function secureServer(tls: LiveTls, settings: ServerOptions, handler: RequestListener): Server {
  const { current } = tls;
  const secure = { ...requestOf(current), ...contextOf(current), handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
  const server = createTlsServer({ ...settings, ...secure }, handler);
  const unfollow = tls.follow((next) => server.setSecureContext(contextOf(next)));
  server.once('close', unfollow);
  return server;
}

/**
 * Reads on, up to a bound, what is too large: a client that still sends when the connection is closed gets
 * a broken pipe instead of the answer.
 */
async function readOff({ raw }: FastifyRequest): Promise<void> {
  let bytes = 0;
  await new Promise<void>((resolve) => {
    raw.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > READ_OFF_BYTES) resolve();
    });
    raw.once('end', resolve).once('close', resolve).resume();
  });
  raw.pause();
}

/** No parser for anything else: an unsafe request with another body is refused with 415. */
function addJsonParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body: Buffer, done) => {
    try {
      done(null, body.length === 0 ? undefined : parseJson(body));
    } catch (error) {
      done(error as Error);
    }
  });
}

interface Measured {
  readonly options: HttpOptions;
  readonly codes: WeakMap<FastifyRequest, string>;
}

function addMeasures(app: FastifyInstance, { options, codes }: Measured): void {
  const { metrics, runtime, log } = options;
  app.addHook('onRequest', async (request, { raw }) => {
    const operation = operationOf(request) ?? 'unmatched';
    const meter = metrics.meter('http', operation);
    const startedMs = runtime.monotonicMs();
    meter.open++;
    let isOver = false;
    const over = (fallback: string) => {
      if (isOver) return;
      isOver = true;
      meter.open--;
      const code = codes.get(request) ?? fallback;
      const ms = runtime.monotonicMs() - startedMs;
      meter.ended(code, ms);
      log.debug({ event: 'http.request', operation, status: raw.statusCode, code, ms }, 'request');
    };
    raw.once('finish', () => over('OK'));
    raw.once('close', () => over('CANCELLED'));
  });
}

/**
 * Stored bytes come back with any content type, also text/html: no browser may treat them as a page of
 * ours.
 */
function addSafetyHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    });
  });
}

async function addDescription(app: FastifyInstance): Promise<void> {
  app.addSchema(problemSchema);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'FlowMesh',
        version: '1',
        description: 'Keys and values, job queues and event streams over one log.',
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{}, { bearer: [] }],
    },
    refResolver: { buildLocalReference: (json) => String(json['$id']) },
    transformObject: (document) => ('openapiObject' in document ? withRawBodies(document.openapiObject) : {}),
  });
}

/** Bodies that are bytes: a schema for them in the route would make fastify validate a Buffer. */
function withRawBodies<Document extends { paths?: object }>(document: Document): Document {
  const paths = document.paths as Record<string, Record<string, { requestBody?: object }>> | undefined;
  const put = paths?.['/v1/kv/{keyspace}/{key}']?.['put'];
  if (put) put.requestBody = { description: 'The value', content: anyBytes };
  return document;
}

/**
 * Requests that could not be read: too slow, too large, or not HTTP. There is no request to answer, only a
 * socket.
 */
function clientErrorHandler(this: FastifyInstance, error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const answer = (code: 'INVALID_ARGUMENT' | 'MALFORMED', status: number, reason: string, detail: string) =>
    socket.end(rawProblem(new FlowError(code, detail), status, reason), () => socket.destroy());
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    answer('INVALID_ARGUMENT', 408, 'Request Timeout', 'the request took too long to arrive');
  } else if (error.code === 'HPE_HEADER_OVERFLOW') {
    answer('INVALID_ARGUMENT', 431, 'Request Header Fields Too Large', 'headers of more than 16 KiB');
  } else {
    answer('MALFORMED', 400, 'Bad Request', 'this is not a valid HTTP request');
  }
}
