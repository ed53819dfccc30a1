// The HTTPS server that API servers pass requests for external metrics on to.
//   S1. Connections and times are bounded, bodies are not read.
//   S2. A certificate, or another front proxy, takes effect for the next handshake.
//   S3. Whatever is sent, the process goes on: a mistake of ours is a 500, which scales nobody.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { KubeLog } from '../kube/telemetry.ts';
import { type Answer, failure } from './answer.ts';
import { type FrontProxy, isAllowed } from './front-proxy.ts';

export interface MetricsServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly answer: (request: { readonly method: string; readonly url: string }) => Promise<Answer>;
  readonly log: KubeLog;
}

export interface MetricsServer {
  readonly port: number;
  /** PEM. S2. */
  present(certificate: { readonly cert: string; readonly key: string }): void;
  trust(frontProxy: FrontProxy): void;
  drain(): void;
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 128;
const HANDSHAKE_MS = 5_000;
const REQUEST_MS = 10_000;
/** API servers drop idle connections after 90 s: were we first, a call could meet the end of its own. */
const IDLE_MS = 120_000;

export async function serveMetrics(o: MetricsServerOptions): Promise<MetricsServer> {
  const limits = {
    ...{ handshakeTimeout: HANDSHAKE_MS, headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
    ...{ keepAliveTimeout: IDLE_MS, maxHeaderSize: 64 * 1024 },
  };
  const tls = { minVersion: 'TLSv1.2', requestCert: true, rejectUnauthorized: true } as const;
  let presented: { cert: string; key: string } | undefined;
  let frontProxy: FrontProxy | undefined;
  let isDraining = false;
  const server = createServer({ ...limits, ...tls }, (request, response) => {
    void serve(request, response);
  });
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '/' } = request;
    let said: Answer;
    try {
      const certificate = (request.socket as TLSSocket).getPeerCertificate();
      const mayAsk = frontProxy !== undefined && isAllowed(frontProxy, certificate);
      said = mayAsk
        ? await o.answer({ method, url })
        : failure(403, 'Forbidden', 'only the front proxy of the API server may ask');
    } catch (err) {
      o.log.error({ event: 'metrics-api.failed', err }, 'cannot answer for metrics');
      said = failure(500, 'InternalError', 'the operator has failed: see its log');
    }
    const ends = isDraining || !request.complete;
    const headers = { 'content-type': 'application/json', ...(ends && { connection: 'close' }) };
    response.writeHead(said.code, headers);
    response.end(JSON.stringify(said.body));
  };
  server.maxConnections = CONNECTIONS_MAX;
  server.on('tlsClientError', (err, socket) => {
    o.log.debug({ event: 'metrics-api.handshake-failed', err }, 'no handshake');
    socket.destroy();
  });
  /** Only with both: the authorities of Node's own list are no front proxies. */
  const renew = () => {
    if (presented === undefined || frontProxy === undefined) return;
    server.setSecureContext({ ...presented, ca: frontProxy.authorities, minVersion: 'TLSv1.2' });
  };
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(o.port, o.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    present(certificate) {
      presented = certificate;
      renew();
    },
    trust(known) {
      frontProxy = known;
      renew();
    },
    drain() {
      isDraining = true;
    },
    close: () =>
      new Promise((resolve) => {
        isDraining = true;
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}
