// Who may do what: the permission table is complete, and holds on both listeners.

import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { services } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { checkExposure, createAccess, hashToken, isLoopback } from '../../dataplane/api/access.ts';
import { NEEDS, type Verb } from '../../dataplane/api/permissions.ts';
import { SESSION } from '../../dataplane/api/redis/session.ts';
import { COMMANDS } from '../../dataplane/api/redis/tables.ts';
import { collect, fakeHttp, startFake } from './support.ts';

const VERBS: Verb[] = [
  'get',
  'put',
  'delete',
  'enqueue',
  'lease',
  'ack',
  'publish',
  'consume',
  'replay',
  'scale',
  'admin',
];

const grantOf = (verb: Verb) => ({
  identity: `only-${verb}`,
  sha256: hashToken(`token-${verb}`),
  verbs: [verb],
});
const access = createAccess({
  anonymous: false,
  tokens: [{ identity: 'root', sha256: hashToken('token-root') }, ...VERBS.map(grantOf)],
});

const operations = [...NEEDS.keys()];
const rpcs = operations.filter((operation) => operation.startsWith('/'));
const routes = operations.filter((operation) => /^[A-Z]+ \//.test(operation));
const commands = operations.filter((operation) => operation.startsWith('redis '));

const passThrough = (bytes: Buffer) => bytes;

/**
 * Sends one empty message to any rpc, whatever its kind. Answers the status, or CANCELLED for one that goes
 * on: Watch, reflection and open streams do not end by themselves.
 */
async function statusOfRpc(
  address: string,
  path: string,
  metadata: grpc.Metadata,
): Promise<grpc.StatusObject> {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const call = client.makeBidiStreamRequest(path, passThrough, passThrough, metadata);
  const { status } = collect(call);
  call.write(Buffer.alloc(0));
  call.end();
  // Who is refused is refused at once, so before the answer to a call that comes after it on the connection.
  const health = '/grpc.health.v1.Health/Check';
  await new Promise((resolve) => {
    client.makeUnaryRequest(health, passThrough, passThrough, Buffer.alloc(0), resolve);
  });
  call.cancel();
  const ended = await status;
  client.close();
  return ended;
}

const bearer = (token: string) => {
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
};

test('every rpc of the protocol has an entry, and no entry is left over', async () => {
  const served = Object.values(services).flatMap((definition) =>
    Object.values(definition).map(({ path }) => path),
  );
  const builtin = rpcs.filter((path) => path.startsWith('/grpc.'));
  expect(rpcs.sort()).toEqual([...served, ...builtin].sort());
});

test('every route has an entry, and no entry is left over', async () => {
  const { app } = await fakeHttp();
  const description = app.swagger() as unknown as { paths: Record<string, object> };
  const described = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
  );
  expect(described.sort()).toEqual(routes.sort());
});

test('every Redis command on data has an entry that asks for its verb, and no entry is left over', () => {
  const own = [...SESSION].flatMap(([name, { verb }]) => (verb === undefined ? [] : [[name, verb] as const]));
  const served = [...[...COMMANDS].map(([name, { verb }]) => [name, verb] as const), ...own];
  expect(commands.sort()).toEqual(served.map(([name]) => `redis ${name}`).sort());
  for (const [name, verb] of served) {
    const need = NEEDS.get(`redis ${name}`);
    const verbs = need?.kind === 'all' ? need.permissions.map((each) => each.verb) : [];
    expect(verbs, name).toContain(verb);
  }
});

test('a route without an entry cannot be added', async () => {
  const built = fakeHttp();
  const { app } = await built;
  expect(() => access.isOpen('GET /v1/new')).toThrow('has no entry');
  expect(() => app.get('/v1/new', async () => ({}))).toThrow();
});

test('without a token every rpc is UNAUTHENTICATED, except health', async () => {
  const { address, fabric } = await startFake({ access });
  for (const path of rpcs) {
    const { code } = await statusOfRpc(address, path, new grpc.Metadata());
    const isOpen = path.startsWith('/grpc.health.');
    expect([path, code === grpc.status.UNAUTHENTICATED]).toEqual([path, !isOpen]);
  }
  for (const token of ['wrong', '']) {
    const { code } = await statusOfRpc(address, '/flowmesh.v1.Admin/ListQueues', bearer(token));
    expect(code).toBe(grpc.status.UNAUTHENTICATED);
  }
  expect(fabric.calls).toHaveLength(0);
});

const fill = (route: string) => {
  const [method = '', path = ''] = route.split(' ');
  return { method: method as 'GET', url: path.replace(/:partition/, '0').replace(/:\w+/g, 'x') };
};

