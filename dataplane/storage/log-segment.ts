// One file of a partition log, and where in it to begin a search.
//   segment = batch*, named by the offset of its first record     batch: docs/reference/record-batch.md
//   G1. `synced` <= `written` <= `bytes`; only the last segment of a log grows.
//   G2. The index has an entry at least for each INDEX_BYTES of the bytes from `indexedFrom` on; what was in
//       the file at start is indexed when it is first needed.
import { BATCH_HEAD_BYTES, FlowError, readHead } from '@flowmesh/protocol';
import type { FileHandles } from './file-handles.ts';
import type { LogFile } from './log-files.ts';

const INDEX_BYTES = 32 * 1024;
const WALK_BYTES = 64 * 1024;

export interface Place {
  readonly offset: number;
  readonly position: number;
}

/** Where and when batches were appended: three numbers for each INDEX_BYTES. */
export class SparseIndex {
  readonly offsets: number[] = [];
  readonly positions: number[] = [];
  readonly times: number[] = [];

  add(offset: number, position: number, timeMs: number): void {
    const last = this.positions[this.positions.length - 1];
    if (last !== undefined && position - last < INDEX_BYTES) return;
    this.offsets.push(offset);
    this.positions.push(position);
    this.times.push(timeMs);
  }

  /** Forgets entries from `position` on. */
  cut(position: number): void {
    while ((this.positions[this.positions.length - 1] ?? -1) >= position) {
      this.offsets.pop();
      this.positions.pop();
      this.times.pop();
    }
  }

  prepend(older: SparseIndex): void {
    this.offsets.unshift(...older.offsets);
    this.positions.unshift(...older.positions);
    this.times.unshift(...older.times);
  }

  /** Index of the last entry whose offset is <= `offset`. */
  byOffset(offset: number): number {
    return lastIndex(this.offsets, (each) => each <= offset);
  }

  /** Index of the last entry whose time is < `timeMs`; -1: none. */
  byTime(timeMs: number): number {
    return lastIndex(this.times, (each) => each < timeMs);
  }
}

