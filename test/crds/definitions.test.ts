// The definitions themselves: what the API server asks of them, and that what comes from them is up to date.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { QueueSpec, SchemaSpec, StreamSpec } from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, expectTypeOf, test } from 'vitest';
import { parse } from 'yaml';
import { definitionFile, definitionOf, KINDS, type Kind, type Structural } from '../../crds/definitions.ts';
import { typesSource } from '../../crds/generate.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { toQueueSpec, toSchemaSpec, toStreamSpec } from '../../crds/translate.ts';
import type { Queue, Schema, Stream } from '../../crds/types.ts';

test('types.ts is what crds/generate.ts makes of the definitions', () => {
  const committed = readFileSync(join(import.meta.dirname, '../../crds/types.ts'), 'utf8');
  expect(committed).toBe(typesSource(KINDS.map(definitionOf)));
});

test.each(KINDS)('%s: names, scope, version, short name, status', (kind) => {
  const { metadata, spec } = parse(readFileSync(definitionFile(kind), 'utf8'));
  expect(metadata.name).toBe(`${spec.names.plural}.flowmesh.io`);
  expect(spec).toMatchObject({ group: 'flowmesh.io', scope: 'Namespaced', names: { kind } });
  expect(spec.names.shortNames).toEqual([
    { FlowMeshCluster: 'fmc', Queue: 'fmq', Stream: 'fms', Schema: 'fmsch' }[kind],
  ]);
  expect(spec.versions).toHaveLength(1);
  expect(spec.versions[0]).toMatchObject({
    name: 'v1alpha1',
    served: true,
    storage: true,
  });
  expect(spec.versions[0].subresources.status).toEqual({});
});

test.each(KINDS)('%s: a structural schema, with a description on every field', (kind) => {
  const visit = (schema: Structural, path: string) => {
    const free =
      schema['x-kubernetes-preserve-unknown-fields'] === true ||
      schema['x-kubernetes-int-or-string'] === true;
    expect(schema.type !== undefined || free, `${path} has a type`).toBe(true);
    expect(schema.properties === undefined || schema.additionalProperties === undefined, path).toBe(true);
    expect(schema.type !== 'array' || schema.items !== undefined, `${path} has items`).toBe(true);
    for (const keyword of ['$ref', 'definitions', 'patternProperties', 'uniqueItems']) {
      expect(schema, path).not.toHaveProperty(keyword);
    }
    expect(schema.description, `${path} is described`).toMatch(/^[A-Z0-9].*[.a-z0-9]$/s);
    // What a rule or a program walks has an end.
    const isSpec = path.startsWith('spec');
    if (isSpec && schema.type === 'array') expect(schema.maxItems, path).toBeGreaterThan(0);
    if (isSpec && schema.type === 'string' && !schema.enum) expect(schema.maxLength, path).toBeGreaterThan(0);
    if (isSpec && schema.additionalProperties) expect(schema.maxProperties, path).toBeGreaterThan(0);
    for (const [name, field] of Object.entries(schema.properties ?? {})) visit(field, `${path}.${name}`);
    for (const field of schema.required ?? []) expect(schema.properties, path).toHaveProperty(field);
    if (schema.items) visit(schema.items, `${path}[]`);
    if (schema.additionalProperties) visit(schema.additionalProperties, `${path}{}`);
  };
  const { spec, status } = definitionOf(kind);
  visit(spec, 'spec');
  visit(status, 'status');
});

test('nothing of spec has a default that the API server would write, but for kubectl scale', () => {
  const found: string[] = [];
  const visit = (schema: Structural, path: string) => {
    if (schema.default !== undefined) found.push(path);
    for (const [name, field] of Object.entries(schema.properties ?? {})) visit(field, `${path}.${name}`);
    if (schema.items) visit(schema.items, `${path}[]`);
  };
  for (const kind of KINDS) visit(definitionOf(kind).spec, kind);
  expect(found).toEqual(['FlowMeshCluster', 'FlowMeshCluster.replicas', 'Queue', 'Stream']);
});

