// What a job is turned into when it goes to its dead-letter queue.
import assert from 'node:assert/strict';
import { decodeBatch, encodeBatch } from '@flowmesh/protocol';

/** A job as it lies in the dead-letter queue: the same bytes, and where it came from. */
export function deadJobBatch(
  batch: Buffer,
  index: number,
  source: { queue: string; id: string; error: string },
): Buffer {
  const record = decodeBatch(batch)[index];
  assert(record !== undefined, 'the entry is in the batch');
  const { delayMs: _d, priority: _p, dedupKey: _k, ...kept } = record;
  return encodeBatch([{ ...kept, sourceQueue: source.queue, sourceId: source.id, lastError: source.error }]);
}
