// Patterns of schemas, matched in a time that grows with the text and not with what it makes a backtracking
// matcher try: `^(a|a)*$` against 60 characters would outlive us all. RE2 has no lookaround and no back
// references; whoever writes one is told when the schema is declared.
import { createRequire } from 'node:module';
import { SchemaProblem } from './problem.ts';

type Re2 = typeof import('re2js').RE2JS;

/** Loaded late: most programs never see a pattern. */
const load = createRequire(import.meta.url);
let loaded: Re2 | undefined;

export function loadPatterns(): Re2 {
  loaded ??= (load('re2js') as { RE2JS: Re2 }).RE2JS;
  return loaded;
}

const PATTERN_CHARS_MAX = 1024;
/** Steps of the compiled pattern: each may be tried at each character. */
const STEPS_MAX = 1000;

export interface Pattern {
  test(text: string): boolean;
  /** What one character may cost, in steps. */
  readonly steps: number;
}

/** Throws SchemaProblem. */
export function compilePattern(source: string, place: string): Pattern {
  if (source.length > PATTERN_CHARS_MAX)
    throw new SchemaProblem(
      place,
      `is a pattern of ${source.length} characters, at most ${PATTERN_CHARS_MAX}`,
    );
  const RE2JS = loadPatterns();
  let compiled: import('re2js').RE2JS;
  try {
    compiled = RE2JS.compile(RE2JS.translateRegExp(source));
  } catch (cause) {
    const why = (cause as Error).message.replace(/^error parsing regexp: /, '');
    throw new SchemaProblem(
      place,
      `is not a pattern that is accepted here (RE2, without lookaround and back references): ${why}`,
    );
  }
  const steps = compiled.programSize();
  if (steps > STEPS_MAX)
    throw new SchemaProblem(place, `is a pattern of ${steps} steps, at most ${STEPS_MAX} are accepted`);
  return { test: (text) => compiled.test(text), steps };
}
