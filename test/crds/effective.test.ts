// status.effective: defaults as the server resolves them, in the words of manifests.
import { QueueSpec, Scaling, StreamSpec } from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Definition, definitionOf, type Structural } from '../../crds/definitions.ts';
import {
  effectiveQueue,
  effectiveSchema,
  effectiveStream,
  type ServedQueue,
  type ServedStream,
} from '../../crds/effective.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { toAdoption, toQueueSpec, toStreamSpec } from '../../crds/translate.ts';
import type { Queue, Schema, Stream } from '../../crds/types.ts';
import { exactSize, parseSizeBytes } from '../../crds/values.ts';
import { resolveSpec, specMessage } from '../../dataplane/queue/policy.ts';
import { consumerGroupMessage, readConsumerGroups } from '../../dataplane/scaling/spec.ts';
import { anyValue } from './arbitrary.ts';

const parsed = <T>(kind: string, spec: unknown): T | undefined => {
  const metadata = { name: 'example', namespace: 'team' };
  const manifest = { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata, spec };
  return parseManifests(JSON.stringify(manifest), 'a.json').resources[0] as T | undefined;
};

/** What the data plane answers to a declaration. */
const served = (queue: Queue): ServedQueue => {
  const { scaling, ...spec } = toQueueSpec({ ...queue, spec: unscheduled(queue) });
  const message = QueueSpec.toObject(QueueSpec.create(spec));
  if (scaling) message['scaling'] = Scaling.create(scaling);
  const { backoff, ...answer } = specMessage('example', resolveSpec(QueueSpec.create(message) as QueueSpec));
  const initialMs = Math.min(backoff?.initialMs ?? 0, backoff?.maxMs ?? 0);
  return { ...answer, backoff: { ...backoff, initialMs } };
};
const unscheduled = ({ spec: { schedules: _, ...spec } }: Queue) => spec;

/** Fields that the definition of `status` does not know would be dropped by the API server. */
function strays(value: unknown, schema: Structural | undefined, path = ''): string[] {
  if (schema === undefined) return [path];
  if (Array.isArray(value)) return value.flatMap((each) => strays(each, schema.items, `${path}[]`));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) =>
    strays(each, schema.properties?.[name], `${path}.${name}`),
  );
}
const effectiveOf = ({ status }: Definition) => status.properties?.['effective'];

test('a queue that leaves all open', () => {
  const queue = parsed<Queue>('Queue', {});
  if (queue === undefined) throw new Error('it is valid');
  expect(effectiveQueue(queue, served(queue))).toEqual({
    clusterRef: { name: 'main', namespace: 'team' },
    deletionPolicy: 'Retain',
    adoptionPolicy: 'IfIdentical',
    delivery: {
      ...{ visibilityTimeout: '30s', timeout: '30m', maxAttempts: 10, maxDeliveries: 20 },
      ...{ failedHead: 'Block', fair: false },
      backoff: { type: 'Exponential', initial: '1s', max: '10m', jitter: 'Full' },
    },
    deadLetter: { queueName: 'example.dead' },
    deduplication: { window: '5m' },
    limits: { maxDepth: 0, onFull: 'Reject' },
    retention: { finished: '1d', size: '1Gi' },
  });
  expect(toAdoption(queue)).toBe('if_identical');
});

test('the schema in force of a queue and of a stream, with its version if it is pinned', () => {
  const queue = parsed<Queue>('Queue', { schemaRef: { name: 'order', version: 2 } });
  const stream = parsed<Stream>('Stream', { schemaRef: { name: 'order' } });
  if (queue === undefined || stream === undefined) throw new Error('they are valid');
  expect(effectiveQueue(queue, served(queue)).schemaRef).toEqual({ name: 'order', version: 2 });
  const answer = { schemaRef: { name: 'order', version: 0 } };
  expect(effectiveStream(stream, answer).schemaRef).toEqual({ name: 'order' });
});

