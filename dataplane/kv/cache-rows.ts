// Rows that live in memory only: the tables of the kv view for a cache keyspace. Counts what they take.
//   R1. Every row is resident: nothing is fetched, nothing written anywhere.
//   R2. Keys linger in the order after their row is gone, at most as many as there are rows, or STALE_MIN.
import type { Range, Row, Rows, Table, Window } from '../storage/contract.ts';
import { SortedKeys } from '../storage/sorted-keys.ts';

/** Of a row: entries of two maps, the key as it stands in both, the value's own head. */
const ROW_BYTES = 120;
const STALE_MIN = 4096;

export class CacheRows implements Rows {
  readonly isStaging = false;
  readonly #cells = new Map<string, unknown>();
  readonly #keys = new SortedKeys();
  #stale = 0;
  /** What the rows take, about. */
  bytes = 0;

  get size(): number {
    return this.#cells.size;
  }

  get<V>(_table: Table<V>, key: string): V | undefined {
    return this.#cells.get(key) as V | undefined;
  }

  put<V>(table: Table<V>, key: string, given: V): void {
    const value = table.own?.(given) ?? given;
    const before = this.#cells.get(key);
    if (before === undefined) this.#keys.add(key);
    else this.bytes -= bytesOf(table as Table<unknown>, key, before);
    this.bytes += bytesOf(table as Table<unknown>, key, value);
    this.#cells.set(key, value);
  }

  del(table: Table<unknown>, key: string): void {
    const before = this.#cells.get(key);
    if (before === undefined) return;
    this.bytes -= bytesOf(table, key, before);
    this.#cells.delete(key);
    if (++this.#stale < Math.max(STALE_MIN, this.#cells.size)) return;
    // A key that came back is in the order twice; walks show it once.
    this.#keys.retain((each) => this.#cells.has(each));
    this.#stale = 0;
  }

  onRollback(): void {}

  isResident(): boolean {
    return true;
  }

  async fetch(): Promise<void> {}

  async scan<V>(_table: Table<V>, range: Range): Promise<Row<V>[]> {
    return this.#walk<V>(range);
  }

  window<V>(_table: Table<V>, from: string, to: string): Window<V> {
    const walk = (start: string, limit: number) => this.#walk<V>({ from: start, to, limit });
    return {
      from,
      first: () => walk(from, 1)[0],
      take: (max) => walk(from, max),
      at: (index) => walk(from, index + 1)[index],
      firstFrom: (key) => walk(key > from ? key : from, 1)[0],
      isWhole: () => true,
      isStale: () => false,
      refill: async () => {},
      reset: () => {},
      close: () => {},
    };
  }

  /** Keys of the first rows of a range. */
  first(from: string, to: string, limit: number): string[] {
    return this.#walk({ from, to, limit }).map(({ key }) => key);
  }

  #walk<V>({ from, to, limit, reverse }: Range): Row<V>[] {
    const rows: Row<V>[] = [];
    const cursor = reverse ? this.#keys.descending(from, to) : this.#keys.ascending(from, to);
    for (; cursor.key !== undefined && rows.length < limit; cursor.next()) {
      const value = this.#cells.get(cursor.key);
      if (value !== undefined) rows.push({ key: cursor.key, value: value as V });
    }
    return rows;
  }
}

function bytesOf(table: Table<unknown>, key: string, value: unknown): number {
  const own = table.sizeOf?.(value) ?? (Buffer.isBuffer(value) ? value.length : 0);
  return ROW_BYTES + key.length + own;
}
