// Files in memory that lose at a crash what was not synced, and fail when told to.
import path from 'node:path';
import { type LogFile, type LogFiles, memoryLogFiles } from '../../dataplane/storage/log-files.ts';

interface Kept {
  /** Content as of the last sync. */
  bytes: Buffer;
  /** Its name is synced too. */
  isNamed: boolean;
}

export class FaultFiles implements LogFiles {
  readonly #kept = new Map<string, Kept>();
  #now = memoryLogFiles();
  /** Errors of the next operations of a kind. */
  readonly fail = { write: null as Error | null, sync: null as Error | null };
  /** The next read waits for this. */
  hold: Promise<void> | null = null;
  /** Files that were ever written. */
  readonly written = new Set<string>();
  bytesRead = 0;

  /** `keeps`: of what was not synced, whether a file has it nevertheless. */
  async crash(keeps: (file: string) => boolean): Promise<void> {
    const survivors = memoryLogFiles();
    for (const [file, kept] of this.#kept) {
      const current = await this.content(file);
      if (current === undefined) continue;
      const isLucky = keeps(file);
      if (!isLucky && !kept.isNamed) {
        this.#kept.delete(file);
        continue;
      }
      const bytes = isLucky ? current : kept.bytes;
      await (await survivors.open(file, 'create')).write([bytes], 0);
      // What is there after a crash was on the disk.
      this.#kept.set(file, { bytes, isNamed: true });
    }
    this.#now = survivors;
  }

  async content(file: string): Promise<Buffer | undefined> {
    const open = await this.#now.open(file, 'existing').catch(() => undefined);
    if (open === undefined) return undefined;
    const bytes = Buffer.alloc(await open.size());
    await open.read(bytes, 0);
    return bytes;
  }

  async open(file: string, mode: 'existing' | 'create'): Promise<LogFile> {
    const inner = await this.#now.open(file, mode);
    const kept = this.#kept.get(file) ?? { bytes: Buffer.alloc(0), isNamed: false };
    this.#kept.set(file, kept);
    return {
      write: async (pieces, position) => {
        await this.#mayFail('write');
        this.written.add(file);
        await inner.write(pieces, position);
      },
      read: async (into, position) => {
        this.bytesRead += into.length;
        const held = this.hold;
        this.hold = null;
        await held;
        return inner.read(into, position);
      },
      sync: async () => {
        await this.#mayFail('sync');
        kept.bytes = (await this.content(file)) ?? kept.bytes;
      },
      truncate: (bytes) => inner.truncate(bytes),
      size: () => inner.size(),
      close: () => inner.close(),
    };
  }

  async unlink(file: string): Promise<void> {
    this.#kept.delete(file);
    await this.#now.unlink(file);
  }

  async removeDirectory(directory: string): Promise<void> {
    for (const file of this.#kept.keys()) if (path.dirname(file) === directory) this.#kept.delete(file);
    await this.#now.removeDirectory(directory);
  }

  list = (directory: string) => this.#now.list(directory);

  async syncDirectory(directory: string): Promise<void> {
    for (const [file, kept] of this.#kept) if (path.dirname(file) === directory) kept.isNamed = true;
  }

  /** In a later turn, as a real file system would. */
  async #mayFail(kind: 'write' | 'sync'): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    const error = this.fail[kind];
    this.fail[kind] = null;
    if (error !== null) throw error;
  }
}
