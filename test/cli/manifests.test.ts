// flowmesh apply and validate: mistakes are found before anything is sent, each with its place and cure.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { flowmesh, received } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-manifests-'));
afterAll(() => rmSync(dir, { recursive: true }));
beforeEach(() => {
  rmSync(dir, { recursive: true });
  mkdirSync(dir);
});

const queueYaml = (name: string, spec = '') =>
  `apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: ${name.replaceAll('.', '-')} }\n` +
  `spec:\n  clusterRef: { name: main }\n  queueName: ${name}\n${spec}`;
const streamYaml = (name: string) =>
  queueYaml(name).replace('kind: Queue', 'kind: Stream').replace('queueName', 'streamName');

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

/** A server that has these queues and takes what it is given, but for one. */
function having(...queues: pb.QueueSpecInput[]) {
  const spec = (given: pb.QueueSpecInput) =>
    received(pb.Queue, { spec: { ...given, maxAttempts: given.maxAttempts || 10 } });
  return {
    listQueues: () => ({ queues: queues.map(spec) }),
    listStreams: () => ({ streams: [] }),
    applyQueue: (given: pb.QueueSpecInput) => {
      if (given.name === 'refused') throw new FlowError('INVALID_ARGUMENT', 'no room for \u001b[2J refused');
      return spec(given);
    },
    applyStream: (given: pb.StreamSpecInput) => received(pb.Stream, { spec: given }),
  };
}

test('apply makes what is declared, and says of each what that changed', async () => {
  file('a.yaml', `${queueYaml('emails.send', '  delivery: { maxAttempts: 5 }\n')}---\n${queueYaml('same')}`);
  file('b.yml', streamYaml('orders.events'));
  file('notes.txt', 'not a manifest');
  const answers = having({ name: 'emails.send' }, { name: 'same' });
  const { code, out, err, calls } = await flowmesh(['apply', '-f', dir], answers);
  expect([code, err]).toEqual([0, '']);
  expect(out).toBe(
    'queue   emails.send     changed: maxAttempts 10 -> 5\n' +
      'queue   same            unchanged\n' +
      'stream  orders.events   created\n',
  );
  expect(calls.slice(2).map(([method, { name, mutation }]) => [method, name, mutation])).toEqual([
    ['applyQueue', 'emails.send', { producerId: 'test', seq: 1 }],
    ['applyQueue', 'same', { producerId: 'test', seq: 2 }],
    ['applyStream', 'orders.events', { producerId: 'test', seq: 3 }],
  ]);
});

