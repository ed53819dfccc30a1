// Bytes of the embedded journal. All numbers little-endian; f64 hold integers below 2^53.
//
//   segment := head entry* rest               rest: zeros, or what a recycled file held before
//   head    := magic:u32 version:u32 identity:f64 segmentId:u32 epoch:u32 firstSeq:f64 previousTimeMs:f64
//              0{20} crc:u32                                                                    64 bytes
//   entry   := magic:u32 length:u32 seq:f64 timeMs:f64 durableUpTo:f64 epoch:u32 segmentId:u32
//              payloadCrc:u32 headerCrc:u32 payload{length}                            48 bytes + payload
//   owner   := slot 0{4032} slot              the valid slot of the higher generation counts
//   slot    := magic:u32 version:u32 identity:f64 generation:f64 epoch:f64 durable:f64
//              0{20} crc:u32                                                           64 bytes
//
//   C1. A crc is crc32 over everything before it (payloadCrc: over the payload). headerCrc is seeded with
//       the journal's identity and covers segment id and sequence, so an entry of a recycled file's
//       previous life is never taken; and as clients do not know the identity, a payload cannot hold what
//       looks like a header.
//   C2. Heads and slots keep length, magic, version and crc in place in every version, so that damage is
//       told from a newer format.
import { crc32 } from 'node:zlib';
import { FlowError } from '@flowmesh/protocol';

export const HEAD_BYTES = 64;
export const ENTRY_HEADER_BYTES = 48;
export const SLOT_BYTES = 64;
export const FORMAT_VERSION = 1;

const HEAD_MAGIC = 0x3153_4d46; // "FMS1"
const SLOT_MAGIC = 0x314f_4d46; // "FMO1"
const ENTRY_MAGIC = 0x9e4a_4d46;
const ENTRY_MAGIC_BYTES = Buffer.of(0x46, 0x4d, 0x4a, 0x9e);

export interface Head {
  readonly identity: number;
  readonly segmentId: number;
  readonly epoch: number;
  readonly firstSeq: number;
  /** Time of the last entry before this segment; 0 if there is none. */
  readonly previousTimeMs: number;
}

export interface Owner {
  /** Tells this journal from every other: the time it was made. */
  readonly identity: number;
  readonly epoch: number;
  /** Entries up to here were durable when this was written. */
  readonly durable: number;
}

export interface EntryHeader {
  readonly length: number;
  readonly seq: number;
  readonly timeMs: number;
  /** Last sequence that was known durable when this entry was written. */
  readonly durableUpTo: number;
  readonly epoch: number;
  readonly segmentId: number;
}

/** Seed of the entry checksums of a journal (C1). */
export function seedOf(identity: number): number {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(identity);
  return crc32(bytes);
}

export function encodeHead(head: Head): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.writeUInt32LE(HEAD_MAGIC, 0);
  bytes.writeUInt32LE(FORMAT_VERSION, 4);
  bytes.writeDoubleLE(head.identity, 8);
  bytes.writeUInt32LE(head.segmentId, 16);
  bytes.writeUInt32LE(head.epoch, 20);
  bytes.writeDoubleLE(head.firstSeq, 24);
  bytes.writeDoubleLE(head.previousTimeMs, 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEAD_BYTES - 4)), HEAD_BYTES - 4);
  return bytes;
}

/** Undefined: no head (blank or torn). Throws DATA_TOO_NEW. */
export function decodeHead(bytes: Buffer, file: string): Head | undefined {
  if (!isIntact(bytes, HEAD_MAGIC, file)) return undefined;
  return {
    identity: bytes.readDoubleLE(8),
    segmentId: bytes.readUInt32LE(16),
    epoch: bytes.readUInt32LE(20),
    firstSeq: bytes.readDoubleLE(24),
    previousTimeMs: bytes.readDoubleLE(32),
  };
}

