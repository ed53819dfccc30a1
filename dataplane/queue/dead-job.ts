// What a job is turned into when it goes to its dead-letter queue, and when it comes back to life.
import assert from 'node:assert/strict';
import { type BatchRecord, type DecodedRecord, decodeBatch, encodeBatch } from '@flowmesh/protocol';
import { decodeLife, encodeLife } from './attempts.ts';
import type { Attempt } from './life-tables.ts';

export interface Death {
  readonly queue: string;
  readonly id: string;
  readonly error: string;
  /** Of this life, oldest first. */
  readonly attempts: readonly Attempt[];
}

/** The same job as it lies in the dead-letter queue, and what it went through. */
export function deadJobBatch(batch: Buffer, index: number, death: Death): Buffer {
  const record = decodeBatch(batch)[index];
  assert(record !== undefined, 'the entry is in the batch');
  const { delayMs: _d, priority: _p, dedupKey: _k, ...kept } = record;
  const before = decodeLife(record.life);
  const life = encodeLife({
    redrives: before.redrives,
    enqueuedAtMs: before.enqueuedAtMs || record.appendTimeMs,
    firstId: before.firstId || death.id,
    attempts: [...before.attempts, ...death.attempts],
  });
  const { queue: sourceQueue, id: sourceId, error: lastError } = death;
  return encodeBatch([{ ...kept, sourceQueue, sourceId, lastError, life }]);
}

/** A fresh job: same key, payload, headers and envelope, counters at zero; it remembers its lives. */
export function aliveAgain(job: DecodedRecord): BatchRecord {
  const { value, contentType, key, limitKey, headers, timeMs, envelope, timeoutMs } = job;
  const before = decodeLife(job.life);
  const life = encodeLife({ ...before, redrives: before.redrives + 1 });
  return { value, contentType, key, limitKey, headers, timeMs, envelope, timeoutMs, life };
}
