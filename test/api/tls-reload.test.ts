// Certificates and tokens in files: new ones come into force under load, without a restart and without an
// error; wrong ones change nothing. A server in full, over all three listeners.
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { connect, type FlowMesh } from '@flowmesh/client';
import { beforeEach, expect, test } from 'vitest';
import { type RunningServer, type ServerOptions, startServer } from '../../dataplane/main.ts';
import { Authority, type Issued } from './issued.ts';
import { options } from './real-server.ts';
import { atEnd } from './support.ts';

const [first, second] = [new Authority('first'), new Authority('second')];
const stranger = new Authority('stranger');
const TOKEN = 'a-token-of-some-length';
/** Of whoever trusts both, as an operator hands them out while it changes from one to the other. */
const bundle = first.cert + second.cert;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flowmesh-tls-'));
  atEnd(() => rmSync(dir, { recursive: true }));
});

const file = (name: string) => join(dir, name);
/** At once, as the link of a mounted Secret changes. */
function write(name: string, text: string): void {
  writeFileSync(file(`${name}.new`), text);
  renameSync(file(`${name}.new`), file(name));
}

function writePair({ cert, key }: Issued): void {
  write('tls.crt', cert);
  write('tls.key', key);
}

async function serve(
  over: Partial<ServerOptions> = {},
  tls: Partial<ServerOptions['tls']> = {},
): Promise<RunningServer> {
  const server = await startServer({
    ...options,
    redisPort: 0,
    tls: { certFile: file('tls.crt'), keyFile: file('tls.key'), ...tls },
    tokenFile: file('token'),
    reloadMs: 10,
    ...over,
  });
  atEnd(() => server.close());
  return server;
}

/** Serial of the certificate that a new connection is shown. */
async function shown(port: number, more: ConnectionOptions = {}): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca: bundle, ...more });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

const serialOf = async ({ cert }: Issued) =>
  new (await import('node:crypto')).X509Certificate(cert).serialNumber;

function get(port: number, path: string, more: https.RequestOptions = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = https.get(
      { host: 'localhost', port, path, ca: bundle, agent: false, ...more },
      (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0));
      },
    );
    request.on('error', reject);
  });
}

function text(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const ask = { host: 'localhost', port, path, ca: bundle, agent: false, headers: { authorization } };
    const request = https.get(ask, (response) => {
      let all = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        all += part;
      });
      response.on('end', () => resolve(all));
    });
    request.on('error', reject);
  });
}

const authorization = `Bearer ${TOKEN}`;
const withToken = { headers: { authorization } };

async function ping(port: number, more: ConnectionOptions = {}, auth = `AUTH ${TOKEN}`): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca: bundle, ...more });
  socket.setEncoding('utf8');
  const words = auth === '' ? ['PING'] : [auth, 'PING'];
  socket.end(words.map((line) => encode(line.split(' '))).join(''));
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

const encode = (args: string[]) =>
  `*${args.length}\r\n${args.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join('')}`;

async function client({ grpcPort }: RunningServer, ca = bundle): Promise<FlowMesh> {
  const fm = await connect({ address: `localhost:${grpcPort}`, token: TOKEN, tls: { ca } });
  atEnd(() => fm.close());
  return fm;
}

