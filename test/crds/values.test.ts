// Durations, sizes and suggestions.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nearest } from '../../crds/suggest.ts';
import { formatDuration, formatSize, parseDurationMs, parseSizeBytes } from '../../crds/values.ts';

test.each([
  ['500ms', 500],
  ['90s', 90_000],
  ['5m', 300_000],
  ['24h', 86_400_000],
  ['7d', 604_800_000],
  ['1h30m', 5_400_000],
  ['0s', undefined],
  ['5', undefined],
  ['5 m', undefined],
  ['-5m', undefined],
  ['1.5h', undefined],
  ['5M', undefined],
  ['', undefined],
  ['9007199254740993ms', undefined],
  [`${'9'.repeat(30)}d`, undefined],
])('duration %s is %s ms', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms);
});

test.each([
  ['4096', 4096],
  ['1k', 1000],
  ['512Mi', 536_870_912],
  ['1Gi', 1_073_741_824],
  ['20G', 20_000_000_000],
  ['0', undefined],
  ['1GB', undefined],
  ['1.5Gi', undefined],
  ['9999999999Ti', undefined],
])('size %s is %s bytes', (text, bytes) => {
  expect(parseSizeBytes(text)).toBe(bytes);
});

test('a formatted duration reads back as itself', () => {
  const ms = fc.integer({ min: 1, max: 2 ** 40 });
  fc.assert(fc.property(ms, (each) => parseDurationMs(formatDuration(each)) === each));
});

test('sizes and durations for people', () => {
  expect([0, 1023, 1024, 1536, 2 ** 30].map(formatSize)).toEqual(['0', '1023', '1Ki', '1.5Ki', '1Gi']);
  expect([0, 90_000, 86_400_000].map(formatDuration)).toEqual(['0s', '1m30s', '1d']);
});

test.each([
  ['maxAttemps', 'maxAttempts'],
  ['max_attempts', 'maxAttempts'],
  ['MaxAttempts', 'maxAttempts'],
  ['atempts', undefined],
  ['constructor', undefined],
  ['x'.repeat(100_000), undefined],
])('the nearest of %s is %s', (name, expected) => {
  expect(nearest(name, ['maxAttempts', 'maxDeliveries', 'backoff'])).toBe(expected);
});
