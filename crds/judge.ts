// Whether a resource is right by itself. The one answer that `flowmesh validate`, `flowmesh dev`, the
// operator's conditions and its webhook give, in the same words.
//   J1. Meaning is judged only where the fields are right: it needs their shape.
//   J2. Never throws, whatever the value.
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
  if (isDeeper(value, YAML_LIMITS.depth)) return { fields: [tooDeep], meaning: [] };
  const fields = fieldProblems(kind, value);
  if (fields.length > 0) return { fields, meaning: [] };
  // The checks above are what makes it one.
  return { fields, meaning: meaningProblems({ ...value, kind } as unknown as Resource) };
}

/** As the reader of manifests says it; objects of the API server come another way. */
const tooDeep: FieldProblem = {
  path: [],
  message: `nested more than ${YAML_LIMITS.depth} levels deep`,
  cure: 'flatten it',
};

/** Level by level: a recursion would end where the stack does. */
function isDeeper(value: unknown, levelsMax: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === levelsMax) return true;
    level = level.flatMap((each) => Object.values(each as object).filter(isCollection));
  }
  return false;
}

const isCollection = (value: unknown) => typeof value === 'object' && value !== null;

export const problemsIn = ({ fields, meaning }: Verdict): readonly FieldProblem[] => [...fields, ...meaning];

/** On one line, as conditions and the webhook have it: field, what is wrong, what to do. */
export function inOneLine({ path, message, cure }: FieldProblem): string {
  return [formatPath(path), message].filter((part) => part !== '').join(' ') + (cure && `; ${cure}`);
}
