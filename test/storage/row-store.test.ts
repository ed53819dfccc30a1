// What the model test cannot see: damage, failed writes, races with a checkpoint, what is resident and for
// how long.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FlowError } from '@flowmesh/protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type LevelBatch, type LevelDb, openLevel } from '../../dataplane/storage/level.ts';
import { checkLevel } from '../../dataplane/storage/level-check.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import { keyOf, texts, yields } from './support.ts';

let dir: string;
let store: RowStore;
/** What the database below does differently. */
let level: { flips: boolean; hold: Promise<void> | null; failures: ('before' | 'after')[] };

const key = (part: string) => keyOf(texts, part);
const ref = (part: string) => ({ table: texts, key: key(part) });

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flowmesh-rows-'));
  level = { flips: false, hold: null, failures: [] };
  store = await open();
});

afterEach(async () => {
  await store.close();
  await rm(dir, { recursive: true });
});

type Options = ConstructorParameters<typeof RowStore>[0];

async function open(cacheBytesMax?: number, packed?: Options['packed']): Promise<RowStore> {
  const level = await openLevel({ dir }, faulty);
  return new RowStore({ level, monotonicMs: () => 0, cacheBytesMax, packed });
}

async function reopen(...options: Parameters<typeof open>): Promise<void> {
  await store.close();
  store = await open(...options);
}

async function checkpoint(): Promise<void> {
  store.freeze();
  await store.writeFrozen([]);
}

function faulty(db: LevelDb): LevelDb {
  const flipped = (bytes: Buffer) => Buffer.from(bytes.map((each, i) => (i === 1 ? each ^ 4 : each)));
  return {
    get status() {
      return db.status;
    },
    open: () => db.open(),
    close: () => db.close(),
    async getMany(keys) {
      const { hold } = level;
      const values = await db.getMany(keys);
      await hold;
      return level.flips ? values.map((each) => each && flipped(each)) : values;
    },
    iterator(options) {
      const iterator = db.iterator(options);
      return {
        async nextv(size) {
          const entries = await iterator.nextv(size);
          return level.flips ? entries.map(([k, v]) => [k, flipped(v)]) : entries;
        },
        close: () => iterator.close(),
      };
    },
    batch: () => faultyBatch(db.batch()),
  };
}

function faultyBatch(batch: LevelBatch): LevelBatch {
  return {
    put: (k, v) => batch.put(k, v),
    del: (k) => batch.del(k),
    close: () => batch.close(),
    async write(options) {
      const failure = level.failures.shift();
      if (failure !== 'before') await batch.write(options);
      if (failure !== undefined) throw new Error('IO error: sync failed');
    },
  };
}

describe('damage', () => {
  test('[C1] a damaged row is DATA_DAMAGED with table, key and directory, however it is read', async () => {
    store.put(texts, key('a'), 'value');
    store.freeze();
    await store.writeFrozen([{ key: 'name', value: Buffer.from('value') }]);
    await reopen();
    level.flips = true;
    const named = expect.stringMatching(`^row of texts in ${dir}, key 000000012861: .*checksum.*backup$`);
    await expect(store.fetch([ref('a')])).rejects.toMatchObject({ code: 'DATA_DAMAGED', message: named });
    const range = { from: key(''), to: key('b'), limit: 10 };
    await expect(store.scan(texts, range)).rejects.toMatchObject({ code: 'DATA_DAMAGED', message: named });
    await expect(store.getMeta('name')).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    expect(store.isResident(ref('a'))).toBe(false);
    level.flips = false;
    await store.fetch([ref('a')]);
    expect(store.get(texts, key('a'))).toBe('value');
    expect((await store.getMeta('name'))?.toString()).toBe('value');
  });

  test('a damaged row that is kept packed is never "not found" either', async () => {
    const packed = { ...texts, view: texts.decode };
    store.put(packed, key('a'), 'value');
    await checkpoint();
    await reopen();
    level.flips = true;
    await expect(store.fetch([{ table: packed, key: key('a') }])).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
    });
    expect(store.isResident({ table: packed, key: key('a') })).toBe(false);
    level.flips = false;
    await store.fetch([
      { table: packed, key: key('a') },
      { table: packed, key: key('b') },
    ]);
    expect(store.get(packed, key('a'))).toBe('value');
    expect(store.get(packed, key('b'))).toBeUndefined();
  });

  test('a store that began empty knows without the disk what is new to it, across checkpoints', async () => {
    const packed = { ...texts, view: texts.decode };
    const isThere = (part: string) => store.isResident({ table: packed, key: key(part) });
    store.declareEmpty();
    expect(isThere('a')).toBe(true);
    expect(isThere('a') && store.get(packed, key('a'))).toBeUndefined();
    store.put(packed, key('a'), 'value');
    await checkpoint();
    expect(isThere('a') && store.get(packed, key('a'))).toBe('value');
    store.del(packed, key('a'));
    await checkpoint();
    expect(isThere('a') && store.get(packed, key('a'))).toBeUndefined();
    await reopen();
    expect(isThere('a')).toBe(false);
  });

  test('[I2] damage in the log of LevelDB is refused, its torn tail is not', async () => {
    for (const name of ['a', 'b', 'c']) {
      store.put(texts, key(name), name.repeat(50_000));
      await checkpoint();
    }
    await store.close();
    const log = (await readdir(dir)).find((name) => name.endsWith('.log')) ?? '';
    const whole = await readFile(join(dir, log));
    // Where the last batch starts.
    const lastAt = whole.indexOf('c'.repeat(100)) - 100;
    const verdicts: string[] = [];
    for (let at = 0; at < whole.length; at += 997) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8((bytes[at] ?? 0) ^ 4, at);
      await writeFile(join(dir, log), bytes);
      const verdict = await checkLevel(dir).catch((error: FlowError) => error);
      if (at > lastAt) expect([at, verdict]).toEqual([at, undefined]);
      else {
        expect([at, verdict]).toMatchObject([at, { code: 'DATA_DAMAGED' }]);
        const [, file, byte] = /^(.*) at byte (\d+): /.exec((verdict as FlowError).message) ?? [];
        expect(file).toBe(join(dir, log));
        expect(Number(byte)).toBeLessThanOrEqual(at);
        expect(at - Number(byte)).toBeLessThan(32 * 1024);
        verdicts.push(String(byte));
      }
    }
    expect(verdicts.length).toBeGreaterThan(100);
    for (const length of [0, 6, lastAt, lastAt + 40_000, whole.length - 1, whole.length]) {
      await writeFile(join(dir, log), whole.subarray(0, length));
      await checkLevel(dir);
    }
    store = await open();
    await store.fetch([ref('a'), ref('c')]);
    expect(store.get(texts, key('c'))).toBe('c'.repeat(50_000));
  });

  test('a database whose files are gone is DATA_DAMAGED', async () => {
    await store.close();
    await writeFile(join(dir, 'CURRENT'), 'MANIFEST-999999\n');
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await rm(join(dir, 'CURRENT'));
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  });

  test('a directory in use is DATA_LOCKED and named', async () => {
    const opened = openLevel({ dir });
    await expect(opened).rejects.toMatchObject({
      code: 'DATA_LOCKED',
      message: expect.stringContaining(dir),
    });
  });
});