test('what several kinds have is the same', () => {
  const at = (kind: Kind, ...path: string[]) =>
    path.reduce(
      (schema: Structural | undefined, name) => schema?.properties?.[name],
      definitionOf(kind).schema,
    );
  const conditions = KINDS.map((kind) => at(kind, 'status', 'conditions')?.items);
  expect(new Set(conditions.map((each) => JSON.stringify(each))).size).toBe(1);
  const policies = (['Queue', 'Stream', 'Schema'] as const).map((kind) =>
    [at(kind, 'spec', 'adoptionPolicy'), at(kind, 'spec', 'deletionPolicy')].map((each) =>
      each?.enum?.join(),
    ),
  );
  expect(new Set(policies.map((each) => JSON.stringify(each))).size).toBe(1);
  const shape = (schema: Structural | undefined) =>
    JSON.stringify(schema, (key, value) => (/^(?:description|message)$/.test(key) ? undefined : value));
  const group = at('Stream', 'spec', 'consumerGroups')?.items?.properties?.['scaling'];
  // But for the name of the lag.
  expect(shape(group)?.replaceAll('stream_lag', 'queue_lag')).toBe(shape(at('Queue', 'spec', 'scaling')));
});

test.each(KINDS)('%s: conditions are there, Unknown, before anybody has looked', (kind) => {
  const { status } = definitionOf(kind);
  expect(status.default).toEqual({});
  const { conditions } = status.properties ?? {};
  const seeds = conditions?.default as { type: string; status: string }[];
  const types = ['Accepted', 'Synced', 'Ready', 'Drifted'];
  const isScaled = kind === 'Queue' || kind === 'Stream';
  expect(seeds.map(({ type }) => type)).toEqual(isScaled ? [...types, 'ScalingReady'] : types);
  expect(new Set(seeds.map((seed) => seed.status))).toEqual(new Set(['Unknown']));
  expect(conditions).toMatchObject({
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
    items: { properties: { observedGeneration: { type: 'integer' } } },
  });
});

test('the number of pods is what kubectl scale and the HPA write', () => {
  const [version] = parse(readFileSync(definitionFile('FlowMeshCluster'), 'utf8')).spec.versions;
  expect(version.subresources.scale).toEqual({
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas',
    labelSelectorPath: '.status.selector',
  });
});

test.each(KINDS)('%s: columns and selectable fields lead somewhere', (kind) => {
  const { metadata, spec } = parse(readFileSync(definitionFile(kind), 'utf8'));
  expect(metadata.annotations['helm.sh/resource-policy']).toBe('keep');
  expect(spec.names.categories).toEqual(['flowmesh']);
  const [version] = spec.versions;
  const columns: { jsonPath: string }[] = [
    ...version.additionalPrinterColumns,
    ...(version.selectableFields ?? []),
  ];
  for (const { jsonPath } of columns.filter((each) => !each.jsonPath.startsWith('.metadata'))) {
    const steps = jsonPath
      .replace(/\[\?.*?\]/, '.[]')
      .split('.')
      .slice(1);
    const end = steps.reduce(
      (schema: Structural | undefined, step) => (step === '[]' ? schema?.items : schema?.properties?.[step]),
      definitionOf(kind).schema,
    );
    expect(end, jsonPath).toBeDefined();
  }
});

const resource = (text: string) => {
  const { resources, problems } = parseManifests(text, 'a.yaml');
  expect(problems).toEqual([]);
  return resources[0];
};

