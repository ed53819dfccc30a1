// Reads one partition from an offset on, in chunks of stored batches: from memory, or from files ahead of
// need.
//   F1. Nothing beyond `visibleEnd` leaves: a chunk is cut behind the last durable batch.
//   F2. At most one load is under way; what it brings is taken by the next `take`.
import { type FlowError, readHead } from '@flowmesh/protocol';
import type { Chunk } from '../storage/contract.ts';
import type { PartitionCell } from './cells.ts';

/** One message of many batches costs less than many messages; beyond this, latency and memory pay. */
export const CHUNK_BYTES_MAX = 256 * 1024;

export class Feed {
  readonly partition: PartitionCell;
  #next: number;
  #loaded: Chunk | null = null;
  #isLoading = false;
  #isClosed = false;
  readonly #wake: () => void;
  readonly #fail: (error: FlowError) => void;

  constructor(partition: PartitionCell, from: number, wake: () => void, fail: (error: FlowError) => void) {
    this.partition = partition;
    this.#next = from;
    this.#wake = wake;
    this.#fail = fail;
    partition.watchers.add(wake);
  }

  /** Offset of the next record that leaves. */
  get next(): number {
    return this.#next;
  }

  /** The next chunk, if one is ready; else `wake` is called when there may be one. */
  take(): Chunk | null {
    const { log, visibleEnd } = this.partition;
    if (this.#isClosed) return null;
    if (this.#next < log.startOffset) this.#next = log.startOffset;
    if (this.#next >= visibleEnd || this.#isLoading) return null;
    const chunk = this.#takeLoaded() ?? log.resident(this.#next, CHUNK_BYTES_MAX);
    if (chunk === undefined) {
      void this.#load();
      return null;
    }
    const whole = cutAt(chunk, visibleEnd);
    this.#next = whole.nextOffset;
    return whole;
  }

  close(): void {
    this.#isClosed = true;
    this.#loaded = null;
    this.partition.watchers.delete(this.#wake);
  }

  #takeLoaded(): Chunk | undefined {
    const chunk = this.#loaded;
    this.#loaded = null;
    return chunk !== null && chunk.firstOffset <= this.#next && this.#next < chunk.nextOffset
      ? chunk
      : undefined;
  }

  async #load(): Promise<void> {
    this.#isLoading = true;
    try {
      this.#loaded = await this.partition.log.load(this.#next, CHUNK_BYTES_MAX);
      this.#isLoading = false;
      if (!this.#isClosed) this.#wake();
    } catch (error) {
      this.#isLoading = false;
      if (this.#isClosed) return;
      // Trimmed while it was being read: go on at the new start.
      if (this.#next < this.partition.log.startOffset) this.#wake();
      else this.#fail(error as FlowError);
    }
  }
}

/** The whole batches of a chunk up to `end`; appends are whole batches, so `end` lies between two. */
export function cutAt(chunk: Chunk, end: number): Chunk {
  if (chunk.nextOffset <= end) return chunk;
  let at = 0;
  let next = chunk.firstOffset;
  while (next < end) {
    const head = readHead(chunk.bytes, at);
    at += head.length;
    next = head.baseOffset + head.count;
  }
  return { bytes: chunk.bytes.subarray(0, at), firstOffset: chunk.firstOffset, nextOffset: next };
}
