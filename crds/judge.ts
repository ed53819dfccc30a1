// Whether a resource is right by itself. The one answer that `flowmesh validate`, `flowmesh dev`, the
// operator's conditions and its webhook give, in the same words.
//   J1. Meaning is judged only where the fields are right: it needs their shape.
//   J2. Never throws, whatever the value, and what it costs is bounded: depth and number of values are.
import { suggestedSignal } from './based-on.ts';
import type { Kind } from './definitions.ts';
import { fieldProblems } from './fields.ts';
import { meaningProblems } from './meaning.ts';
import { type FieldProblem, formatPath } from './problems.ts';
import type { Resource } from './types.ts';
import { YAML_LIMITS } from './yaml-source.ts';

export interface Verdict {
  /** Against the definition: the API server refuses these as well, unless its definition is another one. */
  readonly fields: readonly FieldProblem[];
  /** What no definition can say. */
  readonly meaning: readonly FieldProblem[];
}

/** `value` has `spec`, and `metadata` as far as it is the author's. */
export function judge(kind: Kind, value: Record<string, unknown>): Verdict {
  const beyond = beyondLimits(value);
  if (beyond !== undefined) return { fields: [beyond], meaning: [] };
  const fields = fieldProblems(kind, value);
  if (fields.length > 0) return { fields: fields.map((each) => suggesting(kind, value, each)), meaning: [] };
  // The checks above are what makes it one.
  return { fields, meaning: meaningProblems({ ...value, kind } as unknown as Resource) };
}

/** A rule in CEL can name what there is, not guess what was meant. */
function suggesting(kind: Kind, value: unknown, problem: FieldProblem): FieldProblem {
  if (problem.path.at(-2) !== 'basedOn' || (kind !== 'Queue' && kind !== 'Stream')) return problem;
  const condition = problem.path.reduce<unknown>(
    (inside, step) => (inside as Record<string | number, unknown> | undefined)?.[step],
    value,
  );
  const near = typeof condition === 'string' ? suggestedSignal(kind, condition) : undefined;
  return near === undefined ? problem : { ...problem, cure: `did you mean ${near}?` };
}

/** A megabyte of real manifests has some 30,000. */
export const VALUES_MAX = 100_000;

/**
 * As the reader of manifests says it; objects of the API server come another way. Level by level: a recursion
 * would end where the stack does.
 */
function beyondLimits(value: unknown): FieldProblem | undefined {
  let level: object[] = [value as object];
  let count = 0;
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === YAML_LIMITS.depth)
      return { path: [], message: `nested more than ${YAML_LIMITS.depth} levels deep`, cure: 'flatten it' };
    const below: object[] = [];
    for (const each of level) {
      const values = Object.values(each);
      count += values.length;
      if (count > VALUES_MAX)
        return { path: [], message: `has more than ${VALUES_MAX} values`, cure: 'split it into several' };
      for (const one of values) if (isCollection(one)) below.push(one);
    }
    level = below;
  }
  return undefined;
}

const isCollection = (value: unknown): value is object => typeof value === 'object' && value !== null;

export const problemsIn = ({ fields, meaning }: Verdict): readonly FieldProblem[] => [...fields, ...meaning];

/** On one line, as conditions and the webhook have it: field, what is wrong, what to do. */
export function inOneLine({ path, message, cure }: FieldProblem): string {
  return [formatPath(path), message].filter((part) => part !== '').join(' ') + (cure && `; ${cure}`);
}
