// The gate against changes that would break released objects: every planted break is told, no widening is.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { breaks, type DefinitionFile } from '../../crds/compatibility.ts';
import { definitionFile, KINDS, type Structural } from '../../crds/definitions.ts';
import { breaksOfReleases, unaccepted } from '../../scripts/crds.ts';

type Edit = (fields: Record<string, Structural>, file: DefinitionFile) => void;

const base = (): DefinitionFile => ({
  metadata: { name: 'things.example.org' },
  spec: {
    ...{ group: 'example.org', scope: 'Namespaced' },
    names: { kind: 'Thing', plural: 'things', shortNames: ['th'], categories: ['all'] },
    versions: [
      {
        ...{ name: 'v1', served: true, storage: true },
        subresources: { status: {}, scale: { specReplicasPath: '.spec.size' } },
        selectableFields: [{ jsonPath: '.spec.text' }],
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              text: { type: 'string', minLength: 1, maxLength: 10 },
              size: { type: 'integer', format: 'int32', minimum: 1, maximum: 9, default: 1 },
              mode: { type: 'string', enum: ['A', 'B'] },
              list: {
                ...{ type: 'array', maxItems: 5, 'x-kubernetes-list-type': 'map' },
                'x-kubernetes-list-map-keys': ['name'],
                items: { type: 'object', properties: { name: { type: 'string' } } },
              },
              map: { type: 'object', maxProperties: 5, additionalProperties: { type: 'string' } },
              free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
              ruled: {
                type: 'string',
                'x-kubernetes-validations': [{ rule: 'self != "x"', message: 'is x; write y' }],
              },
            },
          },
        },
      },
    ],
  },
});

const edited = (edit: Edit): string[] => {
  const file = base();
  const [version] = file.spec.versions;
  edit(version?.schema.openAPIV3Schema.properties ?? {}, file);
  return breaks(base(), file);
};

const set = (field: string, change: Partial<Structural>): Edit => {
  return (fields) => Object.assign(fields[field] ?? {}, change);
};
const first = (file: DefinitionFile) => file.spec.versions[0];

test.each<[string, Edit, string]>([
  ['a field', (fields) => delete fields['text'], 'text: the field is gone'],
  ['a field of an entry', set('list', { items: { type: 'object' } }), 'list[].name: the field is gone'],
  ['another type', set('text', { type: 'integer' }), 'text: the type was string and is integer'],
  ['a choice', set('mode', { enum: ['A'] }), 'mode: B is not accepted any more'],
  ['choices where there were none', set('text', { enum: ['A'] }), 'text: only some values are accepted now'],
  ['a higher minimum', set('size', { minimum: 2 }), 'size: minimum was 1 and is 2'],
  ['a lower maximum', set('size', { maximum: 8 }), 'size: maximum was 9 and is 8'],
  ['a limit where there was none', set('ruled', { maxLength: 9 }), 'ruled: maxLength was unset and is 9'],
  ['shorter lists', set('list', { maxItems: 4 }), 'list: maxItems was 5 and is 4'],
  ['another default', set('size', { default: 2 }), 'size: default was 1 and is 2'],
  ['a pattern', set('text', { pattern: 'a' }), 'text: pattern was unset and is a'],
  ['another format', set('size', { format: 'date' }), 'size: format was int32 and is date'],
  [
    'how entries are told apart',
    set('list', { 'x-kubernetes-list-map-keys': ['id'] }),
    'list: x-kubernetes-list-map-keys was ["name"] and is ["id"]',
  ],
  [
    'unknown fields',
    set('free', { 'x-kubernetes-preserve-unknown-fields': false }),
    'free: unknown fields are dropped now',
  ],
  [
    'another rule',
    set('ruled', { 'x-kubernetes-validations': [{ rule: 'self != "z"', message: 'is z; write y' }] }),
    'ruled: a rule is new or has changed (is z; write y)',
  ],
  [
    'values of a map',
    set('map', { additionalProperties: { type: 'integer' } }),
    'map{}: the type was string and is integer',
  ],
  [
    'a map without names',
    set('map', { additionalProperties: undefined }),
    'map: it takes no names of its own any more',
  ],
])('%s is a break', (_, edit, told) => {
  expect(edited(edit)).toEqual([`Thing v1 ${told}`]);
});

