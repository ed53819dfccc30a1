// Which shard a key lives on: the rule of names (proto/src/partitioner.ts, `shardOf`) on the key's bytes, so
// that a key that is text lives where a queue or stream of that name does, and binary keys have a home as
// well. The keyspace has no say: equal `{tag}`s meet across keyspaces.
import { partitionOf } from '@flowmesh/protocol';

const OPEN = 0x7b;
const CLOSE = 0x7d;
/** What a queue's own queues are called. */
const SUFFIXES = [Buffer.from('.dead'), Buffer.from('.parked')];

export const kvShardOf = (key: Uint8Array, shards: number): number =>
  shards === 1 ? 0 : partitionOf(shardBytes(key), shards);

function shardBytes(key: Uint8Array): Uint8Array {
  const open = key.indexOf(OPEN);
  if (open !== -1) {
    const close = key.indexOf(CLOSE, open + 1);
    if (close > open + 1) return key.subarray(open + 1, close);
  }
  for (let source = key; ; ) {
    const suffix = SUFFIXES.find((each) => each.equals(source.subarray(-each.length)));
    // The suffix alone is a name like any other.
    if (suffix === undefined || source.length === suffix.length) return source;
    source = source.subarray(0, -suffix.length);
  }
}
