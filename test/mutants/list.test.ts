// The planted bugs still have a place (npm run test:mutants plants them).
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mutants } from './list.ts';

test.each(mutants)('$name has one place in $file', ({ file, find }) => {
  const source = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  expect(source.split(find)).toHaveLength(2);
});
