import { expect, test } from 'vitest';
import { specFindings } from '../../scripts/tidy/spec.ts';

/** Put together here, so that this file names no rules itself. */
const id = (name: string) => `[${name}]`;
const spec = (...lines: string[]) => [
  { path: 'docs/spec/queues.md', text: `# Queues\n${lines.join('\n')}\n` },
];
const tested = (...titles: string[]) => [
  { path: 'test/queue/a.test.ts', text: titles.map((title) => `test('${title}', () => {});\n`).join('') },
];
const found = (specs: ReturnType<typeof spec>, tests: ReturnType<typeof tested>) =>
  specFindings(specs, tests).map(({ path, line, message }) => `${path}:${line} ${message}`);

test('[T6] a rule and a test that names it are fine', () => {
  const rules = spec(`- ${id('Q1')} one`, `- ${id('KV2')} two`);
  expect(found(rules, tested(`${id('Q1')} ${id('KV2')} both`, `${id('J9')} of a module`))).toEqual([]);
});

test('[T6] a rule without a test, a title without a rule and a rule told twice are found', () => {
  const rules = spec(`- ${id('Q1')} one`, `- ${id('Q1')} again`, `- ${id('Q2')} two`);
  expect(found(rules, tested(`${id('Q1')} here`, `${id('Q7')} of nothing`))).toEqual([
    `docs/spec/queues.md:3 ${id('Q1')} is a rule of docs/spec/queues.md:2 already`,
    `test/queue/a.test.ts:2 ${id('Q7')} is no rule of docs/spec`,
    `docs/spec/queues.md:4 ${id('Q2')} has no test`,
  ]);
});
