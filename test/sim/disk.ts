// The file system of a simulated machine: files with unsynced bytes, directories with unsynced names, every
// operation takes its time and may fail.
//   D1. A power loss keeps what was synced; of the rest any sectors, and in each directory the changes of
//       names up to any one of them.
//   D2. A process that is gone never hears of the disk again; what it had begun may be done in part.
import type { JournalFile, JournalFiles } from '../../dataplane/journal/files.ts';
import type { LogFile, LogFiles } from '../../dataplane/storage/log-files.ts';
import type { Chance } from './chance.ts';
import { Inode, SECTOR_BYTES } from './inode.ts';
import type { World } from './world.ts';

export type Kind = 'open' | 'read' | 'write' | 'sync' | 'names' | 'rows-read' | 'rows-write';

type Node = Inode | Directory;

/** What an operation leaves that does not come to its end. */
interface Left {
  /** The process ended before it. */
  onEnd(): void;
  onError(): void;
}

class Directory {
  live = new Map<string, Node>();
  #durable = new Map<string, Node>();
  /** Since the last sync; each happens as a whole. */
  #changes: (readonly (readonly [string, Node | undefined])[])[] = [];
  /** So many were ever made. */
  #changed = 0;

  change(...names: (readonly [string, Node | undefined])[]): void {
    apply(this.live, names);
    this.#changes.push(names);
    this.#changed++;
  }

