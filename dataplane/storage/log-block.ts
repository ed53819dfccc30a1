// A run of whole batches in one buffer: the growing end of a log, or what was read back from a file.
//   B1. Bytes below `length` never change: views of them are handed out. Taking back an append ends the
//       growth of the buffer, so that the next append cannot write where a view may look.
//   B2. Memory is used again (replay) only of blocks that nobody was given: whoever looks a block up has it.
import { FLAG_GAP } from '@flowmesh/protocol';
import type { Chunk } from './contract.ts';
import type { Segment } from './log-segment.ts';

/** A block takes no more batches once it would be larger. */
export const BLOCK_BYTES_MAX = 256 * 1024;
/** Batches from this size on are not copied: they become a block of their own. */
export const OWN_BLOCK_BYTES = 64 * 1024;
const GROWTH_BYTES_MIN = 512;
/** Distance of the places at which a search may begin. */
const MARK_BYTES = 4096;

export interface BlockOwner {
  /** The cache has let go of the block. */
  evicted(block: Block): void;
}

export class Block {
  readonly owner: BlockOwner;
  readonly segment: Segment;
  /** Of the first byte, within the segment. */
  readonly position: number;
  readonly firstOffset: number;
  nextOffset: number;
  length = 0;
  /** Bytes that are in the file. */
  written = 0;
  /** Others may have a view of its memory (B2). */
  isLent = true;
  #bytes: Buffer;
  #canGrow = true;
  /** Offset and position of some batches, ascending. */
  readonly #markOffsets: number[] = [];
  readonly #markPositions: number[] = [];

  constructor(owner: BlockOwner, segment: Segment, at: { position: number; offset: number }, bytes: Buffer) {
    this.owner = owner;
    this.segment = segment;
    this.position = at.position;
    this.firstOffset = at.offset;
    this.nextOffset = at.offset;
    this.#bytes = bytes;
  }

  /** Memory it holds on to. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** Its memory, which it no longer has. */
  release(): Buffer {
    const bytes = this.#bytes;
    this.#bytes = Buffer.of();
    return bytes;
  }

  hasRoom(bytes: number): boolean {
    return this.#canGrow && this.length + bytes <= BLOCK_BYTES_MAX;
  }

  /** Copies the batch behind the others. */
  append(batch: Buffer, count: number): void {
    const needed = this.length + batch.length;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.max(needed, Math.min(BLOCK_BYTES_MAX, this.#bytes.length * 2), GROWTH_BYTES_MIN),
      );
      this.#bytes.copy(larger, 0, 0, this.length);
      this.#bytes = larger;
    }
    batch.copy(this.#bytes, this.length);
    this.admit(batch.length, count);
  }

  /** The next batch of `bytes` bytes is in the buffer already. */
  admit(bytes: number, count: number): void {
    const marked = this.#markPositions[this.#markPositions.length - 1];
    if (marked === undefined || this.length - marked >= MARK_BYTES) {
      this.#markOffsets.push(this.nextOffset);
      this.#markPositions.push(this.length);
    }
    this.length += bytes;
    this.nextOffset += count;
  }

  endGrowth(): void {
    this.#canGrow = false;
  }

  /** Takes the last batch back; returns its size. */
  removeLast(): number {
    const at = this.#seek(this.nextOffset - 1);
    const bytes = this.length - at.position;
    this.length = at.position;
    this.nextOffset = at.offset;
    if (this.#markPositions[this.#markPositions.length - 1] === at.position) {
      this.#markPositions.pop();
      this.#markOffsets.pop();
    }
    this.endGrowth();
    return bytes;
  }

  /** What is not in the file yet. */
  unwritten(): Buffer {
    return this.#bytes.subarray(this.written, this.length);
  }

  holds(offset: number): boolean {
    return offset >= this.firstOffset && offset < this.nextOffset;
  }

  /** The batch with `offset` and what follows it, up to about `maxBytes`. */
  chunk(offset: number, maxBytes: number): Chunk {
    const from = this.#seek(offset);
    let to = this.length;
    let nextOffset = this.nextOffset;
    if (to - from.position > maxBytes) {
      const end = this.#lastWithin(from, maxBytes);
      to = end.position;
      nextOffset = end.offset;
    }
    return { bytes: this.#bytes.subarray(from.position, to), firstOffset: from.offset, nextOffset };
  }

  /** Append times of batches, not of gaps, from the one with `offset` on, until `visit` says stop. */
  visitTimes(offset: number, visit: (offset: number, timeMs: number) => boolean): boolean {
    let { position, offset: at } = this.#seek(offset);
    while (position < this.length) {
      if (!isGapAt(this.#bytes, position) && visit(at, timeAt(this.#bytes, position))) return true;
      at += countAt(this.#bytes, position);
      position += lengthAt(this.#bytes, position);
    }
    return false;
  }

  /** Where the batch with `offset` begins. */
  #seek(offset: number): { position: number; offset: number } {
    let low = 0;
    let high = this.#markOffsets.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#markOffsets[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    let position = this.#markPositions[low] ?? 0;
    let at = this.#markOffsets[low] ?? this.firstOffset;
    for (;;) {
      const next = at + countAt(this.#bytes, position);
      if (next > offset) return { position, offset: at };
      at = next;
      position += lengthAt(this.#bytes, position);
    }
  }

  /** The end of the last batch that ends within `maxBytes`, but at least of the first one. */
  #lastWithin(
    from: { position: number; offset: number },
    maxBytes: number,
  ): { position: number; offset: number } {
    const limit = from.position + maxBytes;
    let { position, offset } = from;
    for (let i = this.#markPositions.length - 1; i >= 0; i--) {
      const marked = this.#markPositions[i] ?? 0;
      if (marked > limit) continue;
      if (marked > position) {
        position = marked;
        offset = this.#markOffsets[i] ?? 0;
      }
      break;
    }
    for (;;) {
      const next = position + lengthAt(this.#bytes, position);
      if (next > limit && position > from.position) return { position, offset };
      offset += countAt(this.#bytes, position);
      position = next;
      if (position >= limit || position >= this.length) return { position, offset };
    }
  }
}

// Places in the head of a batch (docs/reference/record-batch.md); readHead costs an object for each.
const lengthAt = (bytes: Buffer, at: number) => bytes.readUInt32LE(at);
const countAt = (bytes: Buffer, at: number) => bytes.readUInt32LE(at + 32);
const isGapAt = (bytes: Buffer, at: number) => ((bytes[at + 29] ?? 0) & FLAG_GAP) !== 0;
const timeAt = (bytes: Buffer, at: number) =>
  bytes.readUInt32LE(at + 12) + bytes.readUInt32LE(at + 16) * 0x1_0000_0000;
