// What the model test cannot see: damage, failed writes and syncs, congestion, what never touches the disk,
// memory.
import { readHead } from '@flowmesh/protocol';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { BLOCK_BYTES_MAX } from '../../dataplane/storage/log-block.ts';
import { LogStore, type LogStoreOptions, type StoredLength } from '../../dataplane/storage/log-store.ts';
import type { SegmentedLog } from '../../dataplane/storage/partition-log.ts';
import { FaultFiles } from './fault-files.ts';
import { batchOf, recordsOf, yields } from './support.ts';

const FIRST = '/logs/1/0000000000000000.log';

let files: FaultFiles;
let store: LogStore;
let log: SegmentedLog;
let options: { -readonly [K in keyof LogStoreOptions]?: LogStoreOptions[K] };

beforeEach(async () => {
  files = new FaultFiles();
  // Nothing stays in memory that can be read back.
  options = { tailBytesMax: 0, loadBytesMax: 0 };
  await open([]);
});

async function open(lengths: readonly StoredLength[]): Promise<void> {
  store = await LogStore.open({ dir: '/logs', files, lengths, ...options });
  log = store.open(1);
}

function fill(count: number, bytes = 100): void {
  for (let i = 0; i < count; i++) {
    const offset = log.endOffset;
    log.append(batchOf(['x'.repeat(bytes)], offset, offset * 10), 1, offset * 10);
  }
}

async function checkpoint(): Promise<StoredLength[]> {
  const captured = store.captureLengths();
  await store.syncTo(captured);
  await store.applyDeletes();
  return captured;
}

async function flip(file: string, position: number): Promise<void> {
  const open = await files.open(file, 'existing');
  const byte = Buffer.alloc(1);
  await open.read(byte, position);
  byte[0] = (byte[0] ?? 0) ^ 16;
  await open.write([byte], position);
}

