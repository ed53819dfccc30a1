// docs/reference/controllers.md has every reason that the controllers of queues, streams and schemas give.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { REASONS } from '../../operator/controllers/declared/decide.ts';

const page = readFileSync(new URL('../../docs/reference/controllers.md', import.meta.url), 'utf8');

test('every reason is documented', () => {
  expect(REASONS.filter((reason) => !page.includes(`\`${reason}\``))).toEqual([]);
});
