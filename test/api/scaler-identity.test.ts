// Who may ask for scaling: the certificate that KEDA shows may, and it opens no other door of the server.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { ExternalScalerClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createAccess, hashToken } from '../../dataplane/api/access.ts';
import { NEEDS } from '../../dataplane/api/permissions.ts';
import type { TlsFiles } from '../../dataplane/credential-files.ts';
import { type RunningServer, startServer } from '../../dataplane/main.ts';
import { Authority, type Issued } from './issued.ts';
import { options } from './real-server.ts';
import { collect } from './support.ts';

const authority = new Authority('flowmesh main');
const scaler = authority.issue('flowmesh-scaler');
const TOKEN = 'a-token-of-some-length';
const { NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED } = grpc.status;
const SCALER = '/externalscaler.ExternalScaler/';
const rpcs = [...NEEDS.keys()].filter((operation) => operation.startsWith('/'));

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-scaler-'));
const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};
const own = authority.issue('main');

/** As the operator sets it up: a certificate is asked for, a token does as well. */
const serve = (tls: Partial<TlsFiles> = {}) =>
  startServer({
    ...options,
    host: '127.0.0.1',
    redisPort: 0,
    tls: {
      certFile: file('tls.crt', own.cert),
      keyFile: file('tls.key', own.key),
      caFile: file('ca.crt', authority.cert),
      clientAuth: 'optional',
      ...tls,
    },
    tokenFile: file('token', TOKEN),
  });

let server: RunningServer;
beforeAll(async () => {
  server = await serve();
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

/** With another server in place of the usual one. */
async function servedBy(tls: Partial<TlsFiles>, check: () => Promise<void>): Promise<void> {
  const usual = server;
  server = await serve(tls);
  try {
    await check();
  } finally {
    await server.close();
    server = usual;
  }
}

/** Sends one empty message to any rpc and answers the status it ends with; 0 for one that stays open. */
async function statusOf(path: string, shown?: Issued, authorization?: string): Promise<number> {
  const [key, cert] = shown === undefined ? [null, null] : [Buffer.from(shown.key), Buffer.from(shown.cert)];
  const credentials = grpc.credentials.createSsl(Buffer.from(authority.cert), key, cert);
  const client = new grpc.Client(`localhost:${server.grpcPort}`, credentials);
  const metadata = new grpc.Metadata();
  if (authorization !== undefined) metadata.set('authorization', authorization);
  const asIs = (bytes: Buffer) => bytes;
  const call = client.makeBidiStreamRequest(path, asIs, asIs, metadata);
  const { status } = collect(call);
  call.write(Buffer.alloc(0));
  call.end();
  const timer = setTimeout(() => call.cancel(), 5000);
  const { code } = await status;
  clearTimeout(timer);
  client.close();
  return code;
}

/** A trigger for a queue that is not there: who is let in hears so. */
const ofNoQueue = { name: 'worker', namespace: 'shop', scalerMetadata: { queue: 'none', metric: 'lag' } };

async function isActive(shown?: Issued, authorization?: string): Promise<grpc.ServiceError> {
  const [key, cert] = shown === undefined ? [null, null] : [Buffer.from(shown.key), Buffer.from(shown.cert)];
  const credentials = grpc.credentials.createSsl(Buffer.from(authority.cert), key, cert);
  const client = new ExternalScalerClient(`localhost:${server.grpcPort}`, credentials);
  const metadata = new grpc.Metadata();
  if (authorization !== undefined) metadata.set('authorization', authorization);
  const error = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.isActive(ofNoQueue, metadata, (failure) => resolve(failure));
  });
  client.close();
  if (error === null) throw new Error('there is no such queue');
  return error;
}

test('it may call every method of the scaler', async () => {
  expect((await isActive(scaler)).code).toBe(NOT_FOUND);
  for (const path of rpcs.filter((each) => each.startsWith(SCALER))) {
    const code = await statusOf(path, scaler);
    expect([path, code]).toEqual([path, grpc.status.INVALID_ARGUMENT]);
  }
});

test('it may call nothing else by gRPC, but what anybody may', async () => {
  const others = rpcs.filter((each) => !each.startsWith(SCALER) && !each.startsWith('/grpc.health.'));
  expect(others.length).toBeGreaterThan(50);
  for (const path of others) expect([path, await statusOf(path, scaler)]).toEqual([path, PERMISSION_DENIED]);
});