/** Of a list whose first elements all fulfil `holds`, the last one that does. */
export function lastIndex<T>(list: readonly T[], holds: (each: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(list[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class Segment {
  readonly path: string;
  readonly base: number;
  /** 0: as it was appended; else the number of the cleaning that wrote it. */
  readonly generation: number;
  endOffset: number;
  /** Including what is only in memory. */
  bytes = 0;
  written = 0;
  synced = 0;
  /** The file may exist. */
  isOnDisk = false;
  /** By recovery. */
  isCut = false;
  /** Trimmed; and not even written any more. */
  isGone = false;
  isDiscarded = false;
  /** It takes no more batches, although there is room. */
  isSealed: boolean;
  /** Append time of the first and last batch; undefined: not known yet. */
  firstTimeMs: number | undefined;
  lastTimeMs: number | undefined;
  readonly index = new SparseIndex();
  #indexedFrom = 0;
  /** Offset behind the bytes before `#indexedFrom`. */
  #adoptedEnd = 0;
  #indexing: Promise<void> | null = null;

  constructor(path: string, base: number, generation = 0) {
    this.path = path;
    this.base = base;
    this.generation = generation;
    this.isSealed = generation > 0;
    this.endOffset = base;
  }

  /** Takes over a file that was found at start: all of it is written and synced. */
  adopt(bytes: number, endOffset: number): void {
    this.bytes = bytes;
    this.written = bytes;
    this.synced = bytes;
    this.endOffset = endOffset;
    this.isOnDisk = true;
    this.#indexedFrom = bytes;
    this.#adoptedEnd = endOffset;
  }

  /** A whole file that is written and synced, with its index. */
  fill(of: { bytes: number; endOffset: number; firstTimeMs: number; lastTimeMs: number }): void {
    this.adopt(of.bytes, of.endOffset);
    this.#indexedFrom = 0;
    this.firstTimeMs = of.firstTimeMs;
    this.lastTimeMs = of.lastTimeMs;
  }

  async ensureIndexed(handles: FileHandles): Promise<void> {
    if (this.#indexedFrom === 0) return;
    this.#indexing ??= handles
      .use(this.path, 'existing', (file) => this.#indexFile(file))
      .catch((error) => {
        throw unreadable(error, this.path);
      })
      .finally(() => {
        this.#indexing = null;
      });
    await this.#indexing;
  }

  async #indexFile(file: LogFile): Promise<void> {
    const end = this.#indexedFrom;
    const found = new SparseIndex();
    let lastTimeMs = 0;
    const walked = await walkHeads(file, this, { offset: this.base, position: 0 }, end, (place, timeMs) => {
      found.add(place.offset, place.position, timeMs);
      this.firstTimeMs ??= timeMs;
      lastTimeMs = timeMs;
    });
    if (walked.offset !== this.#adoptedEnd) {
      throw this.damaged(
        walked.position,
        `ends before offset ${walked.offset} instead of ${this.#adoptedEnd}`,
      );
    }
    this.index.prepend(found);
    this.lastTimeMs ??= lastTimeMs;
    this.#indexedFrom = 0;
  }

  damaged(position: number, what: string, cause?: unknown): FlowError {
    const message = `${this.path} at byte ${position}: ${what}; restore from a backup`;
    return new FlowError('DATA_DAMAGED', message, { cause });
  }
}

/** As an error with a code, which may pass. */
export function unreadable(error: unknown, path: string): FlowError {
  if (error instanceof FlowError) return error;
  return new FlowError('UNAVAILABLE', `cannot read ${path}: ${String(error)}`, {
    cause: error,
    retryAfterMs: 100,
  });
}

/**
 * Calls `visit` for each batch between `from` and `end`; checks that offsets are dense. Reads heads, not
 * bodies.
 */
export async function walkHeads(
  file: LogFile,
  segment: Segment,
  from: Place,
  end: number,
  visit: (place: Place, timeMs: number) => void,
): Promise<Place> {
  const buffer = Buffer.allocUnsafeSlow(
    Math.min(WALK_BYTES, Math.max(BATCH_HEAD_BYTES, end - from.position)),
  );
  let { offset, position } = from;
  while (position < end) {
    const filled = await file.read(buffer.subarray(0, Math.min(buffer.length, end - position)), position);
    let at = 0;
    while (position + at < end && at + BATCH_HEAD_BYTES <= filled) {
      const head = looseHead(buffer, at);
      if (head.baseOffset !== offset || head.length < BATCH_HEAD_BYTES || position + at + head.length > end) {
        throw segment.damaged(position + at, `no batch with offset ${offset}`);
      }
      visit({ offset, position: position + at }, head.timeMs);
      offset += head.count;
      at += head.length;
    }
    if (at === 0) throw segment.damaged(position, 'the file ends too early');
    position += at;
  }
  return { offset, position };
}

/** The numbers of a head, unchecked. */
export function looseHead(bytes: Buffer, at: number) {
  return {
    length: bytes.readUInt32LE(at),
    baseOffset: bytes.readUInt32LE(at + 4) + bytes.readUInt32LE(at + 8) * 0x1_0000_0000,
    timeMs: bytes.readUInt32LE(at + 12) + bytes.readUInt32LE(at + 16) * 0x1_0000_0000,
    count: bytes.readUInt32LE(at + 32),
  };
}

/** Checks both checksums of the batch at `at`. */
export function checkBatch(bytes: Buffer, at: number, segment: Segment, place: Place): void {
  let head: ReturnType<typeof readHead>;
  try {
    head = readHead(bytes, at, 'all');
  } catch (error) {
    throw segment.damaged(place.position, error instanceof Error ? error.message : String(error), error);
  }
  if (head.baseOffset !== place.offset) {
    throw segment.damaged(place.position, `offset ${head.baseOffset} instead of ${place.offset}`);
  }
}
