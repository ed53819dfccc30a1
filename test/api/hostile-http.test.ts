// What a broken or hostile HTTP client can send, mostly over real sockets: foreign pages, slow senders,
// deep JSON, large bodies, clients that hang up.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { expect, test } from 'vitest';
import { fakeHttp, listenHttp, until } from './support.ts';

const json = { 'content-type': 'application/json' };

test('Host: only names that are served', async () => {
  const { ask } = await fakeHttp({ allowedHosts: ['flowmesh.example'], host: '10.1.2.3' });
  const statusFor = async (host: string) =>
    (await ask('GET', '/v1/queues', { headers: { host } })).statusCode;
  for (const host of [
    'localhost',
    'LOCALHOST:7080',
    '127.0.0.1:80',
    '[::1]:7080',
    '10.1.2.3:7080',
    'flowmesh.example',
    'flowmesh.example.:443',
  ]) {
    expect([host, await statusFor(host)]).toEqual([host, 200]);
  }
  for (const host of ['evil.example', 'localhost.evil.example', 'xflowmesh.example', '10.1.2.4', '[::2]']) {
    expect([host, await statusFor(host)]).toEqual([host, 421]);
  }
  const refused = await ask('GET', '/v1/queues', { headers: { host: 'evil.example' } });
  expect(refused.json()).toMatchObject({ code: 'HOST_REFUSED', status: 421 });
  // A kubelet asks by the address of the pod, with any name.
  expect((await ask('GET', '/readyz', { headers: { host: 'evil.example' } })).statusCode).toBe(200);
});

test('Host: a wildcard, and the address that the connection came in on', async () => {
  const any = await fakeHttp({ allowedHosts: ['*'] });
  expect((await any.ask('GET', '/v1/queues', { headers: { host: 'any.example' } })).statusCode).toBe(200);
  const { base } = await listenHttp({ host: '0.0.0.0' });
  const port = new URL(base).port;
  const response = await new Promise<http.IncomingMessage>((resolve) => {
    http.get({ host: '127.0.0.2', port, path: '/v1/queues', headers: { host: '127.0.0.2' } }, resolve);
  });
  response.resume();
  expect(response.statusCode).toBe(200);
});

test('Origin: pages of other origins may not change anything', async () => {
  const { ask, fabric } = await fakeHttp();
  const post = (headers: Record<string, string>) =>
    ask('POST', '/v1/queues/q/jobs', {
      headers: { ...json, host: 'localhost:7080', ...headers },
      payload: '{"payload":1}',
    });
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x' }] });
  for (const origin of ['https://evil.example', 'http://localhost:3000', 'null', 'http://localhost']) {
    const refused = await post({ origin });
    expect([origin, refused.statusCode]).toEqual([origin, 403]);
    expect(refused.json().code).toBe('PERMISSION_DENIED');
  }
  expect((await post({ 'sec-fetch-site': 'cross-site' })).statusCode).toBe(403);
  expect((await post({ origin: 'http://localhost:7080', 'sec-fetch-site': 'same-origin' })).statusCode).toBe(
    201,
  );
  expect((await post({})).statusCode).toBe(201);
  const bodyless = await ask('POST', '/v1/queues/q/purge', { headers: { origin: 'https://evil.example' } });
  expect(bodyless.statusCode).toBe(403);
});

test('a body that is not application/json is 415, before it is looked at', async () => {
  const { ask } = await fakeHttp();
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'x',
  ]) {
    const response = await ask('POST', '/v1/queues/q/jobs', {
      headers: { 'content-type': type },
      payload: '{"payload":1}',
    });
    expect([type, response.statusCode]).toEqual([type, 415]);
    expect(response.json().code).toBe('UNSUPPORTED_MEDIA_TYPE');
  }
});

const post = (payload: string | Buffer) => ({ headers: json, payload });
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

