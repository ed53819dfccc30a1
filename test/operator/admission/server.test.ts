// The webhook's server before real TLS clients: good requests, bad ones, and hostile ones.
import { once } from 'node:events';
import { Agent, request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decide } from '../../../operator/admission/decide.ts';
import {
  BODIES_BYTES_MAX,
  BODY_BYTES_MAX,
  serveWebhook,
  type WebhookServer,
} from '../../../operator/admission/server.ts';
import { testLog, until } from '../kube/support.ts';
import { BAD, issue, post, presentable, reviewOf } from './support.ts';

const issued = issue();
const ca = issued.leaf['ca.crt'] ?? '';
let server: WebhookServer;
let log: ReturnType<typeof testLog>;
let judge: typeof decide;
const answered: number[] = [];
let inFlight = 0;

beforeEach(async () => {
  log = testLog();
  judge = decide;
  answered.length = 0;
  inFlight = 0;
  server = await serveWebhook({
    ...{ host: '127.0.0.1', port: 0, log },
    decide: (request) => judge(request),
    monotonicMs: () => performance.now(),
    meter: {
      began: () => inFlight++,
      answered: (code) => {
        inFlight--;
        answered.push(code);
      },
      decided: () => {},
    },
  });
  server.present(presentable(issued));
});
afterEach(() => server.close());

const ask = (body: string | Buffer, more: Partial<Parameters<typeof post>[0]> = {}) =>
  post({ port: server.port, ca, ...more }, body);

test('judges what it is asked', async () => {
  const good = await ask(reviewOf({}));
  expect([good.status, good.headers['content-type']]).toEqual([200, 'application/json']);
  expect(JSON.parse(good.body).response).toEqual({ uid: 'u1', allowed: true });
  const bad = await ask(reviewOf(BAD), { headers: { 'content-type': 'application/json; charset=utf-8' } });
  expect(JSON.parse(bad.body).response).toMatchObject({ uid: 'u1', allowed: false, status: { code: 422 } });
  expect(answered).toEqual([200, 200]);
});

test.each<[string, string, Partial<Parameters<typeof post>[0]>, number, string]>([
  ['no JSON', '{', {}, 400, 'the body is not JSON'],
  ['nothing', '', {}, 400, 'the body is not JSON'],
  [
    'another kind',
    '{"apiVersion":"v1","kind":"Pod"}',
    {},
    400,
    'the body is of v1 Pod: send admission.k8s.io/v1',
  ],
  ['another path', reviewOf({}), { path: '/mutate' }, 404, 'POST an AdmissionReview to /validate'],
  ['another verb', '', { method: 'GET' }, 405, 'only POST'],
  ['PUT', reviewOf({}), { method: 'PUT' }, 405, 'only POST'],
  ['YAML', 'a: b', { headers: { 'content-type': 'application/yaml' } }, 415, 'not application/json'],
])('[V3] %s is told so', async (_, body, more, status, said) => {
  const answer = await ask(body, more);
  expect(answer.status).toBe(status);
  expect(answer.body).toContain(said);
  expect((await ask(reviewOf({}))).status).toBe(200);
});

test('[V1] a body beyond the limit is refused, whether it says its size or not', async () => {
  const body = Buffer.alloc(BODY_BYTES_MAX + 1, ' ');
  expect((await ask(body)).status).toBe(413);
  // In chunks, and with an end that is never read: the answer comes before.
  const chunked = await new Promise<number | undefined>((resolve, reject) => {
    const options = { host: '127.0.0.1', port: server.port, ca, path: '/validate', method: 'POST' };
    const request = httpsRequest(
      { ...options, headers: { 'content-type': 'application/json' } },
      (response) => {
        resolve(response.statusCode);
        request.destroy();
      },
    );
    request.on('error', reject);
    request.write(body);
  });
  expect(chunked).toBe(413);
  const most = Buffer.alloc(BODY_BYTES_MAX, ' ');
  most.write(reviewOf({}));
  expect((await ask(most)).status).toBe(200);
});

test('[V1] large bodies at once are bounded in sum, and the bound is given back', async () => {
  const part = Buffer.alloc(BODY_BYTES_MAX - 1, ' ');
  const holders = Array.from({ length: Math.floor(BODIES_BYTES_MAX / part.length) }, () => {
    const options = {
      host: '127.0.0.1',
      port: server.port,
      ca,
      path: '/validate',
      method: 'POST',
      agent: false,
    };
    const headers = { 'content-type': 'application/json', 'content-length': BODY_BYTES_MAX };
    const request = httpsRequest({ ...options, headers } as never);
    request.on('error', () => {});
    request.write(part);
    return request;
  });
  // Until what is read so far is too much with one more.
  const busy = async () => {
    for (;;) {
      const answer = await ask(part);
      if (answer.status !== 400) return answer;
    }
  };
  const { status, headers, body } = await busy();
  expect([status, headers['retry-after']]).toEqual([429, '1']);
  expect(body).toContain('try again');
  for (const holder of holders) holder.destroy();
  await until('their memory is given back', () => inFlight === 0);
  expect((await ask(part)).status).toBe(400);
});

