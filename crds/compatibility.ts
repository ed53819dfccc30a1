// What a change of a definition would break for those who have objects of a release: manifests that are
// refused from then on, fields that are dropped, programs that read what is gone.
//   G1. Only widening is silent: new optional fields, new choices, fewer rules, looser limits.
//   G2. Whether a new rule is tighter than an old one cannot be computed: one with another text is a break.
import type { Structural } from './definitions.ts';

/** The part of a CustomResourceDefinition that objects and programs depend on. */
export interface DefinitionFile {
  metadata: { name: string };
  spec: {
    group: string;
    scope: string;
    names: { kind: string; plural: string; singular?: string; shortNames?: string[]; categories?: string[] };
    versions: DefinitionVersion[];
  };
}

interface DefinitionVersion {
  name: string;
  served: boolean;
  storage: boolean;
  subresources?: Record<string, unknown>;
  selectableFields?: { jsonPath: string }[];
  schema: { openAPIV3Schema: Structural };
}

/** Each break on a line of its own: `Queue v1alpha1 spec.limits: the field is gone`. */
export function breaks(before: DefinitionFile, after: DefinitionFile): string[] {
  const { kind } = before.spec.names;
  const found = nameBreaks(before.spec, after.spec).map((what) => `${kind}: ${what}`);
  for (const version of before.spec.versions) {
    const now = after.spec.versions.find(({ name }) => name === version.name);
    if (now === undefined || (version.served && !now.served)) {
      found.push(`${kind} ${version.name}: the version is not served any more`);
      continue;
    }
    const at = (path: string, what: string) =>
      found.push(`${kind} ${version.name}${path && ` ${path}`}: ${what}`);
    for (const [name, paths] of Object.entries(version.subresources ?? {})) {
      const isSame = JSON.stringify(now.subresources?.[name]) === JSON.stringify(paths);
      if (!isSame) at('', `the subresource ${name} is gone or leads elsewhere`);
    }
    const selectable = new Set(now.selectableFields?.map(({ jsonPath }) => jsonPath));
    for (const { jsonPath } of version.selectableFields ?? []) {
      if (!selectable.has(jsonPath)) at('', `${jsonPath} cannot be selected any more`);
    }
    compare(version.schema.openAPIV3Schema, now.schema.openAPIV3Schema, '', at);
  }
  return found;
}

function nameBreaks(before: DefinitionFile['spec'], after: DefinitionFile['spec']): string[] {
  const fixed = ['kind', 'plural', 'singular'] as const;
  const lists = ['shortNames', 'categories'] as const;
  return [
    ...(['group', 'scope'] as const).filter((field) => before[field] !== after[field]),
    ...fixed.filter((field) => before.names[field] !== after.names[field]),
  ]
    .map((field) => `${field} has changed`)
    .concat(
      lists.flatMap((field) =>
        (before.names[field] ?? [])
          .filter((name) => !after.names[field]?.includes(name))
          .map((name) => `${name} is gone from ${field}`),
      ),
    );
}

type Report = (path: string, what: string) => void;

function compare(before: Structural, after: Structural, path: string, report: Report): void {
  const tell = (what: string) => report(path, what);
  for (const what of [...shapeBreaks(before, after), ...limitBreaks(before, after)]) tell(what);
  const known = new Set(before['x-kubernetes-validations']?.map(({ rule }) => rule));
  for (const { rule, message } of after['x-kubernetes-validations'] ?? []) {
    if (!known.has(rule)) tell(`a rule is new or has changed (${message})`);
  }
  const below = (name: string) => (path === '' ? name : `${path}.${name}`);
  for (const [name, field] of Object.entries(before.properties ?? {})) {
    const now = after.properties?.[name];
    if (now !== undefined) compare(field, now, below(name), report);
    else if (!after['x-kubernetes-preserve-unknown-fields']) report(below(name), 'the field is gone');
  }
  for (const name of after.required ?? []) {
    if (!before.required?.includes(name)) report(below(name), 'the field is required now');
  }
  if (before.items && after.items) compare(before.items, after.items, `${path}[]`, report);
  const [old, now] = [before.additionalProperties, after.additionalProperties];
  if (old && now) compare(old, now, `${path}{}`, report);
  else if (old && !after['x-kubernetes-preserve-unknown-fields'])
    tell('it takes no names of its own any more');
}

/** What has to stay as it is. */
function shapeBreaks(before: Structural, after: Structural): string[] {
  const found: string[] = [];
  const free = 'x-kubernetes-preserve-unknown-fields';
  if (before.type !== after.type)
    found.push(`the type was ${before.type ?? 'any'} and is ${after.type ?? 'any'}`);
  if (before[free] && !after[free]) found.push('unknown fields are dropped now');
  for (const keyword of [
    'x-kubernetes-int-or-string',
    'x-kubernetes-list-type',
    'x-kubernetes-list-map-keys',
    ...(['default', 'anyOf', 'oneOf'] as const),
  ] as const) {
    const [was, is] = [JSON.stringify(before[keyword]), JSON.stringify(after[keyword])];
    if (was !== is) found.push(`${keyword} was ${was ?? 'unset'} and is ${is ?? 'unset'}`);
  }
  return found;
}

/** What may only become wider. */
function limitBreaks(before: Structural, after: Structural): string[] {
  const found: string[] = [];
  for (const keyword of ['minimum', 'minLength', 'minItems'] as const) {
    const [was, is] = [before[keyword] ?? Number.NEGATIVE_INFINITY, after[keyword]];
    if (is !== undefined && is > was) found.push(`${keyword} was ${before[keyword] ?? 'unset'} and is ${is}`);
  }
  for (const keyword of ['maximum', 'maxLength', 'maxItems', 'maxProperties'] as const) {
    const [was, is] = [before[keyword] ?? Number.POSITIVE_INFINITY, after[keyword]];
    if (is !== undefined && is < was) found.push(`${keyword} was ${before[keyword] ?? 'unset'} and is ${is}`);
  }
  for (const keyword of ['format', 'pattern'] as const) {
    const [was, is] = [before[keyword], after[keyword]];
    const isWider = is === undefined || (was === 'int32' && is === 'int64');
    if (was !== is && !isWider) found.push(`${keyword} was ${was ?? 'unset'} and is ${is}`);
  }
  const choices = after.enum;
  if (choices && !before.enum) found.push('only some values are accepted now');
  for (const value of before.enum ?? []) {
    if (choices && !choices.includes(value)) found.push(`${value} is not accepted any more`);
  }
  return found;
}
