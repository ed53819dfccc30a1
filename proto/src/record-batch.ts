// RecordBatch v1: how records and jobs travel and are stored. The server stores the wire bytes and sends them
// as they are; it patches the head and never reads a body.
//
//   batch  = head(40) index bodies                         all integers little endian
//   head   = u32 length        whole batch
//            u64 baseOffset    patched by the server
//            u64 appendTimeMs  patched by the server
//            u32 headCrc       crc32 of bytes 0..19, patched by the server
//            u32 crc           crc32 of bytes 28..length
//            u8 version = 1, u8 flags, u8 contentType, u8 reserved = 0
//            u32 count, u32 indexLength
//   flags  = 1 PLAIN: no entry has a key or job options, so a queue need not read the index
//            2 GAP: `count` offsets that compaction emptied; no index, no bodies. Only the server makes them.
//   index  = entry * count
//   entry  = u8 serverFlags (1 INDEXED: the queue keeps a row for this job),
//            varint bodyLength, varint extLength, ext
//   ext    = (u8 tag, varint length, bytes)*               unknown tags are kept and ignored
//   bodies = the values, one after another
//   contentType (of entries without tag 4) = 0 application/octet-stream, 1 application/json, 2 text/plain
//
//   R1. Decoding never reads outside the batch and never trusts a length: malformed bytes are MALFORMED.
import { crc32 } from 'node:zlib';
import { FlowError } from './flow-error.ts';
import { LIMITS } from './limits.ts';

export const BATCH_HEAD_BYTES = 40;
export const CRC_FROM = 28;
export const VERSION = 1;
export const FLAG_PLAIN = 1;
export const FLAG_GAP = 2;
export const ENTRY_INDEXED = 1;

export const EXT = {
  key: 1,
  header: 2,
  timeMs: 3,
  contentType: 4,
  tombstone: 5,
  traceparent: 6,
  causationId: 7,
  correlationId: 8,
  tag: 9,
  schema: 10,
  cause: 11,
  delayMs: 16,
  priority: 17,
  dedupKey: 18,
  timeoutMs: 19,
  /** Dead-letter queues: where the job came from, and why it died. */
  sourceQueue: 20,
  sourceId: 21,
  lastError: 22,
  /** What a job went through before: attempts and redrives, JSON; see dataplane/queue/attempts.ts. */
  life: 40,
  /** Place in DEDUP_MODES; absent: throttle. */
  dedupMode: 41,
  dedupWindowMs: 42,
  /** Tombstones in compacted streams: when cleaning came by first, by shard time. Only the server sets it. */
  cleanedAtMs: 32,
  limitKey: 48,
} as const;

/** What a second job with the same dedup key does. */
export const DEDUP_MODES = ['throttle', 'simple', 'debounce'] as const;
export type DedupMode = (typeof DEDUP_MODES)[number];

/** A dead job with all it carries must fit into a journal entry. */
const LIFE_BYTES_MAX = 32 * 1024;

/** Tags that make a queue look at a job one by one. */
const JOB_OPTION_TAGS: ReadonlySet<number> = new Set([
  EXT.key,
  EXT.delayMs,
  EXT.priority,
  EXT.dedupKey,
  EXT.limitKey,
]);

export const CONTENT_TYPES = ['application/octet-stream', 'application/json', 'text/plain'] as const;

export interface Envelope {
  traceparent?: string;
  causationId?: string;
  correlationId?: string;
  tags?: string[];
  schema?: string;
}

/** One record or job as its producer gives it. */
export interface BatchRecord {
  value: Uint8Array | null;
  contentType?: string | undefined;
  key?: Uint8Array | undefined;
  headers?: ReadonlyMap<string, Uint8Array> | undefined;
  timeMs?: number | undefined;
  envelope?: Envelope | undefined;
  cause?: { deliveryId: string; ordinal: number } | undefined;
  delayMs?: number | undefined;
  priority?: number | undefined;
  dedupKey?: string | undefined;
  timeoutMs?: number | undefined;
  sourceQueue?: string | undefined;
  sourceId?: string | undefined;
  lastError?: string | undefined;
  life?: Uint8Array | undefined;
  dedupMode?: DedupMode | undefined;
  dedupWindowMs?: number | undefined;
  limitKey?: Uint8Array | undefined;
}

