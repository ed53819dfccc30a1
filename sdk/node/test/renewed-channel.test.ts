// A server, or what stands before it, that accepts connections and says nothing on the first ones.
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { KvClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { connect } from '../src/index.ts';
import { RenewedChannel } from '../src/renewed-channel.ts';
import { FakeServer } from './fake-server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Says nothing on the first `silent` connections, and passes the others on to `port`. */
async function gatewayTo(port: number, silent: number): Promise<{ address: string; seen: () => number }> {
  let seen = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    if (seen++ < silent) return;
    const behind = net.connect(port, '127.0.0.1').on('error', () => socket.destroy());
    sockets.add(behind);
    socket.pipe(behind).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen: () => seen };
}

async function fakeServer(): Promise<FakeServer> {
  const fake = await new FakeServer().start();
  cleanups.push(() => fake.close());
  return fake;
}

test('[R1, R2] an attempt without an answer is left alone, and what waited may be repeated', async () => {
  const { port } = await fakeServer();
  const { address, seen } = await gatewayTo(port, 2);
  const insecure = grpc.credentials.createInsecure();
  const channel = new RenewedChannel((more) => new grpc.Channel(address, insecure, more), 1000);
  cleanups.push(() => channel.close());
  const kv = new KvClient('', insecure, { channelOverride: channel });
  const get = () =>
    new Promise<number>((resolve) => {
      const call = { deadline: Date.now() + 10_000 };
      const request = { keyspace: 'default' };
      kv.execute(request, new grpc.Metadata(), call, (error) => resolve(error?.code ?? 0));
    });
  expect(await get()).toBe(grpc.status.UNAVAILABLE);
  await new Promise<void>((resolve, reject) => {
    kv.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve()));
  });
  expect(await get()).not.toBe(grpc.status.UNAVAILABLE);
  expect(seen()).toBe(3);
  // It stands: nothing begins anew.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await get()).not.toBe(grpc.status.UNAVAILABLE);
  expect(seen()).toBe(3);
});

test('[R1] a client gets through, and so does what it keeps open', async () => {
  const fake = await fakeServer();
  const { address } = await gatewayTo(fake.port, 1);
  const fm = await connect({ address, deadline: '20s' });
  cleanups.push(() => fm.close({ timeout: '1s' }));
  await fm.kv.set('a', 1);
  expect(await fm.kv.get('a')).toBe(1);
});
