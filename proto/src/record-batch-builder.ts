// Writes record batches: collects records and encodes them once, so that a batch costs few allocations.
// The format is that of record-batch.ts.
import { FlowError } from './flow-error.ts';
import {
  BATCH_HEAD_BYTES,
  type BatchHead,
  type BatchRecord,
  CONTENT_TYPES,
  CRC_FROM,
  DEDUP_MODES,
  type EntrySpan,
  type Envelope,
  EXT,
  FLAG_PLAIN,
  patchHead,
  sealBody,
  VERSION,
} from './record-batch.ts';

/** What a text record carries beside its text. */
export type RecordOptions = Omit<BatchRecord, 'value' | 'contentType'>;

/** Buffers larger than this are not kept for the next batch. */
const KEEP_BYTES_MAX = 1024 * 1024;

/**
 * Collects records and encodes them once. Index and bodies grow in two buffers that the next batch uses
 * again.
 */
export class RecordBatchBuilder {
  #index = Buffer.allocUnsafe(1024);
  #indexLength = 0;
  #bodies = Buffer.allocUnsafe(4096);
  #bodyLength = 0;
  #ext = new ExtWriter();
  #count = 0;
  #plain = true;
  #contentType = -1;

  get count(): number {
    return this.#count;
  }

  /** Size of the batch if it were finished now, in bytes. */
  get byteLength(): number {
    return BATCH_HEAD_BYTES + this.#indexLength + this.#bodyLength;
  }

