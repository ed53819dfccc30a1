// Streams of the gRPC listener against a fake fabric: order, windows, backpressure, and every way to end.

import { FlowError } from '@flowmesh/protocol';
import { KvClient, QueuesClient, StreamsClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { collect, refused, startFake, unary, until } from './support.ts';

test('EnqueueStream: the window first, replies in order, the end after the last reply', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  const call = stub.enqueueStream();
  const replies = collect(call);
  await replies.until(1);
  expect(replies.messages[0]).toMatchObject({ seq: 0, window: { messages: 64, bytes: 8 * 1024 * 1024 } });
  fabric.answer('queues.enqueueBatch', ({ request }: { request: unknown }) => {
    const { seq } = (request as { mutation: { seq: number } }).mutation;
    if (seq === 2) throw new FlowError('QUEUE_NOT_FOUND', 'no queue q', { retryAfterMs: 5 });
    return { count: 1, firstOffset: seq * 10, idPrefix: '0-1-' };
  });
  fabric.hold = true;
  for (const seq of [1, 2, 3]) call.write({ queue: 'q', batch: Buffer.from([seq]), mutation: { seq } });
  call.end();
  await until(() => fabric.calls.length === 3);
  expect(replies.messages).toHaveLength(1);
  fabric.releaseHeld();
  expect((await replies.status).code).toBe(grpc.status.OK);
  expect(replies.messages.slice(1)).toMatchObject([
    { seq: 1, firstOffset: 10 },
    { seq: 2, error: { code: 'QUEUE_NOT_FOUND', message: 'no queue q', retryAfterMs: 5 } },
    { seq: 3, firstOffset: 30 },
  ]);
});

test('a record batch is a Buffer of its own message: patching it changes nothing else', async () => {
  const { fabric, client } = await startFake();
  const stub = client(StreamsClient);
  const call = stub.publishStream();
  const replies = collect(call);
  const sizes = [1, 100, 5000, 70_000];
  sizes.forEach((size, index) => {
    call.write({
      stream: 's',
      partition: 2,
      batch: Buffer.alloc(size, index + 1),
      mutation: { seq: index + 1 },
    });
  });
  await replies.until(1 + sizes.length);
  const batches = fabric.calls.map(({ request }) => (request as { batch: Buffer }).batch);
  batches.forEach((batch, index) => {
    expect(Buffer.isBuffer(batch)).toBe(true);
    batch.fill(0xff);
    for (const [at, other] of batches.entries()) {
      if (at > index) expect(other.every((byte) => byte === at + 1)).toBe(true);
    }
  });
});

test('at most 64 messages of a stream are unanswered', async () => {
  const { fabric, client } = await startFake();
  const stub = client(StreamsClient);
  fabric.hold = true;
  const call = stub.publishStream();
  const replies = collect(call);
  for (let seq = 1; seq <= 500; seq++)
    call.write({ stream: 's', batch: Buffer.alloc(10), mutation: { seq } });
  await until(() => fabric.calls.length === 64);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(fabric.calls).toHaveLength(64);
  fabric.releaseHeld();
  await replies.until(501);
  expect(replies.messages.map(({ seq }) => seq)).toEqual(Array.from({ length: 501 }, (_, seq) => seq));
});

test('at most 8 MiB of a stream are unanswered', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  fabric.hold = true;
  const call = stub.enqueueStream();
  const replies = collect(call);
  for (let seq = 1; seq <= 12; seq++)
    call.write({ queue: 'q', batch: Buffer.alloc(1 << 20), mutation: { seq } });
  await until(() => fabric.calls.length === 8);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(fabric.calls).toHaveLength(8);
  fabric.releaseHeld();
  await replies.until(13);
});

