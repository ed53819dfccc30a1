// The LevelDB below the rows, or its in-memory twin: opening, reopening after a failed write, and its errors
// as ours.
//   L1. Whatever runs here is repeated when the database was closed under it for a reopen.
//   L2. Of a failed write the outcome is unknown; LevelDB refuses all further ones until it is reopened.
//   L3. Nothing is written that may not fit on the disk: what LevelDB needs to open again it could not have
//       then, and until somebody makes space nothing could be read.
import { statfs } from 'node:fs/promises';
import { FlowError } from '@flowmesh/protocol';
import { ClassicLevel } from 'classic-level';
import { MemoryLevel } from 'memory-level';
import { bearLevel, lockFailure } from './level-birth.ts';
import { checkLevel } from './level-check.ts';

/** What is used of abstract-level. */
export interface LevelDb {
  readonly status: string;
  open(): Promise<void>;
  close(): Promise<void>;
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  batch(): LevelBatch;
  iterator(options: LevelRange): LevelIterator;
}

export interface LevelBatch {
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
  write(options: { sync: boolean }): Promise<void>;
  close(): Promise<void>;
}

export interface LevelRange {
  gte?: Buffer;
  lt?: Buffer;
  lte?: Buffer;
  reverse?: boolean;
  limit?: number;
  highWaterMarkBytes?: number;
}

export interface LevelIterator {
  nextv(size: number): Promise<[Buffer, Buffer][]>;
  close(): Promise<void>;
}

export type LevelPlace =
  | { readonly dir: string }
  | { readonly memory: true }
  /** A database of one's own, as if it were in `dir`. */
  | { readonly db: LevelDb; readonly dir: string };

/**
 * Small on purpose: the memtable in front takes the writes and the hot reads. A checkpoint is one large
 * batch, which a larger write buffer would only hold in memory for longer.
 */
const CACHE_BYTES = 4 * 1024 * 1024;
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
/** For the manifest and for compactions, which go on with less space and are tried again. */
const SPACE_BYTES = 2 * 1024 * 1024;

/** `wrap` lets tests put a database that fails in between. */
export async function openLevel(place: LevelPlace, wrap = (db: LevelDb): LevelDb => db): Promise<Level> {
  const isMemory = 'memory' in place;
  if (!isMemory && !('db' in place)) {
    await bearLevel(place.dir);
    await checkLevel(place.dir).catch(async (error: unknown) => {
      // What another process writes at this moment is not damage.
      throw asFlowError((await lockFailure(place.dir)) ?? error, place.dir);
    });
  }
  const kind = { isMemory, isOnDisk: !isMemory && !('db' in place) };
  const level = new Level(wrap(databaseOf(place)), isMemory ? 'memory' : place.dir, kind);
  await level.run(async () => undefined);
  return level;
}

function databaseOf(place: LevelPlace): LevelDb {
  if ('db' in place) return place.db;
  const encodings = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const;
  if ('memory' in place) return new MemoryLevel<Buffer, Buffer>({ ...encodings, storeEncoding: 'buffer' });
  // One that is there and cannot be found must not come up as an empty one.
  const sizes = { cacheSize: CACHE_BYTES, writeBufferSize: WRITE_BUFFER_BYTES, createIfMissing: false };
  return new ClassicLevel<Buffer, Buffer>(place.dir, { ...encodings, ...sizes });
}

export class Level {
  /** Directory, for messages. */
  readonly where: string;
  /** It keeps the buffers that a batch is given: they must not be scratch memory. */
  readonly keepsBuffers: boolean;
  readonly #db: LevelDb;
  readonly #isOnDisk: boolean;
  #opening: Promise<void> | null = null;
  /** Times that it was closed for a reopen. */
  #closings = 0;
  /** Of the batch before: it lies in LevelDB's log, and opening moves it to a table. */
  #unmovedBytes = 0;
  #isClosed = false;

  constructor(db: LevelDb, where: string, kind: { isMemory: boolean; isOnDisk: boolean }) {
    this.#db = db;
    this.where = where;
    this.keepsBuffers = kind.isMemory;
    this.#isOnDisk = kind.isOnDisk;
  }

  /**
   * Calls `use` before it returns if the database is open, so that what `use` captures first is as of the
   * call.
   */
  async run<T>(use: (db: LevelDb) => Promise<T>): Promise<T> {
    for (;;) {
      if (this.#opening !== null || this.#db.status !== 'open') await this.#open();
      const closings = this.#closings;
      try {
        return await use(this.#db);
      } catch (error) {
        const wasClosed = this.#closings !== closings && isNotOpen(error);
        if (this.#isClosed || !wasClosed) throw asFlowError(error, this.where);
      }
    }
  }

  /** Before a batch of so many bytes; throws DISK_FULL with nothing touched (L3). */
  async demandSpace(bytes: number): Promise<void> {
    if (!this.#isOnDisk) return;
    const { bavail, bsize } = await statfs(this.where);
    // Each batch twice: first in the log, then in a table.
    const neededBytes = 2 * bytes + this.#unmovedBytes + SPACE_BYTES;
    if (bavail * bsize < neededBytes) {
      const message = `rows in ${this.where}: ${bytes} bytes wait for ${neededBytes} bytes of free space`;
      throw new FlowError('DISK_FULL', message, { retryAfterMs: 1000 });
    }
    this.#unmovedBytes = bytes;
  }

  /** After a failed write. Rejects when it cannot be opened; the next use tries again. */
  async reopen(): Promise<void> {
    this.#closings++;
    await this.#db.close();
    await this.#open();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#db.close();
  }

  #open(): Promise<void> {
    if (this.#isClosed)
      return Promise.reject(new FlowError('UNAVAILABLE', `rows in ${this.where} are closed`));
    this.#opening ??= this.#db
      .open()
      .catch((error) => {
        throw asFlowError(error, this.where);
      })
      .finally(() => {
        this.#opening = null;
      });
    return this.#opening;
  }
}

function asFlowError(error: unknown, where: string): FlowError {
  if (error instanceof FlowError) return error;
  const codes = codesOf(error);
  const text = textOf(error);
  if (codes.includes('LEVEL_LOCKED')) {
    const message = `${where} is used by another process; stop it, or choose another data directory`;
    return new FlowError('DATA_LOCKED', message, { cause: error });
  }
  // One of its own files is not there, or CURRENT names one that never was.
  const isMissing = /no such file or directory|does not exist/i.test(text);
  if (isMissing || codes.includes('LEVEL_CORRUPTION')) {
    return new FlowError('DATA_DAMAGED', `rows in ${where}: ${text}`, { cause: error });
  }
  if (/no space left|quota exceeded/i.test(text)) {
    return new FlowError('DISK_FULL', `rows in ${where}: ${text}`, {
      cause: error,
      retryAfterMs: 1000,
    });
  }
  return new FlowError('UNAVAILABLE', `rows in ${where}: ${text}`, { cause: error });
}

const isNotOpen = (error: unknown) =>
  codesOf(error).some((code) => /^LEVEL_(?:DATABASE|ITERATOR|BATCH)_NOT_OPEN$/.test(code));

/** Of the error and of its causes: abstract-level wraps what happened. */
function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let each = error; each instanceof Error; each = each.cause) {
    if ('code' in each && typeof each.code === 'string') codes.push(each.code);
  }
  return codes;
}

function textOf(error: unknown): string {
  let text = String(error);
  for (let each = error; each instanceof Error; each = each.cause) text = each.message;
  return text;
}