test('[AD30] certificates change under load on all listeners: no error, no connection lost', async () => {
  writePair(first.issue('one'));
  write('token', TOKEN);
  const server = await serve();
  const { grpcPort, httpPort } = server;
  const redisPort = server.redisPort ?? 0;
  const held = await client(server);
  const rawRedis = connectTls({ port: redisPort, host: '127.0.0.1', servername: 'localhost', ca: bundle });
  await once(rawRedis, 'secureConnect');
  const errors: unknown[] = [];
  const done = { grpc: 0, fresh: 0, http: 0, redis: 0, jobs: 0 };
  let isOver = false;
  const load = async (kind: keyof typeof done, run: () => Promise<unknown>) => {
    while (!isOver) {
      await run().then(
        () => done[kind]++,
        (error: unknown) => void errors.push([kind, error]),
      );
    }
  };
  const worker = held.queue.worker('q', () => void done.jobs++);
  const loads = [
    load('grpc', () => held.queue.enqueue('q', { n: done.grpc })),
    load('fresh', async () => {
      const fm = await connect({ address: `localhost:${grpcPort}`, token: TOKEN, tls: { ca: bundle } });
      await fm.kv.set('k', done.fresh);
      await fm.close();
    }),
    load('http', async () => expect(await get(httpPort, '/v1/queues', withToken)).toBe(200)),
    load('redis', async () => expect(await ping(redisPort)).toBe('+OK\r\n+PONG\r\n')),
  ];
  for (const authority of [second, first, second, first, second]) {
    const next = authority.issue('next');
    writePair(next);
    const serial = await serialOf(next);
    for (const port of [grpcPort, httpPort, redisPort])
      await expect.poll(() => shown(port), { timeout: 10_000, interval: 5 }).toBe(serial);
    const before = { ...done };
    await expect
      .poll(() => Object.keys(done).every((k) => done[k as 'grpc'] > before[k as 'grpc']))
      .toBe(true);
  }
  // The connection that was there at first still works, on the certificate that it was shown.
  rawRedis.write(encode(['AUTH', TOKEN]));
  const [answer] = (await once(rawRedis, 'data')) as [Buffer];
  expect(answer.toString()).toBe('+OK\r\n');
  rawRedis.destroy();
  isOver = true;
  await Promise.all(loads);
  await worker.drain();
  expect(errors).toEqual([]);
  // Who trusts the old authority alone does not get in any more.
  await expect(shown(httpPort, { ca: first.cert })).rejects.toThrow();
});

test('[AD31] files that do not belong together change nothing until they are right', async () => {
  const one = first.issue('one');
  const two = first.issue('two');
  writePair(one);
  write('token', TOKEN);
  const server = await serve();
  const keeps = async () => {
    // Long enough for several looks.
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(await shown(server.httpPort)).toBe(await serialOf(one));
    expect(await get(server.httpPort, '/v1/queues', withToken)).toBe(200);
  };
  write('tls.crt', two.cert);
  await keeps();
  write('tls.crt', 'no certificate');
  write('token', '');
  await keeps();
  write('tls.key', two.key.slice(0, 100));
  rmSync(file('tls.crt'));
  rmSync(file('token'));
  await keeps();
  write('tls.key', two.key);
  write('tls.crt', two.cert);
  await expect.poll(() => shown(server.httpPort)).toBe(await serialOf(two));
});

