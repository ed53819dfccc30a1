// The language of schemas: shorthand, what is refused beforehand, and what checks say.
import { describe, expect, test } from 'vitest';
import { checkWithin, compileChecker } from '../../crds/payload/checker.ts';
import { canonical, jsonSchemaOf, nestingOf } from '../../crds/payload/language.ts';
import { checkMigration } from '../../crds/payload/migration.ts';
import { isUnique } from '../../crds/payload/unique.ts';
import { TOO_LONG, within } from '../../crds/payload/watchdog.ts';

const fields = (value: object) => ({ fields: JSON.stringify(value), jsonSchema: '' });
const json = (value: unknown) => ({
  fields: '',
  jsonSchema: typeof value === 'string' ? value : JSON.stringify(value),
});
const check = (
  version: { fields: string; jsonSchema: string },
  payload: unknown,
  type = 'application/json',
) => {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return compileChecker(version).check(type, Buffer.from(text));
};
const refused = (schema: unknown, why: RegExp) => expect(() => compileChecker(json(schema))).toThrow(why);

test('[SC3] shorthand: what has no default is required, and other fields are allowed', () => {
  const order = { id: 'string', n: 'integer', note: { type: 'string', default: '' } };
  expect(jsonSchemaOf(fields(order))).toEqual({
    type: 'object',
    properties: { id: { type: 'string' }, n: { type: 'integer' }, note: { type: 'string', default: '' } },
    required: ['id', 'n'],
  });
  expect(check(fields(order), { id: 'a', n: 1, more: [] })).toBeUndefined();
  expect(check(fields(order), { id: 'a' })).toEqual({ field: '/n', what: 'is missing' });
  expect(check(fields(order), { id: 'a', n: 1.5 })).toEqual({ field: '/n', what: 'is number, not integer' });
  expect(() => jsonSchemaOf(fields({ id: 'strng' }))).toThrow(/\/properties\/id is "strng": write string, /);
  expect(() => jsonSchemaOf({ fields: '{}', jsonSchema: '{}' })).toThrow(/fields and jsonSchema/);
  expect(() => jsonSchemaOf({ fields: '', jsonSchema: '' })).toThrow(/neither/);
});

