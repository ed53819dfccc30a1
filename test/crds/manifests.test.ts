// Manifests: what is accepted, and that every mistake gets file, document, line, field and cure.
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { conflicts, forbiddenChanges, parseManifests } from '../../crds/manifests.ts';
import { formatProblem } from '../../crds/problems.ts';

const head = (kind: string) => `apiVersion: flowmesh.io/v1alpha1\nkind: ${kind}\nmetadata:\n  name: x\n`;
const DURATIONS = 'write numbers with units, such as 500ms, 90s, 5m, 24h, 7d or 1h30m';
const parse = (text: string) => parseManifests(text, 'q.yaml');
/** `line field: message | cure` of each problem. */
const briefly = (text: string) =>
  parse(text).problems.map(({ line, field, message, cure }) => `${line} ${field}: ${message} | ${cure}`);

test('a queue, a stream and a schema in one file become resources with their source', () => {
  const text = [
    `${head('Queue')}spec: { queueName: emails.send }`,
    `${head('Stream')}spec: { partitions: 12 }`,
    `${head('Schema')}spec: { versions: [{ version: 1, fields: { order_id: string } }] }`,
  ].join('\n---\n');
  const { resources, problems } = parse(text);
  expect(problems).toEqual([]);
  expect(resources.map(({ kind, source }) => [kind, source])).toEqual([
    ['Queue', { file: 'q.yaml', document: 1, line: 1 }],
    ['Stream', { file: 'q.yaml', document: 2, line: 7 }],
    ['Schema', { file: 'q.yaml', document: 3, line: 13 }],
  ]);
});

test('a queue needs nothing but a name', () => {
  expect(parse(head('Queue')).problems).toEqual([]);
  expect(parse(`${head('Queue')}spec:\n`).resources[0]?.spec).toEqual({});
});

test('the example of the design is accepted as it is', () => {
  const { problems, resources } = parse(designExample);
  expect(problems).toEqual([]);
  expect(resources).toHaveLength(4);
});

test('every manifest in examples/ is accepted, and they do not clash', () => {
  const folder = resolve(import.meta.dirname, '../../examples/manifests');
  const all = readdirSync(folder).map((file) =>
    parseManifests(readFileSync(join(folder, file), 'utf8'), file),
  );
  expect(all.flatMap(({ problems }) => problems)).toEqual([]);
  expect(conflicts(all.flatMap(({ resources }) => resources))).toEqual([]);
});

test.each([
  [
    'a misspelt field',
    'delivery:\n    maxAttemps: 3',
    '7 spec.delivery.maxAttemps: is not a known field | did you mean maxAttempts?',
  ],
  [
    'a field in another case',
    'QueueName: a',
    '6 spec.QueueName: is not a known field | did you mean queueName?',
  ],
  [
    'a number for a duration',
    'retention: { finished: 24 }',
    `6 spec.retention.finished: is 24, not text | ${DURATIONS}`,
  ],
  [
    'a duration without unit',
    'retention: { finished: "24" }',
    `6 spec.retention.finished: "24" is not a duration | ${DURATIONS}`,
  ],
  [
    'a duration of nothing',
    'deduplication: { window: 0s }',
    `6 spec.deduplication.window: "0s" is not a duration | ${DURATIONS}`,
  ],
  [
    'a size in bytes as number',
    'retention: { size: 1GB }',
    '6 spec.retention.size: "1GB" is not a size | write a number and a unit, such as 512Mi, 1Gi or 20Gi',
  ],
  [
    'a number in quotes',
    'delivery: { maxAttempts: "3" }',
    '6 spec.delivery.maxAttempts: is "3", not a whole number | write it without quotes',
  ],
  [
    'a number out of range',
    'delivery: { maxAttempts: 0 }',
    '6 spec.delivery.maxAttempts: is 0 | write a number from 1',
  ],
  [
    'a choice in lower case',
    'delivery: { backoff: { type: exponential } }',
    '6 spec.delivery.backoff.type: is "exponential" | did you mean Exponential?',
  ],
  [
    'no such choice',
    'delivery: { backoff: { jitter: Some } }',
    '6 spec.delivery.backoff.jitter: is "Some" | write Full or None',
  ],
  [
    'an empty value',
    'queueName:',
    '6 spec.queueName: is empty, not text | give it a value or remove the line',
  ],
  ['a list where a mapping is', 'delivery: [1]', '6 spec.delivery: is [1], not a mapping | write a mapping'],
  ['a missing part', 'schedules: [{ name: a }]', '6 spec.schedules[0].cron: is missing | add cron'],
  [
    'two schedules of one name',
    'schedules: [{ name: a, cron: "* * * * *" }, { name: a, cron: "* * * * *" }]',
    '6 spec.schedules[1].name: another entry has the same name | give each its own',
  ],
  [
    'its own dead-letter queue',
    'queueName: q\n  deadLetter: { queueName: q }',
    '7 spec.deadLetter.queueName: a queue cannot be its own dead-letter queue | name another',
  ],
  [
    'a rate',
    'limits: { ratePerKey: 50 per s }',
    '6 spec.limits.ratePerKey: "50 per s" is not a rate | ' +
      'write a count up to 1000000 and a time, such as 50/s, 100/m or 5/h',
  ],
  [
    'scaling upside down',
    'scaling: { targetRef: { kind: Deployment, name: w }, scaleFrom: 5, scaleTo: 2 }',
    '6 spec.scaling.scaleFrom: scaleFrom must not be above scaleTo | swap them or raise scaleTo',
  ],
])('%s', (_, spec, expected) => {
  expect(briefly(`${head('Queue')}spec:\n  ${spec}\n`)).toEqual([expected]);
});