test('[AD31] a start with files that are not right is refused, and says which', async () => {
  writePair(first.issue('one'));
  write('token', TOKEN);
  await expect(serve({}, { certFile: file('none') })).rejects.toThrow(/none cannot be read: ENOENT/);
  write('tls.key', first.issue('two').key);
  await expect(serve()).rejects.toThrow(/the key in .*tls\.key is not that of .*tls\.crt/);
  writePair(first.issue('one'));
  await expect(serve({}, { caFile: file('tls.key') })).rejects.toThrow(
    /tls\.key does not hold a certificate/,
  );
  for (const text of ['', 'short', 'with a space in between', `${TOKEN}\n`.repeat(101)]) {
    write('token', text);
    await expect(serve()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
});

test('[AD32] tokens change without a restart, and two are valid while clients change over', async () => {
  writePair(first.issue('one'));
  write('token', TOKEN);
  const server = await serve();
  const next = 'another-token-of-some-length';
  const status = (token: string) =>
    get(server.httpPort, '/v1/queues', { headers: { authorization: `Bearer ${token}` } });
  expect([await status(TOKEN), await status(next)]).toEqual([200, 401]);
  write('token', `${next}\n${TOKEN}\n`);
  await expect.poll(() => status(next)).toBe(200);
  expect(await status(TOKEN)).toBe(200);
  write('token', next);
  await expect.poll(() => status(TOKEN)).toBe(401);
  expect(await ping(server.redisPort ?? 0, {}, `AUTH ${next}`)).toBe('+OK\r\n+PONG\r\n');
  expect(await ping(server.redisPort ?? 0)).toContain('-WRONGPASS');
});

test('[AD33] with optional client certificates one is an identity, others need a token', async () => {
  writePair(first.issue('server'));
  write('token', TOKEN);
  write('ca.crt', first.cert);
  const server = await serve({ host: '0.0.0.0' }, { caFile: file('ca.crt'), clientAuth: 'optional' });
  const [friend, foe] = [first.issue('friend'), stranger.issue('foe')];
  const { httpPort } = server;
  expect(await get(httpPort, '/readyz')).toBe(200);
  expect(await get(httpPort, '/v1/queues')).toBe(401);
  expect(await get(httpPort, '/v1/queues', withToken)).toBe(200);
  expect(await get(httpPort, '/v1/queues', friend)).toBe(200);
  expect(await get(httpPort, '/v1/queues', foe)).toBe(401);
  expect(await get(httpPort, '/v1/queues', { ...foe, ...withToken })).toBe(200);
  expect(await ping(server.redisPort ?? 0, friend, '')).toBe('+PONG\r\n');
  expect(await ping(server.redisPort ?? 0, foe, '')).toContain('-NOAUTH');
  const address = `localhost:${server.grpcPort}`;
  for (const [tls, code] of [
    [friend, 'ok'],
    [foe, 'UNAUTHENTICATED'],
  ] as const) {
    const fm = await connect({ address, tls: { ca: bundle, ...tls } });
    const outcome = fm.admin.listQueues().then(
      () => 'ok',
      (error: { code: string }) => error.code,
    );
    expect(await outcome).toBe(code);
    await fm.close();
  }
});

test('[AD30] metrics tell when the certificate that is in force runs out', async () => {
  writePair(first.issue('one'));
  write('token', TOKEN);
  const server = await serve();
  const ends = async () => {
    const metrics = await text(server.httpPort, '/metrics');
    return Number(/^flowmesh_tls_certificate_expiry_timestamp_seconds (\S+)$/m.exec(metrics)?.[1]);
  };
  const before = await ends();
  expect(before * 1000).toBeGreaterThan(Date.now());
  expect(before * 1000).toBeLessThanOrEqual(Date.now() + 3_600_000);
  const later = first.issue('later', 2 * 3_600_000);
  writePair(later);
  await expect.poll(ends).toBeGreaterThan(before + 3000);
});

test('[AD33] required client certificates keep strangers out of the handshake', async () => {
  writePair(first.issue('server'));
  write('ca.crt', first.cert);
  const server = await serve({ host: '0.0.0.0', tokenFile: undefined }, { caFile: file('ca.crt') });
  const [friend, foe] = [first.issue('friend'), stranger.issue('foe')];
  expect(await get(server.httpPort, '/v1/queues', friend)).toBe(200);
  expect(await ping(server.redisPort ?? 0, friend, '')).toBe('+PONG\r\n');
  for (const who of [{}, foe]) {
    await expect(get(server.httpPort, '/healthz', who)).rejects.toThrow();
    expect(await ping(server.redisPort ?? 0, who, '').catch(() => '')).toBe('');
  }
});

test('[AD34] nothing below TLS 1.2, no weak cipher, no plain text', async () => {
  writePair(first.issue('server'));
  write('token', TOKEN);
  const server = await serve();
  for (const port of [server.grpcPort, server.httpPort, server.redisPort ?? 0]) {
    for (const more of [
      { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' },
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' },
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' },
    ] as ConnectionOptions[])
      await expect(shown(port, more)).rejects.toThrow();
    expect(await shown(port, { maxVersion: 'TLSv1.2' })).not.toBe('');
    const plain = connectTcp(port, '127.0.0.1');
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n*1\r\n$4\r\nPING\r\n');
    await once(plain.resume(), 'close');
  }
});

test('[AD35] beyond loopback a server asks for credentials, or was told to be open', async () => {
  writePair(first.issue('server'));
  const open = serve({ host: '0.0.0.0', tokenFile: undefined });
  await expect(open).rejects.toThrow(/refusing to listen on 0\.0\.0\.0 without credentials/);
  const one = serve({ hosts: { redis: '::' }, tokenFile: undefined });
  await expect(one).rejects.toThrow(/refusing to listen on ::/);
  await serve({ host: '0.0.0.0', tokenFile: undefined, insecure: true });
});
