// Scaling in the words of the SDK: what is asked for, and of what.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';

/** How many workers there may be, and what calls for more of them. */
export interface Scaling {
  /** Workers at least. Default: 1. */
  from?: number | undefined;
  /** Workers at most. */
  to: number;
  /** Such as `queue_lag > 10_000` (of groups `stream_lag`), `message_age > 30s`. Default: the latter. */
  basedOn?: readonly string[] | undefined;
}

/** A queue by its name, or a consumer group. */
export type ScalingOf = string | { readonly stream: string; readonly group: string };

export const scalingSpec = ({ from, to, basedOn = [] }: Scaling): pb.ScalingInput => ({
  ...{ scaleFrom: from, scaleTo: to },
  basedOn: [...basedOn],
});

export const scalingRequest = (of: ScalingOf): pb.GetScalingRequestInput =>
  typeof of === 'string' ? { queue: of } : { stream: of.stream, group: of.group };
