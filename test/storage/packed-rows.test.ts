// Packed rows against a Map: what is known of a row is right, what is let go is on disk, and no more of it
// than the bounds ask for. Checkpoints are what the row store does with them.
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Table } from '../../dataplane/storage/contract.ts';
import { KeyHash } from '../../dataplane/storage/key-hash.ts';
import { PackedRows } from '../../dataplane/storage/packed-rows.ts';

const SLAB_BYTES = 256;
const table: Table<Buffer> = {
  id: 40,
  name: 'bytes',
  encode: (bytes, into) => into.raw(bytes),
  decode: (from) => from.buffer.subarray(from.at, from.end),
  view: (from) => from.buffer.subarray(from.at, from.end),
};
const plain = { isNew: false, undo: null };

function bytesOf(rows: PackedRows, key: string): Buffer | undefined {
  const place = rows.find(key);
  const reader = place === 0 ? undefined : rows.read(place);
  return reader?.buffer.subarray(reader.at, reader.end);
}

/** Writes to `disk` what is frozen. */
function write(rows: PackedRows, disk: Map<string, Buffer>): number {
  let count = 0;
  for (const cursor = rows.frozen(); cursor.next(); count++) {
    const key = cursor.key.toString('latin1');
    if (cursor.stored === undefined) disk.delete(key);
    else {
      const end = cursor.stored.length - 4;
      expect(cursor.stored.readUInt32LE(end)).toBe(crc32(cursor.stored.subarray(0, end), crc32(cursor.key)));
      disk.set(key, Buffer.from(cursor.stored.subarray(0, end)));
    }
  }
  return count;
}

function checkpoint(rows: PackedRows, disk: Map<string, Buffer>): number {
  rows.freeze();
  const count = write(rows, disk);
  rows.written();
  return count;
}

const key = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\xff'), minLength: 1, maxLength: 3 });
const value = fc.string({ maxLength: 12 }).map((text) => Buffer.from(text));
const step = fc.oneof(
  fc.record({ op: fc.constant('put' as const), key, value, claims: fc.boolean() }),
  fc.record({ op: fc.constant('put' as const), key, value, claims: fc.boolean() }),
  fc.record({ op: fc.constant('delete' as const), key }),
  fc.record({ op: fc.constant('undone' as const), key, value, other: key }),
  fc.record({ op: fc.constant('get' as const), key }),
  fc.record({ op: fc.constant('expect' as const), keys: fc.array(key, { maxLength: 200 }) }),
  fc.record({ op: fc.constant('turn' as const), slabs: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ op: fc.constant('freeze' as const) }),
  fc.record({ op: fc.constant('fail' as const) }),
  fc.record({ op: fc.constant('write' as const) }),
);

test('[P5] what is known is what was put last, what is written what was frozen, and views stay', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 400, size: 'max' }),
      fc.constantFrom(0, 600, 100_000),
      fc.boolean(),
      fc.nat(),
      (steps, bytesMax, startsComplete, seed) => {
        const rows = new PackedRows({ bytesMax, slabBytes: SLAB_BYTES, hash: new KeyHash(seed) });
        if (startsComplete) rows.declareComplete();
        const disk = new Map<string, Buffer>();
        const now = new Map<string, Buffer>();
        let frozen: Map<string, Buffer> | null = null;
        const read: { bytes: Buffer; text: string }[] = [];
        for (const given of steps) {
          rows.batch++;
          if (given.op === 'turn') rows.turn(given.slabs);
          else if (given.op === 'expect') rows.expect(given.keys.map((each) => ({ table, key: each })));
          else if (given.op === 'put') {
            const isNew = given.claims && !now.has(given.key);
            now.set(given.key, given.value);
            rows.put(table, given.key, given.value, { isNew, undo: null });
            expect(rows.batchOf(rows.find(given.key))).toBe(rows.batch);
          } else if (given.op === 'delete') {
            now.delete(given.key);
            rows.put(table, given.key, undefined, plain);
          } else if (given.op === 'undone') {
            const undo: (() => void)[] = [];
            rows.put(table, given.key, given.value, { isNew: false, undo });
            rows.put(table, given.other, undefined, { isNew: false, undo });
            rows.put(table, given.key, given.value, { isNew: false, undo });
            for (const revert of undo.reverse()) revert();
          } else if (given.op === 'freeze') {
            const changedBytes = rows.changedBytes;
            if (frozen === null) rows.freeze();
            if (frozen === null) expect(rows.frozenBytes).toBeLessThanOrEqual(changedBytes);
            expect(rows.frozenBytes).toBeGreaterThanOrEqual(0);
            frozen ??= new Map(now);
          } else if (given.op === 'fail') {
            // Half of it may be on disk.
            if (frozen !== null) write(rows, new Map(disk));
          } else if (given.op === 'write') {
            if (frozen === null) continue;
            write(rows, disk);
            rows.written();
            expect(disk).toEqual(frozen);
            frozen = null;
            expect(rows.frozenBytes).toBe(0);
          } else {
            if (!rows.has(given.key)) rows.keep(given.key, disk.get(given.key) ?? null);
            const bytes = bytesOf(rows, given.key);
            expect(bytes).toEqual(now.get(given.key));
            if (bytes !== undefined) read.push({ bytes, text: bytes.toString() });
          }
        }
        if (rows.isComplete) for (const [k, bytes] of now) expect(bytesOf(rows, k)).toEqual(bytes);
        for (const { bytes, text } of read) expect(bytes.toString()).toBe(text);
        if (frozen !== null) {
          write(rows, disk);
          rows.written();
        }
        checkpoint(rows, disk);
        expect(disk).toEqual(now);
        expect(rows.changedBytes).toBe(0);
        rows.turn(1000);
        expect(rows.bytes).toBeLessThanOrEqual(Math.max(bytesMax, SLAB_BYTES * 2));
      },
    ),
    { numRuns: 500 },
  );
});

