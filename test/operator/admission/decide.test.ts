// Verdicts on objects, as a table of what the API server may ask.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { definitionOf, KINDS } from '../../../crds/definitions.ts';
import { parseManifests } from '../../../crds/manifests.ts';
import { decide } from '../../../operator/admission/decide.ts';
import { readReview, reviewOf } from '../../../operator/admission/review.ts';
import { anyValue } from '../../crds/arbitrary.ts';

type Spec = Record<string, unknown>;
const nightly = (cron: string, more: Spec = {}) => ({ name: 'nightly', cron, ...more });
const NEVER = nightly('0 3 31 2 *');
const WRONG = nightly('0 25 * * *');
const FINE = nightly('0 3 * * *');
const scheduled = (...schedules: object[]): Spec => ({
  schedules: schedules.map((each, index) => ({ ...each, name: `s${index}` })),
});
/** Of a Schema: accepted, and of no effect in this version; and with a type that there is not. */
const UNSERVED: Spec = { versions: [{ version: 1, fields: { id: 'string' }, migrate: [] }] };
const MISTAKEN: Spec = { versions: [{ version: 1, fields: { id: 'strin' } }] };

const objectOf = (kind: string, spec: unknown, metadata: object = {}) => ({
  apiVersion: 'flowmesh.io/v1alpha1',
  kind,
  metadata: { name: 'emails', namespace: 'shop', ...metadata },
  spec,
});

interface Ask {
  kind?: string;
  operation?: string;
  before?: unknown;
  after?: unknown;
  metadata?: object;
  more?: object;
}

/** Through the review, as the API server has it. */
function ask({ kind = 'Queue', before, after, metadata, ...o }: Ask) {
  const operation = o.operation ?? (before === undefined ? 'CREATE' : 'UPDATE');
  const request = {
    ...{ uid: 'u1', operation, name: 'emails', namespace: 'shop' },
    kind: { group: 'flowmesh.io', version: 'v1alpha1', kind },
    object: after === undefined ? null : objectOf(kind, after, metadata),
    oldObject: before === undefined ? null : objectOf(kind, before),
    ...o.more,
  };
  const read = readReview(
    JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request }),
  );
  return { read, decision: decide(read) };
}

const verdict = (asked: Ask) => {
  const { allowed, causes } = ask(asked).decision;
  return allowed ? 'passes' : causes.map(({ field }) => field).join(' ');
};
const CRON = 'spec.schedules[0].cron';

