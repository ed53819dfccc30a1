// Rows over LevelDB with a memtable in front (contract.ts, Rows). Owns what is in memory, undo, and
// checkpoints of rows.
//   R1. Reads see memtable, then frozen memtable, then what was fetched. Nothing here reads disk but fetch,
//       scan and getMeta.
//   R2. Fetched rows never hide newer ones: they are dropped if their key changed, or a checkpoint ended, on
//       the way.
//   R3. A checkpoint is one synced LevelDB batch. Until it is known to be written, the frozen rows stay and
//       win.
//   R4. Behind a fetch all rows that it was asked for are there, also those that were there before it.
import assert from 'node:assert/strict';
import type { ByteReader } from './bytes.ts';
import type { Range, Row, RowRef, Rows, Table } from './contract.ts';
import { type Fetched, fetchedRow, KeptRows, type KeptRowsOptions } from './kept-rows.ts';
import { KeyHash } from './key-hash.ts';
import type { Level } from './level.ts';
import { type Cell, Memtable, sizeOfRow } from './memtable.ts';
import { META_PREFIX, type MetaRow, writeRows } from './row-batch.ts';
import { openRow, shownKey } from './row-codec.ts';
import { capture, type Layer, mergedScan } from './row-scan.ts';
import { RowWindow, type WindowSource } from './window.ts';
import { WindowRegister } from './window-register.ts';

export interface RowStoreOptions extends KeptRowsOptions {
  readonly level: Level;
  readonly monotonicMs: () => number;
  /** Of the hashes of keys. */
  readonly seed?: number | undefined;
}

const EMPTY = Buffer.alloc(0);
const FETCH_TRIP_ROWS = 512;

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
    this.#kept.packed.declareComplete();
  }

  /** Approximate bytes of rows that the next checkpoint will write. */
  get dirtyBytes(): number {
    return this.#memtable.bytes + this.packedBytes;
  }

  /** Those of packed tables among them (packed-rows.ts). */
  get packedBytes(): number {
    return this.#kept.packed.changedBytes;
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
    this.#kept.packed.batch = batch;
    this.#seenKey = '';
    if (this.#undo === null) this.#memtable.purge(batch - 1);
  }

  get isStaging(): boolean {
    return this.#undo !== null;
  }

  get<V>(table: Table<V>, key: string): V | undefined {
    if (table.view !== undefined) return this.#getPacked(table, key, table.view);
    const changed = this.#memtable.cells.get(key);
    const cell = changed ?? this.#getFrozen(key);
    let value: V | undefined;
    if (cell === undefined) {
      value = this.#kept.get(key)?.value as V | undefined;
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
    const isChanged = ref.table.view === undefined && this.#isChanged(ref.key);
    return isChanged || this.#kept.has(ref.table, ref.key);
  }

  expect(refs: readonly RowRef[]): void {
    if (refs.length > 1 && refs[0]?.table.view !== undefined) this.#kept.packed.expect(refs);
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
    // What makes room for some of them, here or in another fetch, may take others away (R4). It is done once:
    // of more than there is room for, each round would take away what the one before it had fetched.
    for (let hasRoom = false; ; ) {
      const checkpoints = this.#checkpoints;
      const missing = refs.filter((ref) => !this.#holds(ref));
      if (missing.length === 0) return;
      const fetched: Fetched[] = [];
      for (let from = 0; from < missing.length; from += FETCH_TRIP_ROWS) {
        fetched.push(...(await this.#fetchTrip(missing.slice(from, from + FETCH_TRIP_ROWS))));
      }
      if (checkpoints !== this.#checkpoints) continue; // R2
      if (!hasRoom) this.#kept.turn();
      hasRoom = true;
      for (const each of fetched)
        if (each.cell === undefined || !this.#isChanged(each.key)) this.#kept.keep(each);
    }
  }

  /** It is resident, and now among the last to go. */
  #holds(ref: RowRef): boolean {
    if (!this.isResident(ref)) return false;
    if (ref.table.view === undefined) this.#kept.get(ref.key);
    return true;
  }

  scan<V>(table: Table<V>, range: Range): Promise<Row<V>[]> {
    if (range.limit <= 0 || range.from >= range.to) return Promise.resolve([]);
    return this.#level.run((db) => {
      const captured = capture(this.#layersOf(table), table, range);
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
    this.#kept.packed.freeze();
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
    await this.#level.demandSpace(frozen.bytes + this.#kept.packed.frozenBytes);
    try {
      const { keepsBuffers } = this.#level;
      const parts = { memtable: frozen, kept: this.#kept, extra };
      const slices = { sliceMs, monotonicMs: this.#monotonicMs, pause };
      await this.#level.run((db) => writeRows({ db, keepsBuffers }, parts, slices));
    } catch (error) {
      // Reads wait until it is open again. If that fails too, each use of it tries.
      await this.#level.reopen().catch(() => undefined);
      throw error;
    }
    this.#checkpoints++;
    this.#frozen = null;
    this.#seenKey = '';
    this.#kept.packed.written();
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

  #getPacked<V>(table: Table<V>, key: string, view: (from: ByteReader) => V): V | undefined {
    const { packed } = this.#kept;
    const place = packed.find(key);
    if (place === 0) {
      if (packed.isComplete) return undefined;
      throw notFetched(table, key);
    }
    const batch = packed.batchOf(place);
    if (batch > this.newestRead) this.newestRead = batch;
    const reader = packed.read(place);
    return reader && view(reader);
  }

  #getFrozen(key: string): Cell | undefined {
    const cell = this.#frozen?.cells.get(key);
    if (cell !== undefined) this.#hot.add(key);
    return cell;
  }

  /** What disk does not have yet; the newest first. */
  #layersOf(table: Table<unknown>): readonly Layer[] {
    if (table.view !== undefined) return this.#kept.packed.layers();
    return this.#frozen === null ? [this.#memtable] : [this.#memtable, this.#frozen];
  }

  /** What is known below the memtable: there is such a row, or there is none. */
  #below(table: Table<unknown>, key: string): 'row' | 'none' | 'unknown' {
    const frozen = this.#frozen?.cells.get(key);
    if (frozen !== undefined) return frozen.value === undefined ? 'none' : 'row';
    if (!this.#kept.has(table, key)) return 'unknown';
    return this.#kept.isAbsent(key) ? 'none' : 'row';
  }

  #set(table: Table<unknown>, key: string, value: unknown, isNew: boolean): void {
    const register = this.#registers[table.id];
    if (table.view !== undefined) {
      if (this.#undo !== null) register?.noteUndo(key, this.#undo);
      this.#kept.packed.put(table, key, value, { isNew, undo: this.#undo });
      register?.set(key, value === undefined ? undefined : (table.own?.(value) ?? value));
      return;
    }
    const memtable = this.#memtable;
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

  /** Of tables that are not packed. */
  #isChanged(key: string): boolean {
    return this.#memtable.cells.has(key) || this.#frozen?.cells.has(key) === true;
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
