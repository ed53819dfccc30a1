// The rows of a checkpoint, as one synced batch of LevelDB that is put together in slices of the event loop.
import type { KeptRows } from './kept-rows.ts';
import { u32be } from './keys.ts';
import type { LevelDb } from './level.ts';
import type { Memtable } from './memtable.ts';
import { RowEncoder } from './row-codec.ts';

/** A raw row of the store's owner, beside the tables: `key` is its name as in `RowStore.getMeta`. */
export interface MetaRow {
  readonly key: string;
  /** null deletes it. */
  readonly value: Buffer | null;
}

export interface FrozenStore {
  readonly memtable: Memtable;
  readonly kept: KeptRows;
  readonly extra: readonly MetaRow[];
}

export interface Slices {
  readonly sliceMs: number;
  readonly monotonicMs: () => number;
  readonly pause: () => Promise<void>;
}

/** No tenant has the number 0. */
export const META_PREFIX = `${u32be(0)}\0`;
/** Rows between two looks at the clock. */
const SLICE_ROWS = 32;

/** `keepsBuffers`: the database keeps those that it is given. */
export async function writeRows(
  { db, keepsBuffers }: { readonly db: LevelDb; readonly keepsBuffers: boolean },
  { memtable, kept, extra }: FrozenStore,
  { sliceMs, monotonicMs, pause }: Slices,
): Promise<void> {
  const batch = db.batch();
  const encoder = new RowEncoder(keepsBuffers);
  let sliceEndMs = monotonicMs() + sliceMs;
  let count = 0;
  const isSliceOver = () => ++count % SLICE_ROWS === 0 && monotonicMs() >= sliceEndMs;
  const nextSlice = async () => {
    kept.packed.turn();
    await pause();
    sliceEndMs = monotonicMs() + sliceMs;
  };
  for (const [key, { table, value, isBorn }] of memtable.cells) {
    if (value !== undefined) {
      const row = encoder.row(table, key, value);
      batch.put(row.key, row.value);
    } else if (!isBorn) batch.del(encoder.key(key));
    kept.forget(key);
    if (isSliceOver()) await nextSlice();
  }
  const own = keepsBuffers ? (bytes: Buffer) => Buffer.from(bytes) : (bytes: Buffer) => bytes;
  for (const packed = kept.packed.frozen(); packed.next(); ) {
    if (packed.stored === undefined) batch.del(own(packed.key));
    else batch.put(own(packed.key), own(packed.stored));
    if (isSliceOver()) await nextSlice();
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
