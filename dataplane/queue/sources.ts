// Stored batches in memory, and the keys of the jobs in them.
import { type BatchHead, type EntrySpan, EXT, readEntries, readExt, readHead } from '@flowmesh/protocol';
import type { PartitionLog } from '../storage/contract.ts';

/** One stored batch in memory. */
export interface Source {
  readonly bytes: Buffer;
  readonly head: BatchHead;
  spans: EntrySpan[] | null;
}

export function spansOf(source: Source): EntrySpan[] {
  source.spans ??= readEntries(source.bytes, 0, source.head);
  return source.spans;
}

export function jobKeysOf(bytes: Buffer, span: EntrySpan): { key: string; limitKey: string } {
  const keys = { key: '', limitKey: '' };
  if (span.extLength > 0) {
    readExt(bytes, span, (tag, from, to) => {
      if (tag === EXT.key) keys.key = bytes.toString('latin1', from, to);
      else if (tag === EXT.limitKey) keys.limitKey = bytes.toString('latin1', from, to);
    });
  }
  return keys;
}

/** The batch of `bytes` (one or more whole batches) that holds `offset`. */
export function sourceIn(bytes: Buffer, offset: number): Source {
  let p = 0;
  let head = readHead(bytes, p);
  while (offset >= head.baseOffset + head.count) {
    p += head.length;
    head = readHead(bytes, p);
  }
  return { bytes: bytes.subarray(p, p + head.length), head, spans: null };
}

export async function loadSource(log: PartitionLog, offset: number): Promise<Source> {
  const chunk = log.resident(offset, 1) ?? (await log.load(offset, 1));
  return sourceIn(chunk.bytes, offset);
}

/** A job's bytes, for whoever looks at one on purpose. */
export async function loadEntry(
  log: PartitionLog,
  offset: number,
): Promise<{ bytes: Buffer; head: BatchHead; index: number }> {
  const source = await loadSource(log, offset);
  return { bytes: source.bytes, head: source.head, index: offset - source.head.baseOffset };
}
