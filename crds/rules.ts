// What a schema cannot say: rules over values and across fields. The definitions have them in CEL; here they
// are evaluated.
//   R1. Every rule of the definitions is evaluated, and none is written a second time.
//   R2. A rule that compares with the old object runs only where there is one, as in the API server: entries
//       of lists are told apart by their keys, those of other lists have no past.
import { holds, isTransition, toCel } from './cel.ts';
import { definitionOf, type Rule, type Structural } from './definitions.ts';
import { type FieldProblem, isMapping, quoted } from './problems.ts';
import type { Resource } from './types.ts';
import type { Path } from './yaml-source.ts';

/** The rules that stand at this very schema. */
export function rulesAt(schema: Structural, value: unknown, path: Path): FieldProblem[] {
  return broken(schema, value, undefined, path, (rule) => !isTransition(rule));
}

/** The rules at this schema and at all below it. */
export function rulesBelow(schema: Structural, value: unknown, path: Path): FieldProblem[] {
  return walk(schema, value, undefined, path, (rule) => !isTransition(rule));
}

/** What may not become of `before`, an object of the same kind and name. */
export function changeProblems(before: Resource, after: Resource): FieldProblem[] {
  return changesBelow(definitionOf(after.kind).schema, before, after);
}

/** The rules that compare, at this schema and at all below it. */
export function changesBelow(schema: Structural, before: unknown, after: unknown): FieldProblem[] {
  return walk(schema, after, before, [], isTransition);
}

type Choice = (rule: string) => boolean;

function walk(schema: Structural, value: unknown, old: unknown, path: Path, choice: Choice): FieldProblem[] {
  const here = broken(schema, value, old, path, choice);
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return here;
    const past = pastOf(schema, old);
    const below = value.flatMap((each, index) => walk(items, each, past(each), [...path, index], choice));
    return [...here, ...below];
  }
  if (!isMapping(value)) return here;
  const before = isMapping(old) ? old : undefined;
  const below = Object.entries(value).flatMap(([name, each]) => {
    const { properties, additionalProperties } = schema;
    const field = properties && Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    return field === undefined ? [] : walk(field, each, before?.[name], [...path, name], choice);
  });
  return [...here, ...below];
}

function broken(
  schema: Structural,
  value: unknown,
  old: unknown,
  path: Path,
  choice: Choice,
): FieldProblem[] {
  const rules = (schema['x-kubernetes-validations'] ?? []).filter(({ rule }) => choice(rule));
  if (rules.length === 0 || value === undefined || value === null) return [];
  const self = toCel(schema, value);
  const oldSelf = old === undefined || old === null ? undefined : toCel(schema, old);
  return rules
    .filter(({ rule }) => !isTransition(rule) || oldSelf !== undefined)
    .filter(({ rule }) => !holds(rule, self, oldSelf))
    .map((rule) => problem(rule, value, path));
}

function problem({ message, fieldPath = '' }: Rule, value: unknown, path: Path): FieldProblem {
  const [what = '', ...cure] = message.split('; ');
  const subject = typeof value === 'string' ? `${quoted(value)} ` : '';
  const place = [...path, ...fieldPath.split('.').filter(Boolean)];
  return { path: place, message: subject + what, cure: cure.join('; ') };
}

/** Finds what an entry of a list was before. */
function pastOf(schema: Structural, old: unknown): (entry: unknown) => unknown {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (keys === undefined || !Array.isArray(old)) return () => undefined;
  const identity = (entry: unknown) =>
    isMapping(entry) ? JSON.stringify(keys.map((key) => entry[key])) : undefined;
  const known = new Map(old.map((entry) => [identity(entry), entry]));
  return (entry) => known.get(identity(entry));
}
