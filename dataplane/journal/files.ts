// What the journal asks of a file system, and the real one.
//   F1. Nothing is durable before `sync` resolves; a name is not durable before `syncDirectory` resolves.
//   F2. A write is all of the bytes or a rejection.
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { realRuntime } from '../runtime.ts';
import { SyncWay } from './sync-way.ts';

export interface JournalFile {
  /** Writes the pieces one behind the other from `position` on. They must not change until it resolves. */
  write(pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** Fills `into` from `position`; resolves to the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** fdatasync: content and length. */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface JournalFiles {
  /** `create` starts with an empty file. */
  open(file: string, mode: 'read' | 'write' | 'create'): Promise<JournalFile>;
  rename(from: string, to: string): Promise<void>;
  unlink(file: string): Promise<void>;
  /** Names in the directory, which is made if it is missing. */
  list(directory: string): Promise<string[]>;
  syncDirectory(directory: string): Promise<void>;
  /** Space that this process may still use there. */
  freeBytes(directory: string): Promise<number>;
}

const FLAGS = { read: 'r', write: 'r+', create: 'w+' } as const;

export const realFiles: JournalFiles = {
  open: async (file, mode) => new RealFile(await open(file, FLAGS[mode])),
  rename: fs.promises.rename,
  unlink: fs.promises.unlink,
  async list(directory) {
    const made = await fs.promises.mkdir(directory, { recursive: true });
    // Every new name on the way lies in the directory above it.
    for (let at = directory; made !== undefined && at.length >= made.length; at = path.dirname(at)) {
      await this.syncDirectory(path.dirname(at));
    }
    return fs.promises.readdir(directory);
  },
  async syncDirectory(directory) {
    const fd = await open(directory, 'r');
    try {
      await fsync(fd);
    } finally {
      await close(fd);
    }
  },
  async freeBytes(directory) {
    const { bavail, bsize } = await fs.promises.statfs(directory);
    return bavail * bsize;
  },
};

// The callback functions cost half of what the handles of fs.promises do.
const open = promisify<string, string, number>(fs.open);
const close = promisify(fs.close);
const fsync = promisify(fs.fsync);
const fdatasync = promisify(fs.fdatasync);
const fstat = promisify<number, fs.Stats>(fs.fstat);

/** Up to this many bytes a copy into the page cache is cheaper than a trip through the thread pool. */
const SYNC_WRITE_BYTES_MAX = 64 * 1024;

class RealFile implements JournalFile {
  readonly #fd: number;
  readonly #way = new SyncWay();
  #unsynced = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    let left = pieces;
    let at = position;
    for (;;) {
      const bytes = left.reduce((sum, piece) => sum + piece.length, 0);
      if (bytes === 0) return;
      const written =
        bytes <= SYNC_WRITE_BYTES_MAX
          ? fs.writevSync(this.#fd, left, at)
          : await new Promise<number>((resolve, reject) =>
              fs.writev(this.#fd, left, at, (error, count) => (error ? reject(error) : resolve(count))),
            );
      if (written === 0) throw new Error('the file system took no bytes');
      at += written;
      this.#unsynced += written;
      left = behind(left, written);
    }
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const step = (done: number) =>
        fs.read(this.#fd, into, done, into.length - done, position + done, (error, count) => {
          if (error) reject(error);
          else if (count === 0 || done + count === into.length) resolve(done + count);
          else step(done + count);
        });
      step(0);
    });
  }

  async sync(): Promise<void> {
    const startedMs = realRuntime.monotonicMs();
    const holdsLoop = this.#way.holdsLoop(this.#unsynced, startedMs);
    this.#unsynced = 0;
    if (!holdsLoop) return fdatasync(this.#fd);
    fs.fdatasyncSync(this.#fd);
    this.#way.took(realRuntime.monotonicMs() - startedMs);
  }

  size = async () => (await fstat(this.#fd)).size;
  close = () => close(this.#fd);
}

/** The pieces without their first `bytes`. */
function behind(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  return pieces.flatMap((piece) => {
    const cut = Math.min(skip, piece.length);
    skip -= cut;
    return cut === piece.length ? [] : [piece.subarray(cut)];
  });
}
