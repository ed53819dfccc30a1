// Rows as LevelDB holds them.
//   stored = value crc(u32le)      crc = crc32 of key and value
//   C1. A row that fails its check is DATA_DAMAGED, never "not found": LevelDB does not check blocks on
//       reads.
import { crc32 } from 'node:zlib';
import { FlowError } from '@flowmesh/protocol';
import { ByteReader, ByteWriter } from './bytes.ts';
import type { Table } from './contract.ts';

export const CRC_BYTES = 4;
/** Scratch memory above this is not kept for the next row. */
const KEEP_BYTES_MAX = 256 * 1024;

/** Encodes rows one after another. What it returns is valid until the next call, unless `copies`. */
export class RowEncoder {
  readonly #copies: boolean;
  #writer = new ByteWriter(4096);

  constructor(copies: boolean) {
    this.#copies = copies;
  }

  key(key: string): Buffer {
    if (this.#copies) return Buffer.from(key, 'latin1');
    const writer = this.#begin(key);
    return writer.buffer.subarray(0, key.length);
  }

  row(table: Table<unknown>, key: string, value: unknown): { key: Buffer; value: Buffer } {
    const writer = this.#begin(key);
    table.encode(value, writer);
    return this.#seal(key.length);
  }

  /** For values that are bytes already. */
  raw(key: string, value: Uint8Array): { key: Buffer; value: Buffer } {
    const writer = this.#begin(key);
    writer.raw(value);
    return this.#seal(key.length);
  }

  #begin(key: string): ByteWriter {
    if (this.#writer.buffer.length > KEEP_BYTES_MAX) this.#writer = new ByteWriter(4096);
    const writer = this.#writer;
    writer.length = 0;
    writer.reserve(key.length);
    writer.length = writer.buffer.write(key, 0, 'latin1');
    return writer;
  }

  #seal(keyLength: number): { key: Buffer; value: Buffer } {
    const writer = this.#writer;
    const crc = crc32(writer.view());
    writer.reserve(CRC_BYTES);
    writer.length = writer.buffer.writeUInt32LE(crc, writer.length);
    const bytes = this.#copies ? writer.copy() : writer.buffer;
    return { key: bytes.subarray(0, keyLength), value: bytes.subarray(keyLength, writer.length) };
  }
}

/** The value's bytes; `what` names the row for the message. */
export function openRow(key: Buffer, stored: Buffer, what: string, where: string): Buffer {
  const end = stored.length - CRC_BYTES;
  if (end < 0) throw damaged(key, `${stored.length} bytes`, what, where);
  const value = stored.subarray(0, end);
  if (crc32(value, crc32(key)) !== stored.readUInt32LE(end)) {
    throw damaged(key, 'checksum does not match', what, where);
  }
  return value;
}

export function decodeRow<V>(table: Table<V>, key: Buffer, stored: Buffer, where: string): V {
  const value = openRow(key, stored, table.name, where);
  try {
    return table.decode(new ByteReader(value));
  } catch (error) {
    throw damaged(key, String(error), table.name, where);
  }
}

/** Keys are up to 1 KiB; this many bytes of one are enough to find it. */
const SHOWN_KEY_BYTES = 48;

export function shownKey(key: Buffer): string {
  const hex = key.subarray(0, SHOWN_KEY_BYTES).toString('hex');
  return key.length > SHOWN_KEY_BYTES ? `${hex}... (${key.length} bytes)` : hex;
}

function damaged(key: Buffer, what: string, table: string, where: string): FlowError {
  const message = `row of ${table} in ${where}, key ${shownKey(key)}: ${what}; restore from a backup`;
  return new FlowError('DATA_DAMAGED', message);
}
