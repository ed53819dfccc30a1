// Rows and logs together on a real file system, as a shard uses them.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openLevel } from '../../dataplane/storage/level.ts';
import { LogStore, type StoredLength } from '../../dataplane/storage/log-store.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import { FaultFiles } from './fault-files.ts';
import { batchOf, keyOf, texts } from './support.ts';

let dir: string;
let rows: RowStore;
let logs: LogStore;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flowmesh-storage-'));
  await open();
});

afterEach(async () => {
  await close();
  await rm(dir, { recursive: true });
});

async function open(): Promise<void> {
  const level = await openLevel({ dir: join(dir, 'rows') });
  rows = new RowStore({ level, monotonicMs: () => 0 });
  const lengths = (await rows.listMeta('log/')).map(
    (row) => JSON.parse(row.value.toString()) as StoredLength,
  );
  logs = await LogStore.open({ dir: join(dir, 'logs'), lengths, segmentBytes: 100_000, tailBytesMax: 0 });
}

async function close(): Promise<void> {
  await logs.close();
  await rows.close();
}

async function checkpoint(position: number): Promise<void> {
  rows.freeze();
  const captured = logs.captureLengths();
  await logs.syncTo(captured);
  const at = { key: 'checkpoint', value: Buffer.from(String(position)) };
  await rows.writeFrozen([...logs.lengthRows(captured), at]);
  await logs.applyDeletes();
}

function fill(id: number, batches: number): void {
  const log = logs.open(id);
  for (let i = 0; i < batches; i++) {
    const offset = log.endOffset;
    log.append(batchOf(['a'.repeat(1000), 'b'.repeat(1000)], offset, offset), 2, offset);
  }
}

test('[D1] rows, position and logs come back as of the last checkpoint', async () => {
  rows.put(texts, keyOf(texts, 'a'), 'first');
  fill(1, 500);
  fill(2, 1);
  await checkpoint(7);
  rows.put(texts, keyOf(texts, 'a'), 'second');
  fill(1, 500);
  fill(3, 300);
  await logs.syncTo(logs.captureLengths());
  await close();
  await open();
  expect((await rows.getMeta('checkpoint'))?.toString()).toBe('7');
  const range = { from: keyOf(texts, ''), to: keyOf(texts, 'b'), limit: 9 };
  expect(await rows.scan(texts, range)).toEqual([{ key: keyOf(texts, 'a'), value: 'first' }]);
  expect([1, 2, 3].map((id) => logs.open(id).endOffset)).toEqual([1000, 2, 0]);
  expect(await readdir(join(dir, 'logs'))).toEqual(['1', '2']);
  expect(await logs.open(1).load(555, 5000)).toMatchObject({ firstOffset: 554, nextOffset: 558 });
  fill(1, 500);
  logs.open(1).trimTo(900);
  logs.drop(2);
  await checkpoint(8);
  await close();
  await open();
  expect(logs.open(1).startOffset).toBeGreaterThan(700);
  expect(logs.open(1).endOffset).toBe(2000);
  expect(await logs.open(1).load(1999, 1)).toMatchObject({ firstOffset: 1998, nextOffset: 2000 });
  expect((await rows.listMeta('log/')).map((row) => row.key)).toEqual(['log/1', 'log/3']);
});

test('more logs than file handles are written, synced and read', async () => {
  for (let id = 1; id <= 300; id++) fill(id, 1);
  await checkpoint(1);
  for (let id = 1; id <= 300; id += 7) {
    expect(await logs.open(id).load(1, 1)).toMatchObject({ firstOffset: 0, nextOffset: 2 });
  }
});

test('[D1] names that a failed checkpoint left behind are synced by the next one', async () => {
  const files = new FaultFiles();
  const synced: string[] = [];
  const sync = files.syncDirectory.bind(files);
  files.syncDirectory = async (directory) => {
    synced.push(directory);
    await sync(directory);
  };
  const store = await LogStore.open({ dir: '/logs', lengths: [], files });
  const [one, two] = [store.open(1), store.open(2)];
  one.append(batchOf(['a'], 0, 5), 1, 5);
  await one.write();
  two.append(batchOf(['b'], 0, 5), 1, 5);
  // The first file is synced, the second cannot even be written.
  files.fail.write = new Error('no space');
  const captured = store.captureLengths();
  await expect(store.syncTo(captured)).rejects.toThrow('no space');
  two.append(batchOf(['c'], 1, 5), 1, 5);
  synced.length = 0;
  await store.syncTo(captured.filter(({ id }) => id === 1));
  expect(synced).toContain('/logs');
  await store.close();
});
