// The resident front of a key range (contract.ts, Window).
//   W1. Every row of [from, edge) is in `#rows`, in order, and nothing else is. Rows from `edge` on are not
//       looked at.
//   W2. A refill starts at `edge`: what was consumed before it, and LevelDB's tombstones of it, is never
//       walked again.
//   W3. Changes behind the edge during a refill are collected and win over what the scan brings.
import type { Range, Row, Table, Window } from './contract.ts';

/** A refill makes up to this many rows resident. */
export const WINDOW_ROWS = 1024;
/** Above this the tail is given up, down to half of it. */
export const WINDOW_ROWS_MAX = 4 * WINDOW_ROWS;

/** What a window needs of the row store. */
export interface WindowSource {
  scan<V>(table: Table<V>, range: Range): Promise<Row<V>[]>;
  onRollback(revert: () => void): void;
  /** Moves the window in the register of its table; undefined: takes it out. */
  place<V>(window: RowWindow<V>, to: { from: string; to: string } | undefined): void;
}

export class RowWindow<V> implements Window<V> {
  readonly table: Table<V>;
  /** Set by the register only. */
  from: string;
  to: string;
  readonly #source: WindowSource;
  readonly #size: number;
  #rows: Row<V>[] = [];
  /** Rows before it are consumed. */
  #head = 0;
  #edge: string;
  #arrived: Map<string, V | undefined> | null = null;
  #refilling: Promise<void> | null = null;
  /** Raised when what a scan on its way brings is of no use any more. */
  #generation = 0;

  constructor(
    source: WindowSource,
    table: Table<V>,
    range: { from: string; to: string },
    size = WINDOW_ROWS,
  ) {
    this.#source = source;
    this.#size = size;
    this.table = table;
    this.from = range.from;
    this.to = range.to;
    this.#edge = range.from;
  }

  first(): Row<V> | undefined {
    return this.#rows[this.#head];
  }

  take(max: number): Row<V>[] {
    return this.#rows.slice(this.#head, this.#head + max);
  }

  at(index: number): Row<V> | undefined {
    return this.#rows[this.#head + index];
  }

  firstFrom(key: string): Row<V> | undefined {
    return this.#rows[this.#find(key)];
  }

  isWhole(): boolean {
    return this.#edge >= this.to;
  }

  isStale(): boolean {
    return this.#head === this.#rows.length && this.#edge < this.to;
  }

  refill(): Promise<void> {
    this.#refilling ??= this.#refill().finally(() => {
      this.#refilling = null;
      this.#limit();
    });
    return this.#refilling;
  }

  reset(from: string, to: string): void {
    const before = { from: this.from, to: this.to };
    this.#source.onRollback(() => this.#move(before));
    this.#move({ from, to });
  }

  close(): void {
    const before = { from: this.from, to: this.to };
    this.#source.onRollback(() => this.#move(before));
    this.#source.place(this, undefined);
    this.#forget(this.to);
  }

  /** The row was put, or deleted (undefined). Only for keys of the range. */
  set(key: string, value: V | undefined): void {
    if (key >= this.#edge) {
      this.#arrived?.set(key, value);
      return;
    }
    const at = this.#find(key);
    const isThere = this.#rows[at]?.key === key;
    if (value === undefined) {
      if (isThere) this.#remove(at);
    } else if (isThere) this.#rows[at] = { key, value };
    else if (at === this.#rows.length) this.#rows.push({ key, value });
    else this.#rows.splice(at, 0, { key, value });
    this.#limit();
  }

  /** Takes back what a `set` of `key` that follows will do. */
  undoOf(key: string): () => void {
    if (key < this.#edge) {
      const row = this.#rows[this.#find(key)];
      const value = row?.key === key ? row.value : undefined;
      return () => this.set(key, value);
    }
    const arrived = this.#arrived;
    if (arrived === null) return () => undefined;
    const wasThere = arrived.has(key);
    const value = arrived.get(key);
    return () => (wasThere ? arrived.set(key, value) : arrived.delete(key));
  }

  async #refill(): Promise<void> {
    for (;;) {
      const room = this.#size - (this.#rows.length - this.#head);
      if (room <= 0 || this.#edge >= this.to) return;
      const generation = this.#generation;
      const arrived = new Map<string, V | undefined>();
      this.#arrived = arrived;
      // What is scanned inside of a transaction may be rolled back.
      this.#source.onRollback(() => {
        this.#generation++;
      });
      try {
        const rows = await this.#source.scan(this.table, { from: this.#edge, to: this.to, limit: room });
        if (generation !== this.#generation) continue;
        this.#append(rows, rows.length < room, arrived);
        return;
      } finally {
        this.#arrived = null;
      }
    }
  }

  #append(rows: Row<V>[], isAll: boolean, arrived: Map<string, V | undefined>): void {
    const edge = isAll ? this.to : `${rows[rows.length - 1]?.key}\0`;
    let found = rows;
    if (arrived.size > 0) {
      found = rows.filter((row) => !arrived.has(row.key));
      for (const [key, value] of arrived) if (value !== undefined && key < edge) found.push({ key, value });
      found.sort((a, b) => (a.key < b.key ? -1 : 1));
    }
    this.#rows = this.#rows.slice(this.#head).concat(found);
    this.#head = 0;
    this.#edge = edge;
  }

  /** During a refill the edge must stay where the scan began. */
  #limit(): void {
    if (this.#rows.length - this.#head <= 4 * this.#size || this.#refilling !== null) return;
    const cut = this.#head + 2 * this.#size;
    this.#edge = this.#rows[cut]?.key ?? this.#edge;
    this.#rows.length = cut;
  }

  #remove(at: number): void {
    if (at !== this.#head) this.#rows.splice(at, 1);
    else if (++this.#head >= this.#size) {
      this.#rows = this.#rows.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Index of the first row whose key is >= `key`. */
  #find(key: string): number {
    const rows = this.#rows;
    let low = this.#head;
    let high = rows.length;
    const last = rows[high - 1];
    if (high > low && last !== undefined && last.key < key) return high;
    if (rows[low]?.key === key) return low;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((rows[middle]?.key ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #move(range: { from: string; to: string }): void {
    this.#source.place(this, range);
    this.#forget(range.from);
  }

  #forget(edge: string): void {
    this.#generation++;
    this.#rows = [];
    this.#head = 0;
    this.#edge = edge;
  }
}
