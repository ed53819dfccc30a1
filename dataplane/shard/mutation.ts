// How a mutation of the wire becomes that of a command.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { MutationId } from './state-machine.ts';

/** Field by field: what a message leaves out is on its prototype, which a spread leaves behind. */
export function mutationOf(mutation: pb.Mutation | null | undefined): MutationId | undefined {
  if (!mutation) return undefined;
  const { producerId, seq, cause } = mutation;
  return {
    ...{ producerId, seq },
    cause: cause ? { deliveryId: cause.deliveryId, ordinal: cause.ordinal } : undefined,
  };
}