test('[SC1] what is no schema, or means something else here, is refused with its place', () => {
  refused('nope', /not JSON/);
  refused('[]', /is not an object/);
  refused({ type: 'strng' }, /\/type must be equal to one of the allowed values: array, /);
  refused({ tipe: 'string' }, /unknown keyword: "tipe"/);
  refused({ properties: { a: { format: 'emial' } } }, /unknown format "emial"/);
  refused({ properties: { a: 7 } }, /\/properties\/a is not a schema/);
  refused({ $ref: 'https://example.org/order.json' }, /\/\$ref is "https:.* only #\/... is accepted/);
  refused({ $ref: '#/$defs/gone' }, /\/\$ref refers to #\/\$defs\/gone, where there is no schema/);
  for (const keyword of ['$anchor', '$dynamicRef', '$dynamicAnchor', '$async'])
    refused({ [keyword]: '#a' }, /is not accepted here/);
  refused({ $defs: { a: { $id: 'https://example.org/' } } }, /accepted at the top only/);
  refused({ $schema: 'http://json-schema.org/draft-07/schema#' }, /draft\/2020-12/);
  refused({ pattern: '(?=a)b' }, /\/pattern is not a pattern that is accepted here \(RE2/);
  refused({ patternProperties: { '(a)\\1': {} } }, /\/patternProperties\/\(a\)\\1 is not a pattern/);
  expect(() =>
    compileChecker(json({ 'x-owner': 'shop', $comment: 'c', title: 't', type: ['string', 'null'] })),
  ).not.toThrow();
});

test('[SC5] texts, levels, subschemas and fields are bounded', () => {
  refused({ title: 'x'.repeat(70_000) }, /bytes, at most 65536/);
  refused(`{"not":${'{"not":'.repeat(40)}{}${'}'.repeat(40)}}`, /nested deeper than 32 levels/);
  refused({ anyOf: Array.from({ length: 2001 }, () => ({})) }, /more than 2000 subschemas/);
  const many = Object.fromEntries(Array.from({ length: 501 }, (_, i) => [`f${i}`, 'string']));
  expect(() => compileChecker(fields(many))).toThrow(/501 fields, at most 500/);
  refused({ pattern: 'a'.repeat(2000) }, /pattern of 2000 characters, at most 1024/);
});

describe('[SC21] what is found is said in words, without the value', () => {
  const cases: [unknown, unknown, string, string][] = [
    [{ type: 'object' }, 'x', '', 'is string, not object'],
    [{ type: ['string', 'null'] }, 7, '', 'is number, not string or null'],
    [{ properties: { a: { items: { type: 'number' } } } }, { a: [1, null] }, '/a/1', 'is null, not number'],
    [
      { properties: { a: {} }, additionalProperties: false },
      { 'b/c': 1 },
      '/b~1c',
      'is not a field of the schema',
    ],
    [{ unevaluatedProperties: false }, { b: 1 }, '/b', 'is not a field of the schema'],
    [{ dependentRequired: { a: ['b'] } }, { a: 1 }, '/b', 'is missing'],
    [{ enum: ['a', 'b'] }, 'c', '', 'is none of ["a","b"]'],
    [{ const: 1 }, 2, '', 'is not 1'],
    [{ pattern: '^[A-Z]{3}$' }, 'eur', '', 'does not match ^[A-Z]{3}$'],
    [{ format: 'email' }, 'ada', '', 'is not of the format email'],
    [
      { uniqueItems: true },
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      '',
      'has an item twice',
    ],
    [{ properties: { a: false } }, { a: 1 }, '/a', 'must not be there'],
    [{ maxLength: 2 }, 'abc', '', 'must NOT have more than 2 characters'],
    [{ type: 'number' }, '1e999', '', 'is a number out of range, not number'],
  ];
  test.each(cases)('%j refuses %j', (schema, payload, field, what) => {
    const text = payload === '1e999' ? payload : JSON.stringify(payload);
    expect(check(json(schema), text)).toEqual({ field, what });
  });
});

test('[SC23] only JSON is JSON, by its content type and its bytes', () => {
  const any = json({});
  for (const type of ['application/json', 'application/json; charset=utf-8', 'application/vnd.order+json'])
    expect(check(any, {}, type)).toBeUndefined();
  expect(check(any, '{}', 'text/plain')?.what).toBe('is text/plain, not application/json');
  expect(check(any, '{}', '')?.what).toBe('is without a content type, not application/json');
  expect(check(any, '{"a":')?.what).toMatch(/^is not JSON: /);
  expect(compileChecker(any).check('application/json', Buffer.from([0xff]))?.what).toMatch(/not UTF-8/);
});

test('[SC6] steps of a migration have a form', () => {
  checkMigration([
    { rename: { from: 'a', to: 'b' } },
    { set: { field: 'c', value: null } },
    { remove: { field: 'd' } },
  ]);
  const wrong: [unknown, RegExp][] = [
    [{}, /not a list/],
    [[{ rename: { from: 'a' } }], /migrate\/0 rename needs from and to/],
    [[{ set: { field: 'a' } }], /set needs field and value/],
    [[{ remove: { field: 'a' }, set: { field: 'b', value: 1 } }], /is one of rename, set, remove/],
    [[{ __proto__: {} }], /is one of/],
    [[7], /is one of/],
    [Array.from({ length: 101 }, () => ({ remove: { field: 'a' } })), /101 steps, at most 100/],
  ];
  for (const [steps, why] of wrong) expect(() => checkMigration(steps as never)).toThrow(why);
});

test('texts that say the same are the same, whatever the order of their names', () => {
  expect(canonical({ b: [1, { d: null, c: 'x' }], a: true })).toBe('{"a":true,"b":[1,{"c":"x","d":null}]}');
  expect(isUnique([1, '1', [1], { a: 1 }, null, false])).toBe(true);
  expect(isUnique([0, -0])).toBe(false);
});

test('depth is told without parsing', () => {
  expect(nestingOf(Buffer.from('{"a":[[]],"b]]]":"[[[\\"["}'))).toBe(3);
  expect(nestingOf(Buffer.from('7'))).toBe(0);
});

test('a run is ended when its time is over, and others are not', () => {
  expect(within(50, () => 7)).toBe(7);
  expect(
    within(50, () => {
      for (;;);
    }),
  ).toBe(TOO_LONG);
  expect(() =>
    within(50, () => {
      throw new RangeError('mine');
    }),
  ).toThrow('mine');
  expect(checkWithin(Number.POSITIVE_INFINITY, () => 8)).toBe(8);
});
