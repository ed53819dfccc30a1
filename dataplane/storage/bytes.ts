// Binary writing and reading of events and rows: little-endian varints and length-prefixed bytes in one
// growing buffer.
//   B1. A reader never reads past its end; truncated bytes are DATA_DAMAGED.
import { FlowError } from '@flowmesh/protocol';

export class ByteWriter {
  buffer: Buffer;
  length = 0;

  constructor(capacity = 1024) {
    this.buffer = Buffer.allocUnsafe(capacity);
  }

  reserve(bytes: number): void {
    if (this.length + bytes > this.buffer.length) this.grow(bytes);
  }

  protected grow(bytes: number): void {
    const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.length + bytes));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  u8(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  /** Unsigned, below 2^53. */
  varint(value: number): void {
    this.reserve(8);
    let rest = value;
    while (rest >= 0x1000_0000) {
      this.buffer[this.length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    while (rest > 127) {
      this.buffer[this.length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.buffer[this.length++] = rest;
  }

  f64(value: number): void {
    this.reserve(8);
    this.buffer.writeDoubleLE(value, this.length);
    this.length += 8;
  }

  /** Length-prefixed. */
  bytes(value: Uint8Array): void {
    this.varint(value.length);
    this.raw(value);
  }

  /** As they are. */
  raw(value: Uint8Array): void {
    this.reserve(value.length);
    this.buffer.set(value, this.length);
    this.length += value.length;
  }

  /** Length-prefixed UTF-8. */
  text(value: string): void {
    // Most are empty: no call into the runtime for those.
    const size = value === '' ? 0 : Buffer.byteLength(value);
    this.varint(size);
    if (size === 0) return;
    this.reserve(size);
    this.length += this.buffer.write(value, this.length, 'utf8');
  }

  /** Length-prefixed byte string (each character one byte), as row keys are. */
  latin1(value: string): void {
    this.varint(value.length);
    this.reserve(value.length);
    this.length += this.buffer.write(value, this.length, 'latin1');
  }

  /** The bytes written so far: a view, valid until the next write. */
  view(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  copy(): Buffer {
    return Buffer.from(this.view());
  }
}

export class ByteReader {
  readonly buffer: Buffer;
  at: number;
  readonly end: number;

  constructor(buffer: Buffer, from = 0, to = buffer.length) {
    this.buffer = buffer;
    this.at = from;
    this.end = to;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  u8(): number {
    if (this.at >= this.end) throw truncated();
    return this.buffer[this.at++] ?? 0;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const b = this.u8();
      value += (b & 127) * scale;
      if (b < 128) return value;
      scale *= 128;
      if (scale > 2 ** 56) throw truncated();
    }
  }

  f64(): number {
    if (this.at + 8 > this.end) throw truncated();
    const value = this.buffer.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  /** A view on the underlying buffer; copy it to keep it. */
  bytes(): Buffer {
    const length = this.varint();
    if (this.at + length > this.end) throw truncated();
    const view = this.buffer.subarray(this.at, this.at + length);
    this.at += length;
    return view;
  }

  text(): string {
    const length = this.varint();
    if (length === 0) return '';
    if (this.at + length > this.end) throw truncated();
    this.at += length;
    return this.buffer.toString('utf8', this.at - length, this.at);
  }

  latin1(): string {
    return this.bytes().toString('latin1');
  }
}

const truncated = () => new FlowError('DATA_DAMAGED', 'stored bytes end too early');
