// What of one log must still reach its files, and be synced there.
//   W1. One write at a time, in order of offsets; a write that failed is repeated at the same place.
//   W2. Writes begin in a later turn than the append, so that an append can be taken back.
import assert from 'node:assert/strict';
import type { FileHandles } from './file-handles.ts';
import type { Block } from './log-block.ts';
import type { Segment } from './log-segment.ts';

/** Of one write. */
const WRITE_BYTES_MAX = 4 * 1024 * 1024;
const WRITE_PIECES_MAX = 256;

export class LogWriter {
  readonly #handles: FileHandles;
  readonly #onWritten: (bytes: number, block: Block) => void;
  /** Blocks with bytes that are not in their file, in order. */
  #unwritten: Block[] = [];
  readonly #unsynced = new Set<Segment>();
  #writing: Promise<void> | null = null;

  /** `onWritten`: so many bytes of the block came into its file. */
  constructor(handles: FileHandles, onWritten: (bytes: number, block: Block) => void) {
    this.#handles = handles;
    this.#onWritten = onWritten;
  }

  /** The file was cut: until that is synced, a crash may bring back what was cut off. */
  noteCut(segment: Segment): void {
    this.#unsynced.add(segment);
  }

  /** Something was, or will be, appended to the block, which is the last one. */
  add(block: Block): void {
    if (this.#unwritten[this.#unwritten.length - 1] !== block) this.#unwritten.push(block);
  }

  /** The last append to the last block was taken back. */
  takeBack(block: Block): void {
    assert(block.written <= block.length, 'writes begin in a later turn than the append');
    if (block.written === block.length) this.#unwritten.pop();
  }

  /** Nobody needs the segment any more. Returns how many bytes need not be written now. */
  discard(segment: Segment): number {
    segment.isDiscarded = true;
    this.#unsynced.delete(segment);
    let bytes = 0;
    this.#unwritten = this.#unwritten.filter((block) => {
      if (block.segment !== segment) return true;
      bytes += block.length - block.written;
      return false;
    });
    return bytes;
  }

  /** Writes what waits now, and what comes meanwhile. */
  write(): Promise<void> {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  /** Resolves when no write is on its way. */
  async settled(): Promise<void> {
    await this.#writing?.catch(() => undefined);
  }

  /** Syncs what is written; returns whether a file is new, so that its name must be synced too. */
  async sync(): Promise<boolean> {
    let hasNewFile = false;
    for (const segment of this.#unsynced) {
      const { written } = segment;
      if (segment.synced === 0) hasNewFile = true;
      await this.#handles.use(segment.path, 'existing', (file) => file.sync());
      segment.synced = written;
      if (segment.synced === segment.written) this.#unsynced.delete(segment);
    }
    return hasNewFile;
  }

  async #writeAll(): Promise<void> {
    for (;;) {
      const run = this.#nextRun();
      const first = run[0]?.block;
      if (first === undefined) return;
      const { segment } = first;
      const position = first.position + first.written;
      segment.isOnDisk = true;
      const pieces = run.map((each) => each.bytes);
      await this.#handles.use(segment.path, 'create', (file) => file.write(pieces, position));
      if (segment.isDiscarded) continue;
      this.#unsynced.add(segment);
      for (const { block, bytes } of run) {
        segment.written += bytes.length;
        block.written += bytes.length;
        if (block.written === block.length) this.#unwritten.shift();
        this.#onWritten(bytes.length, block);
      }
    }
  }

  /** Unwritten bytes that lie one behind the other in one segment. */
  #nextRun(): { block: Block; bytes: Buffer }[] {
    const run: { block: Block; bytes: Buffer }[] = [];
    let total = 0;
    for (const block of this.#unwritten) {
      if (block.segment !== this.#unwritten[0]?.segment || run.length >= WRITE_PIECES_MAX) break;
      const bytes = block.unwritten();
      total += bytes.length;
      if (run.length > 0 && total > WRITE_BYTES_MAX) break;
      run.push({ block, bytes });
    }
    return run;
  }
}