test('Kv.Pipeline answers in request order, whatever is ready first', async () => {
  const { fabric, client } = await startFake();
  const resolvers: ((value: unknown) => void)[] = [];
  fabric.answer('kv.execute', () => new Promise((resolve) => void resolvers.push(resolve)));
  const stub = client(KvClient);
  const call = stub.pipeline();
  const replies = collect(call);
  for (let i = 0; i < 3; i++) call.write({ ops: [{ get: { key: Buffer.from([i]) } }] });
  await until(() => resolvers.length === 3);
  resolvers[2]?.({ results: [{ revision: 3 }] });
  resolvers[1]?.(Promise.reject(new FlowError('WRONG_TYPE', 'is a hash')));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(replies.messages).toHaveLength(0);
  resolvers[0]?.({ results: [{ revision: 1 }] });
  await replies.until(3);
  expect(replies.messages).toMatchObject([
    { results: [{ revision: 1 }], error: null },
    { results: [], error: { code: 'WRONG_TYPE' } },
    { results: [{ revision: 3 }] },
  ]);
  call.end();
  expect((await replies.status).code).toBe(grpc.status.OK);
});

test('Work: hello opens the session, messages go both ways, the end waits for replies', async () => {
  const { fabric, client } = await startFake();
  const call = client(QueuesClient).work();
  const replies = collect(call);
  call.write({ hello: { queue: 'q', sessionId: 's1', credits: 5 } });
  call.write({ credits: 3 });
  call.write({ settle: { seq: 1, acks: [{ offset: 1, epoch: 9, count: 1 }] } });
  call.end();
  await until(() => fabric.sessions[0]?.received.length === 2);
  const [session] = fabric.sessions;
  expect(fabric.last('queues.openWork').request).toMatchObject({ sessionId: 's1', credits: 5 });
  expect(session?.received).toMatchObject([{ credits: 3 }, { settle: { seq: 1 } }]);
  expect(session?.disconnected).toBe(0);
  session?.send({ delivery: { batch: Buffer.from('b'), firstEpoch: 4 } } as never);
  session?.send({ settled: { seq: 1, lostOffsets: [7] } } as never);
  expect((await replies.status).code).toBe(grpc.status.OK);
  expect(replies.messages).toMatchObject([
    { delivery: { batch: Buffer.from('b'), firstEpoch: 4 } },
    { settled: { seq: 1, lostOffsets: [7] } },
  ]);
  expect(session?.disconnected).toBe(1);
});

test('Work: without hello INVALID_ARGUMENT; a refused session ends with its code', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  const first = stub.work();
  const one = collect(first);
  first.write({ credits: 1 });
  expect((await one.status).code).toBe(grpc.status.INVALID_ARGUMENT);
  fabric.answer('queues.openWork', new FlowError('QUEUE_NOT_FOUND', 'no queue'));
  const second = stub.work();
  const two = collect(second);
  second.write({ hello: { queue: 'q' } });
  const status = await two.status;
  expect(status.code).toBe(grpc.status.NOT_FOUND);
  expect(status.metadata.get('flowmesh-code')).toEqual(['QUEUE_NOT_FOUND']);
});

test('Work: a client that goes away disconnects the session, also one that was still opening', async () => {
  const { fabric, client } = await startFake();
  const stub = client(QueuesClient);
  const call = stub.work();
  void collect(call);
  call.write({ hello: { queue: 'q' } });
  await until(() => fabric.sessions.length === 1);
  call.cancel();
  await until(() => fabric.sessions[0]?.disconnected === 1);
  expect(fabric.sessions[0]?.send({ welcome: {} } as never)).toBe(false);

  let open = (_: unknown) => {};
  fabric.answer(
    'queues.openWork',
    () =>
      new Promise((resolve) => {
        open = resolve;
      }),
  );
  const late = stub.work();
  void collect(late);
  late.write({ hello: { queue: 'q' } });
  await until(() => fabric.calls.length === 2);
  late.cancel();
  await new Promise((resolve) => setTimeout(resolve, 30));
  open({});
  await until(() => fabric.sessions[1]?.disconnected === 1);
});