describe('damage', () => {
  const batchBytes = batchOf(['x'.repeat(100)], 0, 0).length;

  test.each([
    ['the base offset', 4],
    ['the append time', 12],
    ['the body', 60],
  ])(
    '[P3] a flipped bit in %s is DATA_DAMAGED with file and place, and the batches beside it are read',
    async (_, at) => {
      fill(10);
      await open(await checkpoint());
      await flip(FIRST, 3 * batchBytes + at);
      const message = expect.stringMatching(`^${FIRST} at byte ${3 * batchBytes}: .*backup$`);
      await expect(log.load(3, 1000)).rejects.toMatchObject({ code: 'DATA_DAMAGED', message });
      // The index of a recovered segment is made by walking all heads.
      if (at === 4) return;
      expect(await log.load(1, 100_000)).toMatchObject({ firstOffset: 1, nextOffset: 3 });
      if (at === 60) expect(await log.load(4, 100_000)).toMatchObject({ firstOffset: 4, nextOffset: 10 });
    },
  );

  test('a file that is shorter than recorded, or missing, is refused', async () => {
    options.segmentBytes = 1000;
    await open([]);
    fill(30);
    const lengths = await checkpoint();
    const all = (await files.list('/logs/1')).sort();
    for (const name of [all[0], all[1], all[all.length - 1]]) {
      const file = `/logs/1/${name}`;
      const content = (await files.content(file)) ?? Buffer.alloc(0);
      const opened = await files.open(file, 'existing');
      await opened.truncate(content.length - 1);
      await expect(open(lengths)).rejects.toMatchObject({
        code: 'DATA_DAMAGED',
        message: expect.stringContaining('/logs/1'),
      });
      await opened.write([content], 0);
      await files.unlink(file);
      await expect(open(lengths)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      await (await files.open(file, 'create')).write([content], 0);
    }
    await open(lengths);
    expect((await log.load(0, 100)).firstOffset).toBe(0);
  });
});

describe('replay', () => {
  test('[B2] what is appended is copied, and memory that somebody looks at is not used again', async () => {
    const BATCHES = 60;
    const value = (offset: number) => `${offset},`.repeat(30_000);
    const allocated = vi.spyOn(Buffer, 'allocUnsafeSlow');
    const scratch = Buffer.alloc(300_000);
    const views: { bytes: Buffer; copy: Buffer }[] = [];
    store.beginReplay();
    for (let i = 0; i < BATCHES; i++) {
      const batch = batchOf([value(i)], i, i);
      batch.copy(scratch);
      log.append(scratch.subarray(0, batch.length), 1, i);
      scratch.fill('?');
      if (i % 10 === 0) {
        const { bytes } = log.resident(i, 1) ?? { bytes: Buffer.of() };
        views.push({ bytes, copy: Buffer.from(bytes) });
      }
      await checkpoint();
    }
    store.endReplay();
    const blocks = allocated.mock.calls.filter(([size]) => size === BLOCK_BYTES_MAX).length;
    expect(blocks).toBeGreaterThanOrEqual(views.length);
    expect(blocks).toBeLessThan(views.length + 5);
    for (const { bytes, copy } of views) expect(bytes.length > 1000 && bytes.equals(copy)).toBe(true);
    const records = await recordsOf(log);
    for (const [i, { text }] of records.entries()) expect(text === `=${value(i)}`, `record ${i}`).toBe(true);
    expect(records).toHaveLength(BATCHES);
    allocated.mockRestore();
  });
});

describe('writing', () => {
  test('a write that fails is repeated by the next checkpoint; nothing is lost', async () => {
    fill(5);
    files.fail.write = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    const captured = store.captureLengths();
    await expect(store.syncTo(captured)).rejects.toMatchObject({ code: 'DISK_FULL' });
    fill(5);
    await store.syncTo(captured);
    await store.applyDeletes();
    await files.crash(() => false);
    await open(captured);
    expect(log.endOffset).toBe(5);
    expect(await log.load(0, 10_000)).toMatchObject({ firstOffset: 0, nextOffset: 5 });
  });

  test('[D3] after a failed sync no later one succeeds', async () => {
    fill(5);
    files.fail.sync = Object.assign(new Error('lost'), { code: 'EIO' });
    const captured = store.captureLengths();
    await expect(store.syncTo(captured)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.syncTo(captured)).rejects.toBe(store.failure);
  });

  test('above its bound the store is congested until enough is written', async () => {
    options.unwrittenBytesMax = 100_000;
    await open([]);
    fill(1500);
    expect(store.isCongested()).toBe(true);
    await store.drained();
    expect(store.isCongested()).toBe(false);
    expect(store.unwrittenBytes).toBeLessThanOrEqual(50_000);
    fill(1500);
    files.fail.write = Object.assign(new Error('no space'), { code: 'ENOSPC' });
    await expect(store.drained()).rejects.toMatchObject({ code: 'DISK_FULL' });
    await store.drained();
    expect(store.isCongested()).toBe(false);
  });

  test('what is trimmed before it was written never touches the disk', async () => {
    for (let i = 0; i < 20; i++) {
      fill(100);
      log.trimTo(log.endOffset);
      await checkpoint();
    }
    expect(files.written.size).toBe(0);
    expect(store.unwrittenBytes).toBe(0);
    fill(1);
    expect(log.resident(2000, 1000)).toMatchObject({ firstOffset: 2000, nextOffset: 2001 });
  });

  test('[D2] a write on its way does not bring back the file of a trimmed segment', async () => {
    fill(3000);
    const captured = store.captureLengths();
    log.trimTo(log.endOffset, true);
    await store.syncTo(captured);
    fill(3000);
    await store.applyDeletes();
    store.captureLengths();
    fill(3000);
    await yields();
    log.trimTo(log.endOffset, true);
    store.captureLengths();
    await store.applyDeletes();
    for (let i = 0; i < 20; i++) await yields();
    expect(await files.list('/logs')).toEqual([]);
  });

  test('[D1] what recovery cut off does not come back with a second crash', async () => {
    options.segmentBytes = 1000;
    await open([]);
    fill(1);
    const first = store.captureLengths();
    fill(1);
    await store.syncTo(first);
    await files.crash(() => false);
    await open(first);
    fill(1, 2000);
    const second = await checkpoint();
    await files.crash(() => false);
    await open(second);
    expect(log.endOffset).toBe(2);
    expect(await log.load(1, 1)).toMatchObject({ firstOffset: 1, nextOffset: 2 });
  });

  test('[D2] files of a trimmed or dropped log go one checkpoint later', async () => {
    options.segmentBytes = 1000;
    await open([]);
    fill(30);
    await checkpoint();
    const before = await files.list('/logs/1');
    log.trimTo(20);
    expect(await files.list('/logs/1')).toEqual(before);
    await checkpoint();
    expect((await files.list('/logs/1')).length).toBeLessThan(before.length);
    store.drop(1);
    expect(await files.list('/logs')).toEqual(['1']);
    expect((await checkpoint())[0]?.isDropped).toBe(true);
    expect(await files.list('/logs')).toEqual([]);
  });
});

describe('memory', () => {
  test('readers at the end of a log are served from memory, quiet logs beside busy ones too', async () => {
    options = { tailBytesMax: 400_000 };
    await open([]);
    const quiet = store.open(2);
    quiet.append(batchOf(['quiet'], 0, 1), 1, 1);
    for (let i = 0; i < 40; i++) {
      fill(200);
      await store.syncTo(store.captureLengths());
      expect(log.resident(log.endOffset - 1, 1000)?.nextOffset).toBe(log.endOffset);
    }
    expect(log.resident(0, 1000)).toBeUndefined();
    expect(quiet.resident(0, 1000)?.nextOffset).toBe(1);
  });

  test('small batches at the end come as one view, without a copy', async () => {
    fill(3);
    const chunk = log.resident(0, 10_000);
    expect(chunk).toMatchObject({ firstOffset: 0, nextOffset: 3 });
    expect(log.resident(1, 1)).toMatchObject({ firstOffset: 1, nextOffset: 2 });
    expect(log.resident(0, 10_000)?.bytes.buffer).toBe(chunk?.bytes.buffer);
  });

  test('a large batch is kept as it came', () => {
    const batch = batchOf(['x'.repeat(100_000)], 0, 1);
    log.append(batch, 1, 1);
    expect(log.resident(0, 1)?.bytes.buffer).toBe(batch.buffer);
  });

  test('after a restart a read takes a small part of its segment, and the index is made once', async () => {
    fill(2000, 500);
    await open(await checkpoint());
    await log.load(1000, 1000);
    const read = files.bytesRead;
    for (const offset of [3, 1999, 700]) {
      const chunk = await log.load(offset, 1000);
      expect(readHead(chunk.bytes, 0, 'all').baseOffset).toBe(offset);
    }
    expect(files.bytesRead - read).toBeLessThan(3 * 40_000);
    expect(await log.offsetAt(15_005)).toBe(1501);
    await yields();
  });
});
