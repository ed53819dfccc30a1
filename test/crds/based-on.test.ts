// Conditions of basedOn: what they mean, what is refused and in which words, and that the reader of the data
// plane and the rules of the definitions never disagree.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readPolicy, type Scaled } from '../../crds/based-on.ts';
import { fieldProblems } from '../../crds/fields.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { anyCondition, manifestWith } from './conditions.ts';

const policyOf = (...basedOn: string[]) => readPolicy('Queue', { scaleFrom: 2, scaleTo: 20, basedOn }).policy;
const none = { from: 2, to: 20, lagMax: 0, ageMaxMs: 0, processingMaxMs: 0, throughputMin: 0 };

test.each([
  ['queue_lag > 10_000', { lagMax: 10_000 }],
  ['queue_lag>=7', { lagMax: 7 }],
  ['queue_lag > 999999999999999', { lagMax: 999_999_999_999_999 }],
  ['message_age > 30s', { ageMaxMs: 30_000 }],
  ['message_age > 1h30m', { ageMaxMs: 5_400_000 }],
  ['processing_time > 500ms', { processingMaxMs: 500 }],
  ['throughput < 5/s', { throughputMin: 5 }],
  ['throughput < 30/m', { throughputMin: 0.5 }],
  ['throughput <= 0.25/s', { throughputMin: 0.25 }],
])('%s', (condition, thresholds) => {
  expect(policyOf(condition)).toEqual({ ...none, ...thresholds });
});

test('several conditions are one policy; none are half a minute, and one worker at least', () => {
  expect(policyOf('queue_lag > 10', 'message_age > 1s', 'processing_time > 2s', 'throughput < 1/s')).toEqual({
    ...{ from: 2, to: 20, lagMax: 10, ageMaxMs: 1000, processingMaxMs: 2000, throughputMin: 1 },
  });
  expect(policyOf()).toEqual({ ...none, ageMaxMs: 30_000 });
  expect(readPolicy('Stream', { scaleTo: 3 }).policy).toEqual({ ...none, from: 1, to: 3, ageMaxMs: 30_000 });
});

const told = (scaled: Scaled, ...basedOn: string[]) =>
  readPolicy(scaled, { scaleTo: 9, basedOn }).problems?.map(
    ({ index, message, cure }) => `${index}: ${message} | ${cure}`,
  );

test.each<[string, Scaled, string]>([
  ['queue_lagg > 1', 'Queue', 'does not name a signal of a queue | did you mean queue_lag?'],
  ['stream_lag > 1', 'Queue', 'does not name a signal of a queue | did you mean queue_lag?'],
  ['queue_lag > 1', 'Stream', 'does not name a signal of a consumer group | did you mean stream_lag?'],
  ['queue_depth > 1', 'Queue', 'does not name a signal of a queue | did you mean queue_lag?'],
  ['oldest_age > 30s', 'Queue', 'does not name a signal of a queue | did you mean message_age?'],
  ['throughputs < 1/s', 'Stream', 'does not name a signal of a consumer group | did you mean throughput?'],
  [
    'constructor > 1',
    'Queue',
    'does not name a signal of a queue | write queue_lag, message_age, processing_time, throughput',
  ],
  ['queue_lag < 10', 'Queue', 'compares the wrong way | too much of it calls for more: write queue_lag > 10'],
  [
    'throughput > 5/s',
    'Queue',
    'compares the wrong way | too little of it calls for more: write throughput < 5/s',
  ],
  [
    'queue_lag > 0',
    'Queue',
    'is always so, or never: 0 is no threshold | ' +
      'write a whole number without a unit, such as queue_lag > 10_000',
  ],
  [
    'message_age > 30',
    'Queue',
    'has the wrong unit or number for message_age | ' +
      'write a duration with units, such as message_age > 30s or message_age > 1m30s',
  ],
  [
    'throughput < 5s',
    'Queue',
    'has the wrong unit or number for throughput | ' +
      'write a rate per worker, such as throughput < 5/s, 0.5/s or 30/m',
  ],
  [
    'lag is high',
    'Stream',
    'is not a condition | write a signal, a comparison and a number, such as stream_lag > 10_000',
  ],
])('%s in a %s', (condition, scaled, expected) => {
  expect(told(scaled, condition)).toEqual([`0: ${JSON.stringify(condition)} ${expected}`]);
});

test('every mistake is told, with its place', () => {
  expect(told('Queue', 'queue_lag > 1', 'message_age > 1', 'queue_lag > 2')).toEqual([
    expect.stringMatching(/^1: .*wrong unit/),
    '2: "queue_lag > 2" is the second about its signal | keep one',
  ]);
  expect(told('Queue', ...Array(17).fill('x > 1'))).toHaveLength(17);
  expect(told('Queue', 'x'.repeat(1_000_000))).toHaveLength(1);
});

test.each([
  [{ scaleTo: 0 }, 'scaleTo is 0'],
  [{ scaleTo: 1.5 }, 'scaleTo is 1.5'],
  [{ scaleTo: Number.NaN }, 'scaleTo is NaN'],
  [{ scaleTo: 100_001 }, 'scaleTo is 100001'],
  [{ scaleFrom: -1, scaleTo: 2 }, 'scaleFrom is -1'],
  [{ scaleFrom: 3, scaleTo: 2 }, 'scaleFrom is 3 and above scaleTo, 2'],
])('[B2] %j', (spec, expected) => {
  expect(readPolicy('Queue', spec).problems?.map(({ message }) => message)).toEqual([expected]);
});

test.each(['Queue', 'Stream'] as const)(
  '[B1] %s: the reader and the rules agree, whatever is written',
  (kind) => {
    const seen = { accepted: 0, refused: 0 };
    fc.assert(
      fc.property(fc.array(anyCondition(kind), { maxLength: 3 }), (basedOn) => {
        const { policy } = readPolicy(kind, { scaleTo: 9, basedOn });
        const problems = fieldProblems(kind, manifestWith(kind, basedOn));
        seen[policy === undefined ? 'refused' : 'accepted']++;
        expect(problems.length === 0, JSON.stringify({ basedOn, problems })).toBe(policy !== undefined);
        const thresholds = policy === undefined ? [1] : Object.values(policy);
        expect(thresholds.every((each) => Number.isFinite(each) && each >= 0)).toBe(true);
        expect(thresholds.some((each) => each > 0)).toBe(true);
      }),
      { numRuns: 2000 },
    );
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(200);
  },
);

test('a manifest with a mistake in basedOn says what may have been meant, where the rule cannot', () => {
  const problemsOf = (kind: Scaled, ...basedOn: string[]) =>
    parseManifests(JSON.stringify(manifestWith(kind, basedOn)), 'a.json').problems.map(
      ({ field, message, cure }) => `${field}: ${message} | ${cure}`,
    );
  expect(problemsOf('Stream', 'message_age > 1s', 'queue_lag > 10')).toEqual([
    'spec.consumerGroups[0].scaling.basedOn[1]: ' +
      '"queue_lag > 10" does not name a signal of a consumer group | did you mean stream_lag?',
  ]);
  expect(problemsOf('Queue', 'queue_lag > 10s')).toEqual([
    'spec.scaling.basedOn[0]: "queue_lag > 10s" is not about a whole number of jobs | ' +
      'write it without a unit, such as queue_lag > 10_000',
  ]);
});
