// Partitions as in Kafka: the vectors are those of org.apache.kafka.common.utils.UtilsTest (testMurmur2).
import { expect, test } from 'vitest';
import { murmur2, partitionOf, shardKeyOf, shardOf } from '../src/index.ts';

test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
])('murmur2(%s)', (key, hash) => {
  expect(murmur2(Buffer.from(key))).toBe(hash);
});

test('murmur2 of three bytes with the high bit', () => {
  expect(murmur2(Buffer.from('abc'))).toBe(479470107);
});

test('a partition is never negative', () => {
  for (let i = 0; i < 1000; i++) {
    const p = partitionOf(Buffer.from(`key-${i}`), 7);
    expect(p).toBeGreaterThanOrEqual(0);
    expect(p).toBeLessThan(7);
  }
});

test('a tag decides the shard, and a dead-letter queue lives with its source', () => {
  expect(shardKeyOf('orders.{eu}.created')).toBe('eu');
  expect(shardKeyOf('orders.{}')).toBe('orders.{}');
  expect(shardOf('emails.send.dead', 64)).toBe(shardOf('emails.send', 64));
  expect(shardOf('{emails.send}:count', 64)).toBe(shardOf('emails.send', 64));
});