test('without a token every route is 401, except the probes', async () => {
  const { ask, fabric } = await fakeHttp({ access });
  for (const route of [...routes, 'GET /nowhere']) {
    const { method, url } = fill(route);
    const response = await ask(method, url);
    expect([route, response.statusCode]).toEqual([route, /(healthz|readyz)$/.test(route) ? 200 : 401]);
    if (response.statusCode !== 401) continue;
    expect(response.headers['www-authenticate']).toContain('Bearer');
    expect(response.json().code).toBe('UNAUTHENTICATED');
  }
  const authorization = 'Bearer token-wrong';
  expect((await ask('GET', '/v1/queues', { headers: { authorization } })).statusCode).toBe(401);
  expect(fabric.calls).toHaveLength(0);
});

test('identity x verb x protocol: allowed is what the table says', async () => {
  const { ask } = await fakeHttp({ access });
  const { address } = await startFake({ access });
  for (const verb of VERBS) {
    const identity = access.identify({ authorization: `Bearer token-${verb}` });
    const allows = (operation: string) => {
      try {
        access.authorize(identity, operation);
        return true;
      } catch {
        return false;
      }
    };
    for (const route of routes) {
      const { method, url } = fill(route);
      const headers = { authorization: `Bearer token-${verb}` };
      const { statusCode } = await ask(method, url, { headers });
      expect([verb, route, statusCode !== 403]).toEqual([verb, route, allows(route)]);
    }
    // One rpc of each kind; the others go through the same function.
    for (const path of [
      'Kv/Execute',
      'Queues/Work',
      'Queues/EnqueueStream',
      'Streams/Follow',
      'Admin/GetQueue',
    ]) {
      const operation = `/flowmesh.v1.${path}`;
      const { code } = await statusOfRpc(address, operation, bearer(`token-${verb}`));
      expect([verb, path, code !== grpc.status.PERMISSION_DENIED]).toEqual([verb, path, allows(operation)]);
    }
  }
});

test('a request with several operations is judged by what it carries', () => {
  const reader = access.identify({ authorization: 'Bearer token-get' });
  const execute = (op: string) =>
    access.authorize(reader, '/flowmesh.v1.Kv/Execute', { ops: [{ op: 'get' }, { op }] });
  expect(() => execute('scan')).not.toThrow();
  expect(() => execute('set')).toThrow('only-get may not put (kv)');
  const commit = (ops: unknown[]) => access.authorize(reader, '/flowmesh.v1.Transactions/Commit', { ops });
  expect(() => commit([{ op: 'kv', kv: { ops: [{ op: 'get' }] } }])).not.toThrow();
  expect(() => commit([{ op: 'enqueue' }])).toThrow('may not enqueue (queue)');
});

test('tokens: scheme in any case, full access without verbs, malformed ones refused', () => {
  const root = access.identify({ authorization: 'bearer  token-root' });
  expect(root).toMatchObject({ name: 'root', tenant: 1, verbs: null });
  for (const authorization of ['token-root', 'Basic token-root', `Bearer ${'x'.repeat(5000)}`, 'Bearer']) {
    expect(() => access.identify({ authorization })).toThrow(
      expect.objectContaining({ code: 'UNAUTHENTICATED' }),
    );
  }
  expect(() => createAccess({ anonymous: false, tokens: [{ identity: 'x', sha256: 'abc' }] })).toThrow(
    '64 hex',
  );
  expect(access.identify({ authorization: undefined, certificate: 'pod-1' }).name).toBe('certificate:pod-1');
});

test('a server that is not on loopback refuses to be open', () => {
  const exposed = { host: '0.0.0.0', token: false, insecure: false };
  expect(() => checkExposure(exposed)).toThrow(/0\.0\.0\.0 without credentials.*--insecure/);
  expect(() => checkExposure({ ...exposed, tls: {} })).toThrow('without credentials');
  expect(() => checkExposure({ ...exposed, tls: { clientCa: Buffer.from('ca') } })).not.toThrow();
  expect(() => checkExposure({ ...exposed, token: true })).not.toThrow();
  expect(() => checkExposure({ ...exposed, insecure: true })).not.toThrow();
  for (const host of ['127.0.0.1', '127.8.0.1', 'localhost', '::1', '[::1]']) {
    expect(() => checkExposure({ ...exposed, host })).not.toThrow();
  }
  expect(['127.0.0.1.evil.example', '10.0.0.1', '::', 'example'].some(isLoopback)).toBe(false);
});

test('[Q183] who holds a job may ask for its children, who may look at jobs as well', () => {
  const rpc = '/flowmesh.v1.Queues/ListChildren';
  const may = (verb: Verb, leaseEpoch: number) => {
    const who = access.identify({ authorization: `Bearer token-${verb}` });
    const message = pb.ListChildrenRequest.create({ queue: 'q', id: '0-1-0', leaseEpoch });
    try {
      access.authorize(who, rpc, message);
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'PERMISSION_DENIED' });
      return false;
    }
  };
  expect([may('get', 0), may('lease', 7), may('lease', 0), may('enqueue', 7)]).toEqual([
    ...[true, true, false, false],
  ]);
});
