// `node scripts/tally.ts DIR` adds up what the steps of .ci/run left in DIR: NAME.status, the exit code, and
// NAME.json, results as vitest writes them. Its last line is `N passed, N failed`.
//   1. A step that ended badly counts as at least one failure: a file that cannot be loaded has no failed
//      test, and a step that was stopped leaves no results.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Results {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
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
  /** Titles; those of specs say why. */
  readonly skipped: readonly string[];
}

export function tally({ exitCode, results }: Step): Tally {
  let [passed, failed] = [0, 0];
  const skipped: string[] = [];
  for (const { status, assertionResults } of results?.testResults ?? []) {
    const failures = assertionResults.filter((test) => test.status === 'failed').length;
    passed += assertionResults.filter((test) => test.status === 'passed').length;
    failed += failures || (status === 'failed' ? 1 : 0);
    const left = assertionResults.filter((test) => !['passed', 'failed'].includes(test.status));
    skipped.push(...left.map(({ fullName }) => fullName));
  }
  return { passed, failed: failed || (exitCode === 0 && results !== undefined ? 0 : 1), skipped };
}

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
  const sum = (key: 'passed' | 'failed') => steps.reduce((total, step) => total + step[key], 0);
  // Nothing ran, nothing was shown.
  const failed = sum('failed') + (steps.length === 0 ? 1 : 0);
  console.log(`${sum('passed')} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