test('each field of spec gets its own answer, in one go', () => {
  const spec =
    'spec:\n  delivery: { maxAttempts: 0, maxDelivery: 1 }\n  limits: { maxDepth: -1 }\n  retension: {}\n';
  expect(briefly(head('Queue') + spec)).toEqual([
    '8 spec.retension: is not a known field | did you mean retention?',
    '6 spec.delivery.maxDelivery: is not a known field | did you mean maxDeliveries?',
    '6 spec.delivery.maxAttempts: is 0 | write a number from 1',
    '7 spec.limits.maxDepth: is -1 | write a number from 0',
  ]);
});

test.each([
  ['kind: Queu', 'kind', 'there is no kind "Queu"', 'did you mean Queue?'],
  ['kind: Topic', 'kind', 'there is no kind "Topic"', 'the kinds are FlowMeshCluster, Queue, Schema, Stream'],
])('an unknown kind: %s', (line, field, message, cure) => {
  const [problem] = parse(`apiVersion: flowmesh.io/v1alpha1\n${line}\nmetadata: { name: a }\n`).problems;
  expect(problem).toMatchObject({ field, message, cure, line: 2 });
});

test.each(['flowmesh.io/v1', 'flowmesh.oi/v1alpha1', 'v1'])('apiVersion %s for a Queue', (apiVersion) => {
  const [problem] = parse(`apiVersion: ${apiVersion}\nkind: Queue\n`).problems;
  expect(problem).toMatchObject({ field: 'apiVersion', cure: 'write apiVersion: flowmesh.io/v1alpha1' });
});