  /** Makes durable what was changed before it began. */
  beginSync(): () => void {
    const upTo = this.#changed;
    return () => {
      const count = upTo - (this.#changed - this.#changes.length);
      for (const change of this.#changes.splice(0, Math.max(0, count))) apply(this.#durable, change);
    };
  }

  settle(chance: Chance, survival: number): void {
    const kept = Math.round(this.#changes.length * survival * chance.next());
    for (const change of this.#changes.slice(0, kept)) apply(this.#durable, change);
    this.#changes = [];
    this.live = new Map(this.#durable);
    for (const node of this.live.values()) {
      if (node instanceof Directory) node.settle(chance, survival);
      else node.settle(() => chance.hit(survival));
    }
  }

  get bytes(): number {
    let sum = 0;
    for (const node of this.live.values()) sum += node instanceof Directory ? node.bytes : node.size;
    return sum;
  }
}

function apply(names: Map<string, Node>, change: readonly (readonly [string, Node | undefined])[]): void {
  for (const [name, node] of change) {
    if (node === undefined) names.delete(name);
    else names.set(name, node);
  }
}

export class SimDisk {
  readonly world: World;
  readonly chance: Chance;
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Times as slow as usual. */
  slowness = 1;
  /** Asked once for each operation: whether it fails. */
  fails: (kind: Kind, path: string) => boolean = () => false;
  readonly counts: Record<Kind, number> = {
    open: 0,
    read: 0,
    write: 0,
    sync: 0,
    names: 0,
    'rows-read': 0,
    'rows-write': 0,
  };
  #root = new Directory();
  #life = 0;
  readonly #underWay = new Set<Partial<Left>>();

  constructor(world: World, chance: Chance) {
    this.world = world;
    this.chance = chance;
  }

  get life(): number {
    return this.#life;
  }

  get usedBytes(): number {
    return this.#root.bytes;
  }

  get freeBytes(): number {
    return Number.isFinite(this.capacityBytes) ? this.capacityBytes - this.#root.bytes : 2 ** 50;
  }

  /** The process ends. */
  kill(): void {
    this.#life++;
    const ended = [...this.#underWay];
    this.#underWay.clear();
    for (const left of ended) left.onEnd?.();
  }

  /** The machine loses power; `survival`: share of what was not synced that is there all the same. */
  losePower(survival: number): void {
    this.kill();
    this.#root.settle(this.chance, survival);
  }

  /** Runs an operation of this life: later, and perhaps not at all. `left`: what becomes of it then. */
  async run<T>(kind: Kind, path: string, act: () => T, left: Partial<Left> = {}): Promise<T> {
    const life = this.#life;
    this.counts[kind]++;
    this.#underWay.add(left);
    await this.world.sleep(this.#latencyMs(kind));
    this.#underWay.delete(left);
    if (life !== this.#life) return new Promise(() => {});
    if (this.fails(kind, path)) {
      this.world.note(`disk ${kind} ${path} fails`);
      left.onError?.();
      throw ioError('EIO');
    }
    return act();
  }

  #latencyMs(kind: Kind): number {
    const base = kind === 'sync' || kind === 'rows-write' ? 0.4 : kind === 'names' ? 0.1 : 0.03;
    // Now and then one takes far longer than the others.
    const outlier = this.chance.hit(0.02) ? this.chance.int(5, 50) : 1;
    return base * (0.5 + this.chance.next()) * this.slowness * outlier;
  }

  /** Only some of the sectors of a write. */
  #someSectors(inode: Inode, bytes: Uint8Array, position: number): void {
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + SECTOR_BYTES - ((position + from) % SECTOR_BYTES));
      if (this.chance.hit(0.5)) inode.write(bytes.subarray(from, to), position + from);
      from = to;
    }
  }

  file(path: string, inode: Inode): JournalFile & LogFile {
    return {
      write: (pieces, position) => {
        const bytes = Buffer.concat(pieces);
        const act = () => {
          const grows = position + bytes.length - inode.size;
          if (grows > 0 && grows > this.freeBytes) throw ioError('ENOSPC');
          inode.write(bytes, position);
        };
        const some = () => {
          if (this.chance.hit(0.5)) this.#someSectors(inode, bytes, position);
        };
        return this.run('write', path, act, { onEnd: some, onError: some });
      },
      read: (into, position) => this.run('read', path, () => inode.read(into, position)),
      sync: () => {
        const syncing = inode.beginSync();
        const left = { onEnd: () => syncing.abandon(), onError: () => syncing.fail() };
        return this.run('sync', path, () => syncing.finish(), left);
      },
      truncate: (bytes) => this.run('write', path, () => inode.truncate(bytes)),
      size: () => this.run('read', path, () => inode.size),
      close: () => Promise.resolve(),
    };
  }

  /** Synchronous: the caller has waited its time. */
  directory(path: string, make: boolean): Directory {
    let at = this.#root;
    for (const name of path.split('/').filter((each) => each !== '')) {
      let next = at.live.get(name);
      if (next === undefined && make) {
        next = new Directory();
        at.change([name, next]);
      }
      if (!(next instanceof Directory)) throw ioError('ENOENT');
      at = next;
    }
    return at;
  }

  inode(path: string, make = false): Inode {
    const directory = this.directory(parentOf(path), make);
    const known = directory.live.get(nameOf(path));
    if (known instanceof Inode) return known;
    if (!make) throw ioError('ENOENT');
    const made = new Inode();
    directory.change([nameOf(path), made]);
    return made;
  }

  names(path: string, run: (directory: Directory) => void, make = false): Promise<void> {
    return this.run('names', path, () => run(this.directory(path, make)));
  }

  get journal(): JournalFiles {
    return {
      open: (path, mode) =>
        this.run('open', path, () => {
          if (mode !== 'create') return this.file(path, this.inode(path));
          const inode = new Inode();
          this.directory(parentOf(path), false).change([nameOf(path), inode]);
          return this.file(path, inode);
        }),
      rename: (from, to) =>
        this.names(parentOf(from), (directory) =>
          directory.change([nameOf(from), undefined], [nameOf(to), this.inode(from)]),
        ),
      unlink: (path) => this.#unlink(path),
      list: (path) => this.#list(path),
      syncDirectory: (path) => this.#syncDirectory(path),
      freeBytes: () => this.run('read', 'statfs', () => this.freeBytes),
    };
  }

  get logs(): LogFiles {
    return {
      open: (path, mode) =>
        this.run('open', path, () => this.file(path, this.inode(path, mode === 'create'))),
      unlink: (path) => this.#unlink(path),
      removeDirectory: (path) =>
        this.run('names', path, () => {
          const parent = this.directory(parentOf(path), true);
          if (parent.live.has(nameOf(path))) parent.change([nameOf(path), undefined]);
        }),
      list: (path) => this.#list(path),
      syncDirectory: (path) => this.#syncDirectory(path),
    };
  }

  #unlink(path: string): Promise<void> {
    return this.names(parentOf(path), (directory) => directory.change([nameOf(path), undefined]));
  }

  /** Makes it, and syncs its name, as the real ones do. */
  #list(path: string): Promise<string[]> {
    return this.run('names', path, () => {
      const names = [...this.directory(path, true).live.keys()];
      for (let at = path; at !== ''; at = parentOf(at)) this.directory(parentOf(at), true).beginSync()();
      return names;
    });
  }

  #syncDirectory(path: string): Promise<void> {
    let finish = () => {};
    try {
      finish = this.directory(path, false).beginSync();
    } catch {}
    return this.run('sync', path, () => finish());
  }
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const ioError = (code: string): Error =>
  Object.assign(new Error(code === 'ENOSPC' ? 'No space left on device' : `${code}: planted`), { code });
