// The rules of the definitions: each is evaluated offline, accepts what it should and refuses what it should
// not.
import { expect, test } from 'vitest';
import { compile, isTransition } from '../../crds/cel.ts';
import { definitionOf, KINDS, type Rule, type Structural } from '../../crds/definitions.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { changeProblems } from '../../crds/rules.ts';
import { manifestOf, type RuleExample, ruleExamples } from './examples.ts';

interface Standing extends Rule {
  id: string;
}

/** All rules with where they stand, as in `RuleExample`. */
const standing = KINDS.flatMap((kind) => {
  const visit = (schema: Structural, at: string): Standing[] => [
    ...(schema['x-kubernetes-validations'] ?? []).map((rule, index) => ({
      ...rule,
      id: `${kind} ${at} ${index}`,
    })),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
      visit(field, at === '' ? name : `${at}.${name}`),
    ),
    ...(schema.items ? visit(schema.items, `${at}[]`) : []),
    ...(schema.additionalProperties ? visit(schema.additionalProperties, `${at}{}`) : []),
  ];
  return visit(definitionOf(kind).schema, '');
});

const idOf = ({ kind, at, index }: RuleExample) => `${kind} ${at} ${index}`;
const ruleOf = (example: RuleExample) => standing.find(({ id }) => id === idOf(example));

test('[R1] each rule has an example, and each example a rule', () => {
  expect(ruleExamples.map(idOf).sort()).toEqual(standing.map(({ id }) => id).sort());
});

test('each rule is CEL, and its message is what is wrong and the cure', () => {
  for (const { rule, message, id } of standing) {
    expect(() => compile(rule), id).not.toThrow();
    expect(message, id).toMatch(/^[^;]{5,}; [^;]{5,}$/);
  }
});

const offline = (example: RuleExample, which: 'before' | 'good' | 'bad') => {
  const text = JSON.stringify(manifestOf(example, which, example[which] ?? {}));
  return parseManifests(text, 'a.json');
};

const only = <T>(list: readonly T[]): T => {
  const [one] = list;
  if (one === undefined) throw new Error('nothing is there');
  return one;
};

const plain = ruleExamples.filter((example) => !isTransition(ruleOf(example)?.rule ?? ''));
const compared = ruleExamples.filter((example) => isTransition(ruleOf(example)?.rule ?? ''));

test.each(plain.map((example) => [idOf(example), example] as const))('[R1] %s', (_, example) => {
  expect(offline(example, 'good').problems).toEqual([]);
  const { problems, resources } = offline(example, 'bad');
  expect(resources).toEqual([]);
  const said = problems.map(({ message, cure }) => `${message}; ${cure}`);
  expect(said).toEqual([expect.stringContaining(ruleOf(example)?.message ?? '')]);
});

test.each(compared.map((example) => [idOf(example), example] as const))('[R2] %s', (_, example) => {
  const [before, good, bad] = (['before', 'good', 'bad'] as const).map((which) => {
    const { resources, problems } = offline(example, which);
    expect(problems).toEqual([]); // alone, each is valid
    return only(resources);
  });
  if (!before || !good || !bad) return;
  expect(changeProblems(before, good)).toEqual([]);
  expect(changeProblems(before, before)).toEqual([]);
  const said = changeProblems(before, bad).map(({ message, cure }) => `${message}; ${cure}`);
  expect(said).toEqual([ruleOf(example)?.message]);
});

test('a mistake in one field does not hide that of another', () => {
  const spec = {
    delivery: { visibilityTimeout: '1x' },
    retention: { size: '1GB' },
    limits: { maxDepth: -1 },
  };
  const text = JSON.stringify({
    apiVersion: 'flowmesh.io/v1alpha1',
    kind: 'Queue',
    metadata: { name: 'q' },
    spec,
  });
  expect(parseManifests(text, 'a.json').problems.map(({ field }) => field)).toEqual([
    'spec.delivery.visibilityTimeout',
    'spec.limits.maxDepth',
    'spec.retention.size',
  ]);
});
