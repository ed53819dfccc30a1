// All partition logs of a shard (contract.ts, Logs): background writes, what a checkpoint records of them,
// recovery.
//   <root>/<log id>/<base offset, 16 digits>.log
//   D1. A checkpoint records lengths that are synced; recovery cuts every log to them, and logs it does not
//       know go.
//   D2. Files are deleted only after a checkpoint that no longer counts on them.
//   D3. After a failed sync no later one is believed: what is not synced is in the journal, and a restart
//       replays it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import { BlockCache } from './block-cache.ts';
import type { LogId, Logs } from './contract.ts';
import { eachOf } from './each-of.ts';
import { FileHandles } from './file-handles.ts';
import { BLOCK_BYTES_MAX } from './log-block.ts';
import { type LogFiles, memoryLogFiles, realLogFiles } from './log-files.ts';
import type { LogHost, LogLength } from './log-host.ts';
import { isLogName, lengthRow, recoverLog, segmentName } from './log-recovery.ts';
import { SegmentedLog } from './partition-log.ts';
import type { MetaRow } from './row-batch.ts';

/** What a checkpoint takes down of a log, and what recovery is given back. */
export type CapturedLength = LogLength;
export type StoredLength = LogLength;

export interface LogStoreOptions {
  /** null: in memory. */
  readonly dir: string | null;
  /** Of the last checkpoint: the rows of `lengthRows`. */
  readonly lengths: readonly StoredLength[];
  /** Others than those of the operating system, or of memory. */
  readonly files?: LogFiles;
  readonly segmentBytes?: number;
  /** Written ends of logs that stay in memory. */
  readonly tailBytesMax?: number;
  /** What was read back from files. */
  readonly loadBytesMax?: number;
  /** Above it `isCongested`. */
  readonly unwrittenBytesMax?: number;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const MEMORY_BYTES_MAX = 8 * 1024 * 1024;
const UNWRITTEN_BYTES_MAX = 16 * 1024 * 1024;
/** Writes to different logs at a time: the thread pool has four threads, and the journal needs one. */
const WRITERS_MAX = 2;
/** The same for syncs and deletions. */
const SYNCS_MAX = 2;

export class LogStore implements Logs {
  readonly #root: string;
  readonly #files: LogFiles;
  readonly #host: LogHost;
  readonly #unwrittenBytesMax: number;
  readonly #logs = new Map<LogId, SegmentedLog>();
  readonly #changed = new Set<SegmentedLog>();
  readonly #captured = new Set<SegmentedLog>();
  /** Logs with unwritten bytes, the oldest first, and those of them that have enough for a write. */
  readonly #dirty = new Set<SegmentedLog>();
  readonly #ready = new Set<SegmentedLog>();
  #unwrittenBytes = 0;
  #writers = 0;
  #isPumpArmed = false;
  #drainWaiters: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #doomed: { log: SegmentedLog; path: string; isDirectory: boolean; after: number }[] = [];
  #captures = 0;
  #failure: FlowError | null = null;
  /** Logs with synced files whose names are not: also those that a failed `syncTo` left behind. */
  readonly #unnamed = new Set<LogId>();
  #isRootBehind = false;

