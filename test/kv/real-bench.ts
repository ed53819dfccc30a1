// The kv view on real shards: files, LevelDB, journal, group commit; only the clock is set by hand. A restart
// opens a copy of the files as they are at that moment, as after a crash.
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKvService, type KeyValues } from '../../dataplane/kv/service.ts';
import * as tables from '../../dataplane/kv/tables.ts';
import { createKvView, type KvView } from '../../dataplane/kv/view.ts';
import type { Runtime } from '../../dataplane/runtime.ts';
import { type OpenedShard, openShard, type StorageOptions } from '../../dataplane/shard/open-shard.ts';
import { ByteWriter } from '../../dataplane/storage/bytes.ts';
import type { Table } from '../../dataplane/storage/contract.ts';
import { after } from '../../dataplane/storage/keys.ts';
import { Asking } from './support.ts';

const { META, FIELD, ELEMENT, SCORE, ORDER, EXPIRY, GARBAGE } = tables;
const TABLES: Table<unknown>[] = [META, FIELD, ELEMENT, SCORE, ORDER, EXPIRY, GARBAGE];
const TENANT = 1;

export async function openRealBench(shards: number, storage?: StorageOptions): Promise<RealBench> {
  const bench = new RealBench(shards, await mkdtemp(join(tmpdir(), 'flowmesh-kv-')), storage);
  await bench.open();
  return bench;
}

export class RealBench extends Asking {
  readonly size: number;
  readonly #root: string;
  readonly #storage: StorageOptions | undefined;
  #life = 0;
  #opened: OpenedShard[] = [];
  readonly #timers = new Map<() => void, number>();

  constructor(shards: number, root: string, storage?: StorageOptions) {
    super();
    this.#storage = storage;
    this.size = shards;
    this.#root = root;
  }

  get #runtime(): Runtime {
    return {
      wallMs: () => this.clock.nowMs,
      monotonicMs: () => this.clock.nowMs,
      random: () => 0.5,
      after: (ms, run) => {
        this.#timers.set(run, this.clock.nowMs + ms);
        return () => void this.#timers.delete(run);
      },
      soon: (run) => void setImmediate(run),
    };
  }

  async open(): Promise<void> {
    for (let id = 0; id < this.size; id++) {
      const options = {
        id,
        shards: this.size,
        dir: join(this.#root, `${this.#life}`, `${id}`),
        runtime: this.#runtime,
        factories: [createKvView],
        log: () => {},
        storage: this.#storage,
        onFatal: (error: Error) => {
          throw error;
        },
        onState: () => {},
      };
      this.#opened.push(await openShard(options));
    }
  }

  override get service(): KeyValues {
    return createKvService({
      shards: this.#opened.map(({ shard }) => shard),
      rows: this.#opened.map(({ rows }) => rows),
      views: this.#opened.map(({ views }) => views[0] as KvView),
      runtime: this.#runtime,
    });
  }

  advance(ms: number): void {
    this.clock.nowMs += ms;
    for (const [run, atMs] of this.#timers) {
      if (atMs > this.clock.nowMs) continue;
      this.#timers.delete(run);
      run();
    }
  }

  tick(): void {
    for (const { shard } of this.#opened) shard.wake();
  }

  async idle(): Promise<void> {
    for (let turn = 0; turn < 1000; turn++) {
      this.tick();
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(this.#opened.map(({ shard }) => shard.settled()));
      if (await this.#isIdle()) return;
    }
    throw new Error('the sweeper does not come to an end');
  }

  async #isIdle(): Promise<boolean> {
    for (const { views, rows } of this.#opened) {
      if (((views[0] as KvView).wakeAtMs() ?? 0) <= this.clock.nowMs) return false;
      const from = tables.tablePrefix(TENANT, GARBAGE);
      if ((await rows.scan(GARBAGE, { from, to: after(from), limit: 1 })).length > 0) return false;
    }
    return true;
  }

  /** Opened anew by a restart. */
  get shards(): readonly OpenedShard[] {
    return this.#opened;
  }

  async checkpoint(): Promise<void> {
    for (const { shard, checkpoints } of this.#opened) {
      await this.#quiet();
      const at = { seq: shard.durableSeq, timeMs: shard.nowMs() };
      await checkpoints.run(at, () => Promise.resolve());
    }
  }

  /** Nothing in the open batch, nothing on its way. */
  async #quiet(): Promise<void> {
    for (let calm = 0; calm < 3; calm++) {
      const before = this.#opened.map(({ shard }) => shard.durableSeq).join();
      await Promise.all(this.#opened.map(({ shard }) => shard.settled()));
      await new Promise((resolve) => setImmediate(resolve));
      if (before !== this.#opened.map(({ shard }) => shard.durableSeq).join()) calm = -1;
    }
  }

  async restart(): Promise<void> {
    await this.#quiet();
    const from = join(this.#root, `${this.#life}`);
    this.#life++;
    await snapshot(from, join(this.#root, `${this.#life}`));
    await this.#closeAll();
    await rm(from, { recursive: true });
    await this.open();
  }

  /** When all is swept: on real files a sweep goes on when it likes, between one dump and the next. */
  async dump(): Promise<unknown> {
    await this.idle();
    return Promise.all(
      this.#opened.map(({ rows }) => Promise.all(TABLES.map((table) => rowsOf(rows, table)))),
    );
  }

  async remains(): Promise<Record<number, number>[]> {
    const counts = this.#opened.map(async ({ rows }) => {
      const lists = await Promise.all(TABLES.map((table) => rowsOf(rows, table)));
      return Object.fromEntries(
        lists.flatMap((list, i) => (list.length > 0 ? [[TABLES[i]?.id, list.length]] : [])),
      );
    });
    return Promise.all(counts);
  }

  async #closeAll(): Promise<void> {
    for (const opened of this.#opened) await opened.close();
    this.#opened = [];
    this.#timers.clear();
  }

  async close(): Promise<void> {
    await this.#closeAll();
    await rm(this.#root, { recursive: true });
  }
}

/** The journal prepares segments and LevelDB compacts when they like: a file may go while it is copied. */
async function snapshot(from: string, to: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await cp(from, to, { recursive: true, filter: (path) => !path.endsWith('.tmp') });
      return;
    } catch (error) {
      if (attempt === 20 || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await rm(to, { recursive: true, force: true });
    }
  }
}

async function rowsOf(rows: OpenedShard['rows'], table: Table<unknown>): Promise<[string, string][]> {
  const from = tables.tablePrefix(TENANT, table);
  const found = await rows.scan(table, { from, to: after(from), limit: 10_000 });
  return found.map(({ key, value }) => {
    const writer = new ByteWriter();
    table.encode(value, writer);
    return [Buffer.from(key, 'latin1').toString('hex'), writer.copy().toString('hex')];
  });
}
