// One verdict for all who give one: what a manifest is told offline is what an object is told in a cluster.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { definitionOf, KINDS } from '../../crds/definitions.ts';
import { inOneLine, judge, problemsIn, VALUES_MAX } from '../../crds/judge.ts';
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

test('[J2] an object of nothing but mistakes is bounded: in work, and in lines', () => {
  const list = (count: number, entry: (n: number) => unknown) =>
    Array.from({ length: count }, (_, n) => entry(n));
  const unknown = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`x${n}`, 1]));
  const hostile: [spec: object, problems: number][] = [
    [unknown(20_000), 20],
    [unknown(VALUES_MAX), 1],
    [{ schedules: list(9_000, (n) => ({ name: `s${n % 9}`, cron: '0 3 31 2 *', x: 1 })) }, 20],
    [{ schedules: [{ name: 'a', cron: '0 3 * * *', payload: list(VALUES_MAX, () => []) }] }, 1],
  ];
  for (const [spec, problems] of hostile) {
    const beforeMs = process.cpuUsage().user / 1000;
    const found = problemsIn(judge('Queue', queue(spec)));
    // Of the processor, not of the clock: others may be busy too.
    expect(process.cpuUsage().user / 1000 - beforeMs).toBeLessThan(3_000);
    expect(found).toHaveLength(problems);
    if (problems === 1)
      expect(found.map(inOneLine)).toEqual(['has more than 100000 values; split it into several']);
  }
}, 120_000);

test.each(KINDS)('[J2] %s: never throws, whatever the spec', (kind) => {
  fc.assert(
    fc.property(fc.oneof(anyValue(definitionOf(kind).spec), fc.jsonValue()), (spec) => {
      expect(Array.isArray(problemsIn(judge(kind, { metadata: { name: 'x' }, spec })))).toBe(true);
    }),
    { numRuns: 200 },
  );
});
