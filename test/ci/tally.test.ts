// The last line of .ci/run: every way in which a step can end badly counts, and nothing counts twice.
import { expect, test } from 'vitest';
import { tally } from '../../scripts/tally.ts';

const file = (status: string, ...tests: string[]) => ({
  name: 'a.test.ts',
  status,
  message: 'it cannot be loaded\n  at b.ts',
  assertionResults: tests.map((each, index) => ({
    status: each,
    fullName: `test ${index}`,
    ...(each === 'failed' && { failureMessages: ['Error: 1 is not 2\n  at a.ts'] }),
  })),
});
const step = (exitCode: number, ...testResults: ReturnType<typeof file>[]) =>
  tally({ name: 'test', exitCode, results: { testResults } });

test('tests are counted by what became of them; failed and skipped ones are named', () => {
  const files = [file('passed', 'passed', 'skipped'), file('failed', 'passed', 'failed', 'failed')];
  expect(step(1, ...files)).toEqual({
    ...{ passed: 2, failed: 2, skipped: ['test 1'] },
    failures: ['a.test.ts: test 1: Error: 1 is not 2', 'a.test.ts: test 2: Error: 1 is not 2'],
  });
});

test('a file that cannot be loaded is one failure, though it has no test', () => {
  expect(step(1, file('failed'), file('passed', 'passed'))).toMatchObject({
    ...{ passed: 1, failed: 1 },
    failures: ['a.test.ts: it cannot be loaded'],
  });
});

test('a step that fails without a failed test is one failure, and so is one without results', () => {
  expect(step(1, file('passed', 'passed'))).toMatchObject({ passed: 1, failed: 1 });
  expect(tally({ name: 'e2e', exitCode: 0, results: undefined })).toMatchObject({ passed: 0, failed: 1 });
  expect(tally({ name: 'e2e', exitCode: 124, results: undefined })).toMatchObject({ passed: 0, failed: 1 });
  expect(step(0, file('passed', 'passed'))).toMatchObject({ passed: 1, failed: 0 });
});
