// What a broken or hostile gRPC client can send: the listener answers or cuts it off, and goes on serving
// others.
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { KvRequest } from '@flowmesh/protocol/gen/flowmesh.js';
import { KvClient, QueuesClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { startFake, unary, until } from './support.ts';

interface RawAnswer {
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
}

const frame = (message: Buffer, { length = message.length, compressed = 0 } = {}) => {
  const head = Buffer.alloc(5);
  head[0] = compressed;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
};

/** Sends the bytes as the body of one call. */
async function send(address: string, path: string, body: Buffer, headers: Record<string, string> = {}) {
  const session = http2.connect(`http://${address}`);
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const answer: { headers: object; trailers: object } = { headers: {}, trailers: {} };
  stream.on('response', (received) => {
    answer.headers = received;
  });
  stream.on('trailers', (received) => {
    answer.trailers = received;
  });
  stream.on('error', () => {});
  stream.resume();
  stream.end(body);
  await once(stream, 'close');
  session.close();
  return answer as RawAnswer;
}

const statusIn = ({ headers, trailers }: RawAnswer) => ({
  status: Number(trailers['grpc-status'] ?? headers['grpc-status']),
  code: trailers['flowmesh-code'] ?? headers['flowmesh-code'],
});

const MALFORMED = [
  ['a field that ends too early', Buffer.from([0x0a, 0xff, 0x01])],
  ['a length beyond the message', Buffer.from([0x0a, 0x7f, 0x41])],
  ['an endless varint', Buffer.alloc(32, 0xff)],
  ['an invalid wire type', Buffer.from([0x0f])],
  ['random bytes', Buffer.from('deadbeef00ff8899', 'hex')],
  ['nesting without end', Buffer.concat(Array.from({ length: 2000 }, () => Buffer.from([0x12, 0x7f])))],
] as const;

const PATHS = ['/flowmesh.v1.Kv/Execute', '/flowmesh.v1.Queues/EnqueueStream', '/flowmesh.v1.Queues/Work'];

test.each(MALFORMED)('malformed protobuf, %s: INVALID_ARGUMENT MALFORMED', async (_what, bytes) => {
  const { address, fabric } = await startFake();
  for (const path of [...PATHS, '/flowmesh.v1.Streams/Follow']) {
    expect(statusIn(await send(address, path, frame(bytes)))).toEqual({
      status: grpc.status.INVALID_ARGUMENT,
      code: 'MALFORMED',
    });
  }
  expect(fabric.calls).toHaveLength(0);
});

test('frames that are no messages end the call and nothing else', async () => {
  const { address, client } = await startFake();
  for (const path of PATHS) {
    const lie = await send(address, path, frame(Buffer.alloc(3), { length: 0xffff_ffff }));
    expect(statusIn(lie).status).toBe(grpc.status.RESOURCE_EXHAUSTED);
    await send(address, path, Buffer.from([0, 0, 0]));
    await send(address, path, Buffer.alloc(0));
    const zipped = await send(address, path, frame(Buffer.from('no gzip'), { compressed: 1 }), {
      'grpc-encoding': 'gzip',
    });
    expect(statusIn(zipped).status).not.toBe(grpc.status.OK);
    await send(address, path, frame(Buffer.alloc(2)), { 'grpc-timeout': 'soon' });
    await send(address, path, frame(Buffer.alloc(2)), { 'content-type': 'text/plain' });
  }
  const stub = client(KvClient);
  await unary(stub, stub.execute, {});
});

test('a message above 4 MiB is refused, one below is taken', async () => {
  const { client, fabric } = await startFake();
  const stub = client(QueuesClient, undefined, { 'grpc.max_send_message_length': -1 });
  const enqueue = (bytes: number) =>
    unary(stub, stub.enqueue, { queue: 'q', jobs: [{ payload: Buffer.alloc(bytes) }] });
  await enqueue(4 * 1024 * 1024 - 100);
  await expect(enqueue(4 * 1024 * 1024)).rejects.toMatchObject({ code: grpc.status.RESOURCE_EXHAUSTED });
  expect(fabric.calls).toHaveLength(1);
});

test('a decompressed message is held to the limit as well', async () => {
  const { address } = await startFake();
  const { gzipSync } = await import('node:zlib');
  const bomb = frame(gzipSync(Buffer.alloc(64 * 1024 * 1024)), { compressed: 1 });
  expect(bomb.length).toBeLessThan(100_000);
  const answer = await send(address, PATHS[0] ?? '', bomb, { 'grpc-encoding': 'gzip' });
  expect(statusIn(answer).status).toBe(grpc.status.RESOURCE_EXHAUSTED);
});

test('bytes that are no HTTP/2, and connections that say nothing, disturb nobody', async () => {
  const { address, client } = await startFake();
  const port = Number(address.split(':')[1]);
  const sockets = ['GET / HTTP/1.1\r\nhost: x\r\n\r\n', '\x16\x03\x01\x02\x00\x01', ''].map((bytes) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(bytes);
    return socket;
  });
  const stub = client(KvClient);
  await unary(stub, stub.execute, {});
  for (const socket of sockets) socket.destroy();
});

test('10,000 streams that are reset at once end in a cut connection, not in a busy server', async () => {
  const { address, client } = await startFake();
  const session = http2.connect(`http://${address}`);
  session.on('error', () => {});
  await once(session, 'connect');
  const isCut = new Promise<void>((resolve) => session.on('close', resolve));
  for (let i = 0; i < 10_000 && !session.destroyed && !session.closed; i++) {
    const stream = session.request({
      ':method': 'POST',
      ':path': PATHS[0],
      'content-type': 'application/grpc',
    });
    stream.on('error', () => {});
    stream.close(http2.constants.NGHTTP2_CANCEL);
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  session.destroy();
  await isCut;
  const stub = client(KvClient);
  await unary(stub, stub.execute, {});
});

test('at most 100 streams of one connection are open', async () => {
  const { fabric, address } = await startFake();
  fabric.answer('kv.execute', () => new Promise(() => {}));
  const session = http2.connect(`http://${address}`);
  session.on('error', () => {});
  await once(session, 'remoteSettings');
  expect(session.remoteSettings.maxConcurrentStreams).toBe(100);
  for (let i = 0; i < 150; i++) {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/flowmesh.v1.Kv/Execute',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => {});
    stream.end(frame(Buffer.alloc(0)));
  }
  await until(() => fabric.calls.length >= 100);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(fabric.calls).toHaveLength(100);
  session.destroy();
});

test('a client that does not read is not read either, until it does', async () => {
  const { fabric, address } = await startFake();
  const value = Buffer.alloc(256 * 1024);
  fabric.answer('kv.execute', { results: [{ value }] });
  const session = http2.connect(`http://${address}`);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/flowmesh.v1.Kv/Pipeline',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.pause();
  const request = frame(
    Buffer.from(KvRequest.encode({ ops: [{ get: { key: Buffer.from('k') } }] }).finish()),
  );
  for (let i = 0; i < 300; i++) stream.write(request);
  stream.end();
  await until(() => fabric.calls.length > 16);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(fabric.calls.length).toBeLessThan(100);
  let bytes = 0;
  stream.on('data', (data: Buffer) => {
    bytes += data.length;
  });
  stream.resume();
  await once(stream, 'close');
  expect(fabric.calls).toHaveLength(300);
  expect(bytes).toBeGreaterThan(300 * value.length);
  session.close();
});
