// What a log shares with the others of its store, and what a checkpoint takes down of it.
import type { BlockCache } from './block-cache.ts';
import type { LogId } from './contract.ts';
import type { FileHandles } from './file-handles.ts';
import type { CleanedRange } from './log-cleaning.ts';
import type { SegmentedLog } from './partition-log.ts';

/** What a log shares with the others of its store. */
export interface LogHost {
  readonly handles: FileHandles;
  readonly segmentBytes: number;
  /** Written ends of logs, and what was read back. */
  readonly tails: BlockCache;
  readonly loads: BlockCache;
  /**
   * During replay: memory of blocks that are over, for the next ones. What is appended then lies in memory of
   * somebody who will use it again, and is copied.
   */
  spare: Buffer[] | null;
  segmentPath(id: LogId, base: number, generation?: number): string;
  /** The names of the log's files become durable. */
  syncNames(id: LogId): Promise<void>;
  unlink(path: string): Promise<void>;
  /** The lengths differ from those of the last checkpoint. */
  changed(log: SegmentedLog): void;
  /** So many bytes more, or less, wait to be written. */
  unwritten(log: SegmentedLog, bytes: number): void;
  /** The file goes with the checkpoint after the next capture. */
  doom(log: SegmentedLog, path: string): void;
}

/** Where a log ends: recorded in the checkpoint, and what recovery cuts to. */
export interface LogLength {
  readonly id: LogId;
  readonly startOffset: number;
  readonly endOffset: number;
  /** Base offset and bytes of the last segment; endOffset and 0 if there is none. */
  readonly segmentBase: number;
  readonly bytes: number;
  /** Of all segments. */
  readonly totalBytes: number;
  readonly lastTimeMs: number;
  readonly isDropped: boolean;
  /** Only of logs that were cleaned by key. */
  readonly cleanedTo?: number;
  readonly tombstonesFromMs?: number;
  /** Segments that were written by a cleaning. */
  readonly rewritten?: readonly CleanedRange[];
}
