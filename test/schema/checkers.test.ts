// What is kept of compiled schemas: those that were used last, within bounds.
import { expect, test } from 'vitest';
import { Checkers } from '../../dataplane/schema/checkers.ts';
import type { SchemaVersion } from '../../dataplane/schema/tables.ts';

const version = (number: number, title = ''): SchemaVersion => ({
  ...{ version: number, fields: '', migrate: '', jsonSchema: JSON.stringify({ title }) },
});

test('the same text is compiled once, another one of the same name anew', () => {
  const checkers = new Checkers();
  const first = checkers.of(1, 'a', version(1));
  expect(checkers.of(1, 'a', version(1))).toBe(first);
  expect(checkers.of(1, 'a', version(1, 'other'))).not.toBe(first);
  expect(checkers.of(2, 'a', version(1))).not.toBe(first);
  expect(checkers.count).toBe(2);
});

test('what was used longest ago goes first', () => {
  const checkers = new Checkers();
  const kept = checkers.of(1, 'a', version(1));
  const gone = checkers.of(1, 'b', version(1));
  for (let i = 0; i < 998; i++) checkers.of(1, 'filler', version(i + 1));
  expect(checkers.of(1, 'a', version(1))).toBe(kept);
  checkers.of(1, 'c', version(1));
  expect(checkers.count).toBe(1000);
  expect(checkers.of(1, 'a', version(1))).toBe(kept);
  expect(checkers.of(1, 'b', version(1))).not.toBe(gone);
});

test('large ones are kept within a bound, too', () => {
  const checkers = new Checkers();
  for (let i = 0; i < 100; i++) checkers.of(1, `s${i}`, version(1, 'x'.repeat(60_000)));
  expect(checkers.count).toBeLessThan(75);
  expect(() => checkers.of(1, 'bad', { ...version(1), jsonSchema: '{"type":"x"}' })).toThrow(
    /version 1 of schema bad/,
  );
});