test('[P3] it stays complete as long as everything fits, however often rows change', () => {
  const rows = new PackedRows({ bytesMax: 1024 * 1024, slabBytes: 4096 });
  const disk = new Map<string, Buffer>();
  rows.declareComplete();
  for (let i = 0; i < 100_000; i++) {
    rows.put(table, `key:${i % 1000}`, Buffer.from(String(i)), plain);
    if (i % 20 === 0) rows.turn();
    if (i % 5000 === 4999) expect(checkpoint(rows, disk)).toBe(1000);
  }
  expect(rows.isComplete).toBe(true);
  expect(bytesOf(rows, 'key:7')?.toString()).toBe('99007');
  expect(rows.has('key:1000')).toBe(true);
  expect(rows.find('key:1000')).toBe(0);
  // [P4] 1,000 rows of 32 B live.
  expect(rows.bytes).toBeLessThan(2 * 32_000 + 10 * 4096);
});

test('a row that is written over and over is one change, and one that came and went is none', () => {
  const rows = new PackedRows({ bytesMax: 1024 * 1024, slabBytes: 4096 });
  const disk = new Map<string, Buffer>();
  rows.declareComplete();
  for (let i = 0; i < 50_000; i++) {
    rows.put(table, 'hot', Buffer.from(String(i)), plain);
    rows.put(table, 'brief', Buffer.from('a lock'), plain);
    rows.put(table, 'brief', undefined, plain);
    if (i % 20 === 0) rows.turn();
  }
  expect(rows.changedBytes).toBeLessThan(10 * 4096);
  rows.freeze();
  expect(rows.frozenBytes).toBeLessThan(100);
  expect(write(rows, disk)).toBe(1);
  rows.written();
  expect(disk).toEqual(new Map([['hot', Buffer.from('49999')]]));
});

test('what is asked for stays when not everything fits, and the bound holds', () => {
  const bytesMax = 256 * 1024;
  const rows = new PackedRows({ bytesMax, slabBytes: 4096 });
  const disk = new Map<string, Buffer>();
  rows.declareComplete();
  const text = Buffer.alloc(100, 'x');
  for (let i = 0; i < 50_000; i++) {
    rows.put(table, `key:${i}`, text, plain);
    for (let hot = 0; hot < 10; hot++) if (i > hot) expect(bytesOf(rows, `key:${hot}`)).toEqual(text);
    if (i % 100 === 99) checkpoint(rows, disk);
    rows.turn();
    expect(rows.bytes).toBeLessThanOrEqual(bytesMax + 5 * 4096);
  }
  expect(rows.isComplete).toBe(false);
  for (let hot = 0; hot < 10; hot++) expect(rows.has(`key:${hot}`)).toBe(true);
  expect(rows.has('key:100')).toBe(false);
  expect(rows.has('key:49999')).toBe(true);
});

test('reads from disk do not pile up behind a change, nor behind a checkpoint that cannot be written', () => {
  const bytesMax = 256 * 1024;
  const rows = new PackedRows({ bytesMax, slabBytes: 4096 });
  const text = Buffer.alloc(100, 'x');
  rows.put(table, 'frozen', text, plain);
  rows.freeze();
  rows.put(table, 'changed', text, plain);
  for (let i = 0; i < 20_000; i++) {
    rows.keep(`key:${i}`, text);
    rows.turn();
    expect(rows.bytes).toBeLessThanOrEqual(bytesMax + 4096);
  }
  const disk = new Map<string, Buffer>();
  write(rows, disk);
  rows.written();
  expect([...disk.keys()]).toEqual(['frozen']);
  checkpoint(rows, disk);
  expect([...disk.keys()]).toEqual(['frozen', 'changed']);
});

test('values larger than a slab have one of their own', () => {
  const rows = new PackedRows({ bytesMax: 8 * 1024 * 1024 });
  const large = Buffer.alloc(1024 * 1024 + 5000, 7);
  for (const name of ['a', 'b', 'c']) rows.put(table, name, large, plain);
  rows.put(table, 'd', Buffer.from('small'), plain);
  expect(bytesOf(rows, 'b')).toEqual(large);
  expect(bytesOf(rows, 'd')?.toString()).toBe('small');
});

test('the numbers of slabs come round, and leave out one that is held', () => {
  const rows = new PackedRows({ bytesMax: 4096, slabBytes: 64 });
  const disk = new Map<string, Buffer>();
  rows.put(table, 'held', Buffer.from('held'), plain);
  rows.freeze();
  for (let i = 0; i < 100_000; i++) {
    rows.put(table, `key:${i % 40}`, Buffer.alloc(30, i), plain);
    rows.turn(2);
  }
  expect(write(rows, disk)).toBe(1);
  for (let i = 99_961; i < 100_000; i++) {
    expect(bytesOf(rows, `key:${i % 40}`)).toEqual(Buffer.alloc(30, i));
  }
  expect(bytesOf(rows, 'held')?.toString()).toBe('held');
});