test('how workers are scaled is what is served, and what is scaled is what the manifest says', () => {
  const scaling = {
    targetRef: { kind: 'Deployment', name: 'w' },
    scaleFrom: 0,
    scaleTo: 9,
    basedOn: ['message_age > 5s'],
  };
  const queue = parsed<Queue>('Queue', { scaling });
  const stream = parsed<Stream>('Stream', { consumerGroups: [{ name: 'g', scaling }, { name: 'h' }] });
  if (queue === undefined || stream === undefined) throw new Error('they are valid');
  const effective = {
    targetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'w' },
    ...{ mode: 'Auto', scaleFrom: 0, scaleTo: 9, basedOn: ['message_age > 5s'] },
  };
  expect(effectiveQueue(queue, served(queue)).scaling).toEqual(effective);
  const answer = {
    consumerGroups: [{ name: 'g', scaling: { scaleFrom: 0, scaleTo: 9, basedOn: ['message_age > 5s'] } }],
  };
  expect(effectiveStream(stream, answer).consumerGroups).toEqual([
    { name: 'g', startFrom: 'Earliest', scaling: effective },
    { name: 'h', startFrom: 'Earliest' },
  ]);
});

test('[E1] what is in force of a queue, declared again, is in force', () => {
  let seen = 0;
  const property = fc.property(anyValue(definitionOf('Queue').spec), (spec) => {
    const queue = parsed<Queue>('Queue', spec);
    if (queue === undefined) return;
    seen++;
    const first = served(queue);
    const effective = effectiveQueue(queue, first);
    expect(strays(effective, effectiveOf(definitionOf('Queue')))).toEqual([]);
    const again = parsed<Queue>('Queue', effective);
    expect(again, JSON.stringify(effective)).toBeDefined();
    if (again) expect(served(again)).toEqual(first);
    if (again) expect(effectiveQueue(again, first)).toEqual(effective);
  });
  fc.assert(property, { numRuns: 300 });
  expect(seen).toBeGreaterThan(50);
});

test('[E1] what is in force of a stream, declared again, is in force', () => {
  let seen = 0;
  const answer = (stream: Stream): ServedStream => {
    const spec = StreamSpec.create(toStreamSpec(stream));
    const message = StreamSpec.toObject(spec) as ServedStream;
    const groups = spec.consumerGroups.map(({ name, scaling }) => ({
      name,
      scaling: scaling ? Scaling.create(scaling) : null,
    }));
    return {
      partitions: message.partitions || 4,
      retentionMs: message.retentionMs || 604_800_000,
      retentionBytes: message.retentionBytes ?? 0,
      cleanup: message.cleanup || 'delete',
      minCompactionLagMs: message.minCompactionLagMs ?? 0,
      tombstoneRetentionMs: message.tombstoneRetentionMs || 86_400_000,
      consumerGroups: readConsumerGroups(groups).map(consumerGroupMessage),
    };
  };
  const property = fc.property(anyValue(definitionOf('Stream').spec), (spec) => {
    const stream = parsed<Stream>('Stream', spec);
    if (stream === undefined) return;
    seen++;
    const first = answer(stream);
    const effective = effectiveStream(stream, first);
    expect(strays(effective, effectiveOf(definitionOf('Stream')))).toEqual([]);
    const again = parsed<Stream>('Stream', effective);
    expect(again, JSON.stringify(effective)).toBeDefined();
    if (again) expect(answer(again)).toEqual(first);
  });
  fc.assert(property, { numRuns: 300 });
  expect(seen).toBeGreaterThan(50);
});

test('a schema', () => {
  const spec = { clusterRef: { name: 'a', namespace: 'b' }, versions: [{ version: 1, jsonSchema: {} }] };
  const schema = parsed<Schema>('Schema', spec);
  if (schema === undefined) throw new Error('it is valid');
  const effective = effectiveSchema(schema);
  expect(strays(effective, effectiveOf(definitionOf('Schema')))).toEqual([]);
  expect(effective).toEqual({
    clusterRef: { name: 'a', namespace: 'b' },
    deletionPolicy: 'Retain',
    adoptionPolicy: 'IfIdentical',
    compatibility: 'Backward',
  });
});

test('an exact size reads back as itself', () => {
  const bytes = fc.oneof(
    fc.integer({ min: 1, max: 2 ** 31 }),
    fc.constantFrom(2 ** 30, 3 * 2 ** 40, 1e9, 1024),
  );
  fc.assert(fc.property(bytes, (each) => parseSizeBytes(exactSize(each)) === each));
});
