// Starts the fake server and clients, and closes them after each test.
import { afterEach } from 'vitest';
import { type ConnectOptions, connect, type FlowMesh } from '../src/index.ts';
import { FakeServer } from './fake-server.ts';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export async function startFake(options: ConnectOptions = {}): Promise<{ fake: FakeServer; fm: FlowMesh }> {
  const fake = await new FakeServer().start();
  cleanups.push(() => fake.close());
  return { fake, fm: await another(fake, options) };
}

export async function another(fake: FakeServer, options: ConnectOptions = {}): Promise<FlowMesh> {
  const fm = await connect({ address: fake.address, deadline: '5s', ...options });
  cleanups.push(() => fm.close({ timeout: '1s' }));
  return fm;
}

/** Waits until `holds` is true. */
export async function until(holds: () => boolean, what: string, withinMs = 20_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The error of a promise that must be rejected. */
export async function failureOf(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error('it was not rejected');
}
