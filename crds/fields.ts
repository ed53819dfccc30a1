// One document against its definition: which fields there are, which are missing, and what their values must
// look like. Unknown fields are found by walking the schema, values are judged by ajv and, where their shape
// is right, by the rules; one answer for each field of `spec`.

import type { ErrorObject } from 'ajv';
import { definitionOf, type Kind, type Structural } from './definitions.ts';
import { type FieldProblem, isMapping, quoted } from './problems.ts';
import { rulesAt, rulesBelow } from './rules.ts';
import { nearest } from './suggest.ts';
import type { Path } from './yaml-source.ts';

/** A manifest of nothing but mistakes gets an answer one can read, and costs no more than that. */
const problemsMax = 20;

export function fieldProblems(kind: Kind, value: Record<string, unknown>): FieldProblem[] {
  const { schema: whole, spec: schema, validators } = definitionOf(kind);
  const top = { properties: { apiVersion: {}, kind: {}, metadata: {}, spec: {}, status: {} } };
  const problems = [...shown(unknownFields(value, top, [])), ...metadataProblems(value['metadata'])];
  const spec = value['spec'];
  if (!isMapping(spec)) {
    problems.push({
      path: ['spec'],
      message: `is ${quoted(spec)}, not a mapping`,
      cure: 'indent the fields below spec',
    });
    return problems;
  }
  problems.push(...shown(unknownDeep(spec, schema, ['spec'])));
  for (const field of schema.required ?? []) {
    if (!Object.hasOwn(spec, field)) problems.push(missing(['spec', field]));
  }
  for (const [field, validate] of validators) {
    const fieldSchema = schema.properties?.[field];
    if (!Object.hasOwn(spec, field) || fieldSchema === undefined) continue;
    const path = ['spec', field];
    const isShaped = validate(spec[field]);
    const [error] = validate.errors ?? [];
    if (isShaped) problems.push(...rulesBelow(fieldSchema, spec[field], path));
    else if (error) problems.push(inWords(error, fieldSchema, spec[field], path));
  }
  // What is between fields can only be judged when each is right by itself.
  if (problems.length === 0) problems.push(...rulesAt(schema, spec, ['spec']), ...rulesAt(whole, value, []));
  return problems.slice(0, problemsMax);
}

// RFC 1123 subdomain: what the API server takes as a name.
const objectName = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

/** With what `kubectl get -o yaml` adds. */
const metadataFields: Structural = {
  properties: Object.fromEntries(
    [
      ...[
        'name',
        'namespace',
        'labels',
        'annotations',
        'finalizers',
        'ownerReferences',
        'uid',
        'resourceVersion',
      ],
      ...['generation', 'creationTimestamp', 'deletionTimestamp', 'managedFields', 'selfLink'],
    ].map((name) => [name, {}]),
  ),
};

function metadataProblems(metadata: unknown): FieldProblem[] {
  if (!isMapping(metadata)) return [missing(['metadata', 'name'])];
  const problems = shown(unknownFields(metadata, metadataFields, ['metadata']));
  const { name, namespace } = metadata;
  const nameProblem = (field: string, value: unknown) => {
    if (typeof value === 'string' && value.length <= 253 && objectName.test(value)) return;
    const cure =
      'use lower-case letters, digits, - and .; other names go to spec.queueName or spec.streamName';
    problems.push({ path: ['metadata', field], message: `${quoted(value)} is not a Kubernetes name`, cure });
  };
  if (name === undefined) problems.push(missing(['metadata', 'name']));
  else nameProblem('name', name);
  if (namespace !== undefined) nameProblem('namespace', namespace);
  for (const field of ['labels', 'annotations']) {
    const map = metadata[field];
    if (map === undefined || map === null) continue;
    const entries = isMapping(map) ? Object.entries(map) : [['', map] as const];
    const wrong = entries.find(([, value]) => typeof value !== 'string');
    if (wrong === undefined) continue;
    const path = ['metadata', field, ...(wrong[0] === '' ? [] : [wrong[0]])];
    problems.push({
      path,
      message: `${quoted(wrong[1])} is not text`,
      cure: `put it in quotes: "${String(wrong[1])}"`,
    });
  }
  return problems;
}

const missing = (path: Path): FieldProblem => ({
  path,
  message: 'is missing',
  cure: `add ${path.at(-1)}`,
});

/** The first of them: to look for what a field may have been called takes its time. */
function shown(found: Iterable<FieldProblem>): FieldProblem[] {
  const kept: FieldProblem[] = [];
  for (const each of found) if (kept.push(each) === problemsMax) break;
  return kept;
}