test('it may do nothing by HTTP and Redis', async () => {
  const ask = async (method: string, path: string) => {
    const shown = { ca: authority.cert, cert: scaler.cert, key: scaler.key };
    const request = https.request({
      host: 'localhost',
      port: server.httpPort,
      method,
      path,
      agent: false,
      ...shown,
    });
    request.end();
    const [response] = await once(request, 'response');
    response.resume();
    return response.statusCode;
  };
  expect(await ask('GET', '/healthz')).toBe(200);
  for (const path of ['/metrics', '/openapi.json', '/v1/queues', '/v1/figures', '/v1/kv/default/a']) {
    expect([path, await ask('GET', path)]).toEqual([path, 403]);
  }
  const socket = connect({
    ...{ port: server.redisPort, host: '127.0.0.1', servername: 'localhost' },
    ...{ ca: authority.cert, cert: scaler.cert, key: scaler.key },
  });
  const commands = [['GET', 'a'], ['SET', 'a', '1'], ['DEL', 'a'], ['QUIT']];
  const bulk = (word: string) => `$${word.length}\r\n${word}\r\n`;
  socket.write(commands.map((words) => `*${words.length}\r\n${words.map(bulk).join('')}`).join(''));
  let said = '';
  for await (const text of socket.setEncoding('utf8')) said += text;
  expect(said.match(/^-NOPERM .*$/gm)).toHaveLength(3);
});

test('without a certificate, or with one of another authority, a token is asked for', async () => {
  const stranger = new Authority('somebody else').issue('flowmesh-scaler');
  expect((await isActive()).code).toBe(UNAUTHENTICATED);
  expect((await isActive(stranger)).code).toBe(UNAUTHENTICATED);
  expect((await isActive(stranger, `Bearer ${TOKEN}`)).code).toBe(NOT_FOUND);
});

test('the token of the API and other certificates of the authority may do all, and so scale', async () => {
  expect((await isActive(undefined, `Bearer ${TOKEN}`)).code).toBe(NOT_FOUND);
  const other = authority.issue('flowmesh-scaler-of-another-kind');
  expect((await isActive(other)).code).toBe(NOT_FOUND);
  expect(await statusOf('/flowmesh.v1.Admin/ListQueues', other)).toBe(grpc.status.OK);
});

test('of an authority that signs for others, too, the scaler alone gets in by certificate', async () => {
  await servedBy({ caTrustedFor: 'scaling' }, async () => {
    expect((await isActive(scaler)).code).toBe(NOT_FOUND);
    expect(await statusOf('/flowmesh.v1.Admin/ListQueues', scaler)).toBe(PERMISSION_DENIED);
    const other = authority.issue('somebody');
    expect((await isActive(other)).code).toBe(UNAUTHENTICATED);
    expect(await statusOf('/flowmesh.v1.Admin/ListQueues', other)).toBe(UNAUTHENTICATED);
    expect(await statusOf('/flowmesh.v1.Admin/ListQueues', other, `Bearer ${TOKEN}`)).toBe(grpc.status.OK);
  });
});

test('an issuer may give no authority: then nobody gets in by certificate', async () => {
  await servedBy({ caTrustedFor: 'scaling', caFile: join(dir, 'none.crt') }, async () => {
    expect((await isActive(scaler)).code).toBe(UNAUTHENTICATED);
    expect((await isActive(scaler, `Bearer ${TOKEN}`)).code).toBe(NOT_FOUND);
  });
  await expect(serve({ caFile: join(dir, 'none.crt') })).rejects.toThrow(/none\.crt cannot be read/);
});

test('a token that may only read may not scale, and one that may only scale may not read', () => {
  const grant = (verb: 'get' | 'scale') => ({ identity: verb, sha256: hashToken(verb), verbs: [verb] });
  const access = createAccess({ anonymous: false, tokens: [grant('get'), grant('scale')] });
  const may = (token: string, operation: string) => () =>
    access.authorize(access.identify({ authorization: `Bearer ${token}` }), operation);
  const [scale, read] = [`${SCALER}GetMetrics`, '/flowmesh.v1.Admin/GetQueue'];
  expect(may('scale', scale)).not.toThrow();
  expect(may('get', read)).not.toThrow();
  expect(may('get', scale)).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }));
  expect(may('scale', read)).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }));
});