test.each<[string, Edit, string]>([
  [
    'a required field',
    (_, file) => Object.assign(first(file)?.schema.openAPIV3Schema ?? {}, { required: ['text'] }),
    'Thing v1 text: the field is required now',
  ],
  [
    'a version',
    (_, file) => Object.assign(first(file) ?? {}, { served: false }),
    'Thing v1: the version is not served any more',
  ],
  [
    'a subresource',
    (_, file) => Object.assign(first(file) ?? {}, { subresources: { status: {} } }),
    'Thing v1: the subresource scale is gone or leads elsewhere',
  ],
  [
    'a selectable field',
    (_, file) => Object.assign(first(file) ?? {}, { selectableFields: [] }),
    'Thing v1: .spec.text cannot be selected any more',
  ],
  [
    'a short name',
    (_, file) => Object.assign(file.spec.names, { shortNames: ['t'] }),
    'Thing: th is gone from shortNames',
  ],
  ['the scope', (_, file) => Object.assign(file.spec, { scope: 'Cluster' }), 'Thing: scope has changed'],
])('%s is a break', (_, edit, told) => {
  expect(edited(edit)).toEqual([told]);
});

test.each<[string, Edit]>([
  ['nothing', () => {}],
  ['a new field', (fields) => Object.assign(fields, { more: { type: 'string', maxLength: 3 } })],
  ['another choice', set('mode', { enum: ['A', 'B', 'C'] })],
  ['looser limits', set('text', { minLength: 0, maxLength: 20 })],
  ['no limit', set('size', { maximum: undefined, minimum: undefined })],
  ['larger numbers', set('size', { format: 'int64' })],
  ['one rule less', set('ruled', { 'x-kubernetes-validations': [] })],
  [
    'other words',
    set('ruled', { 'x-kubernetes-validations': [{ rule: 'self != "x"', message: 'other; words' }] }),
  ],
  ['a description', set('text', { description: 'Text.' })],
  ['another short name', (_, file) => Object.assign(file.spec.names, { shortNames: ['th', 't'] })],
])('%s is no break', (_, edit) => {
  expect(edited(edit)).toEqual([]);
});

test.each(KINDS)('%s: every field, choice and limit of today is under guard', (kind) => {
  const released: DefinitionFile = parse(readFileSync(definitionFile(kind), 'utf8'));
  const today = structuredClone(released);
  expect(breaks(released, today)).toEqual([]);
  let planted = 0;
  const visit = (schema: Structural) => {
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      delete schema.properties?.[name];
      expect(breaks(released, today).length).toBeGreaterThan(0);
      Object.assign(schema.properties ?? {}, { [name]: field });
      planted++;
      visit(field);
    }
    if (schema.items) visit(schema.items);
  };
  visit(today.spec.versions[0]?.schema.openAPIV3Schema ?? {});
  expect(planted).toBeGreaterThan(30);
});

test('no release is broken, but where a reason says why', () => {
  const found = breaksOfReleases();
  const acceptedFile = join(import.meta.dirname, '../../crds/released/accepted.json');
  expect(unaccepted(found, JSON.parse(readFileSync(acceptedFile, 'utf8')))).toEqual([]);
});

test('an accepted break needs a reason and has to exist', () => {
  expect(unaccepted(['0.1.0 Thing v1 a: the field is gone'], {})).toHaveLength(1);
  const accepted = { '0.1.0 Thing v1 a: the field is gone': 'it was never served by anybody' };
  expect(unaccepted(['0.1.0 Thing v1 a: the field is gone'], accepted)).toEqual([]);
  expect(unaccepted([], accepted)).toEqual([expect.stringContaining('nothing breaks like this any more')]);
  expect(unaccepted(['x'], { x: 'no' })).toEqual([expect.stringContaining('give a reason')]);
});