test('JSON: depth 64 is taken, 65 is not, and brackets in strings do not count', async () => {
  const { ask, fabric } = await fakeHttp();
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x' }] });
  const status = async (payload: string) =>
    (await ask('POST', '/v1/queues/q/jobs', post(`{"payload":${payload}}`))).statusCode;
  expect(await status(nested(63))).toBe(201);
  expect(await status(nested(64))).toBe(400);
  expect(await status(nested(200_000))).toBe(400);
  expect(await status(JSON.stringify(`\\"${'['.repeat(500)}`))).toBe(201);
});

test('absurd numbers are refused by name, in parameters and in bodies', async () => {
  const { ask, fabric } = await fakeHttp();
  for (const number of ['-1', '1.5', 'NaN', '', '1e309', '-1e309', '9007199254740992']) {
    for (const url of ['/v1/queues/q/jobs?limit=', '/v1/streams/s/partitions/0/records?offset=']) {
      const response = await ask('GET', url + number);
      expect([url + number, response.json().code]).toEqual([url + number, 'INVALID_ARGUMENT']);
      expect(response.json().detail).toMatch(/limit|offset/);
    }
  }
  const seek = async (offset: string) =>
    (await ask('POST', '/v1/streams/s/groups/g/seek', post(`{"partition":0,"offset":${offset}}`))).json();
  for (const offset of ['-1', '1e309', '9007199254740992', '9007199254740993'])
    expect([offset, await seek(offset)]).toMatchObject([offset, { code: 'INVALID_ARGUMENT' }]);
  expect(fabric.calls).toHaveLength(0);
  fabric.answer('streams.seek', { partitions: [] });
  await seek('9007199254740991');
  expect(fabric.last('streams.seek').request).toMatchObject({ offset: 2 ** 53 - 1 });
});

test('what the documented limits refuse carries their codes', async () => {
  const { ask } = await fakeHttp();
  const headers = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, '']));
  const job = await ask('POST', '/v1/queues/q/jobs', post(JSON.stringify({ payload: 1, headers })));
  expect(job.json()).toMatchObject({ code: 'HEADERS_TOO_LARGE', status: 413 });
  const records = Array(10_001).fill({ value: 1 });
  const write = await ask('POST', '/v1/streams/s/records', post(JSON.stringify({ records })));
  expect(write.json()).toMatchObject({ code: 'BATCH_TOO_LARGE', status: 413 });
});

test('a compressed body is refused, not stored as if it were the value', async () => {
  const { ask, fabric } = await fakeHttp();
  const encoded = { headers: { ...json, 'content-encoding': 'gzip' }, payload: '{"payload":1}' };
  for (const response of [
    await ask('POST', '/v1/queues/q/jobs', encoded),
    await ask('PUT', '/v1/kv/d/k', encoded),
  ])
    expect(response.json()).toMatchObject({ code: 'UNSUPPORTED_MEDIA_TYPE', status: 415 });
  expect(fabric.calls).toHaveLength(0);
});

test('JSON: what is not JSON is MALFORMED', async () => {
  const { ask } = await fakeHttp();
  for (const payload of ['{', '{"payload":1}x', '[1]]', 'nope', Buffer.from([0x22, 0xff, 0x22]), '"\\']) {
    const response = await ask('POST', '/v1/queues/q/jobs', post(payload));
    expect(response.json()).toMatchObject({ code: 'MALFORMED', status: 400 });
  }
});

