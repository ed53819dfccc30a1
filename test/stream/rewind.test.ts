// A group is rewound while a hundred consumers of the SDK run on a real server: nobody stops, nothing is
// skipped.
import { connect } from '@flowmesh/client';
import { expect, test } from 'vitest';
import { serve } from '../api/real-server.ts';
import { atEnd } from '../api/support.ts';

const CONSUMERS = 100;
const PARTITIONS = 120;
const RECORDS = 6000;

test.each([1, 3])('[ST35] rewind while 100 consumers run (%d shards)', async (shards) => {
  const { server } = await serve({ shards });
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  atEnd(() => fm.close());
  await fm.admin.applyStream('s', { partitions: PARTITIONS });
  const numbers = Array.from({ length: RECORDS }, (_, n) => n);
  await fm.stream.writeMany('s', numbers, { key: (n) => `${n}` });

  const handled = new Array<number>(RECORDS).fill(0);
  let wrongOrder = 0;
  const consumers = Array.from({ length: CONSUMERS }, () => fm.stream.consumer('s', 'g'));
  const runs = consumers.map(async (consumer) => {
    const last = new Map<number, number>();
    for await (const event of consumer) {
      const n = event.value as number;
      handled[n] = (handled[n] ?? 0) + 1;
      // Back at the seek, else one after the other.
      const before = last.get(event.partition) ?? -1;
      if (event.offset > before + 1 && before >= 0) wrongOrder++;
      last.set(event.partition, event.offset);
    }
  });
  const all = (times: number) => handled.every((count) => count >= times);
  await expect.poll(() => all(1), { timeout: 20_000 }).toBe(true);
  const busy = () => consumers.filter(({ partitions }) => partitions.length > 0).length;
  await expect.poll(busy, { timeout: 10_000 }).toBe(CONSUMERS);

  // In the middle of more that is written.
  const more = fm.stream.writeMany('s', numbers, { key: (n) => `${n}` });
  await fm.admin.seek('s', 'g', { to: 'earliest' });
  await more;
  await expect.poll(() => all(3), { timeout: 20_000 }).toBe(true);
  expect(wrongOrder).toBe(0);
  expect(busy()).toBe(CONSUMERS);
  await Promise.all(consumers.map((consumer) => consumer.close()));
  await Promise.all(runs);
  const { partitions } = await fm.admin.getGroup('s', 'g');
  expect(partitions.filter(({ lag }) => lag > 0)).toEqual([]);
});
