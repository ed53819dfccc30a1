// The bytes of LevelDB's files, as far as their checksums need them (LevelDB's doc/log_format.md and
// doc/table_format.md). All numbers little-endian; crc: crc32c, masked.
//
//   log     := blocks of 32 KiB of records      a manifest is a log of version edits
//   record  := crc:u32 length:u16 kind:u8 data{length}      crc over kind and data
//   table   := block* footer                  block := data kind:u8 crc:u32     crc over data and kind
//   footer  := metaindex:handle index:handle 0{..} magic:u64                    48 bytes
//   handle  := offset:varint size:varint
import { crc32c } from './crc32c.ts';

const LOG_BLOCK_BYTES = 32 * 1024;
const RECORD_HEAD_BYTES = 7;
const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const MAGIC = 0xdb47_7524_8b80_fb57n;
const FULL = 1;
const FIRST = 2;
const LAST = 4;
const SNAPPY = 1;

/** What does not fit, and where in the file. */
export class BadBytes extends Error {
  readonly at: number;

  constructor(at: number, what: string) {
    super(what);
    this.at = at;
  }
}

const isIntact = (stored: number, crc: number) =>
  stored === (((crc >>> 15) | (crc << 17)) + 0xa282_ead8) >>> 0;

interface LogRecord {
  readonly kind: number;
  readonly data: Buffer;
  readonly next: number;
}

/** The record at `at`, if it is intact. */
function recordAt(bytes: Buffer, at: number): LogRecord | undefined {
  if (at + RECORD_HEAD_BYTES > bytes.length) return undefined;
  const data = at + RECORD_HEAD_BYTES;
  const next = data + bytes.readUInt16LE(at + 4);
  const kind = bytes[at + 6] ?? 0;
  const blockEnd = at - (at % LOG_BLOCK_BYTES) + LOG_BLOCK_BYTES;
  if (kind < FULL || kind > LAST || next > blockEnd || next > bytes.length) return undefined;
  if (!isIntact(bytes.readUInt32LE(at), crc32c(bytes, at + 6, next))) return undefined;
  return { kind, data: bytes.subarray(data, next), next };
}

/** Where the record behind `at` starts: not in the last few bytes of a block. */
function recordStart(at: number): number {
  const left = LOG_BLOCK_BYTES - (at % LOG_BLOCK_BYTES);
  return left < RECORD_HEAD_BYTES ? at + left : at;
}

/**
 * What was logged, whole. Ends at the first record that is not intact: `tornAt`. Throws BadBytes if what
 * follows shows that it was written in full once.
 */
export function readLog(bytes: Buffer): { entries: Buffer[]; tornAt: number } {
  const entries: Buffer[] = [];
  let parts: Buffer[] = [];
  let at = 0;
  let begun = 0;
  for (;;) {
    at = recordStart(at);
    const record = recordAt(bytes, at);
    if (record === undefined) break;
    const begins = record.kind === FULL || record.kind === FIRST;
    if (begins !== (parts.length === 0)) throw new BadBytes(at, 'a log record is missing');
    if (begins) begun = at;
    parts.push(record.data);
    if (record.kind === FULL || record.kind === LAST) {
      entries.push(Buffer.concat(parts));
      parts = [];
    }
    at = record.next;
  }
  if (isFollowed(bytes, at)) throw new BadBytes(at, 'a log record is damaged');
  return { entries, tornAt: parts.length > 0 ? begun : at };
}

/** Whether something was begun behind the damaged record at `from`: each write waits for the one before. */
function isFollowed(bytes: Buffer, from: number): boolean {
  if (from + RECORD_HEAD_BYTES > bytes.length) return false;
  const starts = [from + RECORD_HEAD_BYTES + bytes.readUInt16LE(from + 4)];
  for (let at = from - (from % LOG_BLOCK_BYTES) + LOG_BLOCK_BYTES; at < bytes.length; at += LOG_BLOCK_BYTES)
    starts.push(at);
  return starts.some((start) => {
    for (let at = recordStart(start), record = recordAt(bytes, at); record !== undefined; ) {
      if (record.kind === FULL || record.kind === FIRST) return true;
      at = recordStart(record.next);
      record = recordAt(bytes, at);
    }
    return false;
  });
}

/** Reads numbers one behind the other. */
export class Varints {
  readonly #bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  number(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined || factor > 2 ** 56) throw new BadBytes(this.at, 'a number does not end');
      value += (byte & 0x7f) * factor;
      if (byte < 128) return value;
    }
  }

  skip(bytes: number): void {
    this.at += bytes;
  }
}

/** Checks every block of a table. */
export function checkTable(bytes: Buffer): void {
  const footer = bytes.length - FOOTER_BYTES;
  if (footer < 0 || bytes.readBigUInt64LE(bytes.length - 8) !== MAGIC)
    throw new BadBytes(Math.max(0, footer), 'the table has no footer');
  const handles = new Varints(bytes, footer);
  const ends = [0, 1].map(() => ({ offset: handles.number(), size: handles.number() }));
  for (const { offset, size } of ends) {
    for (const handle of handlesIn(openBlock(bytes, offset, size), offset)) {
      checkBlock(bytes, handle.offset, handle.size);
    }
  }
}

function checkBlock(bytes: Buffer, offset: number, size: number): void {
  const end = offset + size;
  if (end + TRAILER_BYTES > bytes.length) throw new BadBytes(offset, 'a block ends behind the table');
  if (!isIntact(bytes.readUInt32LE(end + 1), crc32c(bytes, offset, end + 1)))
    throw new BadBytes(offset, 'the checksum of a block does not match');
}

function openBlock(bytes: Buffer, offset: number, size: number): Buffer {
  checkBlock(bytes, offset, size);
  const block = bytes.subarray(offset, offset + size);
  return bytes[offset + size] === SNAPPY ? unpacked(block, offset) : block;
}

/** The values of a block of an index: places of other blocks. */
function* handlesIn(block: Buffer, offset: number): Generator<{ offset: number; size: number }> {
  if (block.length < 4) throw new BadBytes(offset, 'a block without restarts');
  const end = block.length - 4 * (1 + block.readUInt32LE(block.length - 4));
  const entries = new Varints(block);
  while (entries.at < end) {
    entries.number();
    const keyBytes = entries.number();
    const valueBytes = entries.number();
    entries.skip(keyBytes);
    const value = new Varints(block, entries.at);
    yield { offset: value.number(), size: value.number() };
    entries.skip(valueBytes);
  }
}

/** Snappy (its format_description.txt): literals, and copies of what is there already. */
function unpacked(packed: Buffer, offset: number): Buffer {
  const reader = new Varints(packed);
  const out = Buffer.alloc(reader.number());
  let at = 0;
  let i = reader.at;
  while (i < packed.length) {
    const tag = packed[i++] ?? 0;
    let length = (tag >>> 2) + 1;
    if ((tag & 3) === 0) {
      const extra = Math.max(0, length - 60);
      if (extra > 0) length = packed.readUIntLE(i, extra) + 1;
      i += extra;
      packed.copy(out, at, i, i + length);
      i += length;
      at += length;
      continue;
    }
    const width = [0, 1, 2, 4][tag & 3] ?? 0;
    let back = packed.readUIntLE(i, width);
    i += width;
    if (width === 1) {
      length = ((tag >>> 2) & 7) + 4;
      back += (tag >>> 5) * 256;
    }
    if (back === 0 || back > at) throw new BadBytes(offset, 'a block cannot be unpacked');
    for (const end = at + length; at < end; at++) out[at] = out[at - back] ?? 0;
  }
  return out;
}