test('one that the server refuses does not keep the others back, but the command fails', async () => {
  const path = file('a.yaml', `${queueYaml('refused')}---\n${queueYaml('fine')}`);
  const text = await flowmesh(['apply', '-f', path], having());
  expect(text.code).toBe(1);
  expect(text.out).toMatch(
    /^queue {3}refused {3}refused: no room for \\e\[2J refused \(.*a\.yaml:1\)\nqueue {3}fine {6}created\n$/,
  );
  expect(text.err).toBe('error: 1 of 2 was refused\n');
  const json = JSON.parse((await flowmesh(['apply', '-f', path, '-o', 'json'], having())).out);
  expect(json).toMatchObject([
    { kind: 'queue', name: 'refused', result: 'refused', error: 'no room for \u001b[2J refused' },
    { kind: 'queue', name: 'fine', result: 'created', changes: [] },
  ]);
});

test('a mistake anywhere is shown in its place with a cure, and nothing is sent', async () => {
  const good = file('good.yaml', queueYaml('fine'));
  const bad = file('bad.yaml', queueYaml('emails', '  delivery: { maxAttemps: 3, x\u0007: 1 }\n'));
  for (const [command, hint] of [
    ['apply', '  nothing was applied\n'],
    ['validate', ''],
  ] as const) {
    const { code, out, err, calls } = await flowmesh([command, '-f', good, bad]);
    expect([code, out, calls]).toEqual([1, '', []]);
    expect(err).toContain('bad.yaml:7:15 (Queue emails) spec.delivery.maxAttemps: is not a known field\n');
    expect(err).toContain(
      '    7 |   delivery: { maxAttemps: 3, x\\u0007: 1 }\n' +
        '      |               ^\n' +
        '    did you mean maxAttempts?\n',
    );
    expect(err.endsWith(`\nerror: 2 mistakes in the manifests\n${hint}`)).toBe(true);
    expect(err).not.toContain('\u0007');
  }
});

test('what has an effect in a cluster only is accepted; apply says so once, validate does not', async () => {
  const policies =
    '  deletionPolicy: Delete\n  scaling: { targetRef: { kind: Deployment, name: w }, scaleTo: 2 }\n';
  const path = file('a.yaml', ['a', 'b', 'c'].map((name) => queueYaml(name, policies)).join('---\n'));
  const applied = await flowmesh(['apply', '-f', path], having());
  expect(applied.code).toBe(0);
  expect(applied.err.trimEnd().split('\n')).toEqual([
    expect.stringMatching(/a\.yaml:7:3 .* spec\.deletionPolicy: has an effect in a cluster only \(and at 2/),
    expect.stringMatching(
      /a\.yaml:8:14 .* spec\.scaling\.targetRef: has an effect in a cluster only \(and at 2/,
    ),
  ]);
  const validated = await flowmesh(['validate', '-f', path]);
  expect(validated.out).toBe('valid: 3 resources in 1 file\n');
  expect(validated.err).not.toContain('deletionPolicy');
});

test('scripts get the mistakes as JSON on standard output', async () => {
  const path = file('bad.yaml', queueYaml('emails', '  delivery: { visibilityTimeout: 30x }\n'));
  const { code, out, err } = await flowmesh(['validate', '-f', path, '-o', 'json']);
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    problems: [
      {
        line: 7,
        column: 34,
        field: 'spec.delivery.visibilityTimeout',
        message: '"30x" is not a duration of at most 12h',
      },
    ],
  });
  expect(JSON.parse(err).error.message).toBe('1 mistake in the manifests');
});

test('validate needs no server, and takes standard input', async () => {
  file('a.yaml', queueYaml('emails'));
  file('b.json', JSON.stringify(streamJson));
  const { code, out } = await flowmesh(['validate', '-f', dir]);
  expect([code, out]).toEqual([0, 'valid: 2 resources in 2 files\n']);
  const piped = await flowmesh('validate -f - -o json', {}, { stdin: queueYaml('emails') });
  expect(JSON.parse(piped.out).resources).toEqual([
    { kind: 'Queue', name: 'emails', source: { file: 'standard input', document: 1, line: 1 } },
  ]);
});

const noZeros = existsSync('/dev/zero') ? '' : ' (skipped: there is no /dev/zero)';

test.skipIf(noZeros !== '')(`what has no end is read up to the limit and refused${noZeros}`, async () => {
  const { code, err } = await flowmesh(['validate', '-f', '/dev/zero']);
  expect([code, err]).toEqual([1, expect.stringContaining('/dev/zero: the file has more than 1 MiB')]);
});

const streamJson = {
  apiVersion: 'flowmesh.io/v1alpha1',
  kind: 'Stream',
  metadata: { name: 'orders' },
  spec: { clusterRef: { name: 'main' }, streamName: 'orders.events' },
};

test('a missing path, a folder without manifests, and a file beyond 1 MiB are told apart', async () => {
  const missing = await flowmesh(['validate', '-f', join(dir, 'nope.yaml')]);
  expect(missing.code).toBe(1);
  expect(missing.err).toMatch(/nope\.yaml: there is no such file\n {4}check the path given with -f\n/);
  const empty = await flowmesh(['apply', '-f', dir], having());
  expect(empty).toMatchObject({ code: 0, out: '' });
  expect(empty.err).toBe('nothing to apply: no Queue, Schema or Stream was found\n');
  const large = await flowmesh(['validate', '-f', file('large.yaml', `# ${'x'.repeat(1024 * 1024)}\n`)]);
  expect(large.err).toContain('the file has 1,048,579 bytes, at most 1 MiB is read');
});