describe('a new object', () => {
  test('[D1] is refused with what flowmesh validate says, field and cure', () => {
    const { decision, read } = ask({ after: scheduled(NEVER) });
    const [problem] = parseManifests(JSON.stringify(objectOf('Queue', scheduled(NEVER))), 'a.json').problems;
    const said = `${problem?.message}; ${problem?.cure}`;
    expect(reviewOf(read, decision)).toEqual({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: {
        uid: 'u1',
        allowed: false,
        status: {
          status: 'Failure',
          code: 422,
          reason: 'Invalid',
          message: `Queue emails is not valid: ${CRON} ${said}`,
          details: {
            ...{ name: 'emails', group: 'flowmesh.io', kind: 'Queue' },
            causes: [{ reason: 'FieldValueInvalid', field: CRON, message: said }],
          },
        },
      },
    });
    expect(said).toContain('is not a cron expression');
  });

  test.each<[string, Ask, string]>([
    [
      'a schedule in no time zone',
      { after: scheduled({ ...FINE, timeZone: 'Mars/Base' }) },
      'spec.schedules[0].timeZone',
    ],
    ['two mistakes', { after: scheduled(NEVER, WRONG) }, `${CRON} spec.schedules[1].cron`],
    ['a rule of the definitions', { after: { limits: { ratePerKey: '5/x' } } }, 'spec.limits.ratePerKey'],
    [
      'no JSON Schema',
      {
        kind: 'Schema',
        after: { clusterRef: { name: 'm' }, versions: [{ version: 1, jsonSchema: { type: 'text' } }] },
      },
      'spec.versions[0].jsonSchema.type',
    ],
    ['a good one', { after: scheduled(FINE) }, 'passes'],
    ['nothing in it', { after: {} }, 'passes'],
    ['no spec at all', { after: null }, 'passes'],
    ['a good cluster', { kind: 'FlowMeshCluster', after: { replicas: 1 } }, 'passes'],
  ])('%s', (_, asked, field) => {
    expect(verdict(asked)).toBe(field);
  });

  test('of a generated name is judged like others', () => {
    const request = { name: '', more: { name: '' } };
    const { decision } = ask({ after: scheduled(NEVER), metadata: { name: undefined }, ...request });
    expect(decision.causes.map(({ field }) => field)).toEqual([CRON]);
    expect(verdict({ after: {}, metadata: { name: undefined }, ...request })).toBe('passes');
  });

  test('that is fine is told what has no effect in this version', () => {
    const after = UNSERVED;
    const { notices } = parseManifests(JSON.stringify(objectOf('Schema', after)), 'a.json');
    expect(notices).toHaveLength(1);
    const { read, decision } = ask({ kind: 'Schema', after });
    expect(decision.warnings).toEqual(notices.map(({ field, message }) => `${field} ${message}`));
    expect(reviewOf(read, decision)).toMatchObject({ response: { uid: 'u1', allowed: true } });
  });
});

describe('a change', () => {
  test.each<[string, Ask, string]>([
    ['[D3] that makes it wrong', { before: scheduled(FINE), after: scheduled(NEVER) }, CRON],
    ['[D3] that makes one mistake another', { before: scheduled(WRONG), after: scheduled(NEVER) }, CRON],
    [
      '[D3] that adds a mistake like one that is there',
      { before: scheduled(NEVER), after: scheduled(NEVER, NEVER) },
      'spec.schedules[1].cron',
    ],
    [
      '[D3] of something else',
      { before: scheduled(NEVER), after: { ...scheduled(NEVER), limits: { maxDepth: 5 } } },
      'passes',
    ],
    ['[D3] that moves a mistake', { before: scheduled(FINE, NEVER), after: scheduled(NEVER) }, 'passes'],
    ['[D3] that corrects one of two', { before: scheduled(WRONG, NEVER), after: scheduled(NEVER) }, 'passes'],
    ['[D3] that corrects all', { before: scheduled(NEVER), after: scheduled(FINE) }, 'passes'],
    [
      '[D3] that uncovers a mistake behind another',
      { before: { ...scheduled(NEVER), limits: { maxDepth: -1 } }, after: scheduled(NEVER) },
      'passes',
    ],
    ['of what may never change', { before: { queueName: 'a' }, after: { queueName: 'b' } }, 'spec.queueName'],
    ['[D2] of nothing', { before: scheduled(NEVER), after: scheduled(NEVER) }, 'passes'],
    [
      '[D2] of metadata alone',
      { before: scheduled(NEVER), after: scheduled(NEVER), metadata: { finalizers: [], labels: { a: 'b' } } },
      'passes',
    ],
    [
      '[D2] while it is being deleted',
      {
        before: scheduled(FINE),
        after: scheduled(NEVER),
        metadata: { deletionTimestamp: '2026-11-26T12:00:00Z' },
      },
      'passes',
    ],
    [
      '[D2] of an object that fits no definition',
      { before: { limits: 5, x: [] }, after: { limits: 5, x: [] }, metadata: { finalizers: [] } },
      'passes',
    ],
  ])('%s', (_, asked, field) => {
    expect(verdict(asked)).toBe(field);
  });

  test('[D3] what was wrong before is a warning, and hides no notice forever', () => {
    const wrong = { before: scheduled(NEVER), after: { ...scheduled(NEVER), delivery: { maxAttempts: 2 } } };
    const { allowed, warnings } = ask(wrong).decision;
    expect(allowed).toBe(true);
    expect(warnings).toEqual([
      expect.stringMatching(/^spec\.schedules\[0\]\.cron "0 3 31 2 \*" is not a cron .*so before\)$/),
    ]);
    const corrected = { kind: 'Schema', before: MISTAKEN, after: UNSERVED };
    expect(ask(corrected).decision.warnings).toEqual([expect.stringContaining('migrate')]);
  });

  test('warnings are few and short, whatever the object', () => {
    const bad = Array.from({ length: 40 }, () => nightly('0 3 31 2 *', { timeZone: `A/${'x'.repeat(60)}` }));
    const { warnings } = ask({
      before: scheduled(...bad),
      after: { ...scheduled(...bad), limits: { maxDepth: 5 } },
    }).decision;
    expect(warnings.length).toBeGreaterThan(5);
    expect(warnings.join('').length).toBeLessThan(4096);
    expect(Math.max(...warnings.map(({ length }) => length))).toBeLessThanOrEqual(256);
  });
});

