// One partition log (contract.ts, PartitionLog): segments, the blocks of it that are in memory, what must be
// written.
//   P1. What is not in `#blocks` or `#loaded` is in the file of its segment: only written blocks are given
//       up.
//   P2. A segment that a checkpoint on its way counts on is written and synced even if it was trimmed
//       meanwhile.
//   P3. Bytes read back from a file are checked before anyone sees them.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import type { Chunk, CompactionTerms, LogId, PartitionLog } from './contract.ts';
import { BLOCK_BYTES_MAX, Block, type BlockOwner, OWN_BLOCK_BYTES } from './log-block.ts';
import { Cleaning } from './log-cleaning.ts';
import type { LogHost, LogLength } from './log-host.ts';
import { readBlock } from './log-read.ts';
import { lastIndex, looseHead, Segment, unreadable } from './log-segment.ts';
import { LogWriter } from './log-writer.ts';

/** A batch that is kept as it came may keep this many times its size in memory: it may be a view of more. */
const SPARE_FACTOR = 2;

export class SegmentedLog implements PartitionLog, BlockOwner {
  readonly id: LogId;
  startOffset = 0;
  endOffset = 0;
  byteLength = 0;
  /** Bytes that wait to be written. */
  unwrittenBytes = 0;
  readonly #host: LogHost;
  readonly #segments: Segment[] = [];
  /** Resident blocks by offset: the end of the log, perhaps with gaps. */
  readonly #blocks: Block[] = [];
  readonly #loaded: Block[] = [];
  readonly #writer: LogWriter;
  readonly #cleaning: Cleaning;
  readonly #loading = new Map<number, Promise<Block>>();
  /** A checkpoint on its way counts on what lies before it. */
  #capturedEnd = 0;
  #isDropped = false;

  constructor(host: LogHost, id: LogId) {
    this.#host = host;
    this.id = id;
    this.#writer = new LogWriter(host.handles, (bytes, block) => this.#onWritten(bytes, block));
    this.#cleaning = new Cleaning(host, this, this.#segments, (old, made) => this.#replace(old, made));
  }

