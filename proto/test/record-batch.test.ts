// The record batch format: what goes in comes out, and no byte string makes the decoder misbehave.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BATCH_HEAD_BYTES,
  type BatchRecord,
  decodeBatch,
  encodeBatch,
  FlowError,
  LIMITS,
  patchHead,
  readEntries,
  readHead,
  sliceBatch,
  validateBatch,
} from '../src/index.ts';

const bytes = (max: number) => fc.uint8Array({ maxLength: max }).map((b) => Buffer.from(b));
const optional = <T>(arb: fc.Arbitrary<T>) => fc.option(arb, { nil: undefined });

const record: fc.Arbitrary<BatchRecord> = fc.record({
  value: fc.oneof(bytes(300), fc.constant(null)),
  contentType: optional(fc.constantFrom('application/json', 'text/plain', 'application/x-own')),
  key: optional(bytes(40)),
  headers: optional(
    fc
      .dictionary(fc.string({ minLength: 1, maxLength: 20 }), bytes(40), { maxKeys: 4 })
      .map((d) => new Map(Object.entries(d))),
  ),
  timeMs: optional(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  delayMs: optional(fc.integer({ min: 1, max: 2 ** 40 })),
  priority: optional(fc.integer({ min: 1, max: 255 })),
  dedupKey: optional(fc.string({ minLength: 1, maxLength: 20 })),
  limitKey: optional(bytes(30)),
  envelope: optional(
    fc.record({
      traceparent: fc.string({ minLength: 1 }),
      tags: fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 3 }),
    }),
  ),
});

describe('record batch', () => {
  test('what is encoded is decoded, whatever the mix of records', () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 30 }), (records) => {
        const batch = encodeBatch(records);
        validateBatch(batch);
        patchHead(batch, 1_000_000, 1_700_000_000_000);
        const decoded = decodeBatch(batch);
        expect(decoded).toHaveLength(records.length);
        decoded.forEach((got, i) => {
          const sent = records[i] as BatchRecord;
          expect(got.offset).toBe(1_000_000 + i);
          expect(got.value === null ? null : Buffer.from(got.value).toString('hex')).toBe(
            sent.value === null ? null : Buffer.from(sent.value).toString('hex'),
          );
          expect(got.contentType).toBe(sent.contentType ?? 'application/octet-stream');
          expect(got.key && Buffer.from(got.key).toString('hex')).toBe(
            sent.key && Buffer.from(sent.key).toString('hex'),
          );
          expect(got.timeMs).toBe(sent.timeMs);
          expect(got.delayMs).toBe(sent.delayMs);
          expect(got.limitKey && Buffer.from(got.limitKey)).toEqual(sent.limitKey);
          expect(got.priority).toBe(sent.priority);
          expect(got.dedupKey).toBe(sent.dedupKey);
          expect(got.envelope).toEqual(sent.envelope);
          expect([...(got.headers ?? [])].map(([n, v]) => [n, Buffer.from(v).toString('hex')])).toEqual(
            [...(sent.headers ?? [])].map(([n, v]) => [n, Buffer.from(v).toString('hex')]),
          );
        });
      }),
    );
  });

  test('a slice holds the chosen entries with their extensions', () => {
    const batch = encodeBatch(
      [1, 2, 3, 4].map((n) => ({ value: Buffer.from(`v${n}`), key: Buffer.from(`k${n}`) })),
    );
    const head = readHead(batch);
    const spans = readEntries(batch, 0, head);
    const slice = sliceBatch(batch, head, [spans[1], spans[3]] as typeof spans);
    expect(
      decodeBatch(slice).map(
        (r) => `${Buffer.from(r.key ?? []).toString()}=${Buffer.from(r.value ?? []).toString()}`,
      ),
    ).toEqual(['k2=v2', 'k4=v4']);
    validateBatch(slice);
  });

  test('any flipped bit of the body is noticed', () => {
    const batch = encodeBatch([{ value: Buffer.from('hello'), key: Buffer.from('k') }]);
    for (let at = 28; at < batch.length; at++) {
      const damaged = Buffer.from(batch);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(() => validateBatch(damaged), `byte ${at}`).toThrow(FlowError);
    }
  });

  test('arbitrary bytes are MALFORMED, never a crash, never a hang', () => {
    fc.assert(
      fc.property(bytes(200), fc.boolean(), (junk, withHead) => {
        const input = withHead
          ? Buffer.concat([encodeBatch([{ value: junk }]).subarray(0, BATCH_HEAD_BYTES), junk])
          : junk;
        if (withHead) input.writeUInt32LE(input.length, 0);
        try {
          validateBatch(input);
        } catch (error) {
          expect((error as FlowError).code).toBe('MALFORMED');
        }
      }),
    );
  });

  test.each([
    ['a value', { value: Buffer.alloc(LIMITS.valueBytes + 1) }, 'VALUE_TOO_LARGE'],
    ['a key', { value: Buffer.alloc(1), key: Buffer.alloc(LIMITS.keyBytes + 1) }, 'KEY_TOO_LARGE'],
    [
      'a header',
      { value: Buffer.alloc(1), headers: new Map([['h', Buffer.alloc(LIMITS.headerBytes + 1)]]) },
      'HEADERS_TOO_LARGE',
    ],
    [
      'headers',
      {
        value: Buffer.alloc(1),
        headers: new Map(Array.from({ length: 65 }, (_, i) => [`h${i}`, Buffer.alloc(1)] as const)),
      },
      'HEADERS_TOO_LARGE',
    ],
  ])('%s beyond the limit is refused with its own code', (_what, tooLarge, code) => {
    expect(() => validateBatch(encodeBatch([tooLarge as BatchRecord]))).toThrow(
      expect.objectContaining({ code }),
    );
  });

  test('a client cannot set what only the server may', () => {
    const batch = encodeBatch([{ value: Buffer.from('x') }]);
    batch[BATCH_HEAD_BYTES] = 1;
    expect(() => validateBatch(batch)).toThrow(FlowError);
  });
});