export function encodeSlot(owner: Owner, generation: number): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  bytes.writeUInt32LE(SLOT_MAGIC, 0);
  bytes.writeUInt32LE(FORMAT_VERSION, 4);
  bytes.writeDoubleLE(owner.identity, 8);
  bytes.writeDoubleLE(generation, 16);
  bytes.writeDoubleLE(owner.epoch, 24);
  bytes.writeDoubleLE(owner.durable, 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, SLOT_BYTES - 4)), SLOT_BYTES - 4);
  return bytes;
}

/** Undefined: blank or torn. Throws DATA_TOO_NEW. */
export function decodeSlot(bytes: Buffer, file: string): { owner: Owner; generation: number } | undefined {
  if (!isIntact(bytes, SLOT_MAGIC, file)) return undefined;
  return {
    owner: {
      identity: bytes.readDoubleLE(8),
      epoch: bytes.readDoubleLE(24),
      durable: bytes.readDoubleLE(32),
    },
    generation: bytes.readDoubleLE(16),
  };
}

/** Writes the header at `at`; the pieces of the payload stay where they are. */
export function encodeEntryHeader(
  into: Buffer,
  at: number,
  entry: EntryHeader,
  { payload, seed }: { payload: readonly Uint8Array[]; seed: number },
): void {
  into.writeUInt32LE(ENTRY_MAGIC, at);
  into.writeUInt32LE(entry.length, at + 4);
  into.writeDoubleLE(entry.seq, at + 8);
  into.writeDoubleLE(entry.timeMs, at + 16);
  into.writeDoubleLE(entry.durableUpTo, at + 24);
  into.writeUInt32LE(entry.epoch, at + 32);
  into.writeUInt32LE(entry.segmentId, at + 36);
  let crc = 0;
  for (const piece of payload) crc = crc32(piece, crc);
  into.writeUInt32LE(crc, at + 40);
  into.writeUInt32LE(crc32(into.subarray(at, at + 44), seed), at + 44);
}

/** The header at `at` if it is intact and of this segment; says nothing about the payload. */
export function decodeEntryHeader(
  bytes: Buffer,
  at: number,
  of: { segmentId: number; seed: number },
): EntryHeader | undefined {
  if (at + ENTRY_HEADER_BYTES > bytes.length || bytes.readUInt32LE(at) !== ENTRY_MAGIC) return undefined;
  if (bytes.readUInt32LE(at + 36) !== of.segmentId) return undefined;
  if (crc32(bytes.subarray(at, at + 44), of.seed) !== bytes.readUInt32LE(at + 44)) return undefined;
  return {
    length: bytes.readUInt32LE(at + 4),
    seq: bytes.readDoubleLE(at + 8),
    timeMs: bytes.readDoubleLE(at + 16),
    durableUpTo: bytes.readDoubleLE(at + 24),
    epoch: bytes.readUInt32LE(at + 32),
    segmentId: of.segmentId,
  };
}

/** The payload behind the header at `at`: a view, or undefined if it is cut off or damaged. */
export function decodePayload(bytes: Buffer, at: number, { length }: EntryHeader): Buffer | undefined {
  const from = at + ENTRY_HEADER_BYTES;
  if (from + length > bytes.length) return undefined;
  const payload = bytes.subarray(from, from + length);
  return crc32(payload) === bytes.readUInt32LE(at + 40) ? payload : undefined;
}

/** Where the next thing that may be an entry starts, at or behind `from`; -1: nowhere. */
export const nextEntryMagic = (bytes: Buffer, from: number): number => bytes.indexOf(ENTRY_MAGIC_BYTES, from);

function isIntact(bytes: Buffer, magic: number, file: string): boolean {
  if (bytes.readUInt32LE(0) !== magic) return false;
  const end = bytes.length - 4;
  if (crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return false;
  const version = bytes.readUInt32LE(4);
  if (version <= FORMAT_VERSION) return true;
  throw new FlowError(
    'DATA_TOO_NEW',
    `${file} has format ${version}; this version reads up to ${FORMAT_VERSION}`,
  );
}
