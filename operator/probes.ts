// What kubelet and Prometheus ask: /healthz and /readyz on one address, /metrics on another.
//   P1. Only GET and HEAD, no bodies, no state: nothing here can be made to wait or to grow.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Address } from './options.ts';

export interface Answer {
  readonly status: number;
  readonly contentType?: string;
  readonly body: string;
}

/** Path -> its answer. */
export type Routes = Readonly<Record<string, () => Answer | Promise<Answer>>>;

export interface SmallServer {
  readonly port: number;
  close(): Promise<void>;
}

const REQUEST_MS = 5_000;
const CONNECTIONS_MAX = 64;

export async function serve({ host, port }: Address, routes: Routes): Promise<SmallServer> {
  const server = createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS },
    (request, response) => {
      void answer(routes, request, response);
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
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

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  const allowed = request.method === 'GET' || request.method === 'HEAD';
  let said: Answer;
  try {
    if (!allowed) said = { status: 405, body: 'only GET\n' };
    else said = (await route?.()) ?? { status: 404, body: 'not here\n' };
  } catch {
    said = { status: 500, body: 'an error\n' };
  }
  response.writeHead(said.status, { 'content-type': said.contentType ?? 'text/plain; charset=utf-8' });
  response.end(request.method === 'HEAD' ? undefined : said.body);
}
