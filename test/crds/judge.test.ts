// One verdict for all who give one: what a manifest is told offline is what an object is told in a cluster.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { definitionOf, KINDS } from '../../crds/definitions.ts';
import { inOneLine, judge, problemsIn } from '../../crds/judge.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { anyValue } from './arbitrary.ts';
import { manifestOf, ruleExamples } from './examples.ts';

const offline = (manifest: object) =>
  parseManifests(JSON.stringify(manifest), 'a.json').problems.map(({ field, message, cure }) =>
    [field, `${message}; ${cure}`].filter(Boolean).join(' '),
  );

test.each(ruleExamples.map((example) => [`${example.kind} ${example.at} ${example.index}`, example]))(
  '%s: the same words as for a manifest',
  (_, example) => {
    for (const which of ['good', 'bad'] as const) {
      const manifest = manifestOf(example, which, example[which]);
      expect(problemsIn(judge(example.kind, manifest)).map(inOneLine)).toEqual(offline(manifest));
    }
  },
);

const queue = (spec: object) => ({ kind: 'Queue', metadata: { name: 'emails' }, spec });

test('[J1] meaning is judged where the fields are right, and only there', () => {
  const schedule = { name: 'nightly', cron: '0 25 * * *' };
  const { fields, meaning } = judge('Queue', queue({ schedules: [schedule] }));
  expect(fields).toEqual([]);
  expect(meaning.map(inOneLine)).toEqual([
    'spec.schedules[0].cron "0 25 * * *" is not a cron expression: invalid value for hour: 25; ' +
      'write minute, hour, day of month, month, day of week: 0 3 * * *',
  ]);
  const both = judge('Queue', queue({ schedules: [schedule], limits: { maxDepth: -1 } }));
  expect(both.fields).toHaveLength(1);
  expect(both.meaning).toEqual([]);
});

test('[J2] an object of any depth gets an answer', () => {
  const deep = (levels: number) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
  const scheduled = (levels: number) =>
    queue({ schedules: [{ name: 'nightly', cron: '0 3 * * *', payload: deep(levels) }] });
  expect(problemsIn(judge('Queue', scheduled(50)))).toEqual([]);
  for (const levels of [70, 200_000]) {
    expect(problemsIn(judge('Queue', scheduled(levels))).map(inOneLine)).toEqual([
      'nested more than 64 levels deep; flatten it',
    ]);
  }
  // The same limit as of a manifest, level for level.
  for (const levels of [58, 59, 60, 61]) {
    const manifest = { apiVersion: 'flowmesh.io/v1alpha1', ...scheduled(levels) };
    const isRefused = parseManifests(JSON.stringify(manifest), 'a.json').problems.length > 0;
    expect(problemsIn(judge('Queue', manifest)).length > 0, `${levels}`).toBe(isRefused);
  }
});

test.each(KINDS)('[J2] %s: never throws, whatever the spec', (kind) => {
  fc.assert(
    fc.property(fc.oneof(anyValue(definitionOf(kind).spec), fc.jsonValue()), (spec) => {
      expect(Array.isArray(problemsIn(judge(kind, { metadata: { name: 'x' }, spec })))).toBe(true);
    }),
    { numRuns: 200 },
  );
});
