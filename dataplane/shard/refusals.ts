// What a shard answers when it decides nothing.
import { FlowError } from '@flowmesh/protocol';
import { COMMAND_BYTES_MAX } from './bounds.ts';

export const overloaded = () =>
  new FlowError('RESOURCE_EXHAUSTED', 'too many commands wait on this shard', { retryAfterMs: 100 });

export const tooLarge = () =>
  new FlowError(
    'BATCH_TOO_LARGE',
    `all of it would take more than ${COMMAND_BYTES_MAX} bytes in the journal: split it`,
  );

export const diskFull = () =>
  new FlowError(
    'DISK_FULL',
    'the disk is full: free space or grow the volume; acks, deletes and reads go on',
    { retryAfterMs: 1000 },
  );

export function asFlowError(error: unknown): FlowError {
  return error instanceof FlowError
    ? error
    : new FlowError('INTERNAL', `unexpected: ${String(error)}`, { cause: error });
}