test('[V3] a mistake of ours is a 500, and the next request is served', async () => {
  judge = () => {
    throw new RangeError('a bug');
  };
  const { status, body } = await ask(reviewOf({}));
  expect([status, body]).toEqual([500, 'the webhook has failed: see the log of the operator\n']);
  expect(log.lines.filter(({ level }) => level === 'error')).toEqual([
    expect.objectContaining({ event: 'webhook.failed', err: expect.any(RangeError) }),
  ]);
  judge = decide;
  expect((await ask(reviewOf({}))).status).toBe(200);
});

test('[V3] what is no TLS, no HTTP, cut off or nested without end does no harm', async () => {
  for (const bytes of [Buffer.from('GET /validate HTTP/1.1\r\n\r\n'), Buffer.alloc(4096, 7)]) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.end(bytes);
    await once(socket, 'close');
  }
  const socket = await tls();
  socket.write(`${HEAD}content-length: 100\r\n\r\n{`);
  await until('it is being read', () => inFlight === 1);
  socket.destroy();
  await until('it is given up', () => inFlight === 0);
  const nonsense = await tls();
  nonsense.resume().end('no request at all\r\n\r\n');
  await once(nonsense, 'close');
  const deep = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  const review = reviewOf({}).replace('"spec":{}', `"spec":${deep}`);
  const { response } = JSON.parse((await ask(review)).body);
  expect(response.status.message).toContain('nested more than 64 levels deep; flatten it');
  expect(log.lines.filter(({ level }) => level === 'error')).toEqual([]);
});

const HEAD = 'POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';

async function tls(): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port: server.port, ca });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return socket;
}

test('[V2] another certificate is for the next connection, and no request is lost', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const serialOf = async () => {
    const socket = await tls();
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const before = await serialOf();
  const renewed = issue(Date.now(), { authority: issued.authority });
  let isDone = false;
  const kept = (async () => {
    const seen: number[] = [];
    while (!isDone) seen.push((await ask(reviewOf({}), { agent })).status);
    return seen;
  })();
  const fresh = (async () => {
    const seen: number[] = [];
    while (!isDone) seen.push((await ask(reviewOf({}))).status);
    return seen;
  })();
  for (let round = 0; round < 20; round++) {
    server.present(presentable(round % 2 ? issued : renewed));
    await new Promise((resolve) => setImmediate(resolve));
    await serialOf();
  }
  server.present(presentable(renewed));
  expect(await serialOf()).not.toBe(before);
  isDone = true;
  for (const seen of await Promise.all([kept, fresh])) {
    expect(seen.length).toBeGreaterThan(3);
    expect(new Set(seen)).toEqual(new Set([200]));
  }
  agent.destroy();
});

test('[V2] before the first certificate no handshake succeeds, and then it does', async () => {
  const empty = await serveWebhook({
    ...{ host: '127.0.0.1', port: 0, log, decide, monotonicMs: () => 0 },
    meter: { began() {}, answered() {}, decided() {} },
  });
  await expect(post({ port: empty.port, ca }, reviewOf({}))).rejects.toThrow(/handshake|SSL|ECONNRESET/i);
  empty.present(presentable(issued));
  expect((await post({ port: empty.port, ca }, reviewOf({}))).status).toBe(200);
  await empty.close();
});

test('[V4] draining, it answers and asks to come back elsewhere; closing waits for requests', async () => {
  const agent = new Agent({ keepAlive: true });
  expect((await ask(reviewOf({}), { agent })).headers['connection']).toBe('keep-alive');
  server.drain();
  const { status, headers } = await ask(reviewOf({}), { agent });
  expect([status, headers['connection']]).toEqual([200, 'close']);
  const socket = await tls();
  const body = reviewOf({});
  socket.write(`${HEAD}content-length: ${body.length}\r\n\r\n`);
  await until('it is under way', () => inFlight === 1);
  const closing = server.close();
  socket.write(body);
  const [text] = await once(socket, 'data');
  expect(String(text)).toMatch(/^HTTP\/1.1 200 OK/);
  await closing;
  agent.destroy();
  await expect(ask(body)).rejects.toThrow('ECONNREFUSED');
});

test('an address that is taken is said at the start', async () => {
  const start = serveWebhook({
    ...{ host: '127.0.0.1', port: server.port, log, decide, monotonicMs: () => 0 },
    meter: { began() {}, answered() {}, decided() {} },
  });
  await expect(start).rejects.toThrow('EADDRINUSE');
});
