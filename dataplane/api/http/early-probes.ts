// What stands at the HTTP port while the journal is replayed: probes and nothing else, so that a pod that
// takes long to recover is known to be alive, and gets no requests.
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { FlowError } from '@flowmesh/protocol';
import { contextOf, HANDSHAKE_TIMEOUT_MS, type LiveTls, requestOf } from '../tls.ts';
import { problemOf } from './problem.ts';

export interface EarlyProbes {
  readonly port: number;
  /** Frees the port. */
  close(): Promise<void>;
}

const REASON = 'starting: the journal is being replayed';
const LIMITS = { headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 16 * 1024 };
const CONNECTIONS_MAX = 1000;

export async function startEarlyProbes(o: {
  readonly host: string;
  readonly port: number;
  readonly tls?: LiveTls | undefined;
}): Promise<EarlyProbes> {
  const server =
    o.tls === undefined
      ? createServer(LIMITS, answer)
      : createTlsServer(
          {
            ...LIMITS,
            ...requestOf(o.tls.current),
            ...contextOf(o.tls.current),
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
          },
          answer,
        );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `cannot listen on ${o.host}:${o.port}: ${cause.message}`;
      reject(new FlowError('UNAVAILABLE', message, { cause }));
    });
    server.listen(o.port, o.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** One request a connection: the next one is for whoever listens here then. */
const answer: RequestListener = ({ url, method }, response) => {
  const isAlive = method === 'GET' && url?.split('?', 1)[0] === '/healthz';
  const refusal = new FlowError('UNAVAILABLE', REASON, { retryAfterMs: 1000 });
  const body = JSON.stringify(isAlive ? { status: 'starting', reason: REASON } : problemOf(refusal));
  response.writeHead(isAlive ? 200 : 503, {
    'content-type': isAlive ? 'application/json' : 'application/problem+json',
    connection: 'close',
    'cache-control': 'no-store',
    ...(isAlive ? {} : { 'retry-after': '1' }),
  });
  response.end(body);
};
