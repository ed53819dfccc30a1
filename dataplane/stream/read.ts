// Reading records without a group: a page of them, or a partition on and on.
import { type DecodedRecord, decodeEntry, FlowError, readEntries, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller } from '../shard/state-machine.ts';
import type { Chunk } from '../storage/contract.ts';
import type { PartitionCell } from './cells.ts';
import { streamNotFound } from './declare.ts';
import { CHUNK_BYTES_MAX, cutAt } from './feed.ts';
import type { Locator } from './locator.ts';

const READ_DEFAULT = 100;
const READ_MAX = 10_000;
/** Stays well below the 4 MiB that gRPC clients accept by default; one record is always returned. */
const READ_BYTES_MAX = 2 * 1024 * 1024;

export async function readRecords(
  locator: Locator,
  caller: Caller,
  request: pb.ReadRequest,
): Promise<pb.ReadResponseInput> {
  const stream = locator.find(caller.tenant, request.stream);
  if (stream === undefined) throw streamNotFound(request.stream);
  const partition = locator.partition(stream, request.partition);
  const max = Math.min(request.max === 0 ? READ_DEFAULT : request.max, READ_MAX);
  let next = partition.log.startOffset;
  if (request.from === 'offset') next = checkOffset(partition, request.offset);
  else if (request.from === 'timestampMs') {
    next = Math.min(await partition.log.offsetAt(request.timestampMs), partition.visibleEnd);
  }
  const records: pb.RecordInput[] = [];
  let bytes = 0;
  while (records.length < max && next < partition.visibleEnd && bytes < READ_BYTES_MAX) {
    const chunk = await chunkAt(partition, next);
    for (const record of recordsFrom(chunk, next)) {
      const size = sizeOf(record);
      if (records.length >= max || (records.length > 0 && bytes + size > READ_BYTES_MAX)) {
        return { records, nextOffset: next, endOffset: partition.visibleEnd };
      }
      bytes += size;
      next = record.offset + 1;
      records.push(toRecord(partition.partition, record));
    }
    // What cleaning emptied behind the last record is passed over.
    next = Math.max(next, chunk.nextOffset);
  }
  return { records, nextOffset: next, endOffset: partition.visibleEnd };
}

export function checkOffset(partition: PartitionCell, offset: number): number {
  const { log, visibleEnd } = partition;
  if (offset >= log.startOffset && offset <= visibleEnd) return offset;
  const where = `partition ${partition.partition} of stream ${partition.stream.cell.value.name}`;
  throw new FlowError(
    'OFFSET_OUT_OF_RANGE',
    `${where} starts at ${log.startOffset} and ends at ${visibleEnd}; ${offset} is outside`,
  );
}

async function chunkAt(partition: PartitionCell, offset: number): Promise<Chunk> {
  const { log } = partition;
  try {
    const chunk = log.resident(offset, CHUNK_BYTES_MAX) ?? (await log.load(offset, CHUNK_BYTES_MAX));
    return cutAt(chunk, partition.visibleEnd);
  } catch (error) {
    checkOffset(partition, offset); // Trimmed while it was being read.
    throw error;
  }
}

function* recordsFrom(chunk: Chunk, offset: number): IterableIterator<DecodedRecord> {
  for (let at = 0; at < chunk.bytes.length; ) {
    const head = readHead(chunk.bytes, at, 'body');
    const spans = head.baseOffset + head.count > offset ? readEntries(chunk.bytes, at, head) : [];
    for (const [i, span] of spans.entries()) {
      if (head.baseOffset + i >= offset) yield decodeEntry(chunk.bytes, head, span, head.baseOffset + i);
    }
    at += head.length;
  }
}

function sizeOf(record: DecodedRecord): number {
  let size = (record.value?.length ?? 0) + (record.key?.length ?? 0);
  for (const [name, value] of record.headers ?? []) size += name.length + value.length;
  return size;
}

const toRecord = (partition: number, record: DecodedRecord): pb.RecordInput => ({
  partition,
  offset: record.offset,
  timestampMs: record.appendTimeMs,
  key: record.key,
  value: record.value ?? Buffer.alloc(0),
  contentType: record.contentType,
  headers: record.headers === undefined ? undefined : Object.fromEntries(record.headers),
  envelope: record.envelope,
  producerTimeMs: record.timeMs ?? 0,
  tombstone: record.value === null,
});