  static async open(options: LogStoreOptions): Promise<LogStore> {
    const store = new LogStore(options);
    try {
      await store.#recover(options.lengths);
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  private constructor(options: LogStoreOptions) {
    this.#root = options.dir ?? 'memory';
    this.#files = options.files ?? (options.dir === null ? memoryLogFiles() : realLogFiles);
    this.#unwrittenBytesMax = options.unwrittenBytesMax ?? UNWRITTEN_BYTES_MAX;
    this.#host = {
      handles: new FileHandles(this.#files),
      segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
      tails: new BlockCache(options.tailBytesMax ?? MEMORY_BYTES_MAX),
      loads: new BlockCache(options.loadBytesMax ?? MEMORY_BYTES_MAX),
      spare: null,
      segmentPath: (id, base, generation) => path.join(this.#directory(id), segmentName(base, generation)),
      syncNames: (id) => this.#synced(this.#files.syncDirectory(this.#directory(id))),
      unlink: (file) => this.#files.unlink(file),
      changed: (log) => this.#changed.add(log),
      unwritten: (log, bytes) => this.#addUnwritten(log, bytes),
      doom: (log, file) => this.#doom(log, file, false),
    };
  }

  /** Why syncs are refused for good (D3): end the process, the journal has everything. */
  get failure(): FlowError | null {
    return this.#failure;
  }

  /**
   * Until `endReplay` what is appended stays the caller's, and the memory of blocks is used again: the
   * collector does not see it, and would go over its whole heap for each 30 MB that come and go.
   */
  beginReplay(): void {
    this.#host.spare = [];
  }

  endReplay(): void {
    this.#host.spare = null;
  }

  get unwrittenBytes(): number {
    return this.#unwrittenBytes;
  }

  /** Opens or creates; of a log that recovery found, what the checkpoint recorded. */
  open(id: LogId): SegmentedLog {
    let log = this.#logs.get(id);
    if (log === undefined) {
      log = new SegmentedLog(this.#host, id);
      this.#logs.set(id, log);
      this.#changed.add(log);
    }
    return log;
  }

  drop(id: LogId): void {
    const log = this.#logs.get(id);
    if (log === undefined) return;
    log.drop();
    this.#logs.delete(id);
    this.#changed.add(log);
    this.#doom(log, this.#directory(id), true);
  }

  /** Memory for further appends is short: let `drained` resolve before the next ones if they can wait. */
  isCongested(): boolean {
    return this.#unwrittenBytes > this.#unwrittenBytesMax;
  }

  /** Resolves when half of the bound is free; rejects if writing fails. */
  drained(): Promise<void> {
    if (this.#unwrittenBytes <= this.#unwrittenBytesMax / 2) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#drainWaiters.push({ resolve, reject });
      for (const log of this.#dirty) this.#ready.add(log);
      this.#armPump();
    });
  }

  /** Lengths of logs that changed since the last call. Synchronous, when the rows are frozen. */
  captureLengths(): CapturedLength[] {
    this.#captures++;
    const logs = [...this.#changed];
    this.#changed.clear();
    for (const log of logs) this.#captured.add(log);
    return logs.map((log) => log.capture());
  }

  /** To be written with the rows, after `syncTo`; only logs that changed. */
  lengthRows(captured: readonly CapturedLength[]): MetaRow[] {
    return captured.map(lengthRow);
  }

  /**
   * Writes and syncs at least what was captured. May be called again after it rejected with a failed write.
   */
  async syncTo(captured: readonly CapturedLength[]): Promise<void> {
    // Of a log that was dropped meanwhile too: if the process ends now, recovery counts on it.
    const wanted = new Set(captured.map((length) => length.id));
    const logs = [...this.#captured].filter((log) => wanted.has(log.id));
    await eachOf(logs, SYNCS_MAX, async (log) => {
      await this.#write(log);
      if (await this.#synced(log.sync())) {
        this.#unnamed.add(log.id);
        this.#isRootBehind = true;
      }
      if (!this.#unnamed.has(log.id)) return;
      await this.#synced(this.#files.syncDirectory(this.#directory(log.id)));
      this.#unnamed.delete(log.id);
    });
    if (!this.#isRootBehind) return;
    await this.#synced(this.#files.syncDirectory(this.#root));
    this.#isRootBehind = false;
  }

  /** Deletes what the checkpoint that has just succeeded no longer counts on. */
  async applyDeletes(): Promise<void> {
    for (const log of this.#captured) log.release();
    this.#captured.clear();
    const due = this.#doomed.filter((each) => each.after < this.#captures);
    this.#doomed = this.#doomed.filter((each) => each.after >= this.#captures);
    await eachOf(due, SYNCS_MAX, async ({ log, path: doomed, isDirectory }) => {
      await log.settled(); // A write on its way would make the file again.
      await this.#host.handles.close(doomed);
      await (isDirectory ? this.#files.removeDirectory(doomed) : this.#files.unlink(doomed));
    });
  }

  /** What is not synced is left to the journal. */
  async close(): Promise<void> {
    this.#dirty.clear();
    this.#ready.clear();
    const doomed = this.#doomed.map((each) => each.log);
    for (const log of new Set([...this.#logs.values(), ...doomed])) await log.settled();
    await this.#host.handles.closeAll();
  }

  async #recover(lengths: readonly StoredLength[]): Promise<void> {
    const known = new Map(lengths.filter((each) => !each.isDropped).map((each) => [each.id, each]));
    const names = (await this.#files.list(this.#root)).filter(isLogName);
    await eachOf(names, SYNCS_MAX, async (name) => {
      if (!known.has(Number(name))) await this.#files.removeDirectory(path.join(this.#root, name));
    });
    await eachOf([...known.values()], SYNCS_MAX, async (length) => {
      const directory = this.#directory(length.id);
      const segments = await recoverLog(this.#files, this.#host.handles, directory, length);
      const log = new SegmentedLog(this.#host, length.id);
      log.restore(length, segments);
      this.#logs.set(length.id, log);
    });
  }

  #directory(id: LogId): string {
    return path.join(this.#root, String(id));
  }

  #doom(log: SegmentedLog, file: string, isDirectory: boolean): void {
    this.#doomed.push({ log, path: file, isDirectory, after: this.#captures });
  }

  #addUnwritten(log: SegmentedLog, bytes: number): void {
    this.#unwrittenBytes += bytes;
    assert(log.unwrittenBytes >= 0, 'no more is written than was appended');
    if (log.unwrittenBytes === 0) this.#dirty.delete(log);
    else this.#dirty.add(log);
    if (bytes > 0) {
      if (log.unwrittenBytes >= BLOCK_BYTES_MAX) this.#ready.add(log);
      if (this.#ready.size > 0 || this.#isFilling()) this.#armPump();
    } else if (this.#unwrittenBytes <= this.#unwrittenBytesMax / 2) {
      for (const { resolve } of this.#drainWaiters.splice(0)) resolve();
    }
  }

  /** Many logs with little each: they are written before there is enough for a large write. */
  #isFilling(): boolean {
    return this.#unwrittenBytes > this.#unwrittenBytesMax / 2;
  }

  /** In a later turn than the append, which may be taken back in this one. */
  #armPump(): void {
    if (this.#isPumpArmed || this.#writers >= WRITERS_MAX) return;
    this.#isPumpArmed = true;
    queueMicrotask(() => {
      this.#isPumpArmed = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#writers < WRITERS_MAX) {
      const [log] = this.#ready.size > 0 || !this.#isFilling() ? this.#ready : this.#dirty;
      if (log === undefined) return;
      this.#ready.delete(log);
      // At the end of the queue: it may get more while it is written.
      if (this.#dirty.delete(log)) this.#dirty.add(log);
      void this.#writeInBackground(log);
    }
  }

  async #writeInBackground(log: SegmentedLog): Promise<void> {
    this.#writers++;
    let isWritten = true;
    try {
      await this.#write(log);
    } catch (error) {
      // The next append, sync or `drained` tries again.
      isWritten = false;
      for (const { reject } of this.#drainWaiters.splice(0)) reject(error);
    }
    this.#writers--;
    if (isWritten && (this.#ready.size > 0 || this.#isFilling())) this.#armPump();
  }

  async #write(log: SegmentedLog): Promise<void> {
    try {
      await log.write();
    } catch (error) {
      throw asFlowError(error, this.#directory(log.id));
    }
  }

  async #synced<T>(syncing: Promise<T>): Promise<T> {
    try {
      const result = await syncing;
      if (this.#failure === null) return result;
    } catch (error) {
      const message = `a sync in ${this.#root} failed; restart: the journal has what was not synced`;
      this.#failure ??= new FlowError('UNAVAILABLE', message, { cause: error });
    }
    throw this.#failure;
  }
}

function asFlowError(error: unknown, directory: string): FlowError {
  if (error instanceof FlowError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FlowError('DISK_FULL', `no space to write in ${directory}`, {
      cause: error,
      retryAfterMs: 1000,
    });
  }
  return new FlowError('UNAVAILABLE', `cannot write in ${directory}: ${String(error)}`, { cause: error });
}
