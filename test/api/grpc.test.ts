// The gRPC listener against a fake fabric, with a real client: every rpc, every kind of end.

import { FlowError } from '@flowmesh/protocol';
import {
  AdminClient,
  HistoryClient,
  KvClient,
  QueuesClient,
  StreamsClient,
  services,
  TransactionsClient,
} from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { refused, startFake, unary, until } from './support.ts';

const clients = {
  'flowmesh.v1.Admin': AdminClient,
  'flowmesh.v1.History': HistoryClient,
  'flowmesh.v1.Kv': KvClient,
  'flowmesh.v1.Queues': QueuesClient,
  'flowmesh.v1.Streams': StreamsClient,
  'flowmesh.v1.Transactions': TransactionsClient,
} as const;

const serviceOf: Record<string, string> = {
  'flowmesh.v1.Admin': 'admin',
  'flowmesh.v1.History': 'history',
  'flowmesh.v1.Kv': 'kv',
  'flowmesh.v1.Queues': 'queues',
  'flowmesh.v1.Streams': 'streams',
  'flowmesh.v1.Transactions': 'transactions',
};

test('every unary rpc reaches the method of its name, with the caller', async () => {
  const { fabric, client } = await startFake();
  for (const [service, definition] of Object.entries(services)) {
    // Answers by itself: test/scaling.
    if (service === 'externalscaler.ExternalScaler') continue;
    const stub = client<grpc.Client>(clients[service as keyof typeof clients]);
    for (const [name, { requestStream, responseStream }] of Object.entries(definition)) {
      if (requestStream || responseStream) continue;
      const metadata = new grpc.Metadata();
      metadata.set('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
      await unary(stub, (stub as never)[name], {}, metadata);
      const call = fabric.last(`${serviceOf[service]}.${name}`);
      expect(call.caller).toEqual({
        identity: 'anonymous',
        tenant: 1,
        deadlineMs: 0,
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      });
    }
  }
});

test('messages arrive and leave as the services have them', async () => {
  const { fabric, client } = await startFake();
  fabric.answer('queues.enqueue', { jobs: [{ id: '0-1-a' }], durability: 1 });
  const stub = client(QueuesClient);
  const response = await unary(stub, stub.enqueue, {
    queue: 'emails',
    jobs: [{ payload: Buffer.from('hi'), headers: { a: Buffer.from('b') } }],
    mutation: { producerId: 'p', seq: 7 },
  });
  expect(response).toMatchObject({ jobs: [{ id: '0-1-a', deduplicated: false }], durability: 1 });
  expect(fabric.last('queues.enqueue').request).toMatchObject({
    queue: 'emails',
    jobs: [{ payload: Buffer.from('hi'), priority: 0 }],
    mutation: { producerId: 'p', seq: 7 },
  });
});

test('the deadline of the client is the deadline of the caller', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  const deadline = Date.now() + 5000;
  await unary(stub, stub.getJob, {}, new grpc.Metadata(), { deadline });
  expect(Math.abs((fabric.last('queues.getJob').caller?.deadlineMs ?? 0) - deadline)).toBeLessThan(250);
});

test('a FlowError becomes its status, code and pause', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  fabric.answer('queues.enqueue', new FlowError('QUEUE_FULL', 'queue \ud800 is full', { retryAfterMs: 250 }));
  const error = await refused(unary(stub, stub.enqueue, {}));
  expect(error).toMatchObject({ code: grpc.status.RESOURCE_EXHAUSTED, details: 'queue \ufffd is full' });
  expect(error.metadata.get('flowmesh-code')).toEqual(['QUEUE_FULL']);
  expect(error.metadata.get('flowmesh-retry-after-ms')).toEqual(['250']);
});

test('an unexpected error is INTERNAL with a request id; only the log has the error', async () => {
  const { fabric, client, lines } = await startFake();
  const stub = client(AdminClient);
  fabric.answer('admin.getCluster', new TypeError('secret detail'));
  const error = await refused(unary(stub, stub.getCluster, {}));
  expect(error.code).toBe(grpc.status.INTERNAL);
  expect(error.details).toMatch(/^internal error; request id \w{10}$/);
  expect(JSON.stringify(error)).not.toContain('secret detail');
  const line = lines.map((each) => JSON.parse(each)).find(({ event }) => event === 'api.failed');
  expect(line).toMatchObject({
    operation: '/flowmesh.v1.Admin/GetCluster',
    err: { message: 'secret detail' },
  });
  expect(error.details).toContain(line.requestId);
});

test('while the fabric starts or has failed every call is UNAVAILABLE', async () => {
  const { fabric, client } = await startFake();
  const stub = client(KvClient);
  for (const state of ['starting', 'failed'] as const) {
    fabric.become(state);
    const error = await refused(unary(stub, stub.execute, {}));
    expect(error.code).toBe(grpc.status.UNAVAILABLE);
  }
  fabric.become('disk_full');
  await unary(stub, stub.execute, {});
});

test('a cancelled lease aborts its signal, and what was granted meanwhile is released', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  let grant = (_: unknown) => {};
  fabric.answer(
    'queues.lease',
    () =>
      new Promise((resolve) => {
        grant = resolve;
      }),
  );
  const call = stub.lease({ queue: 'q', waitMs: 60_000 }, () => {});
  await until(() => fabric.calls.length === 1);
  const signal = fabric.last('queues.lease').rest[0] as AbortSignal;
  expect(signal.aborted).toBe(false);
  call.cancel();
  await until(() => signal.aborted);
  grant({ jobs: [{ id: 'late' }] });
  await until(() => fabric.calls.length === 2);
  expect(fabric.last('queues.releaseUndelivered')).toMatchObject({ request: 'q', rest: [[{ id: 'late' }]] });
});
