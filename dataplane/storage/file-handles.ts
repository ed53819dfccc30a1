// Open files, at most HANDLES_MAX of them plus those in use: there may be a segment for each of 10,000
// queues.
import type { LogFile, LogFiles } from './log-files.ts';

const HANDLES_MAX = 128;

interface Handle {
  readonly file: Promise<LogFile>;
  users: number;
}

export class FileHandles {
  readonly #files: LogFiles;
  /** Least recently used first. */
  readonly #handles = new Map<string, Handle>();

  constructor(files: LogFiles) {
    this.#files = files;
  }

  async use<T>(path: string, mode: 'existing' | 'create', run: (file: LogFile) => Promise<T>): Promise<T> {
    const handle = this.#handles.get(path) ?? { file: this.#files.open(path, mode), users: 0 };
    handle.users++;
    this.#handles.delete(path);
    this.#handles.set(path, handle);
    try {
      return await run(await handle.file.catch((error) => this.#forgetFailed(path, handle, error)));
    } finally {
      handle.users--;
      if (this.#handles.get(path) !== handle && handle.users === 0) await closeFile(handle);
      await this.#closeIdle();
    }
  }

  /** Closes the file, if it is open, once nobody uses it. */
  async close(path: string): Promise<void> {
    const handle = this.#handles.get(path);
    if (handle === undefined) return;
    this.#handles.delete(path);
    if (handle.users === 0) await closeFile(handle);
  }

  async closeAll(): Promise<void> {
    for (const path of [...this.#handles.keys()]) await this.close(path);
  }

  async #closeIdle(): Promise<void> {
    if (this.#handles.size <= HANDLES_MAX) return;
    for (const [path, handle] of [...this.#handles]) {
      if (handle.users === 0) await this.close(path);
      if (this.#handles.size <= HANDLES_MAX) return;
    }
  }

  /** The next use tries again to open it. */
  #forgetFailed(path: string, handle: Handle, error: unknown): never {
    if (this.#handles.get(path) === handle) this.#handles.delete(path);
    throw error;
  }
}

async function closeFile(handle: Handle): Promise<void> {
  const file = await handle.file.catch(() => undefined);
  await file?.close();
}
