// What a stream is declared to be, in the words of the SDK.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Duration, optionalMs } from './durations.ts';
import { type Scaling, scalingSpec } from './scaling.ts';
import type { SchemaRef } from './schemas.ts';

export interface StreamSettings {
  partitions?: number | undefined;
  retention?: Duration | undefined;
  /** Per partition; 0: no limit. */
  retentionBytes?: number | undefined;
  /**
   * `delete`: records past their retention go. `compact`: the last record of each key stays, for
   * ever, and every record needs a key. `both`: compacted, and what is past its
   * retention goes. Default: delete.
   */
  cleanup?: 'delete' | 'compact' | 'both' | undefined;
  /** Compaction leaves younger records alone. Default: 0. */
  minCompactionLag?: Duration | undefined;
  /** How long the deletion of a key can still be read after it was cleaned. Default: 24 h. */
  tombstoneRetention?: Duration | undefined;
  /** What events must match: SCHEMA_VIOLATION. */
  schemaRef?: SchemaRef | undefined;
  /** Groups about which something is declared. Others appear with their first member all the same. */
  consumerGroups?: readonly ConsumerGroupSettings[] | undefined;
}

export interface ConsumerGroupSettings {
  name: string;
  /** Lets the fabric compute how many members are needed. */
  scaling?: Scaling | undefined;
}

/** As ApplyStream takes it. */
export const streamSpec = (name: string, settings: StreamSettings): pb.StreamSpecInput => ({
  name,
  partitions: settings.partitions,
  retentionMs: optionalMs(settings.retention, 'retention'),
  retentionBytes: settings.retentionBytes,
  cleanup: settings.cleanup,
  minCompactionLagMs: optionalMs(settings.minCompactionLag, 'minCompactionLag'),
  tombstoneRetentionMs: optionalMs(settings.tombstoneRetention, 'tombstoneRetention'),
  schemaRef: settings.schemaRef,
  consumerGroups: settings.consumerGroups?.map(({ name: group, scaling }) => ({
    name: group,
    scaling: scaling && scalingSpec(scaling),
  })),
});