  add(record: BatchRecord): void {
    const type = contentTypeCode(record.contentType);
    if (this.#contentType === -1) this.#contentType = type === -1 ? 0 : type;
    const body = record.value ?? EMPTY;
    this.#encodeExt(type, record.contentType, record.value === null, isBare(record) ? undefined : record);
    this.#reserveBodies(body.length);
    this.#bodies.set(body, this.#bodyLength);
    this.#entry(body.length);
  }

  /**
   * The same for a value that is a string: it is encoded straight into the batch. Returns its size in bytes.
   */
  addText(text: string, contentType: string, options?: RecordOptions): number {
    const type = contentTypeCode(contentType);
    if (this.#contentType === -1) this.#contentType = type === -1 ? 0 : type;
    this.#encodeExt(type, contentType, false, options);
    // A UTF-16 unit becomes at most 3 bytes of UTF-8.
    this.#reserveBodies(text.length * 3);
    const length = this.#bodies.write(text, this.#bodyLength);
    this.#entry(length);
    return length;
  }

  /** The encoded batch; the builder is empty again afterwards. */
  finish(): Buffer {
    const out = Buffer.allocUnsafe(this.byteLength);
    this.#index.copy(out, BATCH_HEAD_BYTES, 0, this.#indexLength);
    this.#bodies.copy(out, BATCH_HEAD_BYTES + this.#indexLength, 0, this.#bodyLength);
    out.fill(0, 0, CRC_FROM);
    out.writeUInt32LE(out.length, 0);
    out[28] = VERSION;
    out[29] = this.#plain ? FLAG_PLAIN : 0;
    out[30] = Math.max(0, this.#contentType);
    out[31] = 0;
    out.writeUInt32LE(this.#count, 32);
    out.writeUInt32LE(this.#indexLength, 36);
    sealBody(out);
    this.#indexLength = this.#bodyLength = this.#count = 0;
    if (this.#bodies.length > KEEP_BYTES_MAX) this.#bodies = Buffer.allocUnsafe(4096);
    this.#plain = true;
    this.#contentType = -1;
    return out;
  }

  /** Index entry and extensions of the body that has just been written behind `#bodyLength`. */
  #entry(bodyLength: number): void {
    const ext = this.#ext;
    this.#reserveIndex(11 + ext.length);
    this.#index[this.#indexLength++] = 0;
    this.#indexLength = putVarint(this.#index, this.#indexLength, bodyLength);
    this.#indexLength = putVarint(this.#index, this.#indexLength, ext.length);
    if (ext.length > 0) this.#indexLength += ext.copyTo(this.#index, this.#indexLength);
    this.#bodyLength += bodyLength;
    this.#count++;
  }

  #encodeExt(
    type: number,
    typeName: string | undefined,
    tombstone: boolean,
    record: RecordOptions | undefined,
  ): void {
    const ext = this.#ext;
    ext.length = 0;
    if (type !== this.#contentType) ext.text(EXT.contentType, typeName ?? CONTENT_TYPES[0]);
    if (tombstone) ext.bytes(EXT.tombstone, EMPTY);
    if (record === undefined) return;
    if (record.key !== undefined) ext.bytes(EXT.key, record.key);
    if (record.headers !== undefined) for (const [name, value] of record.headers) ext.header(name, value);
    if (record.timeMs !== undefined) ext.number(EXT.timeMs, record.timeMs);
    if (record.envelope !== undefined) encodeEnvelope(ext, record.envelope);
    if (record.cause !== undefined) ext.text(EXT.cause, `${record.cause.ordinal} ${record.cause.deliveryId}`);
    if (record.delayMs) ext.number(EXT.delayMs, record.delayMs);
    if (record.priority) ext.number(EXT.priority, record.priority);
    if (record.dedupKey) ext.text(EXT.dedupKey, record.dedupKey);
    if (record.timeoutMs) ext.number(EXT.timeoutMs, record.timeoutMs);
    if (record.sourceQueue) ext.text(EXT.sourceQueue, record.sourceQueue);
    if (record.sourceId) ext.text(EXT.sourceId, record.sourceId);
    if (record.lastError) ext.text(EXT.lastError, record.lastError);
    if (record.dedupMode) ext.number(EXT.dedupMode, DEDUP_MODES.indexOf(record.dedupMode));
    if (record.dedupWindowMs) ext.number(EXT.dedupWindowMs, record.dedupWindowMs);
    if (record.life) ext.bytes(EXT.life, record.life);
    if (record.limitKey !== undefined) ext.bytes(EXT.limitKey, record.limitKey);
    if (hasJobOptions(record)) this.#plain = false;
  }

  #reserveIndex(bytes: number): void {
    if (this.#indexLength + bytes > this.#index.length)
      this.#index = grown(this.#index, this.#indexLength, bytes);
  }

  #reserveBodies(bytes: number): void {
    if (this.#bodyLength + bytes > this.#bodies.length)
      this.#bodies = grown(this.#bodies, this.#bodyLength, bytes);
  }
}

/** A copy of the first `used` bytes with room for `more`. */
function grown(buffer: Buffer<ArrayBuffer>, used: number, more: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, used + more));
  buffer.copy(larger, 0, 0, used);
  return larger;
}

export function encodeBatch(records: Iterable<BatchRecord>): Buffer {
  const builder = new RecordBatchBuilder();
  for (const record of records) builder.add(record);
  return builder.finish();
}

/**
 * A batch of some entries of another; extensions are copied as they are. `more`: an extension (see
 * `encodedExt`) that the entry at the same place gets in addition.
 */
export function sliceBatch(
  bytes: Buffer,
  head: BatchHead,
  spans: readonly EntrySpan[],
  more?: readonly (Uint8Array | undefined)[],
): Buffer {
  let indexLength = 0;
  let bodyLength = 0;
  spans.forEach((s, i) => {
    const added = more?.[i]?.length ?? 0;
    // Its length may take a byte more.
    indexLength += s.extAt + s.extLength - s.flagsAt + added;
    if (added > 0) indexLength += varintBytes(s.extLength + added) - varintBytes(s.extLength);
    bodyLength += s.bodyLength;
  });
  const out = Buffer.allocUnsafe(BATCH_HEAD_BYTES + indexLength + bodyLength);
  out.fill(0, 0, CRC_FROM);
  out.writeUInt32LE(out.length, 0);
  out[28] = VERSION;
  out[29] = head.plain ? FLAG_PLAIN : 0;
  out[30] = head.contentTypeCode;
  out[31] = 0;
  out.writeUInt32LE(spans.length, 32);
  out.writeUInt32LE(indexLength, 36);
  let p = BATCH_HEAD_BYTES;
  let body = BATCH_HEAD_BYTES + indexLength;
  spans.forEach((s, i) => {
    const added = more?.[i];
    if (added === undefined) p += bytes.copy(out, p, s.flagsAt, s.extAt + s.extLength);
    else {
      out[p++] = bytes[s.flagsAt] ?? 0;
      p = putVarint(out, p, s.bodyLength);
      p = putVarint(out, p, s.extLength + added.length);
      p += bytes.copy(out, p, s.extAt, s.extAt + s.extLength);
      out.set(added, p);
      p += added.length;
    }
    body += bytes.copy(out, body, s.bodyAt, s.bodyAt + s.bodyLength);
  });
  sealBody(out);
  patchHead(out, head.baseOffset, head.appendTimeMs);
  return out;
}

/** One extension as it lies in an entry. */
export function encodedExt(tag: number, text: string): Buffer {
  const value = Buffer.from(text);
  const head = Buffer.alloc(1 + varintBytes(value.length));
  head[0] = tag;
  putVarint(head, 1, value.length);
  return Buffer.concat([head, value]);
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest >>>= 7) bytes++;
  return bytes;
}

/** Returns the place behind it. */
function putVarint(into: Buffer, at: number, value: number): number {
  let p = at;
  let rest = value;
  for (; rest > 127; rest >>>= 7) into[p++] = (rest & 127) | 128;
  into[p++] = rest;
  return p;
}

/** From now on its entries are looked at one by one. The caller seals it. */
export function clearPlain(batch: Buffer): void {
  batch[29] = (batch[29] ?? 0) & ~FLAG_PLAIN;
}

/** Such a job is looked at one by one: its batch is not PLAIN. */
const hasJobOptions = (r: RecordOptions) =>
  r.key !== undefined || r.limitKey !== undefined || !!r.delayMs || !!r.priority || !!r.dedupKey;

/** Whether a record needs no extensions beside its content type and tombstone. */
const isBare = (r: RecordOptions) =>
  r.key === undefined &&
  r.limitKey === undefined &&
  r.headers === undefined &&
  r.timeMs === undefined &&
  r.envelope === undefined &&
  r.cause === undefined &&
  !r.delayMs &&
  !r.priority &&
  !r.dedupKey &&
  !r.timeoutMs &&
  !r.sourceQueue &&
  !r.sourceId &&
  !r.lastError &&
  !r.dedupMode &&
  !r.dedupWindowMs &&
  !r.life;

function contentTypeCode(type: string | undefined): number {
  if (type === undefined || type === '') return 0;
  return (CONTENT_TYPES as readonly string[]).indexOf(type);
}

function encodeEnvelope(ext: ExtWriter, e: Envelope): void {
  if (e.traceparent) ext.text(EXT.traceparent, e.traceparent);
  if (e.causationId) ext.text(EXT.causationId, e.causationId);
  if (e.correlationId) ext.text(EXT.correlationId, e.correlationId);
  if (e.tags) for (const tag of e.tags) ext.text(EXT.tag, tag);
  if (e.schema) ext.text(EXT.schema, e.schema);
}

/** Extensions of one entry after another, in one buffer. Set `length` to 0 to begin the next entry. */
class ExtWriter {
  #buffer = Buffer.allocUnsafe(256);
  length = 0;

  bytes(tag: number, value: Uint8Array): void {
    this.#head(tag, value.length);
    this.#buffer.set(value, this.length);
    this.length += value.length;
  }

  text(tag: number, value: string): void {
    const length = Buffer.byteLength(value);
    this.#head(tag, length);
    this.#buffer.write(value, this.length);
    this.length += length;
  }

  /** Little endian, as few bytes as it takes. */
  number(tag: number, value: number): void {
    let length = 0;
    for (let rest = value; rest >= 1; rest = Math.floor(rest / 256)) length++;
    this.#head(tag, length);
    for (let rest = value; rest >= 1; rest = Math.floor(rest / 256)) this.#buffer[this.length++] = rest % 256;
  }

  header(name: string, value: Uint8Array): void {
    const nameLength = Buffer.byteLength(name);
    if (nameLength > 255) {
      throw new FlowError(
        'HEADERS_TOO_LARGE',
        `header name of ${nameLength} bytes, at most 255 are accepted`,
      );
    }
    this.#head(EXT.header, 1 + nameLength + value.length);
    this.#buffer[this.length++] = nameLength;
    this.length += this.#buffer.write(name, this.length);
    this.#buffer.set(value, this.length);
    this.length += value.length;
  }

  copyTo(target: Buffer, at: number): number {
    return this.#buffer.copy(target, at, 0, this.length);
  }

  /** Tag and length; makes room for the value. */
  #head(tag: number, valueLength: number): void {
    const needed = 6 + valueLength;
    if (this.length + needed > this.#buffer.length) this.#buffer = grown(this.#buffer, this.length, needed);
    this.#buffer[this.length++] = tag;
    let rest = valueLength;
    while (rest > 127) {
      this.#buffer[this.length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#buffer[this.length++] = rest;
  }
}

const EMPTY = Buffer.alloc(0);
