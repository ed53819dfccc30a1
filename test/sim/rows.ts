// The database below the rows of a simulated machine: what LevelDB promises, and no more.
//   L1. A synced batch is durable as a whole once its write has resolved; before that, all or nothing of it.
//   L2. Batches that were not synced are lost from some point on at a power loss.
//   L3. After a failed write all others are refused until it is opened again, and then the failed one is
//       there, or it is not.
import type { LevelBatch, LevelDb, LevelIterator, LevelRange } from '../../dataplane/storage/level.ts';
import { ioError, type SimDisk } from './disk.ts';

type Change = readonly [string, Buffer | undefined];

/** What lies on the disk between two lives. */
export class StoredRows {
  /** By key as latin1. */
  live = new Map<string, Buffer>();
  #unsynced: Change[][] = [];
  #durable = new Map<string, Buffer>();

  write(changes: Change[], isSynced: boolean): void {
    change(this.live, changes);
    this.#unsynced.push(changes);
    if (!isSynced) return;
    for (const each of this.#unsynced) change(this.#durable, each);
    this.#unsynced = [];
  }

  losePower(random: () => number): void {
    const kept = Math.floor(random() * (this.#unsynced.length + 1));
    for (const each of this.#unsynced.slice(0, kept)) change(this.#durable, each);
    this.#unsynced = [];
    this.live = new Map(this.#durable);
  }
}

function change(rows: Map<string, Buffer>, changes: readonly Change[]): void {
  for (const [key, value] of changes) {
    if (value === undefined) rows.delete(key);
    else rows.set(key, value);
  }
}

export class SimRows implements LevelDb {
  status = 'closed';
  readonly #disk: SimDisk;
  readonly #stored: StoredRows;
  readonly #path: string;
  #doubtful: Change[] | undefined;
  #opens = 0;

  constructor(disk: SimDisk, stored: StoredRows, path: string) {
    this.#disk = disk;
    this.#stored = stored;
    this.#path = path;
  }

  async open(): Promise<void> {
    await this.#disk.run('rows-read', this.#path, () => {
      if (this.#doubtful !== undefined && this.#disk.chance.hit(0.5))
        this.#stored.write(this.#doubtful, true);
      this.#doubtful = undefined;
      this.#opens++;
      this.status = 'open';
    });
  }

  async close(): Promise<void> {
    this.status = 'closed';
  }

  async getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    const check = this.#use('LEVEL_DATABASE_NOT_OPEN');
    const found = keys.map((key) => this.#stored.live.get(key.toString('latin1')));
    return this.#disk.run('rows-read', this.#path, () => {
      check();
      return found.map((value) => value && Buffer.from(value));
    });
  }

  batch(): LevelBatch {
    const check = this.#use('LEVEL_BATCH_NOT_OPEN');
    const changes: Change[] = [];
    return {
      // Copied at once: the caller uses its memory again.
      put: (key, value) => changes.push([key.toString('latin1'), Buffer.from(value)]),
      del: (key) => changes.push([key.toString('latin1'), undefined]),
      close: () => Promise.resolve(),
      write: async ({ sync }) => {
        check();
        if (this.#doubtful !== undefined) throw new Error('refused: a write before has failed');
        const bytes = changes.reduce((sum, [key, value]) => sum + key.length + (value?.length ?? 0), 0);
        // Of a process that ends now, the batch may be in the file, and of a power loss not.
        const onEnd = () => {
          if (this.#disk.chance.hit(0.5)) this.#stored.write(changes, this.#disk.chance.hit(0.5));
        };
        const act = () => {
          check();
          if (bytes > this.#disk.freeBytes) throw ioError('ENOSPC');
          this.#stored.write(changes, sync);
        };
        await this.#disk.run('rows-write', this.#path, act, { onEnd }).catch((error) => {
          if (this.status === 'open') this.#doubtful = changes;
          throw error;
        });
      },
    };
  }

  iterator({ gte, lt, lte, reverse = false, limit = -1 }: LevelRange): LevelIterator {
    const check = this.#use('LEVEL_ITERATOR_NOT_OPEN');
    const [from, to, last] = [gte, lt, lte].map((key) => key?.toString('latin1'));
    let keys = [...this.#stored.live.keys()].filter(
      (key) =>
        (from === undefined || key >= from) &&
        (to === undefined || key < to) &&
        (last === undefined || key <= last),
    );
    keys.sort();
    if (reverse) keys.reverse();
    if (limit >= 0) keys = keys.slice(0, limit);
    const rows = keys.map((key): [Buffer, Buffer] => [
      Buffer.from(key, 'latin1'),
      this.#stored.live.get(key) as Buffer,
    ]);
    return {
      nextv: (size) =>
        this.#disk.run('rows-read', this.#path, () => {
          check();
          return rows.splice(0, size);
        }),
      close: () => Promise.resolve(),
    };
  }

  /** Whatever began before it was closed fails, also when it is open again. */
  #use(code: string): () => void {
    const opens = this.#opens;
    const check = () => {
      if (this.status !== 'open' || opens !== this.#opens) throw Object.assign(new Error(code), { code });
    };
    check();
    return check;
  }
}