/** A record read back from a batch. `value` and `key` are views on the batch's bytes. */
export interface DecodedRecord extends BatchRecord {
  offset: number;
  appendTimeMs: number;
  contentType: string;
  indexed: boolean;
}

export interface BatchHead {
  length: number;
  baseOffset: number;
  appendTimeMs: number;
  plain: boolean;
  /** Offsets without records. */
  gap: boolean;
  /** Some entry names a cause; known only once the batch was validated. */
  caused?: boolean;
  count: number;
  indexLength: number;
  contentTypeCode: number;
}

const malformed = (what: string) => new FlowError('MALFORMED', `record batch: ${what}`);

/**
 * Reads and checks the head; `verify` also checks both checksums. The batch may be followed by other bytes.
 */
export function readHead(bytes: Buffer, at = 0, verify: 'none' | 'body' | 'all' = 'none'): BatchHead {
  if (bytes.length - at < BATCH_HEAD_BYTES)
    throw malformed(`${bytes.length - at} bytes, but the head alone has ${BATCH_HEAD_BYTES}`);
  const length = bytes.readUInt32LE(at);
  const count = bytes.readUInt32LE(at + 32);
  const indexLength = bytes.readUInt32LE(at + 36);
  if (bytes[at + 28] !== VERSION)
    throw malformed(`version ${bytes[at + 28]}, this program reads version ${VERSION}`);
  if (length > bytes.length - at || length < BATCH_HEAD_BYTES + indexLength)
    throw malformed(`length ${length} does not fit`);
  const gap = ((bytes[at + 29] ?? 0) & FLAG_GAP) !== 0;
  if (gap && length !== BATCH_HEAD_BYTES) throw malformed(`a gap of ${length} bytes`);
  if (count === 0 || (!gap && count * 3 > indexLength))
    throw malformed(`${count} records in an index of ${indexLength} bytes`);
  if (
    verify !== 'none' &&
    crc32(bytes.subarray(at + CRC_FROM, at + length)) !== bytes.readUInt32LE(at + 24)
  ) {
    throw malformed('checksum does not match');
  }
  if (verify === 'all' && crc32(bytes.subarray(at, at + 20)) !== bytes.readUInt32LE(at + 20)) {
    throw malformed('checksum of the head does not match');
  }
  return {
    length,
    baseOffset: readU64(bytes, at + 4),
    appendTimeMs: readU64(bytes, at + 12),
    plain: ((bytes[at + 29] ?? 0) & FLAG_PLAIN) !== 0,
    gap,
    count,
    indexLength,
    contentTypeCode: bytes[at + 30] ?? 0,
  };
}

/** Writes where and when the batch was appended, in place. */
export function patchHead(batch: Buffer, baseOffset: number, appendTimeMs: number): void {
  writeU64(batch, 4, baseOffset);
  writeU64(batch, 12, appendTimeMs);
  batch.writeUInt32LE(crc32(batch.subarray(0, 20)), 20);
}

/** Sets the body checksum after a change inside the body. */
export function sealBody(batch: Buffer): void {
  batch.writeUInt32LE(crc32(batch.subarray(CRC_FROM)), 24);
}

/** Where one entry of a batch lies; positions are relative to the buffer handed to `readEntries`. */
export interface EntrySpan {
  flagsAt: number;
  extAt: number;
  extLength: number;
  bodyAt: number;
  bodyLength: number;
}

