// A table of texts, keys of one tenant, and a row store on a fresh place.
import { decodeBatch, encodeBatch, patchHead, readHead } from '@flowmesh/protocol';
import type { Table } from '../../dataplane/storage/contract.ts';
import { u32be } from '../../dataplane/storage/keys.ts';
import type { SegmentedLog } from '../../dataplane/storage/partition-log.ts';

export const texts: Table<string> = {
  id: 40,
  name: 'texts',
  encode: (value, into) => into.text(value),
  decode: (from) => from.text(),
};

export const others: Table<string> = { ...texts, id: 41, name: 'others' };

export const keyOf = (table: Table<unknown>, part: string) => u32be(1) + String.fromCharCode(table.id) + part;

export const yields = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A record batch as the server stores it. */
export function batchOf(values: readonly string[], baseOffset: number, timeMs: number): Buffer {
  const batch = encodeBatch(values.map((value) => ({ value: Buffer.from(value) })));
  patchHead(batch, baseOffset, timeMs);
  return batch;
}

export interface LogRecord {
  readonly offset: number;
  readonly timeMs: number;
  readonly key: string;
  readonly isTombstone: boolean;
  /** 'key=value', or the key alone for a tombstone. */
  readonly text: string;
}

/** What a log holds from `from` on; every offset must be covered by a record or a gap. */
export async function recordsOf(
  log: SegmentedLog,
  from = log.startOffset,
  maxBytes = 500,
): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (let at = from; at < log.endOffset; ) {
    const chunk = log.resident(at, maxBytes) ?? (await log.load(at, maxBytes));
    let next = chunk.firstOffset;
    for (let position = 0; position < chunk.bytes.length; ) {
      const head = readHead(chunk.bytes, position, 'all');
      if (head.baseOffset !== next) throw new Error(`offset ${head.baseOffset} instead of ${next}`);
      for (const record of decodeBatch(chunk.bytes, position)) {
        const key = Buffer.from(record.key ?? []).toString();
        const text = record.value === null ? key : `${key}=${Buffer.from(record.value).toString()}`;
        const { offset, appendTimeMs: timeMs } = record;
        if (offset >= from) records.push({ offset, timeMs, key, isTombstone: record.value === null, text });
      }
      next += head.count;
      position += head.length;
    }
    if (next !== chunk.nextOffset || next <= at) throw new Error(`a chunk from ${at} ends at ${next}`);
    at = next;
  }
  return records;
}
