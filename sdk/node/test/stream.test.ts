import { FlowError, partitionOf } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import type { Consumer, StreamEvent } from '../src/index.ts';
import { another, failureOf, sleep, startFake, until } from './support.ts';

/** Takes `count` events and leaves the loop when one more is asked for. */
async function take(consumer: Consumer, count: number): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of consumer) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

test('the key decides the partition, as in Kafka', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 8);
  const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`);
  const written = await fm.stream.writeMany('s', keys, { key: (key) => key });
  expect(written.map(({ partition }) => partition)).toEqual(
    keys.map((key) => partitionOf(Buffer.from(key), 8)),
  );
  expect(await fm.stream.write('s', 1, { partition: 5 })).toMatchObject({ partition: 5 });
  expect((await failureOf(fm.stream.write('s', 1, { partition: 8 }))).code).toBe('INVALID_ARGUMENT');
});

test('events of one tick share a batch for each partition', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 2);
  await fm.stream.write('s', 'first', { partition: 0 });
  const before = fake.batches.publish;
  await Promise.all(Array.from({ length: 100 }, (_, i) => fm.stream.write('s', i, { partition: i % 2 })));
  expect(fake.batches.publish - before).toBe(2);
});

test('[ST45] records of a partition keep their order when batches of a pipeline are refused', async () => {
  const { fake } = await startFake();
  const fm = await another(fake, { deadline: '60s' });
  fake.streams.create('s', 2);
  await fm.stream.write('s', -1, { partition: 0 });
  fake.window = { messages: 5, bytes: 100_000 };
  const asked: string[] = [];
  const done: number[] = [];
  let turn = 0;
  const codes = ['RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT', 'UNAVAILABLE'] as const;
  // Each fourth batch, whatever it is; the reason differs. Some connections break behind a refusal.
  fake.refuse = () => {
    if (++turn % 4 !== 3) return undefined;
    if (turn % 16 === 15) {
      queueMicrotask(() => {
        fake.loseReplies = 1;
      });
    }
    return new FlowError(codes[(turn >> 2) % 3] as never, 'no');
  };
  fake.replyAfterMs = 5;
  fake.isCutThen = true;
  const outcomes: Promise<unknown>[] = [];
  for (let i = 0; i < 100; i++) {
    const partition = i % 5 === 0 ? 1 : 0;
    const write = fm.stream.write('s', i, { partition });
    outcomes.push(write.then(() => done.push(i)).catch(({ code }) => asked.push(code)));
    await new Promise((resolve) => setImmediate(resolve));
    if (i === 60) await fake.restart();
    // More batches than the window takes: some wait while others are refused.
    const many = Array.from({ length: i === 80 ? 16_000 : 0 }, (_, k) => i + (k + 1) / 100_000);
    outcomes.push(fm.stream.writeMany('s', many, { partition: 0 }).catch(({ code }) => asked.push(code)));
  }
  await Promise.all(outcomes);
  expect(new Set(asked)).toEqual(new Set(['INVALID_ARGUMENT']));
  const all = [0, 1].map((partition) => fake.streams.values('s', partition));
  expect(all.flat()).toEqual(expect.arrayContaining(done));
  for (const values of all) {
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(new Set(values).size).toBe(values.length);
  }
});

test('without a key the partitions take turns', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 3);
  const partitions = new Set<number>();
  for (let i = 0; i < 6; i++) partitions.add((await fm.stream.write('s', i)).partition);
  expect(partitions.size).toBe(3);
});

test('a stream that the server creates by itself is created by the first write', async () => {
  const { fake, fm } = await startFake();
  expect((await failureOf(fm.stream.write('new', 1))).code).toBe('STREAM_NOT_FOUND');
  fake.streams.partitionsOfNew = 2;
  const written = await Promise.all([fm.stream.write('new', 1), fm.stream.write('new', 2, { partition: 1 })]);
  expect(written).toEqual([
    { partition: 0, offset: 0 },
    { partition: 1, offset: 0 },
  ]);
});

test('a consumer sees every event once, with its metadata', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.write(
    's',
    { n: 1 },
    { key: 'k', headers: { h: 'v' }, timeMs: 42, envelope: { correlationId: 'c' } },
  );
  await fm.stream.write('s', null, { key: 'gone' });
  const [first, second] = await take(fm.stream.consumer('s', 'g'), 2);
  expect(first).toMatchObject({ stream: 's', partition: 0, offset: 0, timestamp: 1000, producerTime: 42 });
  expect(first).toMatchObject({
    value: { n: 1 },
    key: 'k',
    headers: { h: 'v' },
    envelope: { correlationId: 'c' },
  });
  expect(second).toMatchObject({ value: null, key: 'gone', offset: 1 });
});

test('asking for the next event commits the one before; leaving does not commit the last', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', [0, 1, 2, 3, 4]);
  const events = await take(fm.stream.consumer('s', 'g'), 3);
  expect(events.map(({ value }) => value)).toEqual([0, 1, 2]);
  expect(fake.streams.commits.at(-1)).toMatchObject({ partition: 0, offset: 2 });
  expect(fake.streams.left).toHaveLength(1);
  const again = await take(fm.stream.consumer('s', 'g'), 3);
  expect(again.map(({ value }) => value)).toEqual([2, 3, 4]);
});

test('commits are batched in the background', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany(
    's',
    Array.from({ length: 3000 }, (_, i) => i),
  );
  await take(fm.stream.consumer('s', 'g'), 3000);
  expect(fake.streams.commits.length).toBeLessThan(20);
  expect(fake.streams.commits.at(-1)?.offset).toBe(2999);
});

test('a consumer that cannot commit ends with the error', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  fake.streams.refuseCommits = { code: 'PERMISSION_DENIED', message: 'not yours' };
  await fm.stream.writeMany('s', [0, 1]);
  const failure = await failureOf(take(fm.stream.consumer('s', 'g'), 9));
  expect(failure).toMatchObject({ code: 'PERMISSION_DENIED', message: 'not yours' });
});

test('commit() resolves when it is durable', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', [0, 1, 2]);
  for await (const event of fm.stream.consumer('s', 'g', { autoCommit: false })) {
    if (event.offset < 1) continue;
    await event.commit();
    expect(fake.streams.commits).toMatchObject([{ offset: 2 }]);
    break;
  }
  expect(fake.streams.commits).toHaveLength(1);
});

test('nothing is lost or repeated over a reconnect', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 2);
  await fm.stream.writeMany(
    's',
    Array.from({ length: 200 }, (_, i) => i),
    { partition: (_, i) => i % 2 },
  );
  const seen: unknown[] = [];
  for await (const event of fm.stream.consumer('s', 'g')) {
    seen.push(event.value);
    if (seen.length === 50 || seen.length === 120) {
      fake.kill();
      await sleep(10);
      await fake.start();
    }
    if (seen.length === 200) break;
  }
  expect([...seen].sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 200 }, (_, i) => i));
});

test('a second member takes over partitions without gap or overlap', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 4);
  const seen: string[] = [];
  const run = async (consumer: Consumer) => {
    for await (const event of consumer) {
      seen.push(`${event.partition}/${event.offset}`);
      await sleep(1);
    }
  };
  const first = fm.stream.consumer('s', 'g');
  const runs = [run(first)];
  const write = (from: number) =>
    fm.stream.writeMany(
      's',
      Array.from({ length: 100 }, (_, i) => from + i),
      { partition: (_, i) => i % 4 },
    );
  await write(0);
  await until(() => seen.length > 20, 'the first member works');
  const second = (await another(fake)).stream.consumer('s', 'g');
  runs.push(run(second));
  await until(() => second.partitions.length === 2, 'the second member has its share');
  await write(100);
  await until(() => seen.length >= 200, 'all events are handled');
  expect(fake.streams.revoked.length).toBe(2);
  expect(new Set(seen).size).toBe(seen.length);
  await Promise.all([first.close(), second.close(), ...runs]);
});

test('a seek moves a running consumer', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', [0, 1, 2]);
  const seen: unknown[] = [];
  for await (const event of fm.stream.consumer('s', 'g')) {
    seen.push(event.value);
    if (seen.length === 3) fake.streams.seek('s', 'g', 0, 1);
    if (seen.length === 5) break;
  }
  expect(seen).toEqual([0, 1, 2, 1, 2]);
});

test('a partition that is sought while it is given up still goes to the next member', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 2);
  await fm.stream.writeMany('s', [0, 1, 2, 3], { partition: (_, i) => i % 2 });
  const [held, release] = [Promise.withResolvers<number>(), Promise.withResolvers<void>()];
  const [first, second] = [fm.stream.consumer('s', 'g'), fm.stream.consumer('s', 'g')];
  // One of each partition is in hand, whichever is given up.
  const handle = async (consumer: Consumer) => {
    const seen = new Set<number>();
    for await (const event of consumer) {
      seen.add(event.partition);
      if (consumer !== first || seen.size < 2) continue;
      held.resolve(event.partition);
      await release.promise;
    }
  };
  const runs = [handle(first)];
  await held.promise;
  runs.push(handle(second));
  await until(() => fake.streams.groups.get('s/g')?.members.size === 2, 'the second member has joined');
  await sleep(20);
  for (const partition of [0, 1]) fake.streams.seek('s', 'g', partition, 0);
  release.resolve();
  await until(() => second.partitions.length === 1, 'the second member has its share');
  await Promise.all([first.close(), second.close(), ...runs]);
});

test('aborting ends the loop, and what was handled is committed', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', [0, 1]);
  const abort = new AbortController();
  const seen: unknown[] = [];
  for await (const event of fm.stream.consumer('s', 'g', { signal: abort.signal })) {
    seen.push(event.value);
    if (seen.length === 2) setTimeout(() => abort.abort(), 20);
  }
  expect(seen).toEqual([0, 1]);
  expect(fake.streams.commits.at(-1)?.offset).toBe(2);
  expect(fake.streams.left).toHaveLength(1);
});

test('the credit bounds what waits', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  for (let i = 0; i < 20; i++) await fm.stream.write('s', 'x'.repeat(1000));
  const consumer = fm.stream.consumer('s', 'g', { creditBytes: 3000 });
  await consumer.next();
  await sleep(50);
  expect(fake.streams.groups.get('s/g')?.partitions[0]?.sent).toBeLessThan(6);
  expect(await take(consumer, 19)).toHaveLength(19);
});

test('follow reads a partition on and on', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.writeMany('s', ['a', 'b', 'c']);
  const seen: unknown[] = [];
  for await (const record of fm.stream.follow('s', { offset: 1 })) {
    seen.push(record.value);
    if (seen.length === 2) break;
  }
  expect(seen).toEqual(['b', 'c']);
});

test('[consumer] effects of an event can name their cause', async () => {
  const { fake, fm } = await startFake();
  fake.streams.create('s', 1);
  await fm.stream.write('s', 1);
  for await (const event of fm.stream.consumer('s', 'g')) {
    await event.run(() => fm.kv.set('k', 1));
    break;
  }
  expect(fake.mutations.at(-1)?.cause).toMatchObject({ deliveryId: 's/0/0@g/1', ordinal: 1 });
});
