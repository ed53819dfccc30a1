// What is too large is told so at once by the SDK, and harms nobody who asks at the same moment.
import { connect, type FlowMesh } from '@flowmesh/client';
import { expect, test } from 'vitest';
import { serve } from './real-server.ts';
import { atEnd } from './support.ts';

const MIB = 1024 * 1024;
const fields = (count: number, bytes: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, 'x'.repeat(bytes)]));

const calls: Record<string, [(fm: FlowMesh) => Promise<unknown>, string]> = {
  'a job': [(fm) => fm.queue.enqueue('q', 'x'.repeat(5 * MIB)), 'VALUE_TOO_LARGE'],
  'the first record of a stream': [(fm) => fm.stream.write('s', 'x'.repeat(5 * MIB)), 'BATCH_TOO_LARGE'],
  'a value': [(fm) => fm.kv.set('k', 'x'.repeat(5 * MIB)), 'VALUE_TOO_LARGE'],
  'many fields': [(fm) => fm.kv.hash('h').set(fields(8, MIB)), 'BATCH_TOO_LARGE'],
};

test.each(Object.entries(calls))('%s', async (_, [call, code]) => {
  const { server } = await serve();
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  atEnd(() => fm.close());
  const startMs = performance.now();
  const before = fm.kv.set('before', 1);
  const refused = expect(call(fm)).rejects.toMatchObject({ code });
  const after = fm.kv.set('after', 1);
  await Promise.all([before, refused, after]);
  expect(performance.now() - startMs).toBeLessThan(10_000);
});

test('large commands beside small ones and each other go through', async () => {
  const { server } = await serve();
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  atEnd(() => fm.close());
  const many = Array.from({ length: 6 }, (_, i) => [
    fm.kv.set(`small${i}`, 'x'.repeat(200_000)),
    fm.kv.hash(`h${i}`).set(fields(28, 100_000)),
  ]);
  await Promise.all(many.flat());
  expect(await fm.kv.hash('h5').size()).toBe(28);
});
