// docs/reference/errors.md and the error table say the same, both ways.
import { readFileSync } from 'node:fs';
import { ERRORS } from '@flowmesh/protocol';
import { expect, test } from 'vitest';

const page = readFileSync(new URL('../../docs/reference/errors.md', import.meta.url), 'utf8');

test('every error code is documented as the table has it, and no other', () => {
  const documented = page.split('\n').filter((line) => line.startsWith('| `'));
  const expected = Object.entries(ERRORS).map(
    ([code, e]) => `| \`${code}\` | ${e.grpc} | ${e.http} | ${e.retry} | ${e.title} | ${e.cure} |`,
  );
  expect(documented).toEqual(expected);
});
