// What cleaning makes of one batch: batches of what is kept, gaps for what is not. Pure.
//   B1. Every offset is covered: by a record, or by a gap. So positions, lookups and checks of a log work on
//       cleaned segments as on others, and offsets are never renumbered.
//   B2. A kept record keeps its bytes, offset and append time; a tombstone notes when it was cleaned first.
import {
  BATCH_HEAD_BYTES,
  type BatchHead,
  type EntrySpan,
  EXT,
  FLAG_GAP,
  patchHead,
  readExt,
  readNumber,
  sealBody,
  VERSION,
} from '@flowmesh/protocol';

export interface Entry {
  /** As a byte string; null: it has none. */
  readonly key: string | null;
  readonly isTombstone: boolean;
  /** When it was cleaned first; 0: it was not. */
  readonly cleanedAtMs: number;
}

/** `mark`: kept, and noted to be cleaned now. */
export type Fate = 'keep' | 'remove' | 'mark';

export interface Piece {
  readonly bytes: Buffer;
  readonly baseOffset: number;
  readonly count: number;
  readonly timeMs: number;
}

/** Of one gap: count is a u32. */
const GAP_COUNT_MAX = 0xffffffff;
const NUMBER_BYTES = 7;

export function readEntry(bytes: Buffer, span: EntrySpan): Entry {
  let key: string | null = null;
  let isTombstone = false;
  let cleanedAtMs = 0;
  if (span.extLength > 0) {
    readExt(bytes, span, (tag, from, to) => {
      if (tag === EXT.key) key = bytes.toString('latin1', from, to);
      else if (tag === EXT.tombstone) isTombstone = true;
      else if (tag === EXT.cleanedAtMs) cleanedAtMs = readNumber(bytes, from, to);
    });
  }
  return { key, isTombstone, cleanedAtMs };
}

/** Puts pieces one behind the other; gaps that meet become one. */
export class Pieces {
  readonly #nowMs: number;
  readonly #take: (piece: Piece) => void;
  #gap: { baseOffset: number; count: number; timeMs: number } | null = null;

  /** `nowMs`: what tombstones that are marked are noted with. */
  constructor(nowMs: number, take: (piece: Piece) => void) {
    this.#nowMs = nowMs;
    this.#take = take;
  }

  gap(baseOffset: number, count: number, timeMs: number): void {
    if (this.#gap !== null && this.#gap.count + count > GAP_COUNT_MAX) this.end();
    if (this.#gap === null) this.#gap = { baseOffset, count, timeMs };
    else this.#gap.count += count;
  }

  batch(piece: Piece): void {
    this.end();
    this.#take(piece);
  }

  end(): void {
    if (this.#gap === null) return;
    const { baseOffset, count, timeMs } = this.#gap;
    this.#gap = null;
    this.#take({ bytes: gapBytes(baseOffset, count, timeMs), baseOffset, count, timeMs });
  }

  /** The batch at `at`, of whose entries each has its fate. */
  sift(
    bytes: Buffer,
    at: number,
    head: BatchHead,
    spans: readonly EntrySpan[],
    fates: readonly Fate[],
  ): void {
    const { baseOffset, appendTimeMs: timeMs, count } = head;
    if (fates.every((fate) => fate === 'keep')) {
      this.batch({ bytes: bytes.subarray(at, at + head.length), baseOffset, count, timeMs });
      return;
    }
    for (let from = 0; from < count; ) {
      const isKept = fates[from] !== 'remove';
      let to = from + 1;
      while (to < count && (fates[to] !== 'remove') === isKept) to++;
      if (isKept) {
        const run = { spans: spans.slice(from, to), fates: fates.slice(from, to) };
        const batch = batchOf(bytes, head, run, this.#nowMs);
        patchHead(batch, baseOffset + from, timeMs);
        this.batch({ bytes: batch, baseOffset: baseOffset + from, count: to - from, timeMs });
      } else this.gap(baseOffset + from, to - from, timeMs);
      from = to;
    }
  }
}

function gapBytes(baseOffset: number, count: number, timeMs: number): Buffer {
  const bytes = Buffer.alloc(BATCH_HEAD_BYTES);
  bytes.writeUInt32LE(BATCH_HEAD_BYTES, 0);
  bytes[28] = VERSION;
  bytes[29] = FLAG_GAP;
  bytes.writeUInt32LE(count, 32);
  sealBody(bytes);
  patchHead(bytes, baseOffset, timeMs);
  return bytes;
}

interface Run {
  readonly spans: readonly EntrySpan[];
  readonly fates: readonly Fate[];
}

function batchOf(bytes: Buffer, head: BatchHead, { spans, fates }: Run, nowMs: number): Buffer {
  const index = spans.map((span, i) =>
    fates[i] === 'mark'
      ? marked(bytes, span, nowMs)
      : bytes.subarray(span.flagsAt, span.extAt + span.extLength),
  );
  const indexLength = index.reduce((sum, each) => sum + each.length, 0);
  const top = Buffer.alloc(BATCH_HEAD_BYTES);
  top[28] = VERSION;
  top[29] = head.plain ? 1 : 0;
  top[30] = head.contentTypeCode;
  top.writeUInt32LE(spans.length, 32);
  top.writeUInt32LE(indexLength, 36);
  const bodies = spans.map((span) => bytes.subarray(span.bodyAt, span.bodyAt + span.bodyLength));
  const batch = Buffer.concat([top, ...index, ...bodies]);
  batch.writeUInt32LE(batch.length, 0);
  sealBody(batch);
  return batch;
}

/** The index entry with one extension more. */
function marked(bytes: Buffer, span: EntrySpan, nowMs: number): Buffer {
  const ext = bytes.subarray(span.extAt, span.extAt + span.extLength);
  const note = Buffer.alloc(2 + NUMBER_BYTES);
  note[0] = EXT.cleanedAtMs;
  note[1] = NUMBER_BYTES;
  note.writeUIntLE(nowMs % 2 ** 48, 2, 6);
  const flags = bytes.subarray(span.flagsAt, span.flagsAt + 1);
  const lengths = [...varint(span.bodyLength), ...varint(ext.length + note.length)];
  return Buffer.concat([flags, Buffer.from(lengths), ext, note]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}
