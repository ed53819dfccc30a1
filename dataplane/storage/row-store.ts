// Rows over LevelDB with a memtable in front (contract.ts, Rows). Owns what is in memory, undo, and
// checkpoints of rows.
//   R1. Reads see memtable, then frozen memtable, then what was fetched. Nothing here reads disk but fetch,
//       scan and getMeta.
//   R2. Fetched rows never hide newer ones: they are dropped if their key changed, or a checkpoint ended, on
//       the way.
//   R3. A checkpoint is one synced LevelDB batch. Until it is known to be written, the frozen rows stay and
//       win.
import assert from 'node:assert/strict';
import type { Range, Row, RowRef, Rows, Table } from './contract.ts';
import { type Fetched, fetchedRow, KeptRows, type KeptRowsOptions } from './kept-rows.ts';
import { KeyHash } from './key-hash.ts';
import { u32be } from './keys.ts';
import type { Level, LevelDb } from './level.ts';
import { type Cell, Memtable, sizeOfRow } from './memtable.ts';
import { openRow, RowEncoder, shownKey } from './row-codec.ts';
import { capture, mergedScan } from './row-scan.ts';
import { RowWindow, type WindowSource } from './window.ts';
import { WindowRegister } from './window-register.ts';

/** A raw row of the store's owner, beside the tables: `key` is its name as in `getMeta`. */
export interface MetaRow {
  readonly key: string;
  /** null deletes it. */
  readonly value: Buffer | null;
}

export interface RowStoreOptions extends KeptRowsOptions {
  readonly level: Level;
  readonly monotonicMs: () => number;
  /** Of the hashes of keys. */
  readonly seed?: number | undefined;
}

const EMPTY = Buffer.alloc(0);
const FETCH_TRIP_ROWS = 512;
/** Rows between two looks at the clock. */
const SLICE_ROWS = 32;
/** No tenant has the number 0. */
const META_PREFIX = `${u32be(0)}\0`;

export class RowStore implements Rows {
  /** Raised by `get` to the batch that wrote what it returned; set back by the shard. */
  newestRead = 0;
  readonly #level: Level;
  readonly #monotonicMs: () => number;
  readonly #hash: KeyHash;
  readonly #kept: KeptRows;
  readonly #registers: (WindowRegister | undefined)[] = new Array(256).fill(undefined);
  readonly #windowSource: WindowSource;
  readonly #walked: boolean[] = new Array(256).fill(false);
  #memtable: Memtable;
  #frozen: Memtable | null = null;
  /** Frozen rows that were read: they go to the cache when the rest goes. */
  #hot = new Set<string>();
  /**
   * What `get` found last: a decision mostly writes the row that it has just read. '': nothing, for the row
   * may have changed.
   */
  #seenKey = '';
  #seenCell: Cell | undefined;
  #isSeenAbsent = false;
  #undo: (() => void)[] | null = null;
  #checkpoints = 0;
  #openBatch = 0;

