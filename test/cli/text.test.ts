// Values as text: what reaches a terminal takes the columns it is said to take, and commands it nothing.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inJson } from '../../cli/json.ts';
import { clip, clock, dataSize, preview, printable, relative, span, width } from '../../cli/text.ts';
import { noonMs } from './support.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
const commanding = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
const marks = fc.integer({ min: 0, max: 0x20ff }).map((code) => String.fromCharCode(code));
const anyText = fc.string({
  unit: fc.oneof(marks, fc.string({ unit: 'binary', maxLength: 1 })),
  maxLength: 60,
});

test('no bytes whatever reach a terminal as control characters', () => {
  const anyBytes = fc.oneof(fc.uint8Array({ maxLength: 80 }), anyText.map(Buffer.from));
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      expect(preview(bytes)).not.toMatch(commanding);
    }),
  );
  expect(printable('\u001b[2J\u009b2J\u202eevil\r\n\t')).toBe('\\e[2J\\u009b2J\\u202eevil\\r\\n\\t');
});

test('JSON escapes what terminals obey, and still says the same', () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const json = inJson({ text });
      expect(json).not.toMatch(commanding);
      expect(JSON.parse(json)).toEqual({ text });
    }),
  );
});

test.each([
  ['plain', 5],
  ['\u001b[31mred\u001b[39m', 3],
  ['日本語', 6],
  ['한글', 4],
  ['𠀋', 2],
  ['✅ ok', 5],
  ['e\u0301', 1],
  ['zero\u200bwidth', 9],
  ['ключ', 4],
])('%s takes the columns that a terminal gives it', (text, columns) => {
  expect(width(text)).toBe(columns);
});

test('clipped text fits, begins as the text does, and says that something is missing', () => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 1, max: 40 }), (text, max) => {
      const plain = printable(text);
      const cut = clip(plain, max);
      expect(width(cut)).toBeLessThanOrEqual(max);
      if (cut !== plain) expect(plain.startsWith(cut.slice(0, -1)) && cut.endsWith('…')).toBe(true);
    }),
  );
  expect(clip('日本語', 4)).toBe('日…');
});

test('text that is cut within a character is still text, and binary data is hex', () => {
  expect(preview(Buffer.from('日'.repeat(3000)))).toMatch(/^日{1365}…$/);
  expect(preview(Buffer.from([0, 1, 254, 255]))).toBe('<4 bytes: 00 01 fe ff>');
  expect(preview(Buffer.alloc(5000, 255))).toBe(`<5,000 bytes: ${'ff '.repeat(16)}…>`);
  expect(preview(new Uint8Array())).toBe('');
});

test.each([
  [0, '0ms'],
  [999, '999ms'],
  [1000, '1s'],
  [61_000, '1m 1s'],
  [3_600_000, '1h'],
  [7_260_000, '2h 1m'],
  [90_000_000, '1d 1h'],
])('%d ms are %s', (ms, text) => {
  expect(span(ms)).toBe(text);
  expect(relative(noonMs - ms, noonMs)).toBe(`${text} ago`);
  if (ms > 0) expect(relative(noonMs + ms, noonMs)).toBe(`in ${text}`);
});

test('the date is shown when it is not today', () => {
  expect(clock(noonMs + 1, noonMs)).toBe('12:00:00.001');
  expect(clock(noonMs - 86_400_000, noonMs)).toBe('2026-01-30 12:00:00.000');
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [152_678, '149.1 KiB'],
  [5 * 1024 ** 3, '5 GiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(dataSize(bytes)).toBe(text);
});