/** Positions of all entries of the batch at `at`; checks every length against the batch. */
export function readEntries(bytes: Buffer, at = 0, head: BatchHead = readHead(bytes, at)): EntrySpan[] {
  if (head.gap) return [];
  const spans: EntrySpan[] = new Array(head.count);
  const indexEnd = at + BATCH_HEAD_BYTES + head.indexLength;
  const end = at + head.length;
  let p = at + BATCH_HEAD_BYTES;
  let body = indexEnd;
  for (let i = 0; i < head.count; i++) {
    const flagsAt = p++;
    let shift = 0;
    let bodyLength = 0;
    let b = 128;
    while (b > 127) {
      if (p >= indexEnd || shift > 21) throw malformed(`entry ${i} leaves the index`);
      b = bytes[p++] ?? 0;
      bodyLength |= (b & 127) << shift;
      shift += 7;
    }
    let extLength = 0;
    shift = 0;
    b = 128;
    while (b > 127) {
      if (p >= indexEnd || shift > 21) throw malformed(`entry ${i} leaves the index`);
      b = bytes[p++] ?? 0;
      extLength |= (b & 127) << shift;
      shift += 7;
    }
    if (p + extLength > indexEnd || body + bodyLength > end) throw malformed(`entry ${i} leaves the batch`);
    spans[i] = { flagsAt, extAt: p, extLength, bodyAt: body, bodyLength };
    p += extLength;
    body += bodyLength;
  }
  if (p !== indexEnd || body !== end) throw malformed('bytes are left over behind the last entry');
  return spans;
}

/** Calls `visit(tag, from, to)` for each extension of an entry. */
export function readExt(
  bytes: Buffer,
  span: EntrySpan,
  visit: (tag: number, from: number, to: number) => void,
): void {
  let p = span.extAt;
  const end = span.extAt + span.extLength;
  while (p < end) {
    const tag = bytes[p++] ?? 0;
    let length = 0;
    let shift = 0;
    let b = 128;
    while (b > 127) {
      if (p >= end || shift > 21) throw malformed('extension leaves its entry');
      b = bytes[p++] ?? 0;
      length |= (b & 127) << shift;
      shift += 7;
    }
    if (p + length > end) throw malformed('extension leaves its entry');
    visit(tag, p, p + length);
    p += length;
  }
}

/** All records of the batch at `at`, in full. For hot paths use `readEntries`. */
export function decodeBatch(bytes: Buffer, at = 0): DecodedRecord[] {
  const head = readHead(bytes, at);
  return readEntries(bytes, at, head).map((span, i) => decodeEntry(bytes, head, span, head.baseOffset + i));
}

export function decodeEntry(bytes: Buffer, head: BatchHead, span: EntrySpan, offset: number): DecodedRecord {
  const record: DecodedRecord = {
    offset,
    appendTimeMs: head.appendTimeMs,
    indexed: ((bytes[span.flagsAt] ?? 0) & ENTRY_INDEXED) !== 0,
    value: bytes.subarray(span.bodyAt, span.bodyAt + span.bodyLength),
    contentType: CONTENT_TYPES[head.contentTypeCode as 0 | 1 | 2] ?? CONTENT_TYPES[0],
  };
  if (span.extLength === 0) return record;
  const headers = new Map<string, Uint8Array>();
  const envelope: Envelope = {};
  readExt(bytes, span, (tag, from, to) => {
    if (tag === EXT.key) record.key = bytes.subarray(from, to);
    else if (tag === EXT.contentType) record.contentType = bytes.toString('utf8', from, to);
    else if (tag === EXT.tombstone) record.value = null;
    else if (tag === EXT.timeMs) record.timeMs = readNumber(bytes, from, to);
    else if (tag === EXT.delayMs) record.delayMs = readNumber(bytes, from, to);
    else if (tag === EXT.priority) record.priority = readNumber(bytes, from, to);
    else if (tag === EXT.timeoutMs) record.timeoutMs = readNumber(bytes, from, to);
    else if (tag === EXT.dedupKey) record.dedupKey = bytes.toString('utf8', from, to);
    else if (tag === EXT.sourceQueue) record.sourceQueue = bytes.toString('utf8', from, to);
    else if (tag === EXT.sourceId) record.sourceId = bytes.toString('utf8', from, to);
    else if (tag === EXT.dedupMode) record.dedupMode = DEDUP_MODES[readNumber(bytes, from, to)];
    else if (tag === EXT.dedupWindowMs) record.dedupWindowMs = readNumber(bytes, from, to);
    else if (tag === EXT.life) record.life = bytes.subarray(from, to);
    else if (tag === EXT.lastError) record.lastError = bytes.toString('utf8', from, to);
    else if (tag === EXT.limitKey) record.limitKey = bytes.subarray(from, to);
    else if (tag === EXT.header) readHeader(bytes, from, to, headers);
    else if (tag === EXT.cause) record.cause = readCause(bytes.toString('utf8', from, to));
    else readEnvelope(envelope, tag, bytes, from, to);
  });
  if (headers.size > 0) record.headers = headers;
  for (const _ in envelope) {
    record.envelope = envelope;
    break;
  }
  return record;
}