test('JSON: keys like __proto__ pollute nothing', async () => {
  const { ask, fabric } = await fakeHttp();
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x' }] });
  const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
  const inPayload = await ask('POST', '/v1/queues/q/jobs', post(`{"payload":${evil}}`));
  expect(inPayload.statusCode).toBe(201);
  const { jobs } = fabric.last('queues.enqueue').request as { jobs: [{ payload: Buffer }] };
  expect(jobs[0].payload.toString()).toBe(evil);
  expect((await ask('POST', '/v1/queues/q/jobs', post(evil))).statusCode).toBe(400);
  await ask(
    'POST',
    '/v1/queues/q/jobs',
    post('{"payload":1,"headers":{"__proto__":"x"},"envelope":{"__proto__":{}}}'),
  );
  await ask('GET', '/v1/queues/q/jobs?__proto__[polluted]=1&constructor=1');
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

test('sizes: a value of 1 MiB is taken, one byte more is not; JSON bodies have room for Base64', async () => {
  const { ask, fabric } = await fakeHttp();
  fabric.answer('kv.execute', { results: [{ revision: 1 }] });
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x' }] });
  const MIB = 1024 * 1024;
  const put = async (bytes: number) => ask('PUT', '/v1/kv/default/k', { payload: Buffer.alloc(bytes) });
  expect((await put(MIB)).statusCode).toBe(200);
  const over = await put(MIB + 1);
  expect(over.statusCode).toBe(413);
  expect(over.json().code).toBe('VALUE_TOO_LARGE');
  const job = (bytes: number) =>
    post(JSON.stringify({ payloadBase64: Buffer.alloc(bytes).toString('base64') }));
  expect((await ask('POST', '/v1/queues/q/jobs', job(MIB))).statusCode).toBe(201);
  expect((await ask('POST', '/v1/queues/q/jobs', job(1.5 * MIB))).statusCode).toBe(413);
});

test('unknown routes, bad URLs and long keys are problem documents', async () => {
  const { ask, fabric } = await fakeHttp();
  const unknown = await ask('GET', '/v2/none?x=1');
  expect(unknown.json()).toMatchObject({ code: 'NOT_FOUND', status: 404, detail: 'no route GET /v2/none' });
  expect((await ask('DELETE', '/v1/queues/q')).statusCode).toBe(404);
  const bad = await ask('GET', '/v1/kv/default/%ff%zz');
  expect(bad.json()).toMatchObject({ code: 'MALFORMED', status: 400 });
  fabric.answer('kv.execute', { results: [{ found: false }] });
  const key = encodeURIComponent('ü'.repeat(512));
  expect((await ask('GET', `/v1/kv/default/${key}`)).json().code).toBe('NOT_FOUND');
  expect(fabric.calls).toHaveLength(1);
});

/** Everything that the server says on one connection until it closes it. */
async function talk(base: string, chunks: string[], pauseMs = 0): Promise<{ text: string; ms: number }> {
  const { hostname, port } = new URL(base);
  const socket = net.connect(Number(port), hostname);
  const startedMs = performance.now();
  let text = '';
  socket.on('data', (data) => {
    text += data.toString();
  });
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  for (const chunk of chunks) {
    socket.write(chunk);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  await closed;
  return { text, ms: performance.now() - startedMs };
}

test('a client that sends far too much, and then reads, gets an answer and no broken pipe', async () => {
  const { base, fabric } = await listenHttp();
  const { hostname, port } = new URL(base);
  const body = Buffer.alloc(12 * 1024 * 1024, ' ');
  const head = 'POST /v1/queues/q/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
  const socket = net.connect(Number(port), hostname);
  const errors: Error[] = [];
  socket.on('error', (error) => errors.push(error));
  socket.pause();
  socket.write(`${head}content-length: ${body.length}\r\n\r\n`);
  await new Promise<void>((resolve) => socket.write(body, () => resolve()));
  let text = '';
  socket.on('data', (data) => {
    text += data.toString();
  });
  await once(socket.resume(), 'close');
  expect(errors).toEqual([]);
  expect(text).toMatch(/^HTTP\/1\.1 413 [\s\S]*"code":"VALUE_TOO_LARGE"/);
  expect(fabric.calls).toHaveLength(0);
});

const quick = { limits: { headersTimeoutMs: 300, requestTimeoutMs: 600 } };

test('a head that does not come is cut with 408', async () => {
  const { base } = await listenHttp(quick);
  const { text, ms } = await talk(base, ['GET / HTTP/1.1\r\n', 'host: localhost\r\n', 'x: y\r\n'], 50);
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(text).toContain('application/problem+json');
  expect(ms).toBeLessThan(2000);
});

test('a body that drips is cut as well', async () => {
  const { base, fabric } = await listenHttp(quick);
  const head = 'POST /v1/queues/q/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
  const { text, ms } = await talk(base, [`${head}content-length: 100\r\n\r\n{"pay`, 'l', 'o'], 100);
  expect(text).toMatch(/^HTTP\/1\.1 408 /);
  expect(ms).toBeLessThan(2500);
  expect(fabric.calls).toHaveLength(0);
});

test('large heads are 431, and bytes that are no HTTP are 400 problems', async () => {
  const { base } = await listenHttp();
  const large = await talk(base, [`GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`]);
  expect(large.text).toMatch(/^HTTP\/1\.1 431 /);
  const noise = await talk(base, ['\x16\x03\x01\x02\x00\x01\x00\r\n\r\n']);
  expect(noise.text).toMatch(/^HTTP\/1\.1 400 [\s\S]*"code":"MALFORMED"/);
  const smuggle =
    'POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n';
  expect((await talk(base, [`${smuggle}0\r\n\r\n`])).text).toMatch(/^HTTP\/1\.1 400 /);
});

function lease(base: string) {
  const request = http.request(`${base}/v1/queues/q/lease`, { method: 'POST', headers: json });
  request.on('error', () => {});
  request.end('{"waitMs":60000}');
  return request;
}

test('a long poll outlives the limits on sending', async () => {
  const { base, fabric } = await listenHttp(quick);
  fabric.answer('queues.lease', () => new Promise((resolve) => setTimeout(resolve, 2500, { jobs: [] })));
  const [response] = (await once(lease(base), 'response')) as [http.IncomingMessage];
  expect(response.statusCode).toBe(200);
  response.resume();
});

test('a long poll whose client hangs up aborts; what was granted meanwhile is released', async () => {
  const { base, fabric } = await listenHttp();
  let grant = (_: unknown) => {};
  fabric.answer('queues.lease', () => new Promise((resolve) => (grant = resolve)));
  const request = lease(base);
  await until(() => fabric.calls.length === 1);
  const signal = fabric.last('queues.lease').rest[0] as AbortSignal;
  request.destroy();
  await until(() => signal.aborted);
  grant({ jobs: [{ id: 'late' }] });
  await until(() => fabric.calls.length === 2);
  expect(fabric.last('queues.releaseUndelivered')).toMatchObject({ request: 'q', rest: [[{ id: 'late' }]] });
});

test('a lease whose response cannot be written is released', async () => {
  const { base, fabric } = await listenHttp();
  const payload = Buffer.alloc(1024 * 1024, 'x');
  const jobs = Array.from({ length: 40 }, (_, index) => ({ id: `job-${index}`, payload }));
  fabric.answer('queues.lease', { jobs });
  const { hostname, port } = new URL(base);
  const socket = net.connect(Number(port), hostname);
  socket.pause();
  socket.write('POST /v1/queues/q/lease HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await until(() => fabric.calls.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  socket.destroy();
  await until(() => fabric.calls.length === 2);
  expect((fabric.last('queues.releaseUndelivered').rest[0] as unknown[]).length).toBe(40);
});

test('close ends long polls with 503 and does not wait for idle connections', async () => {
  const { base, fabric, listener } = await listenHttp();
  fabric.answer(
    'queues.lease',
    ({ rest }: { rest: unknown[] }) =>
      new Promise((resolve) =>
        (rest[0] as AbortSignal).addEventListener('abort', () => resolve({ jobs: [] })),
      ),
  );
  const response = once(lease(base), 'response') as Promise<[http.IncomingMessage]>;
  await until(() => fabric.calls.length === 1);
  const startedMs = performance.now();
  const closed = listener.close(10_000);
  const [{ statusCode, headers }] = await response;
  expect([statusCode, headers['retry-after']]).toEqual([503, '1']);
  await closed;
  expect(performance.now() - startedMs).toBeLessThan(2000);
});
