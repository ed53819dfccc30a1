// Reflection and health, spoken as grpcurl and a kubelet would.
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { collect, startFake, until } from './support.ts';

/** Field `number` of a protobuf message, as text; only what reflection and health answers need. */
const field = (number: number, text: string) =>
  Buffer.concat([Buffer.from([(number << 3) | 2, text.length]), Buffer.from(text)]);

const bytes = (value: Buffer) => value;

function reflect(address: string, version: string, request: Buffer): Promise<Buffer> {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
  const call = client.makeBidiStreamRequest(path, bytes, bytes);
  return new Promise<Buffer>((resolve, reject) => {
    call.on('data', resolve);
    call.on('error', reject);
    call.write(request);
    call.end();
  }).finally(() => client.close());
}

test.each(['v1', 'v1alpha'])('reflection %s lists the services and describes a symbol', async (version) => {
  const { address } = await startFake();
  const services = (await reflect(address, version, field(7, '*'))).toString('latin1');
  for (const name of ['Admin', 'Kv', 'Queues', 'Streams', 'Transactions']) {
    expect(services).toContain(`flowmesh.v1.${name}`);
  }
  const file = (await reflect(address, version, field(4, 'flowmesh.v1.Queues'))).toString('latin1');
  expect(file).toContain('flowmesh/v1/queue.proto');
  expect(file).toContain('EnqueueStream');
  // What the file imports comes along.
  expect(file).toContain('flowmesh/v1/common.proto');
});

test('health follows the state of the fabric, and ends with the listener', async () => {
  const { address, fabric, listener } = await startFake();
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const check = (service: string) =>
    new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        bytes,
        bytes,
        field(1, service),
        (error, answer) => (error ? reject(error) : resolve(answer ?? Buffer.alloc(0))),
      );
    });
  const SERVING = Buffer.from([8, 1]);
  const NOT_SERVING = Buffer.from([8, 2]);
  expect(await check('')).toEqual(SERVING);
  expect(await check('flowmesh.v1.Kv')).toEqual(SERVING);
  await expect(check('other')).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  for (const [state, answer] of [
    ['disk_full', SERVING],
    ['draining', NOT_SERVING],
    ['failed', NOT_SERVING],
    ['serving', SERVING],
  ] as const) {
    fabric.become(state);
    expect(await check('')).toEqual(answer);
  }
  const watch = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', bytes, bytes, field(1, ''));
  const seen = collect(watch);
  await seen.until(1);
  const startedMs = performance.now();
  const closed = listener.close(20_000);
  await until(() => seen.messages.length === 2);
  expect(seen.messages).toEqual([SERVING, NOT_SERVING]);
  await closed;
  expect(performance.now() - startedMs).toBeLessThan(5000);
  client.close();
});
