// Which partition a key goes to: Kafka's default, so that data moved from Kafka keeps its partitions.
// Source: org.apache.kafka.common.utils.Utils.murmur2 (32 bit, seed 0x9747b28c) and toPositive.

const M = 0x5bd1e995;

/** murmur2 of the key as a signed 32-bit number. */
export function murmur2(key: Uint8Array): number {
  let h = 0x9747b28c ^ key.length;
  const whole = key.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    let k = (key[i] ?? 0) | ((key[i + 1] ?? 0) << 8) | ((key[i + 2] ?? 0) << 16) | ((key[i + 3] ?? 0) << 24);
    k = Math.imul(k, M);
    k ^= k >>> 24;
    h = Math.imul(h, M) ^ Math.imul(k, M);
  }
  const rest = key.length & 3;
  if (rest === 3) h ^= (key[whole + 2] ?? 0) << 16;
  if (rest >= 2) h ^= (key[whole + 1] ?? 0) << 8;
  if (rest >= 1) h = Math.imul(h ^ (key[whole] ?? 0), M);
  h ^= h >>> 13;
  h = Math.imul(h, M);
  return h ^ (h >>> 15);
}

export const partitionOf = (key: Uint8Array, partitions: number): number =>
  (murmur2(key) & 0x7fffffff) % partitions;

/**
 * The part of a name that decides its shard: the `{tag}` if there is one (as in Redis Cluster), and a
 * dead-letter queue (`<name>.dead`) and what is parked of it (`<name>.parked`) go with their source.
 */
export function shardKeyOf(name: string): string {
  const open = name.indexOf('{');
  if (open !== -1) {
    const close = name.indexOf('}', open + 1);
    if (close > open + 1) return name.slice(open + 1, close);
  }
  const source = /^(.+)\.(?:dead|parked)$/.exec(name)?.[1];
  return source === undefined ? name : shardKeyOf(source);
}

/** The shard of a name, `shards` being fixed at creation. */
export const shardOf = (name: string, shards: number): number =>
  shards === 1 ? 0 : partitionOf(Buffer.from(shardKeyOf(name)), shards);
