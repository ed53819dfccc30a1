// Starts the real listeners in front of a fake fabric, and closes everything after each test.
import grpc from '@grpc/grpc-js';
import type { InjectOptions } from 'fastify';
import { afterEach } from 'vitest';
import { type Access, createAccess } from '../../dataplane/api/access.ts';
import { type GrpcOptions, startGrpc } from '../../dataplane/api/grpc/server.ts';
import { buildHttp, type HttpOptions, startHttp } from '../../dataplane/api/http/server.ts';
import { realRuntime } from '../../dataplane/runtime.ts';
import { createLog } from '../../dataplane/telemetry/log.ts';
import { createMetrics } from '../../dataplane/telemetry/metrics.ts';
import { FakeFabric } from './fake-fabric.ts';

const cleanups: (() => Promise<void> | void)[] = [];

export function atEnd(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export const openAccess: Access = createAccess({ anonymous: true, tokens: [] });

function parts() {
  const fabric = new FakeFabric();
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => void lines.push(line) });
  const metrics = createMetrics(fabric);
  return {
    fabric,
    log,
    metrics,
    lines,
    runtime: realRuntime,
    access: openAccess,
    host: '127.0.0.1',
    port: 0,
  };
}

/** The routes, asked without a socket. */
export async function fakeHttp(over: Partial<HttpOptions> = {}) {
  const common = parts();
  const built = await buildHttp({ ...common, allowedHosts: [], ...over });
  atEnd(() => built.app.close());
  /** `inject` with our Host, as every real client sends one. */
  const ask = (method: 'GET' | 'PUT' | 'POST' | 'DELETE', url: string, options: InjectOptions = {}) =>
    built.app.inject({ method, url, ...options, headers: { host: 'localhost', ...options.headers } });
  return { ...common, ...built, ask };
}

export async function listenHttp(over: Partial<HttpOptions> = {}) {
  const common = parts();
  const listener = await startHttp({ ...common, allowedHosts: [], ...over });
  atEnd(() => listener.close(0));
  return { ...common, listener, base: `http://127.0.0.1:${listener.port}` };
}

export async function startFake(over: Partial<GrpcOptions> = {}) {
  const { fabric, lines, metrics, ...common } = parts();
  const listener = await startGrpc({ fabric, metrics, ...common, ...over });
  atEnd(() => listener.close(0));
  const address = `127.0.0.1:${listener.port}`;

  function client<Client extends grpc.Client>(
    make: new (address: string, credentials: grpc.ChannelCredentials, options?: grpc.ClientOptions) => Client,
    credentials = grpc.credentials.createInsecure(),
    options?: grpc.ClientOptions,
  ): Client {
    const made = new make(address, credentials, options);
    atEnd(() => made.close());
    return made;
  }

  return { fabric, listener, address, client, lines, metrics };
}

/** The result of a unary call. */
export function unary<Request, Response>(
  client: grpc.Client,
  method: (...args: never[]) => grpc.ClientUnaryCall,
  request: Request,
  metadata = new grpc.Metadata(),
  options: grpc.CallOptions = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const call = method.bind(client) as unknown as (
      request: Request,
      metadata: grpc.Metadata,
      options: grpc.CallOptions,
      callback: (error: grpc.ServiceError | null, response?: Response) => void,
    ) => void;
    call(request, metadata, options, (error, response) =>
      error ? reject(error) : resolve(response as Response),
    );
  });
}

/** The error that a call must end with. */
export function refused(call: Promise<unknown>): Promise<grpc.ServiceError> {
  return call.then(
    () => Promise.reject(new Error('the call was not refused')),
    (error: grpc.ServiceError) => error,
  );
}

/** Everything that a stream says until it ends. */
export function collect<T>(call: grpc.ClientReadableStream<T>) {
  const messages: T[] = [];
  const waiters: { count: number; resolve: () => void }[] = [];
  const wake = () => {
    for (const waiter of waiters) if (messages.length >= waiter.count) waiter.resolve();
  };
  call.on('data', (message: T) => {
    messages.push(message);
    wake();
  });
  const status = new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve));
  call.on('error', () => {});
  return {
    messages,
    status,
    /** Resolves when there are `count` messages. */
    until(count: number): Promise<void> {
      return new Promise((resolve) => {
        waiters.push({ count, resolve });
        wake();
      });
    },
  };
}

/** Polls without a fixed pause; fails by the timeout of the test. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
