// Schemas and payloads that are meant to hang or to break whoever checks them. Every answer comes soon: the
// bound is far above what a busy machine needs, and far below what these took without it (minutes, for ever).
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Checker, checkWithin, compileChecker } from '../../crds/payload/checker.ts';
import { SchemaProblem } from '../../crds/payload/problem.ts';
import { TOO_LONG } from '../../crds/payload/watchdog.ts';
import { aQueue, Bench, caller } from '../queue/bench.ts';
import { aJsonVersion, apply, enqueue, jobsOf, jsonJob, ref, refusal } from './support.ts';

const SOON_MS = 10_000;

const compiled = (schema: unknown): Checker =>
  compileChecker({ fields: '', jsonSchema: typeof schema === 'string' ? schema : JSON.stringify(schema) });

/** As the server checks: with the price known beforehand. */
function judged(schema: unknown, payload: string) {
  const checker = compiled(schema);
  const bytes = Buffer.from(payload);
  const startedMs = performance.now();
  const answer = checkWithin(bytes.length * checker.weight, () => checker.check('application/json', bytes));
  expect(performance.now() - startedMs).toBeLessThan(SOON_MS);
  return answer;
}

const evilTexts = [
  'a'.repeat(60),
  `${'a'.repeat(60)}!`,
  `${'a'.repeat(100_000)}!`,
  `${'a@'.repeat(20_000)}.`,
];

test.each([
  '^(a|a)*$',
  '^(a+)+$',
  '^([a-zA-Z]+)*$',
  '^(.*a){20}$',
  '(a*)*b',
  '^(a?){50}a{50}$',
  '^(\\w+\\s?)*$',
])('[SC40] the pattern %s takes a time that grows with the text alone', (pattern) => {
  for (const text of evilTexts) expect(judged({ pattern }, JSON.stringify(text))).not.toBe(TOO_LONG);
});

test.each(['email', 'uri', 'uri-reference', 'hostname', 'ipv6', 'date-time', 'url', 'uuid', 'duration'])(
  '[SC40] the format %s ends, too',
  (format) => {
    for (const text of evilTexts) judged({ format }, JSON.stringify(text));
  },
);

test('[SC41] a schema that refers to itself for the same value is refused', () => {
  const endless = [
    { $ref: '#' },
    { allOf: [{ $ref: '#' }] },
    { not: { $ref: '#' } },
    { if: { $ref: '#/else' }, else: { $ref: '#/if' } },
    { $ref: '#/$defs/a', $defs: { a: { anyOf: [{}, { $ref: '#/$defs/b' }] }, b: { $ref: '#/$defs/a' } } },
    { properties: { a: true }, $defs: { lost: { dependentSchemas: { a: { $ref: '#/$defs/lost' } } } } },
  ];
  for (const schema of endless) expect(() => compiled(schema)).toThrow(/refers to itself without an end/);
  const tree = { type: 'object', properties: { left: { $ref: '#' }, right: { $ref: '#' } } };
  expect(judged(tree, '{"left":{"right":{}}}')).toBeUndefined();
  expect(judged(tree, '{"left":{"right":7}}')).toEqual({
    field: '/left/right',
    what: 'is number, not object',
  });
});

test('[SC41] work that doubles with each level is ended, or refused with the schema', () => {
  const doubling = {
    properties: { n: { anyOf: [{ $ref: '#' }, { $ref: '#' }] } },
    maxProperties: 1,
    not: { required: ['end'] },
  };
  let deep = '{"end":1}';
  for (let i = 0; i < 60; i++) deep = `{"n":${deep}}`;
  expect(judged(doubling, deep)).toBe(TOO_LONG);
  const chain = (levels: number) => ({
    $ref: '#/$defs/a0',
    $defs: Object.fromEntries(
      Array.from({ length: levels + 1 }, (_, i) => {
        const next = { $ref: `#/$defs/a${i + 1}` };
        return [`a${i}`, i === levels ? false : { anyOf: [next, next] }];
      }),
    ),
  });
  expect(judged(chain(40), '{}')).toBe(TOO_LONG);
  expect(() => compiled(chain(1500))).toThrow();
});

