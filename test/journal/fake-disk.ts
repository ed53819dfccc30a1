// A disk in memory that knows what was synced, for tests of what crashes and failures leave behind.
//
//   D1. A power loss keeps what was synced; of the rest any sectors, and the changes of names up to any one.
//   D2. After a failed sync the pages count as clean: they can be read, but no later sync puts them on disk.
//   D3. Who used the disk before a crash never hears from it again.
import type { JournalFile, JournalFiles } from '../../dataplane/journal/files.ts';

export const SECTOR_BYTES = 512;

interface Inode {
  /** What is read. */
  live: Buffer;
  /** What a power loss leaves. */
  durable: Buffer;
  dirty: Set<number>;
}

export type Operation = 'open' | 'write' | 'read' | 'sync' | 'rename' | 'unlink' | 'syncDirectory';

export class FakeDisk implements JournalFiles {
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Throws to fail the operation; called before it is done. */
  before: (operation: Operation, path: string) => void = () => {};
  /** Plants a bug: these syncs do nothing and say that all is well. */
  ignores: (operation: Operation, path: string) => boolean = () => false;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  /** Names after each change since the directory was synced. */
  #changes: Map<string, Inode>[] = [];
  #life = 0;
  /** Operations until the power goes. */
  #fuse = Number.POSITIVE_INFINITY;
  #onDark: () => void = () => {};

  /** Resolves when the power has gone, in the middle of the operation after `operations` more. */
  powerLossAfter(operations: number): Promise<void> {
    this.#fuse = operations;
    return new Promise((resolve) => {
      this.#onDark = resolve;
    });
  }

  /** The process is gone, the machine goes on: everything written is there to be read. */
  kill(): void {
    this.#life++;
    this.#fuse = Number.POSITIVE_INFINITY;
  }

  /** `survival`: share of the unsynced sectors that are on disk all the same. */
  losePower(random: () => number, survival: number): void {
    this.kill();
    const kept = Math.round(this.#changes.length * survival * random());
    this.#names = this.#changes[kept - 1] ?? this.#durableNames;
    for (const inode of this.#names.values()) {
      settle(inode, () => random() < survival);
      inode.live = Buffer.from(inode.durable);
    }
    this.#syncNames();
  }

  /** The bytes of a file as they are read; changing them is damage. */
  bytes(path: string): Buffer {
    return this.#inode(path).live;
  }

  replace(path: string, bytes: Buffer): void {
    this.#names.set(path, { live: bytes, durable: bytes, dirty: new Set() });
    this.#syncNames();
  }

  remove(path: string): void {
    this.#names.delete(path);
    this.#syncNames();
  }

  /** A machine of its own with the same files, all of them on disk. */
  copy(): FakeDisk {
    const disk = new FakeDisk();
    for (const [path, { live }] of this.#names) disk.replace(path, Buffer.from(live));
    return disk;
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  open(path: string, mode: 'read' | 'write' | 'create'): Promise<JournalFile> {
    return this.#run('open', path, () => {
      if (mode === 'create') {
        this.#names.set(path, { live: Buffer.of(), durable: Buffer.of(), dirty: new Set() });
        this.#changed();
      }
      return this.#file(path, this.#inode(path));
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', from, () => {
      this.#names.set(to, this.#inode(from));
      this.#names.delete(from);
      this.#changed();
    });
  }

  unlink(path: string): Promise<void> {
    return this.#run('unlink', path, () => {
      this.#inode(path);
      this.#names.delete(path);
      this.#changed();
    });
  }

  list(directory: string): Promise<string[]> {
    const names = [...this.#names.keys()].map((path) => path.slice(directory.length + 1));
    return Promise.resolve(names);
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#run('syncDirectory', directory, () => {
      if (!this.ignores('syncDirectory', directory)) this.#syncNames();
    });
  }

  freeBytes(): Promise<number> {
    const used = [...this.#names.values()].reduce((sum, { live }) => sum + live.length, 0);
    return Promise.resolve(this.capacityBytes - used);
  }

  #file(path: string, inode: Inode): JournalFile {
    return {
      write: (pieces, position) => {
        const bytes = Buffer.concat(pieces);
        const grown = position + bytes.length - inode.live.length;
        return this.#run(
          'write',
          path,
          async () => {
            if (grown > 0 && grown > (await this.freeBytes())) throw ioError('ENOSPC');
            put(inode, bytes, position);
          },
          () => put(inode, bytes, position),
        );
      },
      read: (into, position) => this.#run('read', path, () => inode.live.copy(into, 0, position)),
      sync: () =>
        this.#run('sync', path, () => {
          if (!this.ignores('sync', path)) settle(inode, () => true);
        }).catch((error: unknown) => {
          inode.dirty.clear();
          throw error;
        }),
      size: () => this.#run('read', path, () => inode.live.length),
      close: () => Promise.resolve(),
    };
  }

  async #run<T>(
    operation: Operation,
    path: string,
    act: () => T | Promise<T>,
    torn?: () => void,
  ): Promise<T> {
    const life = this.#life;
    // A real operation takes more than one turn, in which others go on.
    await new Promise((resolve) => setImmediate(resolve));
    if (life === this.#life && this.#fuse-- > 0) {
      this.before(operation, path);
      const result = await act();
      if (life === this.#life) return result;
    } else if (life === this.#life && this.#fuse === -1) {
      torn?.();
      this.#onDark();
    }
    return new Promise(() => {});
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw ioError('ENOENT');
    return inode;
  }

  #changed(): void {
    this.#changes.push(new Map(this.#names));
  }

  #syncNames(): void {
    this.#durableNames = new Map(this.#names);
    this.#changes = [];
  }
}

export function ioError(code: string): Error {
  return Object.assign(new Error(`${code}: planted`), { code });
}

function put(inode: Inode, bytes: Buffer, position: number): void {
  const live = Buffer.alloc(Math.max(inode.live.length, position + bytes.length));
  inode.live.copy(live);
  bytes.copy(live, position);
  // A file that grows is dirty from its old end on.
  const from = Math.min(position, inode.live.length);
  for (let at = from - (from % SECTOR_BYTES); at < position + bytes.length; at += SECTOR_BYTES)
    inode.dirty.add(at);
  inode.live = live;
}

/** Puts the dirty sectors that `survives` chooses on disk, and forgets the others. */
function settle(inode: Inode, survives: () => boolean): void {
  const surviving = [...inode.dirty].filter(survives);
  inode.dirty.clear();
  const end = Math.min(inode.live.length, Math.max(0, ...surviving) + SECTOR_BYTES);
  const durable = Buffer.alloc(
    surviving.length > 0 ? Math.max(inode.durable.length, end) : inode.durable.length,
  );
  inode.durable.copy(durable);
  for (const at of surviving) inode.live.copy(durable, at, at, at + SECTOR_BYTES);
  inode.durable = durable;
}
