// The Common Expression Language as the API server speaks it: rules of the definitions, compiled once, and
// values in the types that rules see.
//   E1. A rule that cannot be evaluated counts as broken: it never throws.
//   E2. A rule sees what its schema declares and nothing else, under the names that the API server gives.
import { createRequire } from 'node:module';
import type { Environment } from '@marcbachmann/cel-js';
import type { Structural } from './definitions.ts';

type Compiled = (variables: { self: unknown; oldSelf?: unknown }) => unknown;

let environment: Environment | undefined;
const compiled = new Map<string, Compiled>();

/** Whether a rule compares with the object as it was. */
export const isTransition = (rule: string): boolean => /\boldSelf\b/.test(rule);

export function holds(rule: string, self: unknown, oldSelf?: unknown): boolean {
  try {
    return compile(rule)(oldSelf === undefined ? { self } : { self, oldSelf }) === true;
  } catch {
    return false; // E1
  }
}

/** Throws where the text is no CEL. */
export function compile(rule: string): Compiled {
  const known = compiled.get(rule);
  if (known !== undefined) return known;
  const made = kubernetes().parse(rule) as Compiled;
  compiled.set(rule, made);
  return made;
}

function kubernetes(): Environment {
  if (environment !== undefined) return environment;
  // Loaded late: most commands judge no manifest.
  const cel: typeof import('@marcbachmann/cel-js') = createRequire(import.meta.url)('@marcbachmann/cel-js');
  environment = new cel.Environment()
    .registerVariable('self', 'dyn')
    .registerVariable('oldSelf', 'dyn')
    // Of the libraries of the API server, what the rules use.
    .registerFunction('list.isSorted(): bool', (list: (bigint | number | string)[]) =>
      list.every((each, index) => index === 0 || (list[index - 1] ?? each) <= each),
    );
  return environment;
}

/**
 * A value as a rule sees it: whole numbers are ints, unset fields have their defaults, free-form fields are
 * hidden.
 */
export function toCel(schema: Structural, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : value.map((each) => toCel(items, each));
  }
  if (typeof value === 'number') return schema.type === 'integer' ? BigInt(Math.trunc(value)) : value;
  if (typeof value !== 'object' || value === null) return value;
  const given = value as Record<string, unknown>;
  const seen: Record<string, unknown> = Object.create(null);
  const { properties, additionalProperties } = schema;
  if (properties === undefined && additionalProperties !== undefined) {
    for (const [name, each] of Object.entries(given)) seen[name] = toCel(additionalProperties, each);
    return seen;
  }
  for (const [name, field] of Object.entries(properties ?? {})) {
    const each = Object.hasOwn(given, name) ? given[name] : field.default;
    if (each === undefined || each === null || field.type === undefined) continue;
    seen[celName(name)] = toCel(field, each);
  }
  return seen;
}

const reserved = new Set(
  ['true', 'false', 'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if'].concat(
    [...['import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while']],
  ),
);

/** Names that mean something in CEL are escaped, as by the API server. */
const celName = (name: string) => (reserved.has(name) ? `__${name}__` : name);