test('[C2] resources of others are skipped with a notice', () => {
  const { problems, notices, resources } = parse(
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\n---\n${head('Queue')}`,
  );
  expect(problems).toEqual([]);
  expect(resources).toHaveLength(1);
  expect(notices.map(({ subject, message }) => `${subject}: ${message}`)).toEqual([
    'Deployment a: apps/v1 Deployment is not a resource of FlowMesh: skipped',
  ]);
});

test.each([
  ['no metadata', 'apiVersion: flowmesh.io/v1alpha1\nkind: Queue\n', 'metadata.name'],
  [
    'dots are fine, capitals are not',
    'apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: Emails }\n',
    'metadata.name',
  ],
  ['labels are text', `${head('Queue')}  labels: { a: 1 }\n`, 'metadata.labels.a'],
  ['a field beside spec', `${head('Queue')}spek: {}\n`, 'spek'],
  ['a list as document', '- 1\n', ''],
  ['text as document', 'hello\n', ''],
])('%s', (_, text, field) => {
  expect(parse(text).problems.map((problem) => problem.field)).toEqual([field]);
  expect(parse(text).resources).toEqual([]);
});

test('what kubectl get -o yaml adds is accepted and status is dropped', () => {
  const { problems, resources } = parse(
    `${head('Queue')}  uid: a\n  resourceVersion: "1"\nspec: {}\nstatus:\n  observedGeneration: nonsense\n`,
  );
  expect(problems).toEqual([]);
  expect(resources[0]).not.toHaveProperty('status');
});

test('fields that are not served are accepted with a notice that points at them', () => {
  const { resources, notices } = parse(
    `${head('Queue')}spec:\n  scaling: { targetRef: { kind: Job, name: w }, scaleTo: 2 }\n` +
      `  schemaRef: { name: a }\n---\n` +
      `${head('Schema')}spec: { versions: [{ version: 1, fields: { a: string }, migrate: [] }] }\n`,
  );
  expect(resources).toHaveLength(2);
  expect(notices.map(({ line, field }) => `${line} ${field}`)).toEqual(['13 spec.versions[0].migrate']);
});

test('what only an operator reads is accepted, and told apart from what nobody serves', () => {
  const { resources, notices, clusterOnly } = parse(
    [
      `${head('Queue')}  annotations: { flowmesh.io/paused: "true" }\nspec:\n  deletionPolicy: Delete\n` +
        '  adoptionPolicy: Never\n  clusterRef: { name: main, namespace: data }\n',
      `${head('FlowMeshCluster')}spec: { tls: { mode: Disabled } }\n`,
      `${head('Queue')}spec:\n  scaling: { targetRef: { kind: Job, name: w }, scaleTo: 2 }\n`,
      `${head('Stream')}spec:\n  consumerGroups:\n  - name: a\n` +
        '    scaling: { targetRef: { kind: Job, name: w }, scaleTo: 2 }\n',
    ].join('---\n'),
  );
  expect([resources.length, notices]).toEqual([4, []]);
  expect(clusterOnly.map(({ line, subject, field }) => `${line} ${subject} ${field}`)).toEqual([
    '9 Queue x spec.clusterRef.namespace',
    '7 Queue x spec.deletionPolicy',
    '8 Queue x spec.adoptionPolicy',
    '5 Queue x metadata.annotations.flowmesh.io/paused',
    '11 FlowMeshCluster x ',
    '22 Queue x spec.scaling.targetRef',
    '31 Stream x spec.consumerGroups[0].scaling.targetRef',
  ]);
});

test('a change that the API server would not take names the field and the cure', () => {
  const at = (partitions: number, name = 'x') =>
    parse(`${head('Stream').replace('name: x', `name: ${name}`)}spec: { partitions: ${partitions} }\n`)
      .resources;
  expect(forbiddenChanges(at(8), at(8))).toEqual([]);
  expect(forbiddenChanges(at(8), at(9))).toEqual([]);
  expect(forbiddenChanges(at(8), at(2, 'other'))).toEqual([]);
  expect(forbiddenChanges(at(8), at(7)).map(formatProblem)).toEqual([
    'q.yaml:1:1 (Stream x) spec.partitions: partitions can grow, not shrink\n' +
      '    create another stream and move over',
  ]);
});

test('two resources of one name, or of one served name, are a conflict that names the first', () => {
  const { resources } = parse(
    [
      head('Queue'),
      head('Queue'),
      `${head('Queue').replace('name: x', 'name: z')}spec: { queueName: x }\n`,
      head('Stream'),
    ].join('---\n'),
  );
  expect(conflicts(resources).map(({ line, message }) => `${line} ${message}`)).toEqual([
    '6 declared before at q.yaml:1',
    '11 declared before at q.yaml:1',
  ]);
});

test('a problem reads as a sentence with its place', () => {
  const [problem] = parse(
    `---\n${head('Queue')}spec: {}\n---\n${head('Queue')}spec: { shards: 3 }\n`,
  ).problems;
  expect(problem && formatProblem(problem)).toMatch(
    /^q\.yaml:12:9 \(document 2, Queue x\) spec\.shards: is not a known field\n {4}known here: clusterRef,/,
  );
  expect(problem?.excerpt).toBe('spec: { shards: 3 }');
});

const designExample = `
apiVersion: flowmesh.io/v1alpha1
kind: FlowMeshCluster
metadata: { name: main }
spec:
  replicas: 1
  shards: 1
  journal: { engine: Embedded }
  storage: { size: 20Gi, storageClassName: fast }
  listeners: { grpc: {port: 7070}, http: {port: 7080}, redis: {enabled: true, port: 6379} }
  podTemplate: {}
---
apiVersion: flowmesh.io/v1alpha1
kind: Queue
metadata: { name: emails-send }
spec:
  clusterRef: { name: main }
  queueName: emails.send
  delivery:
    visibilityTimeout: 30s
    maxAttempts: 10
    backoff: { type: Exponential, initial: 1s, max: 10m, jitter: Full }
  deadLetter: { queueName: emails.send.dead }
  deduplication: { window: 5m }
  limits: { maxDepth: 1000000, onFull: Reject, ratePerKey: 50/s, concurrencyPerKey: 5 }
  schedules: [{ name: nightly, cron: "0 3 * * *", timeZone: Europe/Berlin, payload: {kind: digest} }]
  retention: { finished: 24h, size: 1Gi }
  schemaRef: { name: email-requested }
  deletionPolicy: Retain
  scaling:
    targetRef: { apiVersion: apps/v1, kind: Deployment, name: email-worker }
    scaleFrom: 2
    scaleTo: 20
    basedOn: ["queue_lag > 10_000", "message_age > 30s"]
---
apiVersion: flowmesh.io/v1alpha1
kind: Stream
metadata: { name: orders-events }
spec: { clusterRef: {name: main}, streamName: orders.events, partitions: 12,
        retention: {time: 7d, size: 50Gi},
        schemaRef: {name: order-created}, consumerGroups: [{ name: billing, startFrom: Earliest, scaling: {
          targetRef: { apiVersion: apps/v1, kind: Deployment, name: billing }, scaleTo: 12 } }] }
---
apiVersion: flowmesh.io/v1alpha1
kind: Schema
metadata: { name: order-created }
spec:
  compatibility: Backward
  versions:
    - version: 1
      fields: { order_id: string, amount: number, user_id: string }
    - version: 2
      fields:
        { order_id: string, amount: number, customer_id: string, currency: {type: string, default: EUR} }
      migrate: [{ rename: {from: user_id, to: customer_id} }, { set: {field: currency, value: EUR} }]
`;