describe('[D4] what is not ours passes', () => {
  const wrong = scheduled(NEVER);
  test.each<[string, Ask]>([
    ['another group', { after: wrong, more: { kind: { group: 'apps', version: 'v1', kind: 'Queue' } } }],
    [
      'another version',
      { after: wrong, more: { kind: { group: 'flowmesh.io', version: 'v2', kind: 'Queue' } } },
    ],
    [
      'another kind',
      { after: wrong, more: { kind: { group: 'flowmesh.io', version: 'v1alpha1', kind: 'constructor' } } },
    ],
    ['no kind', { after: wrong, more: { kind: 7 } }],
    ['a deletion', { before: wrong, operation: 'DELETE' }],
    ['a status', { before: {}, after: wrong, more: { subResource: 'status' } }],
    ['a connection', { after: wrong, operation: 'CONNECT' }],
  ])('%s', (_, asked) => {
    expect(ask(asked).decision).toEqual({ allowed: true, causes: [], warnings: [], message: '' });
  });
});

test.each(KINDS)('%s: whatever the object, there is a decision, and the same one again', (kind) => {
  const spec = fc.oneof(anyValue(definitionOf(kind).spec), fc.jsonValue());
  fc.assert(
    fc.property(fc.option(spec, { nil: undefined }), spec, (before, after) => {
      const { decision } = ask({ kind, before, after });
      expect(decision.allowed).toBe(decision.causes.length === 0);
      expect(ask({ kind, before, after }).decision).toEqual(decision);
      // What stays as it is is never refused.
      expect(verdict({ kind, before: after, after })).toBe('passes');
    }),
    { numRuns: 150 },
  );
});

test.each([
  ['', 'the body is not JSON'],
  ['{"a":', 'the body is not JSON'],
  ['[]', 'the body is not a JSON object: send an AdmissionReview'],
  ['null', 'the body is not a JSON object: send an AdmissionReview'],
  ['{}', 'the body is of no apiVersion no kind: send admission.k8s.io/v1 AdmissionReview'],
  [
    '{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"a"}}',
    'the body is of admission.k8s.io/v1beta1 AdmissionReview: send admission.k8s.io/v1 AdmissionReview',
  ],
  ['{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', 'the review has no request'],
  [
    '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}',
    'the request has no uid',
  ],
])('[R1] %s is no review', (text, message) => {
  expect(() => readReview(text)).toThrow(message);
});

test('[R1] whatever the text, it is a review or a BadReview', () => {
  const head = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' };
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), fc.jsonValue(), (text, request) => {
      for (const each of [text, JSON.stringify({ ...head, request })]) {
        try {
          decide(readReview(each));
        } catch (error) {
          expect((error as Error).constructor.name).toBe('BadReview');
        }
      }
    }),
  );
});