describe('checkpoints', () => {
  test.each(['before', 'after'] as const)(
    '[R3] a write that fails %s the disk has it can be repeated',
    async (when) => {
      store.put(texts, key('a'), 'old');
      store.put(texts, key('gone'), 'old');
      await checkpoint();
      store.put(texts, key('a'), 'new');
      store.del(texts, key('gone'));
      store.freeze();
      level.failures = [when];
      await expect(store.writeFrozen([{ key: 'at', value: Buffer.from('7') }])).rejects.toThrow(
        'sync failed',
      );
      expect(store.isFrozen).toBe(true);
      store.put(texts, key('b'), 'newer');
      await store.fetch([ref('c')]);
      expect(store.get(texts, key('a'))).toBe('new');
      const all = () => store.scan(texts, { from: key(''), to: key('\xff'), limit: 10 });
      const rows = [
        { key: key('a'), value: 'new' },
        { key: key('b'), value: 'newer' },
      ];
      expect(await all()).toEqual(rows);
      await store.writeFrozen([{ key: 'at', value: Buffer.from('7') }]);
      expect(await all()).toEqual(rows);
      await reopen();
      expect(await all()).toEqual(rows.slice(0, 1));
      expect((await store.getMeta('at'))?.toString()).toBe('7');
    },
  );

  test('reads that meet a reopen wait for it', async () => {
    store.put(texts, key('a'), 'value');
    await checkpoint();
    await reopen();
    store.freeze();
    level.failures = ['before'];
    const write = store.writeFrozen([]).catch(() => 'failed');
    const scans = Array.from({ length: 20 }, async (_, i) => {
      for (let turn = 0; turn < i; turn++) await yields();
      await store.fetch([ref('a')]);
      return store.scan(texts, { from: key(''), to: key('\xff'), limit: 10 });
    });
    for (const rows of await Promise.all(scans)) expect(rows).toEqual([{ key: key('a'), value: 'value' }]);
    expect(await write).toBe('failed');
  });

  test('[R2] what was read before a checkpoint does not hide what the checkpoint wrote', async () => {
    store.put(texts, key('a'), 'old');
    await checkpoint();
    await reopen();
    let release = () => {};
    level.hold = new Promise((resolve) => {
      release = resolve;
    });
    const fetching = store.fetch([ref('a')]);
    await yields();
    level.hold = null;
    store.put(texts, key('a'), 'new');
    await checkpoint();
    release();
    await fetching;
    expect(store.get(texts, key('a'))).toBe('new');
  });

  test('[R2] nor does what was cached before the row changed', async () => {
    store.put(texts, key('a'), 'old');
    await checkpoint();
    await store.fetch([ref('a')]);
    store.put(texts, key('a'), 'new');
    await checkpoint();
    await store.fetch([ref('a')]);
    expect(store.get(texts, key('a'))).toBe('new');
  });

  test('rows that are read while they are written stay resident', async () => {
    store.put(texts, key('hot'), 'value');
    store.put(texts, key('cold'), 'value');
    store.freeze();
    expect(store.get(texts, key('hot'))).toBe('value');
    await store.writeFrozen([]);
    expect(store.isResident(ref('hot'))).toBe(true);
    expect(store.isResident(ref('cold'))).toBe(false);
  });

  test('a large checkpoint leaves the event loop its turns', async () => {
    for (let i = 0; i < 3200; i++) store.put(texts, key(String(i)), 'value');
    store.freeze();
    let pauses = 0;
    await store.writeFrozen([], 0, () => {
      pauses++;
      return yields();
    });
    expect(pauses).toBe(100);
  });

  test('a scan of many rows leaves the event loop its turns', async () => {
    for (let i = 0; i < 5000; i++) store.put(texts, key(String(i)), 'value');
    await checkpoint();
    let turns = 0;
    let isDone = false;
    const counting = (async () => {
      while (!isDone) {
        await yields();
        turns++;
      }
    })();
    expect(await store.scan(texts, { from: key(''), to: key('\xff'), limit: 5000 })).toHaveLength(5000);
    isDone = true;
    await counting;
    expect(turns).toBeGreaterThan(10);
  });
});

