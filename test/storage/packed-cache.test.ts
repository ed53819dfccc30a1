// The packed cache against a Map: what it has is right, and it lets go of no more than its bounds ask for.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyHash } from '../../dataplane/storage/key-hash.ts';
import { PackedCache } from '../../dataplane/storage/packed-cache.ts';

const SLAB_BYTES = 256;

function bytesOf(cache: PackedCache, key: string): Buffer | undefined {
  const reader = cache.get(key);
  return reader?.buffer.subarray(reader.at, reader.end);
}

const key = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\xff'), minLength: 1, maxLength: 3 });
const value = fc.string({ maxLength: 12 }).map((text) => Buffer.from(text));
const step = fc.oneof(
  fc.record({ op: fc.constant('set' as const), key, value }),
  fc.record({ op: fc.constant('none' as const), key }),
  fc.record({ op: fc.constant('delete' as const), key }),
  fc.record({ op: fc.constant('get' as const), key }),
  fc.record({ op: fc.constant('turn' as const), slabs: fc.integer({ min: 1, max: 4 }) }),
);

test('what it has is what was set last, and what was read once stays as it was', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 400, size: 'max' }),
      fc.constantFrom(0, 600, 100_000),
      fc.boolean(),
      fc.nat(),
      (steps, bytesMax, startsComplete, seed) => {
        const cache = new PackedCache({ bytesMax, slabBytes: SLAB_BYTES, hash: new KeyHash(seed) });
        if (startsComplete) cache.declareComplete();
        const disk = new Map<string, Buffer>();
        const read: { bytes: Buffer; text: string }[] = [];
        for (const given of steps) {
          if (given.op === 'turn') cache.turn(given.slabs);
          else if (given.op === 'set') {
            disk.set(given.key, given.value);
            cache.set(given.key, given.value);
          } else if (given.op === 'none') {
            disk.delete(given.key);
            cache.set(given.key, null);
          } else if (given.op === 'delete') {
            disk.delete(given.key);
            cache.delete(given.key);
          } else if (cache.has(given.key)) {
            const bytes = bytesOf(cache, given.key);
            expect(bytes).toEqual(disk.get(given.key));
            expect(cache.isAbsent(given.key)).toBe(!disk.has(given.key));
            if (bytes !== undefined) read.push({ bytes, text: bytes.toString() });
          } else expect(cache.isAbsent(given.key)).toBe(false);
        }
        if (cache.isComplete) for (const [k, stored] of disk) expect(bytesOf(cache, k)).toEqual(stored);
        for (const { bytes, text } of read) expect(bytes.toString()).toBe(text);
        cache.turn(1000);
        expect(cache.bytes).toBeLessThanOrEqual(Math.max(bytesMax, SLAB_BYTES * 2));
      },
    ),
    { numRuns: 500 },
  );
});

test('[P3] it stays complete as long as everything fits, however often rows change', () => {
  const cache = new PackedCache({ bytesMax: 1024 * 1024, slabBytes: 4096 });
  cache.declareComplete();
  for (let i = 0; i < 100_000; i++) {
    cache.set(`key:${i % 1000}`, Buffer.from(String(i)));
    if (i % 20 === 0) cache.turn();
  }
  expect(cache.isComplete).toBe(true);
  expect(bytesOf(cache, 'key:7')?.toString()).toBe('99007');
  expect(cache.isAbsent('key:1000')).toBe(true);
  // [P4] 1,000 rows of 24 B live.
  expect(cache.bytes).toBeLessThan(2 * 24_000 + 10 * 4096);
});

test('what is asked for stays when not everything fits, and the bound holds', () => {
  const bytesMax = 256 * 1024;
  const cache = new PackedCache({ bytesMax, slabBytes: 4096 });
  cache.declareComplete();
  const text = Buffer.alloc(100, 'x');
  for (let i = 0; i < 50_000; i++) {
    cache.set(`key:${i}`, text);
    for (let hot = 0; hot < 10; hot++) if (i > hot) cache.get(`key:${hot}`);
    cache.turn();
    expect(cache.bytes).toBeLessThanOrEqual(bytesMax + 4096);
  }
  expect(cache.isComplete).toBe(false);
  for (let hot = 0; hot < 10; hot++) expect(cache.has(`key:${hot}`)).toBe(true);
  expect(cache.has('key:100')).toBe(false);
  expect(cache.has('key:49999')).toBe(true);
});

test('values larger than a slab have one of their own', () => {
  const cache = new PackedCache({ bytesMax: 8 * 1024 * 1024 });
  const large = Buffer.alloc(1024 * 1024 + 5000, 7);
  for (const name of ['a', 'b', 'c']) cache.set(name, large);
  cache.set('d', Buffer.from('small'));
  expect(bytesOf(cache, 'b')).toEqual(large);
  expect(bytesOf(cache, 'd')?.toString()).toBe('small');
});

test('the numbers of slabs come round', () => {
  const cache = new PackedCache({ bytesMax: 4096, slabBytes: 64 });
  for (let i = 0; i < 100_000; i++) {
    cache.set(`key:${i % 40}`, Buffer.alloc(30, i));
    cache.turn(2);
  }
  for (let i = 99_961; i < 100_000; i++) expect(bytesOf(cache, `key:${i % 40}`)).toEqual(Buffer.alloc(30, i));
});