  append(batch: Buffer, count: number, timeMs: number): void {
    assert(!this.#isDropped, 'a dropped log takes no batches');
    assert(looseHead(batch, 0).baseOffset === this.endOffset, 'a batch begins where the log ends');
    const segment = this.#segmentFor(batch.length);
    const block = this.#blockFor(segment, batch);
    segment.index.add(this.endOffset, segment.bytes, timeMs);
    segment.firstTimeMs ??= timeMs;
    segment.lastTimeMs = timeMs;
    segment.bytes += batch.length;
    this.endOffset += count;
    segment.endOffset = this.endOffset;
    this.byteLength += batch.length;
    if (this.#fillsBlock(batch)) block.admit(batch.length, count);
    else block.append(batch, count);
    this.#addUnwritten(batch.length);
    this.#host.changed(this);
  }

  unappend(): void {
    const block = this.#blocks[this.#blocks.length - 1];
    const segment = this.#segments[this.#segments.length - 1];
    assert(
      block !== undefined && segment !== undefined && block.nextOffset === this.endOffset,
      'it was appended',
    );
    const bytes = block.removeLast();
    this.#writer.takeBack(block);
    if (block.length === 0) this.#blocks.pop();
    else if (block.written === block.length) this.#host.tails.add(block);
    segment.bytes -= bytes;
    segment.index.cut(segment.bytes);
    this.endOffset = block.nextOffset;
    segment.endOffset = this.endOffset;
    if (segment.bytes === 0) this.#segments.pop();
    this.byteLength -= bytes;
    this.#addUnwritten(-bytes);
  }

  resident(offset: number, maxBytes: number): Chunk | undefined {
    if (offset < this.startOffset || offset >= this.endOffset) return undefined;
    return this.#residentBlock(offset)?.chunk(offset, maxBytes);
  }

  async load(offset: number, maxBytes: number): Promise<Chunk> {
    return (await this.#block(offset, maxBytes)).chunk(offset, maxBytes);
  }

  async offsetAt(timeMs: number): Promise<number> {
    const first = lastIndex(
      this.#segments,
      (each) => each.firstTimeMs !== undefined && each.firstTimeMs < timeMs,
    );
    const segment = this.#segments[first];
    await segment?.ensureIndexed(this.#host.handles);
    const indexed = segment?.index.offsets[segment.index.byTime(timeMs)] ?? segment?.base ?? 0;
    let offset = Math.max(this.startOffset, indexed);
    const end = this.endOffset;
    // Nearly always the first block; a segment that was cleaned may have nothing from then on.
    while (offset < end) {
      const block = await this.#block(offset, OWN_BLOCK_BYTES);
      let found: number | undefined;
      block.visitTimes(offset, (batchOffset, batchTimeMs) => {
        if (batchTimeMs >= timeMs) found = batchOffset;
        return found !== undefined;
      });
      if (found !== undefined) return Math.max(this.startOffset, found);
      offset = Math.max(block.nextOffset, this.startOffset);
    }
    return Math.max(this.startOffset, offset);
  }

  async timeAt(offset: number): Promise<number> {
    const end = this.endOffset;
    for (let at = Math.max(offset, this.startOffset); at < end; ) {
      const block = await this.#block(at, OWN_BLOCK_BYTES);
      let found: number | undefined;
      block.visitTimes(at, (_, timeMs) => {
        found = timeMs;
        return true;
      });
      if (found !== undefined) return found;
      // Nothing but gaps; and it may have been trimmed meanwhile.
      at = Math.max(block.nextOffset, this.startOffset);
    }
    return 0;
  }

  trimTo(offset: number, force = false): void {
    const target = Math.min(offset, this.endOffset);
    if (target <= this.startOffset) return;
    while ((this.#segments[0]?.endOffset ?? Number.POSITIVE_INFINITY) <= target) this.#removeFirst();
    const firstKept = this.#segments[0]?.base ?? this.endOffset;
    this.startOffset = Math.max(this.startOffset, force ? target : firstKept);
    this.#host.changed(this);
  }

  expiredOffset(limits: { olderThanMs?: number; bytesMax?: number }): number {
    const { olderThanMs = Number.NEGATIVE_INFINITY, bytesMax = Number.POSITIVE_INFINITY } = limits;
    let left = this.byteLength;
    for (const [i, segment] of this.#segments.entries()) {
      // Of a segment found at start only the first time is known; all before the next one's is old enough.
      const next = this.#segments[i + 1];
      const lastTimeMs = segment.lastTimeMs ?? next?.firstTimeMs ?? Number.POSITIVE_INFINITY;
      const isBeyond = next !== undefined && left - segment.bytes >= bytesMax;
      if (lastTimeMs >= olderThanMs && !isBeyond) return Math.max(this.startOffset, segment.base);
      left -= segment.bytes;
    }
    return this.endOffset;
  }

  isCompactionDue(terms: CompactionTerms): boolean {
    return this.#cleaning.isDue(terms);
  }

  compact(terms: CompactionTerms): Promise<boolean> {
    return this.#cleaning.run(terms);
  }

  evicted(block: Block): void {
    this.#forget(block);
    const isFree = !block.isLent && block.capacity === BLOCK_BYTES_MAX;
    if (isFree) this.#host.spare?.push(block.release());
  }

  /** For a checkpoint; P2 holds for it until `released`. */
  capture(): LogLength {
    const last = this.#segments[this.#segments.length - 1];
    this.#capturedEnd = this.endOffset;
    return {
      id: this.id,
      startOffset: this.startOffset,
      endOffset: this.endOffset,
      segmentBase: last?.base ?? this.endOffset,
      bytes: last?.bytes ?? 0,
      totalBytes: this.byteLength,
      lastTimeMs: last?.lastTimeMs ?? 0,
      isDropped: this.#isDropped,
      ...this.#cleaning.capture(),
    };
  }

  release(): void {
    this.#capturedEnd = 0;
  }

  /** Recovery: what the checkpoint recorded, with the segments that were found. */
  restore(length: LogLength, segments: readonly Segment[]): void {
    this.#segments.push(...segments);
    this.#cleaning.restore(length);
    this.startOffset = length.startOffset;
    this.endOffset = length.endOffset;
    this.byteLength = segments.reduce((sum, segment) => sum + segment.bytes, 0);
    const last = this.#segments[this.#segments.length - 1];
    if (last === undefined) return;
    if (length.lastTimeMs > 0) last.lastTimeMs = length.lastTimeMs;
    if (last.isCut) this.#writer.noteCut(last);
  }

  /** Everything goes; the owner of the directory removes the files. */
  drop(): void {
    this.#isDropped = true;
    while (this.#segments.length > 0) this.#removeFirst();
    this.startOffset = this.endOffset;
  }

  /** Writes what waits now, and what comes meanwhile. */
  write(): Promise<void> {
    return this.#writer.write();
  }

  settled(): Promise<void> {
    return this.#writer.settled();
  }

  /** Returns whether the name of a file must be synced too. */
  sync(): Promise<boolean> {
    return this.#writer.sync();
  }

  #segmentFor(bytes: number): Segment {
    const last = this.#segments[this.#segments.length - 1];
    if (last !== undefined && !last.isSealed && last.bytes + bytes <= this.#host.segmentBytes) return last;
    if (last !== undefined && last.bytes === 0) return last;
    const segment = new Segment(this.#host.segmentPath(this.id, this.endOffset), this.endOffset);
    this.#segments.push(segment);
    return segment;
  }

  #blockFor(segment: Segment, batch: Buffer): Block {
    const last = this.#blocks[this.#blocks.length - 1];
    const isNext = last !== undefined && last.segment === segment && last.nextOffset === this.endOffset;
    const isOwn = this.#fillsBlock(batch);
    if (isNext && !isOwn && last.hasRoom(batch.length)) {
      this.#host.tails.remove(last);
      this.#writer.add(last);
      return last;
    }
    // A log that filled a block will fill the next: no growing step by step.
    const isLarge = isNext && last.capacity > OWN_BLOCK_BYTES;
    const bytes = isOwn ? this.#owned(batch) : isLarge ? this.#fullSize() : Buffer.of();
    const block = new Block(this, segment, { position: segment.bytes, offset: this.endOffset }, bytes);
    if (isOwn) block.endGrowth();
    else block.isLent = false;
    this.#blocks.push(block);
    this.#writer.add(block);
    return block;
  }

  /** The batch becomes a block as it is. */
  #fillsBlock(batch: Buffer): boolean {
    return batch.length >= (this.#host.spare === null ? OWN_BLOCK_BYTES : BLOCK_BYTES_MAX);
  }

  /** What of it may be kept. */
  #owned(batch: Buffer): Buffer {
    const isView = batch.buffer.byteLength > batch.length * SPARE_FACTOR;
    if (!isView && this.#host.spare === null) return batch;
    const own = Buffer.allocUnsafeSlow(batch.length);
    batch.copy(own);
    return own;
  }

  #fullSize(): Buffer {
    return this.#host.spare?.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES_MAX);
  }

  #addUnwritten(bytes: number): void {
    this.unwrittenBytes += bytes;
    this.#host.unwritten(this, bytes);
  }

  #residentBlock(offset: number): Block | undefined {
    const block = this.#blocks[lastIndex(this.#blocks, (each) => each.firstOffset <= offset)];
    if (block?.holds(offset)) {
      block.isLent = true;
      this.#host.tails.touch(block);
      return block;
    }
    const loaded = this.#loaded[lastIndex(this.#loaded, (each) => each.firstOffset <= offset)];
    if (!loaded?.holds(offset)) return undefined;
    this.#host.loads.touch(loaded);
    return loaded;
  }

  /** From memory or, checked, from its file. */
  async #block(offset: number, maxBytes: number): Promise<Block> {
    for (;;) {
      if (offset < this.startOffset || offset >= this.endOffset) throw this.#outside(offset);
      const block = this.#residentBlock(offset);
      if (block !== undefined) return block;
      const segment = this.#segmentAt(offset);
      const loading = this.#loading.get(offset) ?? this.#read(segment, offset, maxBytes);
      try {
        return await loading;
      } catch (error) {
        // Trimmed meanwhile: say that, not that a file is missing. Cleaned meanwhile: read the new file.
        if (offset >= this.startOffset && !segment.isGone) throw error;
      }
    }
  }

  #segmentAt(offset: number): Segment {
    const segment = this.#segments[lastIndex(this.#segments, (each) => each.base <= offset)];
    assert(segment !== undefined && segment.endOffset > offset, 'what is not in memory is in a segment');
    return segment;
  }

  #read(segment: Segment, offset: number, maxBytes: number): Promise<Block> {
    const reading = readBlock(this.#host.handles, this, segment, { offset, maxBytes })
      .then(
        (block) => {
          this.#keepLoaded(block);
          return block;
        },
        (error) => {
          throw unreadable(error, segment.path);
        },
      )
      .finally(() => {
        if (this.#loading.get(offset) === reading) this.#loading.delete(offset);
      });
    this.#loading.set(offset, reading);
    return reading;
  }

  /** By first offset; of two with the same one, the new one. */
  #keepLoaded(block: Block): void {
    // Trimmed meanwhile: it must not come back.
    if (block.segment.isGone) return;
    const at = lastIndex(this.#loaded, (each) => each.firstOffset <= block.firstOffset);
    const before = this.#loaded[at];
    if (before?.firstOffset === block.firstOffset) {
      this.#host.loads.remove(before);
      this.#loaded[at] = block;
    } else this.#loaded.splice(at + 1, 0, block);
    this.#host.loads.add(block);
  }

  #removeFirst(): void {
    const segment = this.#segments.shift();
    if (segment === undefined) return;
    this.byteLength -= segment.bytes;
    this.#forgetAll(segment);
    // P2
    if (segment.base >= this.#capturedEnd) this.#addUnwritten(-this.#writer.discard(segment));
    this.#host.doom(this, segment.path);
  }

  #forget(block: Block): void {
    remove(this.#blocks, block);
    remove(this.#loaded, block);
  }

  #forgetAll(segment: Segment): void {
    for (const block of [...this.#blocks, ...this.#loaded]) {
      if (block.segment !== segment) continue;
      this.#forget(block);
      this.#host.tails.remove(block);
      this.#host.loads.remove(block);
    }
    segment.isGone = true;
  }

  /** A cleaning wrote `made` for some of the segments; they are synced, so nothing waits for a write. */
  #replace(old: readonly Segment[], made: Segment): boolean {
    const at = this.#segments.indexOf(old[0] as Segment);
    if (at === -1 || old.some((segment, i) => this.#segments[at + i] !== segment)) return false;
    this.#segments.splice(at, old.length, made);
    this.#loading.clear();
    for (const segment of old) {
      this.byteLength -= segment.bytes;
      this.#forgetAll(segment);
      this.#host.doom(this, segment.path);
    }
    this.byteLength += made.bytes;
    this.#host.changed(this);
    return true;
  }

  #onWritten(bytes: number, block: Block): void {
    this.#addUnwritten(-bytes);
    if (block.written === block.length && this.#blocks.includes(block)) this.#host.tails.add(block);
  }

  #outside(offset: number): FlowError {
    const message = `offset ${offset} is outside the log: it has ${this.startOffset} to ${this.endOffset}`;
    return new FlowError('OFFSET_OUT_OF_RANGE', message);
  }
}

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at !== -1) list.splice(at, 1);
}
