// `node scripts/tally.ts DIR` adds up what the steps of .ci/run left in DIR: NAME.status, the exit code, and
// NAME.json, results as vitest writes them. Its last line is `N passed, N failed`.
//   1. A step that ended badly counts as at least one failure: a file that cannot be loaded has no failed
//      test, and a step that was stopped leaves no results.
//   2. What failed is named at the end, in a line each.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

interface Results {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

export interface Step {
  readonly name: string;
  readonly exitCode: number;
  readonly results: Results | undefined;
}

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** File, title and what was wrong, in a line each. */
  readonly failures: readonly string[];
  /** Titles; those of specs say why. */
  readonly skipped: readonly string[];
}

export function tally({ exitCode, results }: Step): Tally {
  let [passed, failed] = [0, 0];
  const skipped: string[] = [];
  const failures: string[] = [];
  for (const { name, status, message, assertionResults } of results?.testResults ?? []) {
    const wrong = assertionResults.filter((test) => test.status === 'failed');
    passed += assertionResults.filter((test) => test.status === 'passed').length;
    failed += wrong.length || (status === 'failed' ? 1 : 0);
    for (const { fullName, failureMessages } of wrong) {
      failures.push(`${basename(name)}: ${fullName}: ${firstLine(failureMessages?.[0])}`);
    }
    if (wrong.length === 0 && status === 'failed') failures.push(`${basename(name)}: ${firstLine(message)}`);
    const left = assertionResults.filter((test) => !['passed', 'failed'].includes(test.status));
    skipped.push(...left.map(({ fullName }) => fullName));
  }
  return { passed, failed: failed || (exitCode === 0 && results !== undefined ? 0 : 1), failures, skipped };
}

const firstLine = (text = 'no message') => text.split('\n', 1)[0];

function readSteps(dir: string): Step[] {
  const names = readdirSync(dir).filter((name) => name.endsWith('.status'));
  return names.map((file) => {
    const name = file.slice(0, -'.status'.length);
    const json = join(dir, `${name}.json`);
    const text = existsSync(json) ? readFileSync(json, 'utf8') : '';
    return {
      name,
      exitCode: Number(readFileSync(join(dir, file), 'utf8')),
      results: text === '' ? undefined : (JSON.parse(text) as Results),
    };
  });
}

if (import.meta.main) {
  const [dir = '.'] = process.argv.slice(2);
  const steps = readSteps(dir).map((step) => ({ name: step.name, ...tally(step) }));
  for (const { name, passed, failed, skipped } of steps) {
    for (const title of skipped) console.log(`skipped in ${name}: ${title}`);
    console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped.length} skipped`);
  }
  // Last, where a log that was cut still has them.
  for (const { name, failures } of steps) {
    for (const failure of failures) console.log(`failed in ${name}: ${failure}`);
  }
  const sum = (key: 'passed' | 'failed') => steps.reduce((total, step) => total + step[key], 0);
  // Nothing ran, nothing was shown.
  const failed = sum('failed') + (steps.length === 0 ? 1 : 0);
  console.log(`${sum('passed')} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
