// Where streams live. The home shard of a name holds its declaration and its groups; partitions go round the
// shards from there, so that one stream uses all of them. A {tag} keeps everything together for transactions.
import { shardOf } from '@flowmesh/protocol';

export interface Placement {
  readonly home: number;
  /** Shard of each partition is (home + partition * step) % shards. */
  readonly step: 0 | 1;
}

export const placementOf = (name: string, shards: number): Placement => ({
  home: shardOf(name, shards),
  step: hasTag(name) ? 0 : 1,
});

export const shardOfPartition = (placement: Placement, partition: number, shards: number): number =>
  (placement.home + partition * placement.step) % shards;

/** The same rule as shardKeyOf in the protocol: the first non-empty pair of braces. */
function hasTag(name: string): boolean {
  const open = name.indexOf('{');
  return open !== -1 && name.indexOf('}', open + 1) > open + 1;
}