test('a queue with everything set, as the message that ApplyQueue takes', () => {
  const queue = resource(`
apiVersion: flowmesh.io/v1alpha1
kind: Queue
metadata: { name: emails-send }
spec:
  queueName: emails.send
  delivery:
    visibilityTimeout: 90s
    timeout: 1h30m
    maxAttempts: 7
    maxDeliveries: 9
    fair: true
    priorityAging: 30s
    failedHead: Skip
    backoff: { type: Fixed, initial: 500ms, max: 10m, jitter: None }
  deadLetter: { queueName: graveyard }
  deduplication: { window: 7d }
  limits:
    { maxDepth: 1000000, onFull: Block, ratePerKey: 50/s, concurrencyPerKey: 5, rate: 100/m, concurrency: 9 }
  schedules:
    - name: night
      cron: 0 3 * * *
      timeZone: Europe/Berlin
      payload: {a: 1}
      overlap: BufferOne
      catchUp: 1h
  retention: { finished: 24h, size: 1Gi }
  schemaRef: { name: email-requested }
  scaling:
    { targetRef: { kind: Deployment, name: w }, scaleFrom: 0, scaleTo: 20, basedOn: [queue_lag > 10_000] }
`) as Queue;
  const spec = toQueueSpec(queue);
  expectTypeOf(spec).toExtend<pb.QueueSpecInput>();
  expectTypeOf<Exclude<keyof typeof spec, keyof pb.QueueSpecInput>>().toBeNever();
  expectTypeOf<Exclude<keyof pb.QueueSpecInput, keyof typeof spec>>().toEqualTypeOf<'mutation'>();
  expectTypeOf<Exclude<keyof NonNullable<typeof spec.backoff>, keyof pb.BackoffInput>>().toBeNever();
  expect(QueueSpec.toObject(QueueSpec.create(spec))).toEqual({
    name: 'emails.send',
    visibilityTimeoutMs: 90_000,
    timeoutMs: 5_400_000,
    maxAttempts: 7,
    maxDeliveries: 9,
    backoff: { type: 'fixed', initialMs: 500, maxMs: 600_000, jitter: 'none' },
    deadLetterQueue: 'graveyard',
    deduplicationWindowMs: 604_800_000,
    maxDepth: 1_000_000,
    limits: {
      ratePerKey: { count: 50, periodMs: 1000 },
      concurrencyPerKey: 5,
      rate: { count: 100, periodMs: 60_000 },
      concurrency: 9,
    },
    fair: true,
    priorityAgingMs: 30_000,
    onFull: 'block',
    failedHead: 'skip',
    schedules: [
      {
        name: 'night',
        cron: '0 3 * * *',
        timeZone: 'Europe/Berlin',
        payload: Buffer.from('{"a":1}'),
        contentType: 'application/json',
        overlap: 'buffer_one',
        catchUpMs: 3_600_000,
      },
    ],
    retentionMs: 86_400_000,
    retentionBytes: 1_073_741_824,
    schemaRef: { name: 'email-requested' },
    scaling: { scaleFrom: 0, scaleTo: 20, basedOn: ['queue_lag > 10_000'] },
  });
});

test('[T1] unset stays unset: the server owns the defaults', () => {
  const queue = resource('apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: q }\n') as Queue;
  expect(Object.entries(toQueueSpec(queue)).filter(([, value]) => value !== undefined)).toEqual([
    ['name', 'q'],
  ]);
});

test('a stream as the message that ApplyStream takes', () => {
  const stream = resource(`
apiVersion: flowmesh.io/v1alpha1
kind: Stream
metadata: { name: orders }
spec:
  streamName: orders.events
  partitions: 12
  retention: { time: 7d, size: 50Gi }
  cleanup: { policy: Both, minCompactionLag: 10m, tombstoneRetention: 2d }
  schemaRef: { name: order, version: 2 }
  consumerGroups:
    - { name: billing, scaling: { targetRef: { kind: Deployment, name: w }, scaleFrom: 2, scaleTo: 5 } }
    - { name: audit }
`) as Stream;
  const spec = toStreamSpec(stream);
  expectTypeOf(spec).toExtend<pb.StreamSpecInput>();
  expectTypeOf<Exclude<keyof pb.StreamSpecInput, keyof typeof spec>>().toEqualTypeOf<'mutation'>();
  expect(StreamSpec.toObject(StreamSpec.create(spec))).toEqual({
    name: 'orders.events',
    partitions: 12,
    retentionMs: 604_800_000,
    retentionBytes: 53_687_091_200,
    cleanup: 'both',
    minCompactionLagMs: 600_000,
    tombstoneRetentionMs: 172_800_000,
    schemaRef: { name: 'order', version: 2 },
    consumerGroups: [{ name: 'billing', scaling: { scaleFrom: 2, scaleTo: 5 } }, { name: 'audit' }],
  });
});

test('a schema as the message that ApplySchema takes', () => {
  const schema = resource(`
apiVersion: flowmesh.io/v1alpha1
kind: Schema
metadata: { name: order }
spec:
  compatibility: Full
  versions:
    - version: 1
      fields: { id: string }
    - version: 3
      jsonSchema: { type: object }
      migrate: [{ remove: { field: id } }]
`) as Schema;
  const spec = toSchemaSpec(schema);
  expectTypeOf(spec).toExtend<pb.SchemaSpecInput>();
  expectTypeOf<Exclude<keyof pb.SchemaSpecInput, keyof typeof spec>>().toEqualTypeOf<'mutation'>();
  expect(SchemaSpec.toObject(SchemaSpec.create(spec))).toEqual({
    name: 'order',
    compatibility: 'full',
    versions: [
      { version: 1, fields: '{"id":"string"}' },
      { version: 3, jsonSchema: '{"type":"object"}', migrate: '[{"remove":{"field":"id"}}]' },
    ],
  });
});
