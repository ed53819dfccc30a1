// Mistakes that the API server cannot see: told offline with place and cure, as the data plane would refuse.
import { FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { parseManifests } from '../../crds/manifests.ts';
import { checkCron } from '../../dataplane/queue/cron.ts';

const problemsOf = (kind: string, spec: unknown) => {
  const manifest = { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name: 'x' }, spec };
  const { problems, resources } = parseManifests(JSON.stringify(manifest), 'a.json');
  expect(resources.length).toBe(problems.length === 0 ? 1 : 0);
  return problems.map(({ field, message, cure }) => `${field}: ${message} | ${cure}`);
};
const scheduled = (...schedules: object[]) =>
  problemsOf('Queue', { schedules: schedules.map((each, index) => ({ name: `s${index}`, ...each })) });
const CRON = 'write minute, hour, day of month, month, day of week: 0 3 * * *';

test.each([
  ['0 3 * * *', 'Europe/Berlin', undefined],
  ['*/5 9-17 * * MON-FRI', 'UTC', undefined],
  ['0 0 L * *', 'America/Port-au-Prince', undefined],
  [
    '0 25 * * *',
    'UTC',
    `spec.schedules[0].cron: "0 25 * * *" is not a cron expression: invalid value for hour: 25 | ${CRON}`,
  ],
  [
    '0 3 31 2 *',
    'UTC',
    `spec.schedules[0].cron: "0 3 31 2 *" is not a cron expression: ` +
      `that never comes; see minute, day and month | ${CRON}`,
  ],
  [
    '0 3 * * *',
    'Mars/Base',
    'spec.schedules[0].timeZone: "Mars/Base" is not a known time zone | write a name such as Europe/Berlin',
  ],
])('schedule %s in %s, as the data plane has it', (cron, timeZone, told) => {
  expect(scheduled({ cron, timeZone })).toEqual(told === undefined ? [] : [told]);
  const check = () => checkCron(cron, timeZone);
  if (told === undefined) expect(check).not.toThrow();
  else expect(check).toThrow(FlowError);
});

test('payloads beyond what a queue keeps', () => {
  const of = (bytes: number) => ({ cron: '0 3 * * *', payload: 'x'.repeat(bytes - 2) });
  const [fits, most] = [65_536, 65_537].map(of);
  expect(scheduled(fits ?? {}, fits ?? {}, fits ?? {}, fits ?? {})).toEqual([]);
  expect(scheduled(most ?? {})).toEqual([
    expect.stringMatching(/^spec\.schedules\[0\]\.payload: has 65537 bytes/),
  ]);
  const five = Array.from({ length: 5 }, () => fits ?? {});
  expect(scheduled(...five)).toEqual([expect.stringMatching(/^spec\.schedules\[4\]\.payload: /)]);
});

test.each([
  [{ fields: { a: 'string', b: { type: 'string', default: 'EUR' } } }, []],
  [{ jsonSchema: { type: 'object', properties: { a: { type: ['string', 'null'] } }, required: ['a'] } }, []],
  [{ fields: { a: 'strng' } }, ['spec.versions[0].fields.a: is "strng", not a type | did you mean string?']],
  [
    { fields: { a: 7 } },
    [
      'spec.versions[0].fields.a: is 7, not a type | ' +
        'write string, number, integer, boolean, object, array or a JSON Schema',
    ],
  ],
  [
    { fields: { a: { type: 'text' } } },
    [
      expect.stringMatching(
        /^spec\.versions\[0\]\.fields\.a\.type: is not a JSON Schema: .* \| write array, boolean/,
      ),
    ],
  ],
  [
    { jsonSchema: { properties: { a: { minLength: -1 } } } },
    [
      expect.stringMatching(
        /^spec\.versions\[0\]\.jsonSchema\.properties\.a\.minLength: is not a JSON Schema: must be >= 0 \|/,
      ),
    ],
  ],
  [
    { jsonSchema: { properties: { a: { $ref: 'https://example.org/' } } } },
    [expect.stringMatching(/^spec\.versions\[0\]\.jsonSchema\.properties\.a\.\$ref: is "https:.* only #/)],
  ],
  [
    { fields: { a: { type: 'string', pattern: '(?=a)b' } } },
    [expect.stringMatching(/^spec\.versions\[0\]\.fields\.a\.pattern: is not a pattern that is accepted/)],
  ],
  [
    { jsonSchema: { tipe: 'string' } },
    [expect.stringMatching(/^spec\.versions\[0\]\.jsonSchema: unknown keyword: "tipe"/)],
  ],
])('schema %j', (version, told) => {
  expect(problemsOf('Schema', { versions: [{ version: 1, ...version }] })).toEqual(told);
});