/**
 * Checks a batch from the outside against LIMITS, and returns its head. `plain` batches of jobs skip nothing.
 */
export function validateBatch(batch: Buffer): BatchHead {
  if (batch.length > LIMITS.batchBytes) {
    throw new FlowError(
      'BATCH_TOO_LARGE',
      `record batch of ${batch.length} bytes, at most ${LIMITS.batchBytes} are accepted`,
    );
  }
  const head = readHead(batch, 0, 'body');
  if (head.gap) throw malformed('gaps are made by the server only');
  if (head.length !== batch.length) throw malformed(`length ${head.length}, but ${batch.length} bytes came`);
  if (head.count > LIMITS.batchRecords) {
    throw new FlowError(
      'BATCH_TOO_LARGE',
      `record batch of ${head.count} records, at most ${LIMITS.batchRecords} are accepted`,
    );
  }
  for (const span of readEntries(batch, 0, head))
    if (validateEntry(batch, span, head.plain)) head.caused = true;
  return head;
}

/** Returns whether the entry names a cause. */
function validateEntry(batch: Buffer, span: EntrySpan, plain: boolean): boolean {
  if (batch[span.flagsAt] !== 0) throw malformed('serverFlags are set by the server only');
  if (span.bodyLength > LIMITS.valueBytes) {
    throw new FlowError(
      'VALUE_TOO_LARGE',
      `value of ${span.bodyLength} bytes, at most ${LIMITS.valueBytes} are accepted`,
    );
  }
  if (span.extLength === 0) return false;
  let isCaused = false;
  let headers = 0;
  readExt(batch, span, (tag, from, to) => {
    const size = to - from;
    if (tag === EXT.cause) isCaused = true;
    if (tag === EXT.cleanedAtMs) throw malformed('cleanedAtMs is set by the server only');
    if (tag === EXT.header && (++headers > LIMITS.headers || size > LIMITS.headerBytes)) {
      throw new FlowError(
        'HEADERS_TOO_LARGE',
        `header of ${size} bytes; at most ${LIMITS.headers} headers of ${LIMITS.headerBytes} bytes`,
      );
    }
    if (tag === EXT.life && size > LIFE_BYTES_MAX) throw malformed(`life of ${size} bytes`);
    if (size > LIMITS.keyBytes && tag !== EXT.header && tag !== EXT.lastError && tag !== EXT.life) {
      throw new FlowError(
        'KEY_TOO_LARGE',
        `key or option of ${size} bytes, at most ${LIMITS.keyBytes} are accepted`,
      );
    }
    if (plain && JOB_OPTION_TAGS.has(tag))
      throw malformed('PLAIN is set, but an entry has a key or job options');
  });
  return isCaused;
}

function readEnvelope(e: Envelope, tag: number, bytes: Buffer, from: number, to: number): void {
  const text = () => bytes.toString('utf8', from, to);
  if (tag === EXT.traceparent) e.traceparent = text();
  else if (tag === EXT.causationId) e.causationId = text();
  else if (tag === EXT.correlationId) e.correlationId = text();
  else if (tag === EXT.schema) e.schema = text();
  else if (tag === EXT.tag) {
    e.tags ??= [];
    e.tags.push(text());
  }
}

function readHeader(bytes: Buffer, from: number, to: number, into: Map<string, Uint8Array>): void {
  const nameEnd = from + 1 + (bytes[from] ?? 0);
  if (nameEnd > to) throw malformed('header name leaves its extension');
  into.set(bytes.toString('utf8', from + 1, nameEnd), bytes.subarray(nameEnd, to));
}

export function readCause(text: string): { deliveryId: string; ordinal: number } {
  const space = text.indexOf(' ');
  return { ordinal: Number(text.slice(0, space)) || 0, deliveryId: text.slice(space + 1) };
}

/** A number of at most 53 bits, little endian, 1 to 7 bytes. */
export function readNumber(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let p = Math.min(to, from + 7) - 1; p >= from; p--) value = value * 256 + (bytes[p] ?? 0);
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}

export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}

export function writeU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