describe('residence', () => {
  test('[H1] fetched rows go only when others are fetched; a read of one that is gone throws', async () => {
    await reopen(1000);
    await store.fetch([ref('a')]);
    expect(store.get(texts, key('a'))).toBeUndefined();
    await store.fetch(Array.from({ length: 100 }, (_, i) => ref(`b${i}`)));
    expect(store.isResident(ref('b0'))).toBe(true);
    await store.fetch([ref('c')]);
    await store.fetch(Array.from({ length: 100 }, (_, i) => ref(`d${i}`)));
    await store.fetch([ref('e')]);
    expect(store.isResident(ref('b0'))).toBe(false);
    expect(() => store.get(texts, key('b0'))).toThrow(
      'row 00000001286230 of texts is read but was not fetched',
    );
  });

  const crowd = (name: string) => Array.from({ length: 100 }, (_, i) => ref(`${name}${i}`));

  test('[R4] a fetch does not take away what was there of the rows that it is asked for', async () => {
    await reopen(1000);
    await store.fetch([ref('a')]);
    await store.fetch(crowd('b'));
    await store.fetch(crowd('c'));
    const both = [ref('b0'), ref('d')];
    expect(both.map((each) => store.isResident(each))).toEqual([true, false]);
    await store.fetch(both);
    expect(both.map((each) => store.isResident(each))).toEqual([true, true]);
  });

  test('[R4] nor do others that come in on the way', async () => {
    await reopen(1000);
    await store.fetch([ref('a')]);
    let letGo = () => {};
    level.hold = new Promise((resolve) => {
      letGo = resolve;
    });
    const fetched = store.fetch([ref('a'), ref('b')]);
    await yields();
    level.hold = null;
    for (const name of ['c', 'd', 'e']) await store.fetch(crowd(name));
    expect(store.isResident(ref('a'))).toBe(false);
    letGo();
    await fetched;
    expect([ref('a'), ref('b')].map((each) => store.isResident(each))).toEqual([true, true]);
  });

  test('[R4] a fetch of more than there is room for ends, whatever was there before', async () => {
    const packed = { ...texts, view: texts.decode };
    const all = Array.from({ length: 300 }, (_, i) => ({ table: packed, key: key(String(i)) }));
    for (const each of all) store.put(packed, each.key, 'v'.repeat(500));
    await checkpoint();
    await reopen(undefined, { bytesMax: 16_384, slabBytes: 4096 });
    for (const some of [all.slice(0, 150), all, all.slice(100), all, all.toReversed()]) {
      await store.fetch(some);
      expect(some.filter((each) => !store.isResident(each))).toEqual([]);
    }
  });

  test('a deletion is remembered until it is durable, also of a row that disk never saw', async () => {
    store.openBatch = 5;
    for (let i = 0; i < 2000; i++) store.put(texts, key(`a${i}`), 'value', true);
    store.openBatch = 6;
    for (let i = 0; i < 2000; i++) store.del(texts, key(`a${i}`));
    const full = store.dirtyBytes;
    store.openBatch = 7;
    store.newestRead = 0;
    expect(store.get(texts, key('a1'))).toBeUndefined();
    expect(store.newestRead).toBe(6);
    store.openBatch = 8;
    expect(store.dirtyBytes).toBe(0);
    expect(full).toBeGreaterThan(100_000);
    expect(store.isResident(ref('a1'))).toBe(false);
    await store.fetch([ref('a1')]);
    expect(store.get(texts, key('a1'))).toBeUndefined();
  });

  test('a claim that a row is new is checked against what is known', () => {
    store.put(texts, key('a'), 'value');
    expect(() => store.put(texts, key('a'), 'again', true)).toThrow('is new, but it is there');
  });
});