  constructor(options: RowStoreOptions) {
    this.#level = options.level;
    this.#monotonicMs = options.monotonicMs;
    this.#hash = new KeyHash(options.seed);
    this.#memtable = new Memtable(this.#hash, this.#walked);
    this.#kept = new KeptRows(options, this.#hash);
    this.#windowSource = {
      scan: (table, range) => this.scan(table, range),
      onRollback: (revert) => this.onRollback(revert),
      place: (window, range) => this.#placeWindow(window as RowWindow<unknown>, range),
    };
  }

  /** Called before anything is read or written: nothing was ever written here. */
  declareEmpty(): void {
    this.#kept.declareComplete();
  }

  /** Approximate bytes of rows that the next checkpoint will write. */
  get dirtyBytes(): number {
    return this.#memtable.bytes;
  }

  /** A checkpoint was begun and has not succeeded yet. */
  get isFrozen(): boolean {
    return this.#frozen !== null;
  }

  /**
   * Set by the shard: the batch that the next changes belong to. The one before it may still be on its way.
   */
  get openBatch(): number {
    return this.#openBatch;
  }

  set openBatch(batch: number) {
    this.#openBatch = batch;
    this.#seenKey = '';
    if (this.#undo === null) this.#memtable.purge(batch - 1);
  }

  get isStaging(): boolean {
    return this.#undo !== null;
  }

  get<V>(table: Table<V>, key: string): V | undefined {
    const changed = this.#memtable.cells.get(key);
    const cell = changed ?? this.#getFrozen(table, key);
    let value: V | undefined;
    if (cell === undefined) {
      value = this.#kept.get(table, key);
      if (value === undefined && !this.#kept.has(table, key)) throw notFetched(table, key);
    } else {
      if (cell.batch > this.newestRead) this.newestRead = cell.batch;
      value = cell.value as V | undefined;
    }
    this.#seenKey = key;
    this.#seenCell = changed;
    this.#isSeenAbsent = value === undefined;
    return value;
  }

  isResident(ref: RowRef): boolean {
    if (this.#kept.knowsAll(ref.table)) return true;
    return this.#isChanged(ref.key) || this.#kept.has(ref.table, ref.key);
  }

  put<V>(table: Table<V>, key: string, value: V, isNew = false): void {
    assert(value !== undefined, 'a row has a value');
    this.#set(table, key, value, isNew);
  }

  del(table: Table<unknown>, key: string): void {
    this.#set(table, key, undefined, false);
  }

  onRollback(revert: () => void): void {
    this.#undo?.push(revert);
  }

  begin(): void {
    assert(this.#undo === null, 'transactions do not nest');
    this.#undo = [];
  }

  commit(): void {
    assert(this.#undo !== null, 'commit follows begin');
    this.#undo = null;
  }

  rollback(): void {
    const undo = this.#undo;
    assert(undo !== null, 'rollback follows begin');
    this.#undo = null;
    this.#seenKey = '';
    for (let i = undo.length - 1; i >= 0; i--) undo[i]?.();
  }

  /** Makes rows resident, those that do not exist included. */
  async fetch(refs: readonly RowRef[]): Promise<void> {
    for (;;) {
      const checkpoints = this.#checkpoints;
      const missing = refs.filter((ref) => !this.isResident(ref));
      const fetched: Fetched[] = [];
      for (let from = 0; from < missing.length; from += FETCH_TRIP_ROWS) {
        fetched.push(...(await this.#fetchTrip(missing.slice(from, from + FETCH_TRIP_ROWS))));
      }
      if (checkpoints !== this.#checkpoints) continue; // R2
      this.#kept.turn();
      for (const each of fetched) if (!this.#isChanged(each.key)) this.#kept.keep(each);
      return;
    }
  }

  scan<V>(table: Table<V>, range: Range): Promise<Row<V>[]> {
    if (range.limit <= 0 || range.from >= range.to) return Promise.resolve([]);
    return this.#level.run((db) => {
      const layers = this.#frozen === null ? [this.#memtable] : [this.#memtable, this.#frozen];
      const captured = capture(layers, table, range);
      return mergedScan(db, table, range, captured, this.#level.where);
    });
  }

  window<V>(table: Table<V>, from: string, to: string, size?: number): RowWindow<V> {
    const window = new RowWindow(this.#windowSource, table, { from, to }, size);
    this.#registerOf(table.id).add(window as RowWindow<unknown>);
    return window;
  }

  async getMeta(name: string): Promise<Buffer | undefined> {
    const key = Buffer.from(META_PREFIX + name, 'latin1');
    const [stored] = await this.#level.run((db) => db.getMany([key]));
    return stored && openRow(key, stored, 'meta', this.#level.where);
  }

  /** All raw rows whose name starts with `prefix`, in order of their names. */
  async listMeta(prefix: string): Promise<{ key: string; value: Buffer }[]> {
    const start = META_PREFIX + prefix;
    const range = { gte: Buffer.from(start, 'latin1'), lt: Buffer.from(`${start}\xff`, 'latin1') };
    return this.#level.run(async (db) => {
      const iterator = db.iterator(range);
      const rows: { key: string; value: Buffer }[] = [];
      try {
        for (;;) {
          const entries = await iterator.nextv(FETCH_TRIP_ROWS);
          if (entries.length === 0) return rows;
          for (const [key, stored] of entries) {
            const value = openRow(key, stored, 'meta', this.#level.where);
            rows.push({ key: key.toString('latin1', META_PREFIX.length), value });
          }
        }
      } finally {
        await iterator.close();
      }
    });
  }

  /** Begins a checkpoint: rows changed so far are what `writeFrozen` writes. */
  freeze(): void {
    assert(this.#undo === null, 'no transaction is open at a checkpoint');
    assert(this.#frozen === null, 'one checkpoint at a time; a failed one is written again first');
    this.#frozen = this.#memtable;
    this.#seenKey = '';
    this.#memtable = new Memtable(this.#hash, this.#walked);
    this.#hot = new Set();
  }

  /** Writes the frozen rows and `extra`, all or nothing. May be called again after it rejected. */
  async writeFrozen(
    extra: readonly MetaRow[],
    sliceMs = 2,
    pause: () => Promise<void> = turn,
  ): Promise<void> {
    const frozen = this.#frozen;
    assert(frozen !== null, 'writeFrozen follows freeze');
    await this.#level.demandSpace(frozen.bytes);
    try {
      await this.#level.run((db) => this.#writeBatch(db, frozen, extra, sliceMs, pause));
    } catch (error) {
      // Reads wait until it is open again. If that fails too, each use of it tries.
      await this.#level.reopen().catch(() => undefined);
      throw error;
    }
    this.#checkpoints++;
    this.#frozen = null;
    this.#seenKey = '';
    this.#kept.turn();
    for (const key of this.#hot) {
      const cell = frozen.cells.get(key);
      if (cell !== undefined) this.#kept.keep({ key, cell, bytes: null });
    }
    this.#hot = new Set();
  }

  close(): Promise<void> {
    return this.#level.close();
  }

  #getFrozen(table: Table<unknown>, key: string): Cell | undefined {
    const cell = this.#frozen?.cells.get(key);
    if (cell !== undefined && table.view === undefined) this.#hot.add(key);
    return cell;
  }

  /** What is known below the memtable: there is such a row, or there is none. */
  #below(table: Table<unknown>, key: string): 'row' | 'none' | 'unknown' {
    const frozen = this.#frozen?.cells.get(key);
    if (frozen !== undefined) return frozen.value === undefined ? 'none' : 'row';
    if (!this.#kept.has(table, key)) return 'unknown';
    return this.#kept.isAbsent(table, key) ? 'none' : 'row';
  }

  #set(table: Table<unknown>, key: string, value: unknown, isNew: boolean): void {
    const memtable = this.#memtable;
    const register = this.#registers[table.id];
    const bytes = sizeOfRow(table, key, value);
    const isSeen = key === this.#seenKey;
    this.#seenKey = '';
    let cell = isSeen ? this.#seenCell : memtable.cells.get(key);
    if (this.#undo !== null) this.#noteUndo(this.#undo, key, cell, register);
    if (cell === undefined) {
      const below = isSeen ? (this.#isSeenAbsent ? 'none' : 'row') : this.#below(table, key);
      assert(!isNew || below !== 'row', `a row of ${table.name} is new, but it is there`);
      cell = { value, table, batch: this.#openBatch, bytes, isBorn: isNew || below === 'none' };
      memtable.add(key, cell);
    } else {
      assert(!isNew || cell.value === undefined, `a row of ${table.name} is new, but it is there`);
      cell.value = value;
      cell.batch = this.#openBatch;
      memtable.bytes += bytes - cell.bytes;
      cell.bytes = bytes;
    }
    if (value === undefined && cell.isBorn) memtable.noteDead(key, this.#openBatch);
    register?.set(key, value);
  }

  #noteUndo(undo: (() => void)[], key: string, cell: Cell | undefined, register: WindowRegister | undefined) {
    const memtable = this.#memtable;
    undo.push(() => {
      const added = memtable.cells.get(key);
      if (cell === undefined && added !== undefined) memtable.forget(key, added);
    });
    if (cell !== undefined) {
      const before = { ...cell };
      undo.push(() => Object.assign(cell, before));
    }
    register?.noteUndo(key, undo);
  }

  async #fetchTrip(refs: readonly RowRef[]): Promise<Fetched[]> {
    const keys = refs.map((ref) => Buffer.from(ref.key, 'latin1'));
    const stored = await this.#level.run((db) => db.getMany(keys));
    return refs.map((ref, i) => fetchedRow(ref, keys[i] ?? EMPTY, stored[i], this.#level.where));
  }

  #isChanged(key: string): boolean {
    return this.#memtable.cells.has(key) || this.#frozen?.cells.has(key) === true;
  }

  async #writeBatch(
    db: LevelDb,
    frozen: Memtable,
    extra: readonly MetaRow[],
    sliceMs: number,
    pause: () => Promise<void>,
  ): Promise<void> {
    const batch = db.batch();
    const encoder = new RowEncoder(this.#level.keepsBuffers);
    let sliceEndMs = this.#monotonicMs() + sliceMs;
    let count = 0;
    for (const [key, { table, value, isBorn }] of frozen.cells) {
      let stored: Buffer | undefined;
      if (value !== undefined) {
        const row = encoder.row(table, key, value);
        batch.put(row.key, row.value);
        stored = row.value;
      } else if (!isBorn) batch.del(encoder.key(key));
      this.#kept.written(table, key, stored);
      if (++count % SLICE_ROWS !== 0 || this.#monotonicMs() < sliceEndMs) continue;
      this.#kept.slice();
      await pause();
      sliceEndMs = this.#monotonicMs() + sliceMs;
    }
    for (const { key, value } of extra) {
      if (value === null) {
        batch.del(encoder.key(META_PREFIX + key));
        continue;
      }
      const row = encoder.raw(META_PREFIX + key, value);
      batch.put(row.key, row.value);
    }
    await batch.write({ sync: true });
  }

  #registerOf(tableId: number): WindowRegister {
    const register = this.#registers[tableId] ?? new WindowRegister();
    this.#registers[tableId] = register;
    return register;
  }

  #placeWindow(window: RowWindow<unknown>, range: { from: string; to: string } | undefined): void {
    const register = this.#registerOf(window.table.id);
    register.remove(window);
    if (range === undefined) return;
    window.from = range.from;
    window.to = range.to;
    register.add(window);
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

const notFetched = (table: Table<unknown>, key: string) =>
  new Error(`${nameOf(table, key)} is read but was not fetched: add it to reads()`);

const nameOf = (table: Table<unknown> | { name: string }, key: string) =>
  `row ${shownKey(Buffer.from(key, 'latin1'))} of ${table.name}`;
