// Manifests that mean harm: refused early, by name, in little time and without touching anything shared.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { definitionFile, definitionOf, KINDS } from '../../crds/definitions.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { YAML_LIMITS } from '../../crds/yaml-source.ts';
import { anyValue } from './arbitrary.ts';

/** Processor time of this process: what others do on the machine is not the subject. */
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const parse = (text: string) => parseManifests(text, 'evil.yaml');
const head = 'apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: x }\n';

const laughs = Array.from({ length: 9 }, (_, level) => {
  const before = level === 0 ? '"lol"' : `*l${level - 1}`;
  return `l${level}: &l${level} [${Array(9).fill(before).join(',')}]`;
}).join('\n');

const bombs: [name: string, text: string, message: RegExp][] = [
  ['a billion laughs', laughs, /^anchor &l0 is not accepted/],
  ['an alias of itself', 'a: &a [*a]', /^anchor &a/],
  ['an alias without anchor', 'a: *b', /^alias \*b/],
  ['aliases as keys', '*a : 1', /^alias \*a/],
  ['an anchor in a document that is behind', `${head}---\na: &a 1`, /^anchor &a/],
  ['a merge key', 'a: &a {b: 1}\nc: { <<: *a }', /^anchor &a/],
  ['a custom tag', `${head}spec: !js/function "f"`, /^tag !js\/function/],
  ['a tag of another schema', 'a: !!binary aGk=', /^tag !!binary/],
  ['a tag by address', 'a: !<tag:yaml.org,2002:str> b', /^tag !<tag/],
  ['a tag handle', '%TAG ! tag:evil,2000:\n---\na: !x 1', /^YAML directives/],
  ['flow lists in each other', '['.repeat(500_000), /^nested more than 64/],
  ['flow mappings in each other', '{a: '.repeat(200_000), /^nested more than 64/],
  ['block lists in each other', '- '.repeat(300_000), /^nested more than 64/],
  ['explicit keys in each other', '? '.repeat(300_000), /^nested more than 64/],
  [
    'block mappings in each other',
    Array.from({ length: 900 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
    /^nested/,
  ],
  ['more than a megabyte', `#${'x'.repeat(YAML_LIMITS.bytes)}`, /^the file has 1048577 bytes/],
  ['a megabyte in few characters', `#${'é'.repeat(YAML_LIMITS.bytes / 2)}`, /^the file has 1048577 bytes/],
];

test.each(bombs)('%s is refused in under 50 ms', (_, text, message) => {
  parse(head); // the definitions are loaded once, and not part of it
  const before = cpuMs();
  const { problems, resources } = parse(text);
  const tookMs = cpuMs() - before;
  expect(problems.map((problem) => problem.message)).toEqual([expect.stringMatching(message)]);
  expect(resources.filter(({ source }) => source.document > 1)).toEqual([]);
  expect(tookMs).toBeLessThan(50);
});

test.each([
  ['commas', '['.concat(','.repeat(YAML_LIMITS.bytes - 1))],
  ['quotes', '"'.repeat(YAML_LIMITS.bytes)],
  ['keys', Array.from({ length: 100_000 }, (_, i) => `k${i}: 1`).join('\n')],
  ['empty documents', '---\n'.repeat(YAML_LIMITS.bytes / 4)],
  ['line breaks', '\n'.repeat(YAML_LIMITS.bytes)],
  ['one long word', 'x'.repeat(YAML_LIMITS.bytes)],
  ['unknown fields', `${head}spec: {${Array.from({ length: 60_000 }, (_, i) => `f${i}: 1`).join(', ')}}`],
  ['bad schedules', `${head}spec: { schedules: [${Array(90_000).fill('{a: 1}').join(',')}] }`],
  [
    'a long regular expression victim',
    `${head}spec: { retention: { finished: "${'1m'.repeat(200_000)}!" } }`,
  ],
])('a megabyte of %s ends within seconds, with few problems', (_, text) => {
  const before = cpuMs();
  const { problems } = parse(text);
  expect(cpuMs() - before).toBeLessThan(5000);
  expect(problems.length).toBeLessThanOrEqual(20);
});

test('depth 64 is read, depth 65 is not', () => {
  const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  expect(parse(nested(64)).problems[0]?.message).toBe('a list where a resource should be');
  expect(parse(nested(65)).problems[0]?.message).toBe('nested more than 64 levels deep');
});

test('a megabyte of honest manifests stays below the limit on tokens', () => {
  const definition = readFileSync(definitionFile('Queue'), 'utf8');
  const copies = Math.floor(YAML_LIMITS.bytes / (definition.length + 4));
  const { problems, notices } = parse(Array(copies).fill(definition).join('---\n'));
  expect(problems).toEqual([]);
  expect(notices).toHaveLength(copies);
});

test('[Y3] keys that name the prototype stay plain data', () => {
  const spec = 'spec: { __proto__: { polluted: 1 }, constructor: { prototype: { polluted: 1 } } }\n';
  expect(parse(head + spec).problems.map(({ field }) => field)).toEqual([
    'spec.__proto__',
    'spec.constructor',
  ]);
  const schedule = '{ name: a, cron: "* * * * *", payload: { __proto__: { polluted: 1 } } }';
  const { resources } = parse(`${head}spec: { schedules: [${schedule}] }\n`);
  expect(JSON.stringify(resources[0])).toContain('"__proto__":{"polluted":1}');
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

test('[Y2] a key that occurs twice is refused at its second place', () => {
  const [problem] = parse(`${head}spec: {}\nspec: {}\n`).problems;
  expect(problem).toMatchObject({ line: 5, field: 'spec', message: 'this key occurs twice' });
});

test.each([
  ['a tab', 'a:\n\tb: 1', 2, 'indent with spaces'],
  ['an open list', 'a: [1, 2', 1, 'add what is missing'],
  ['two pairs on a line', 'a: b: c', 1, 'give the second its own line, or put the text in quotes'],
  ['a key that is no text', '1: 2', 1, 'put the key in quotes'],
  ['infinity', 'a: .inf', 1, 'write a number'],
  ['an octal number', 'a: 017', 1, 'write it without the 0'],
  ['a boolean of YAML 1.1', 'a: yes', 1, 'put it in quotes: "yes"'],
])('%s is named with its cure', (_, text, line, cure) => {
  expect(parse(text).problems).toEqual([expect.objectContaining({ line, cure })]);
});

test('what looks like YAML magic inside text is text', () => {
  const payload = '{ a: "*a", b: "&b", c: "!c", d: "<<" }';
  const schedule = `{ name: nightly, cron: "* * * * *", payload: ${payload} }`;
  const { problems } = parse(`${head}  \n# *a &b !c\nspec: { schedules: [${schedule}] }\n`);
  expect(problems).toEqual([]);
});

test('[C3] never throws, whatever the text', () => {
  const word = fc.constantFrom(
    ...[
      'a',
      ': ',
      '\n',
      '  ',
      '- ',
      '[',
      ']',
      '{',
      '}',
      ',',
      '"',
      "'",
      '|',
      '>',
      '#',
      '&x',
      '*x',
      '!t',
      '? ',
      '%',
      '---\n',
    ],
    ...[
      'kind: Queue\n',
      'apiVersion: flowmesh.io/v1alpha1\n',
      'metadata:\n',
      'name: x\n',
      'spec:\n',
      '\t',
      '\r',
      '\0',
      '\u2028',
    ],
  );
  const text = fc.array(word, { maxLength: 40 }).map((words) => words.join(''));
  fc.assert(
    fc.property(text, (each) => {
      const { problems } = parse(each);
      for (const { line, column } of problems) expect(Math.min(line, column)).toBeGreaterThanOrEqual(1);
    }),
    { numRuns: 2000 },
  );
});

test.each(KINDS)('[C3] %s: never throws, whatever the spec, and says where each mistake is', (kind) => {
  const verdicts = new Set<boolean>();
  const property = fc.property(anyValue(definitionOf(kind).spec), (spec) => {
    const manifest = { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name: 'x' }, spec };
    const { problems, resources } = parse(JSON.stringify(manifest));
    expect(resources.length).toBe(problems.length === 0 ? 1 : 0);
    for (const { field, message, cure } of problems) {
      expect(field).toMatch(/^spec/);
      expect(`${message} | ${cure}`).toMatch(/^[^|]{4,} \| [^|]{4,}$/);
    }
    verdicts.add(problems.length === 0);
  });
  fc.assert(property, { numRuns: 300 });
  expect(verdicts.size).toBe(2);
});