function* unknownDeep(value: unknown, schema: Structural, path: Path): Generator<FieldProblem, void> {
  if (schema['x-kubernetes-preserve-unknown-fields']) return;
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items) for (const [index, item] of value.entries()) yield* unknownDeep(item, items, [...path, index]);
    yield* repeatedKeys(value, schema, path);
    return;
  }
  if (!isMapping(value) || !schema.properties) return;
  yield* unknownFields(value, schema, path);
  for (const [name, field] of Object.entries(value)) {
    const known = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
    if (known) yield* unknownDeep(field, known, [...path, name]);
  }
}

type Fields = Record<string, unknown>;

function* unknownFields(value: Fields, schema: Structural, path: Path): Generator<FieldProblem, void> {
  const known = schema.properties ?? {};
  for (const name of Object.keys(value)) {
    if (Object.hasOwn(known, name)) continue;
    // A name that is already there is no cure.
    const near = nearest(
      name,
      Object.keys(known).filter((each) => !Object.hasOwn(value, each)),
    );
    const cure = near ? `did you mean ${near}?` : `known here: ${Object.keys(known).join(', ')}`;
    yield { path: [...path, name], message: 'is not a known field', cure, of: 'key' };
  }
}

/** `x-kubernetes-list-type: map`: entries are told apart by their keys. */
function* repeatedKeys(list: unknown[], schema: Structural, path: Path): Generator<FieldProblem, void> {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (!keys) return;
  const seen = new Set<string>();
  for (const [index, item] of list.entries()) {
    if (!isMapping(item)) continue;
    const identity = JSON.stringify(keys.map((key) => item[key]));
    const message = `another entry has the same ${keys.join(' and ')}`;
    if (seen.has(identity))
      yield { path: [...path, index, keys[0] ?? ''], message, cure: 'give each its own' };
    seen.add(identity);
  }
}

function inWords(error: ErrorObject, root: Structural, rootValue: unknown, base: Path): FieldProblem {
  const steps = error.instancePath
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  let schema: Structural | undefined = root;
  let value = rootValue;
  const path: (string | number)[] = [...base];
  for (const step of steps) {
    const inList: boolean = Array.isArray(value);
    path.push(inList ? Number(step) : step);
    value = (value as Record<string, unknown>)[step];
    schema = inList ? schema?.items : (schema?.properties?.[step] ?? schema?.additionalProperties);
  }
  if (error.keyword === 'required') return missing([...path, String(error.params['missingProperty'])]);
  return { path, ...valueInWords(error, schema ?? {}, value) };
}

type Words = { message: string; cure: string };

function valueInWords(
  { keyword, params, message = 'is not valid' }: ErrorObject,
  schema: Structural,
  value: unknown,
): Words {
  const is = value === null ? 'is empty' : `is ${quoted(value)}`;
  switch (keyword) {
    case 'type':
      return { message: `${is}, not ${typeNames[schema.type ?? 'object']}`, cure: typeCure(schema, value) };
    case 'enum': {
      const allowed = schema.enum ?? [];
      const near = typeof value === 'string' ? nearest(value, allowed) : undefined;
      return { message: is, cure: near ? `did you mean ${near}?` : `write ${allowed.join(' or ')}` };
    }
    case 'oneOf':
      return { message: 'needs either fields or jsonSchema, and not both', cure: 'keep one of the two' };
    case 'anyOf':
      return { message: is, cure: 'write an amount such as 500m or 1Gi' };
    case 'minLength':
      return { message: is, cure: 'give it a value or remove the line' };
    case 'maxLength':
      return { message: `has more than ${params['limit']} characters`, cure: 'shorten it' };
    case 'minItems':
      return { message: 'has no entries', cure: 'add one' };
    case 'maxItems':
    case 'maxProperties':
      return { message: `has more than ${params['limit']} entries`, cure: 'keep fewer' };
    case 'minimum':
    case 'maximum':
      return {
        message: is,
        cure: `write a number ${keyword === 'minimum' ? 'from' : 'up to'} ${params['limit']}`,
      };
    case 'format':
      return { message: is, cure: `it must fit ${params['format']}` };
    default:
      return { message, cure: 'see the description of the field: flowmesh explain, or docs/reference' };
  }
}

const typeNames: Readonly<Record<NonNullable<Structural['type']>, string>> = {
  object: 'a mapping',
  array: 'a list',
  string: 'text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

function typeCure(schema: Structural, value: unknown): string {
  if (value === null) return 'give it a value or remove the line';
  const isText = schema.type === 'string' && typeof value !== 'object';
  if (isText) return textCure(schema) ?? `put it in quotes: "${String(value)}"`;
  if (typeof value === 'string' && schema.type !== 'object' && schema.type !== 'array')
    return 'write it without quotes';
  if (schema.type === 'array') return 'begin each entry with "- "';
  return `write ${typeNames[schema.type ?? 'object']}`;
}

/** A number where a duration should be lacks more than quotes. */
function textCure(schema: Structural): string | undefined {
  const [rule] = schema['x-kubernetes-validations'] ?? [];
  return rule && /\bunits?\b/.test(rule.message) ? rule.message.split('; ')[1] : undefined;
}
