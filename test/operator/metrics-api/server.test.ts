// The server of external metrics, by real handshakes: who gets in, and what takes effect when.
import { Agent, request } from 'node:https';
import { afterEach, expect, test } from 'vitest';
import type { Answer } from '../../../operator/metrics-api/answer.ts';
import { type MetricsServer, serveMetrics } from '../../../operator/metrics-api/server.ts';
import { Authority, type Issued } from '../../api/issued.ts';
import { testLog } from '../kube/support.ts';

const own = new Authority('flowmesh-metrics-api');
const proxies = new Authority('front-proxy-ca');
const PROXY = proxies.issue('front-proxy-client');
const FRONT = { authorities: proxies.cert, names: ['front-proxy-client'] };

let server: MetricsServer;
afterEach(() => server?.close());

async function start(answer = async (): Promise<Answer> => ({ code: 200, body: { ok: true } })) {
  server = await serveMetrics({ host: '127.0.0.1', port: 0, answer, log: testLog() });
}

/** Status, or why there is none. */
function get(client: Issued | undefined, path = '/apis'): Promise<number | string> {
  const agent = new Agent({ maxCachedSessions: 0 });
  const options = { host: '127.0.0.1', port: server.port, ca: own.cert, path, agent, ...client };
  return new Promise((resolve) => {
    const sent = request(options, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', () => resolve('cut'));
    });
    sent.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    sent.end();
  });
}

const leaf = () => own.issue('flowmesh-metrics-api');

test('F2 nobody is served before it is known whom to trust', async () => {
  await start();
  expect(await get(PROXY)).toEqual(expect.any(String));
  server.present(leaf());
  expect(await get(PROXY)).toEqual(expect.any(String));
  server.trust(FRONT);
  expect(await get(PROXY)).toBe(200);
});

test('F1 only the front proxy gets in', async () => {
  await start();
  server.present(leaf());
  server.trust(FRONT);
  expect(await get(PROXY)).toBe(200);
  expect(await get(proxies.issue('somebody'))).toBe(403);
  expect(await get(new Authority('front-proxy-ca').issue('front-proxy-client'))).toEqual(expect.any(String));
  expect(await get(own.issue('front-proxy-client'))).toEqual(expect.any(String));
  expect(await get(undefined)).toEqual(expect.any(String));
});

test('S2 another front proxy counts from the next handshake', async () => {
  await start();
  server.present(leaf());
  server.trust(FRONT);
  const others = new Authority('other');
  server.trust({ authorities: others.cert, names: [] });
  expect(await get(PROXY)).toEqual(expect.any(String));
  expect(await get(others.issue('x'))).toBe(200);
});

test('S3 a mistake of ours is a 500, and the next request is answered', async () => {
  let fails = true;
  await start(async () => {
    if (fails) throw new Error('a mistake');
    return { code: 200, body: {} };
  });
  server.present(leaf());
  server.trust(FRONT);
  expect(await get(PROXY)).toBe(500);
  fails = false;
  expect(await get(PROXY)).toBe(200);
});
