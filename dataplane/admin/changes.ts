// What differs between two declarations of one thing, field by field, as people read it.

export interface Change {
  readonly field: string;
  /** Empty: not set. */
  readonly before: string;
  readonly after: string;
}

const CHANGES_MAX = 100;
const TEXT_MAX = 256;
/** Not part of what is declared. */
const APART = new Set(['name', 'mutation']);

/** Nothing, zero, false and what is absent are the same: not set. */
export function changesBetween(before: object, after: object): Change[] {
  const old = new Map(fieldsOf(before, ''));
  const now = new Map(fieldsOf(after, ''));
  const changes: Change[] = [];
  for (const field of new Set([...old.keys(), ...now.keys()])) {
    const was = old.get(field) ?? '';
    const is = now.get(field) ?? '';
    if (was !== is) changes.push({ field, before: was.slice(0, TEXT_MAX), after: is.slice(0, TEXT_MAX) });
  }
  return changes.slice(0, CHANGES_MAX);
}

function fieldsOf(value: object, prefix: string): [string, string][] {
  return Object.entries(value).flatMap(([field, each]: [string, unknown]): [string, string][] => {
    if (prefix === '' && APART.has(field)) return [];
    const path = prefix + field;
    if (each instanceof Uint8Array) return [[path, Buffer.from(each).toString('base64')]];
    if (Array.isArray(each))
      return each.flatMap((item, i) => fieldsOf(item, `${path}.${(item as { name?: string }).name ?? i}.`));
    if (typeof each === 'object' && each !== null) return fieldsOf(each, `${path}.`);
    return [[path, each ? String(each) : '']];
  });
}
