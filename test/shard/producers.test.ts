// (producerId, seq): a repeat gets the reply that was given, and nothing happens a second time.
import { afterEach, expect, test } from 'vitest';
import { aJob, Bench, type BenchOptions, caller, mutation } from '../queue/bench.ts';
import { GatedFiles } from './gated-files.ts';

let bench: Bench;
const open = async (options: BenchOptions = { onDisk: true }) => {
  bench = await Bench.open(options);
};
afterEach(() => bench.close());

const enqueue = (producerId: string, seq: number, payload = 'a') =>
  bench.queues.enqueue(caller, { queue: 'q', jobs: [aJob(payload)], mutation: mutation(producerId, seq) });
const increment = async (producerId: string, seq: number) => {
  const ops = [{ op: 'increment', increment: { key: Buffer.from('n'), delta: 1 } } as never];
  const request = { keyspace: '', ops, mutation: mutation(producerId, seq), asOf: null };
  return (await bench.fabric.kv.execute(caller, request)).results?.[0]?.integer;
};
const count = async () => (await bench.totals('q')).enqueuedTotal;

test('a repeat gets the reply that was given', async () => {
  await open();
  const first = await enqueue('p', 1);
  expect(await enqueue('p', 1)).toEqual(first);
  expect(await count()).toBe(1);
});

test('another producer, or another sequence, is another mutation', async () => {
  await open();
  for (const [id, seq] of [
    ['p', 1],
    ['p', 2],
    ['r', 1],
  ] as const)
    await enqueue(id, seq);
  expect(await count()).toBe(3);
});

test.each([
  ['replayed', false],
  ['checkpointed', true],
])('replies are remembered across a restart (%s)', async (_, clean) => {
  await open();
  const first = await enqueue('p', 1);
  const counted = await increment('p', 2);
  const keyed = await enqueue('idempotency-key', 0);
  await bench.restart({ clean });
  expect(await enqueue('p', 1)).toEqual(first);
  expect(await increment('p', 2)).toEqual(counted);
  expect(await enqueue('idempotency-key', 0)).toEqual(keyed);
  expect(await count()).toBe(2);
});

test('replies are remembered across a checkpoint in the middle', async () => {
  await open();
  const first = await enqueue('p', 1);
  await bench.checkpoint();
  const second = await enqueue('p', 2);
  await bench.restart();
  expect([await enqueue('p', 1), await enqueue('p', 2)]).toEqual([first, second]);
});

test('what is too old to be remembered is refused, never done again', async () => {
  await open({});
  for (let seq = 1; seq <= 1030; seq++) await enqueue('p', seq);
  await expect(enqueue('p', 6)).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
  await enqueue('p', 7);
  expect(await count()).toBe(1030);
});

test('the fence holds after a restart', async () => {
  await open();
  for (let seq = 1000; seq <= 1040; seq++) await enqueue('p', seq);
  await bench.restart({ clean: true });
  await expect(enqueue('p', 16)).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
});

test('sequences may come out of order', async () => {
  await open();
  for (const seq of [5, 3, 9, 1]) await enqueue('p', seq);
  for (const seq of [1, 3, 5, 9]) await enqueue('p', seq);
  expect(await count()).toBe(4);
});

test('an idle producer is forgotten after ten minutes, a key after a day', async () => {
  await open();
  await enqueue('p', 1);
  await enqueue('key', 0);
  await bench.advance(15 * 60_000);
  await enqueue('p', 1);
  await enqueue('key', 0);
  expect(await count()).toBe(3);
  await bench.time.jump(24 * 3_600_000, () => bench.idle());
  await bench.advance(120_000);
  await enqueue('key', 0);
  expect(await count()).toBe(4);
});

test('a forgotten producer stays forgotten after a restart', async () => {
  await open();
  await enqueue('p', 1);
  await bench.checkpoint();
  await bench.advance(15 * 60_000);
  await bench.restart({ clean: true });
  await bench.restart({ clean: true });
  await enqueue('p', 1);
  expect(await count()).toBe(2);
});

test.each(['enqueue', 'increment'] as const)(
  'a repeat is not answered before the first one is durable (%s)',
  async (kind) => {
    const files = new GatedFiles();
    await open({ onDisk: true, files });
    await bench.declare('q');
    await bench.idle();
    const ask = () => (kind === 'enqueue' ? enqueue('p', 1) : increment('p', 1));
    files.shut();
    const answered: string[] = [];
    const first = ask().then(() => answered.push('first'));
    while (files.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    const second = ask().then(() => answered.push('second'));
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    const early = [...answered];
    files.release();
    await Promise.all([first, second]);
    expect([early, answered]).toEqual([[], ['first', 'second']]);
  },
);