test('Work: send is false on a congested stream, and resume follows', async () => {
  const { fabric, client } = await startFake();
  const call = client(QueuesClient).work();
  call.write({ hello: { queue: 'q' } });
  call.on('error', () => {});
  call.pause();
  await until(() => fabric.sessions.length === 1);
  const [session] = fabric.sessions;
  const batch = Buffer.alloc(256 * 1024);
  let sent = 0;
  while (session?.send({ delivery: { batch } } as never)) {
    sent++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(sent).toBeLessThan(200);
  expect(session?.resumed).toBe(0);
  call.on('data', () => {});
  call.resume();
  await until(() => session?.resumed === 1);
  call.cancel();
});

test('Consume: what the session throws or fails with ends the stream', async () => {
  const { fabric, client } = await startFake();
  const stub = client(StreamsClient);
  const call = stub.consume();
  const one = collect(call);
  call.write({ hello: { stream: 's', group: 'g' } });
  await until(() => fabric.sessions.length === 1);
  const [session] = fabric.sessions;
  session?.send({ welcome: { memberId: 'm', memberEpoch: 1 } } as never);
  session?.fail(new FlowError('MEMBER_FENCED', 'another member took over'));
  const status = await one.status;
  expect(one.messages).toMatchObject([{ welcome: { memberId: 'm' } }]);
  expect(status.metadata.get('flowmesh-code')).toEqual(['MEMBER_FENCED']);
  expect(session?.disconnected).toBe(1);

  const second = stub.consume();
  const two = collect(second);
  second.write({ hello: { stream: 's', group: 'g' } });
  await until(() => fabric.sessions.length === 2);
  if (fabric.sessions[1]) {
    fabric.sessions[1].onReceive = () => {
      throw new Error('bug');
    };
  }
  second.write({ heartbeat: {} });
  expect((await two.status).code).toBe(grpc.status.INTERNAL);
});

test('Follow: chunks until the client cancels, or the service fails', async () => {
  const { fabric, client } = await startFake();
  const stub = client(StreamsClient);
  const call = stub.follow({ stream: 's', partition: 1, offset: 5 });
  const chunks = collect(call);
  await until(() => fabric.sessions.length === 1);
  const [session] = fabric.sessions;
  session?.send({ partition: 1, batches: Buffer.from('abc'), firstOffset: 5, nextOffset: 6 } as never);
  await chunks.until(1);
  expect(chunks.messages).toMatchObject([{ partition: 1, batches: Buffer.from('abc'), nextOffset: 6 }]);
  call.cancel();
  await until(() => session?.disconnected === 1);
  const other = collect(stub.follow({ stream: 's' }));
  await until(() => fabric.sessions.length === 2);
  fabric.sessions[1]?.fail(new FlowError('OFFSET_OUT_OF_RANGE', 'log starts at 9'));
  expect((await other.status).code).toBe(grpc.status.OUT_OF_RANGE);
});

test('close: streams are answered and ended with UNAVAILABLE, long polls too', async () => {
  const { fabric, client, listener } = await startFake();
  const queues = client(QueuesClient);
  fabric.hold = true;
  const enqueue = queues.enqueueStream();
  const replies = collect(enqueue);
  enqueue.write({ queue: 'q', batch: Buffer.alloc(1), mutation: { seq: 1 } });
  const work = queues.work();
  const session = collect(work);
  work.write({ hello: { queue: 'q' } });
  fabric.answer('queues.lease', ({ rest }: { rest: unknown[] }) => {
    const signal = rest[0] as AbortSignal;
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new FlowError('CANCELLED', 'gone')));
    });
  });
  const lease = refused(unary(queues, queues.lease, { queue: 'q' }));
  await until(() => fabric.calls.length === 3);
  const closed = listener.close(5000);
  fabric.releaseHeld();
  expect((await replies.status).code).toBe(grpc.status.UNAVAILABLE);
  expect(replies.messages).toHaveLength(2);
  expect((await session.status).code).toBe(grpc.status.UNAVAILABLE);
  expect((await lease).code).toBe(grpc.status.UNAVAILABLE);
  await closed;
  expect(fabric.sessions[0]?.disconnected).toBe(1);
});

test('close cuts what does not end within the grace', async () => {
  const { fabric, client, listener } = await startFake();
  const queues = client(QueuesClient);
  fabric.answer('queues.enqueue', () => new Promise(() => {}));
  const call = refused(unary(queues, queues.enqueue, {}));
  await until(() => fabric.calls.length === 1);
  const startedMs = performance.now();
  await listener.close(100);
  expect(performance.now() - startedMs).toBeLessThan(2000);
  expect((await call).code).not.toBe(grpc.status.OK);
});
