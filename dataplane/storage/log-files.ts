// What partition logs ask of a file system: the real one, one in memory (`--ephemeral`), and a bounded set of
// handles.
//   F1. Nothing is durable before `sync` resolves; a name is not durable before `syncDirectory` resolves.
//   F2. A write is all of the bytes or a rejection; repeated at the same place it does no harm.
import fs from 'node:fs/promises';
import path from 'node:path';

export interface LogFile {
  /** Writes the pieces one behind the other from `position` on. They must not change until it resolves. */
  write(pieces: readonly Uint8Array[], position: number): Promise<void>;
  /** Fills `into` from `position`; resolves to the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** fdatasync: content and length. */
  sync(): Promise<void>;
  truncate(bytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface LogFiles {
  /** For reading and writing. `create`: made if it is missing, with its directory. */
  open(file: string, mode: 'existing' | 'create'): Promise<LogFile>;
  unlink(file: string): Promise<void>;
  /** With all its files; no error if there is none. */
  removeDirectory(directory: string): Promise<void>;
  /** Names in the directory, which is made if it is missing. */
  list(directory: string): Promise<string[]>;
  syncDirectory(directory: string): Promise<void>;
}

export const realLogFiles: LogFiles = {
  async open(file, mode) {
    if (mode === 'existing') return new RealFile(await fs.open(file, 'r+'));
    const flags = fs.constants.O_RDWR | fs.constants.O_CREAT;
    try {
      return new RealFile(await fs.open(file, flags));
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      await fs.mkdir(path.dirname(file), { recursive: true });
      return new RealFile(await fs.open(file, flags));
    }
  },
  unlink: (file) => fs.rm(file, { force: true }),
  removeDirectory: (directory) => fs.rm(directory, { recursive: true, force: true }),
  async list(directory) {
    const made = await fs.mkdir(directory, { recursive: true });
    if (made !== undefined) await this.syncDirectory(path.dirname(made));
    return fs.readdir(directory);
  },
  async syncDirectory(directory) {
    const handle = await fs.open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : undefined);

class RealFile implements LogFile {
  readonly #handle: fs.FileHandle;

  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    let left = pieces;
    let at = position;
    while (left.length > 0) {
      const { bytesWritten } = await this.#handle.writev(left, at);
      if (bytesWritten === 0) throw new Error('the file system took no bytes');
      at += bytesWritten;
      left = behind(left, bytesWritten);
    }
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await this.#handle.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  sync = () => this.#handle.datasync();
  truncate = (bytes: number) => this.#handle.truncate(bytes);
  size = async () => (await this.#handle.stat()).size;
  close = () => this.#handle.close();
}

/** The pieces without their first `bytes`, and without empty ones. */
function behind(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  return pieces.flatMap((piece) => {
    const cut = Math.min(skip, piece.length);
    skip -= cut;
    return cut === piece.length ? [] : [piece.subarray(cut)];
  });
}

/** Files that live as long as the object. */
export function memoryLogFiles(): LogFiles {
  const files = new Map<string, MemoryFile>();
  const inside = (directory: string) => `${directory}${path.sep}`;
  return {
    async open(file, mode) {
      let found = files.get(file);
      if (found === undefined) {
        if (mode === 'existing') throw Object.assign(new Error(`no such file: ${file}`), { code: 'ENOENT' });
        found = new MemoryFile();
        files.set(file, found);
      }
      return found;
    },
    async unlink(file) {
      files.delete(file);
    },
    async removeDirectory(directory) {
      for (const file of files.keys()) if (file.startsWith(inside(directory))) files.delete(file);
    },
    async list(directory) {
      const start = inside(directory);
      const names = [...files.keys()].filter((file) => file.startsWith(start));
      return [...new Set(names.map((file) => file.slice(start.length).split(path.sep)[0] ?? ''))];
    },
    async syncDirectory() {},
  };
}

const PAGE_BYTES = 64 * 1024;

class MemoryFile implements LogFile {
  #pages: Buffer[] = [];
  #length = 0;

  async write(pieces: readonly Uint8Array[], position: number): Promise<void> {
    let at = position;
    for (const piece of pieces) {
      for (let from = 0; from < piece.length; ) {
        const within = at % PAGE_BYTES;
        const to = Math.min(piece.length, from + PAGE_BYTES - within);
        this.#page(Math.floor(at / PAGE_BYTES)).set(piece.subarray(from, to), within);
        at += to - from;
        from = to;
      }
    }
    this.#length = Math.max(this.#length, at);
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    const end = Math.min(this.#length, position + into.length);
    let at = position;
    while (at < end) {
      const within = at % PAGE_BYTES;
      const to = Math.min(end, at + PAGE_BYTES - within);
      into.set(this.#page(Math.floor(at / PAGE_BYTES)).subarray(within, within + to - at), at - position);
      at = to;
    }
    return Math.max(0, end - position);
  }

  async truncate(bytes: number): Promise<void> {
    this.#pages.length = Math.min(this.#pages.length, Math.ceil(bytes / PAGE_BYTES));
    this.#length = Math.min(this.#length, bytes);
  }

  sync = async () => undefined;
  size = async () => this.#length;
  close = async () => undefined;

  #page(index: number): Buffer {
    for (let i = this.#pages.length; i <= index; i++) this.#pages.push(Buffer.alloc(PAGE_BYTES));
    return this.#pages[index] ?? Buffer.alloc(0);
  }
}