test('[SC41] what is large on both sides is ended or done in one pass', () => {
  const values = Array.from({ length: 4000 }, (_, i) => ({ a: i }));
  judged({ items: { enum: values } }, `[${'{"a":99999},'.repeat(70_000)}1]`);
  expect(judged({ uniqueItems: true }, `[${'{},'.repeat(300_000)}{}]`)).not.toBe(TOO_LONG);
  judged(
    { propertyNames: { pattern: '^(x+)+$' } },
    JSON.stringify(Object.fromEntries(values.map(({ a }) => [`x${a}`, 1]))),
  );
  const conditions = Array.from({ length: 300 }, (_, i) => ({
    if: { properties: { [`a${i}`]: { const: i } } },
    // biome-ignore lint/suspicious/noThenProperty: it is a keyword of JSON Schema.
    then: { required: [`b${i}`] },
  }));
  // Too much to compile for a slow machine, and no problem for a fast one.
  const startedMs = performance.now();
  expect(() => {
    judged({ allOf: conditions, unevaluatedProperties: false }, '{"a1":1,"b1":2}');
    throw new SchemaProblem('', 'takes more than no time');
  }).toThrow(/takes more than/);
  expect(performance.now() - startedMs).toBeLessThan(SOON_MS);
});

test('[SC42] payloads that are deep, huge, doubled or broken get an answer', () => {
  const deep = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);
  for (const schema of [{}, { uniqueItems: true }, { items: { $ref: '#' } }, { const: [[[]]] }])
    judged(schema, deep('[', ']', 400_000));
  expect(judged({ items: { $ref: '#' } }, deep('[', ']', 400_000))).toMatchObject({
    what: expect.any(String),
  });
  expect(judged({ type: 'integer' }, `${'9'.repeat(100_000)}`)).toMatchObject({
    what: expect.stringMatching(/out of range/),
  });
  expect(judged({ multipleOf: 0.1 }, '1e308')).toBeDefined();
  // The last one counts, as for JSON.parse.
  expect(judged({ properties: { a: { type: 'string' } } }, '{"a":"x","a":1}')).toMatchObject({ field: '/a' });
  expect(judged({}, '{"a":')).toMatchObject({ field: '' });
  expect(judged({}, '')).toMatchObject({ field: '' });
});

test('[SC43] names of JavaScript are names like others, and change no object', () => {
  const named = { required: ['constructor', 'toString'], properties: { constructor: { type: 'string' } } };
  expect(judged(named, '{}')).toEqual({ field: '/constructor', what: 'is missing' });
  expect(judged(named, '{"constructor":1,"toString":1}')).toEqual({
    field: '/constructor',
    what: 'is number, not string',
  });
  expect(judged({ required: ['__proto__'] }, '{}')).toEqual({ field: '/__proto__', what: 'is missing' });
  expect(judged({ additionalProperties: false }, '{"__proto__":{"polluted":1}}')).toMatchObject({
    field: '/__proto__',
  });
  expect(() => compiled('{"properties":{"__proto__":{"type":"string"}}}')).toThrow(/names a field __proto__/);
  expect(() => compiled('{"__proto__":{"type":"string"}}')).toThrow(/\/__proto__ is not a keyword/);
  expect(() => compiled('{"constructor":1}')).toThrow(/\/constructor is not a keyword/);
  expect(() => compiled('{"$defs":{"__proto__":{}},"$ref":"#/$defs/__proto__"}')).not.toThrow(TypeError);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

describe('on a server', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open();
  });
  afterEach(() => bench.close());

  test('[SC41] a check that takes too long is a refusal, and others go on', async () => {
    const doubling = {
      properties: { n: { anyOf: [{ $ref: '#' }, { $ref: '#' }] } },
      not: { required: ['end'] },
    };
    await apply(bench, 'evil', aJsonVersion(1, doubling));
    await bench.fabric.admin.applyQueue(caller, aQueue('q', { schemaRef: ref('evil') }));
    let deep = '{"end":1}';
    for (let i = 0; i < 60; i++) deep = `{"n":${deep}}`;
    await expect(enqueue(bench, 'q', jsonJob({}), jsonJob(deep))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /^job 1: takes too long to check by evil$/),
    );
    await enqueue(bench, 'q', jsonJob({ n: {} }));
    expect(await jobsOf(bench, 'q')).toEqual([['{"n":{}}', 'evil@1']]);
  });

  test('[SC1] a schema that is refused leaves nothing behind', async () => {
    const refusals = [
      { $ref: '#' },
      { type: 'strng' },
      '{"__proto__":{}}',
      { pattern: '(?=a)' },
      '[]',
      'x',
      '',
    ];
    for (const schema of refusals)
      await expect(apply(bench, 'bad', aJsonVersion(1, schema))).rejects.toMatchObject(
        refusal('SCHEMA_INVALID', /^version 1 of schema bad: ./),
      );
    expect((await bench.fabric.admin.listSchemas(caller)).schemas).toEqual([]);
  });
});
