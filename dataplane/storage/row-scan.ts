// Ordered reads across memory and disk.
//   N1. What memory has is captured before the first await and wins over disk; with the iterator's snapshot,
//       which is taken in the same turn, the result is as of the call.
import type { Range, Row, Table } from './contract.ts';
import type { LevelDb, LevelRange } from './level.ts';
import { TABLE_AT } from './memtable.ts';
import { decodeRow } from './row-codec.ts';
import type { KeyCursor } from './sorted-keys.ts';

/** Rows of one trip to LevelDB; few enough that decoding them does not hold up the event loop. */
const TRIP_ROWS = 256;
const TRIP_BYTES = 256 * 1024;

/** Rows that memory holds and disk does not, or not so. */
export interface Layer {
  cursor(table: Table<unknown>, range: Range): KeyCursor | undefined;
  /** A value of undefined: there is no such row; undefined: it knows nothing of it. */
  cell(table: Table<unknown>, key: string): { readonly value: unknown } | undefined;
}

/** The memory's part of a range, in scan order. A value of undefined is a deletion. */
export interface Captured {
  readonly keys: string[];
  readonly values: unknown[];
  /** As many rows as the range asks for: no key behind the last one matters. */
  readonly isEnough: boolean;
}

/** `layers`: the newest first. */
export function capture(layers: readonly Layer[], table: Table<unknown>, range: Range): Captured {
  const keys: string[] = [];
  const values: unknown[] = [];
  const cursors = layers.map((layer) => ({ layer, cursor: layer.cursor(table, range) }));
  let live = 0;
  while (live < range.limit) {
    let key: string | undefined;
    for (const { cursor } of cursors) {
      const candidate = cursor?.key;
      if (candidate === undefined) continue;
      if (key === undefined || (range.reverse ? candidate > key : candidate < key)) key = candidate;
    }
    if (key === undefined) break;
    let isSeen = false;
    for (const { layer, cursor } of cursors) {
      if (cursor?.key !== key) continue;
      cursor.next();
      const cell = isSeen ? undefined : layer.cell(table, key);
      if (cell === undefined) continue;
      isSeen = true;
      keys.push(key);
      values.push(cell.value);
      if (cell.value !== undefined) live++;
    }
  }
  return { keys, values, isEnough: live >= range.limit };
}

export async function mergedScan<V>(
  db: LevelDb,
  table: Table<V>,
  range: Range,
  captured: Captured,
  where: string,
): Promise<Row<V>[]> {
  const iterator = db.iterator(levelRange(range, captured));
  const { keys, values } = captured;
  const rows: Row<V>[] = [];
  let next = 0;
  const takeCaptured = () => {
    const value = values[next];
    if (value !== undefined) rows.push({ key: keys[next] ?? '', value: value as V });
    next++;
  };
  const isBefore = (a: string | undefined, b: string) => a !== undefined && (range.reverse ? a > b : a < b);
  try {
    for (;;) {
      const entries = await iterator.nextv(Math.min(TRIP_ROWS, Math.max(1, range.limit - rows.length)));
      if (entries.length === 0) break;
      for (const [bytes, stored] of entries) {
        const key = bytes.toString('latin1');
        while (rows.length < range.limit && isBefore(keys[next], key)) takeCaptured();
        if (rows.length >= range.limit) return rows;
        if (keys[next] === key) takeCaptured();
        else if (bytes[TABLE_AT] === table.id)
          rows.push({ key, value: decodeRow(table, bytes, stored, where) });
        if (rows.length >= range.limit) return rows;
      }
    }
    while (rows.length < range.limit && next < keys.length) takeCaptured();
    return rows;
  } finally {
    await iterator.close();
  }
}

function levelRange(range: Range, captured: Captured): LevelRange {
  const last = captured.isEnough ? captured.keys[captured.keys.length - 1] : undefined;
  const from = Buffer.from(range.reverse && last !== undefined ? last : range.from, 'latin1');
  const shared = { gte: from, reverse: range.reverse === true, highWaterMarkBytes: TRIP_BYTES };
  if (last !== undefined && !range.reverse) return { ...shared, lte: Buffer.from(last, 'latin1') };
  return { ...shared, lt: Buffer.from(range.to, 'latin1') };
}
