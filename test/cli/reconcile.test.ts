// What a declaration changed, in words: also parts of it that are gone.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { type Declarations, reconcile } from '../../cli/reconcile.ts';
import { parseManifests } from '../../crds/manifests.ts';

const manifest = (kind: string, spec: object) => {
  const text = JSON.stringify({ apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name: 'x' }, spec });
  const { resources, problems } = parseManifests(text, 'a.json');
  expect(problems).toEqual([]);
  return resources;
};

async function changes(kind: string, before: object, after: object, spec: object = {}) {
  const server = {
    listQueues: async () => [{ spec: { name: 'x', ...before } }],
    listStreams: async () => [{ spec: { name: 'x', ...before } }],
    applyQueue: async () => ({ spec: { name: 'x', ...after } }),
    applyStream: async () => ({ spec: { name: 'x', ...after } }),
  } as unknown as Declarations;
  const [outcome] = await reconcile(manifest(kind, spec) as never, server);
  return outcome?.result === 'unchanged' ? [] : outcome?.changes;
}

const SCALING = { scaleFrom: 2, scaleTo: 20, basedOn: ['queue_lag > 10', 'message_age > 30s'] };

test('of what is nested, each field', async () => {
  const scaling = { ...SCALING, scaleTo: 30, basedOn: ['queue_lag > 10'] };
  expect(await changes('Queue', { scaling: SCALING }, { scaling })).toEqual([
    'scaling.scaleTo 20 -> 30',
    'scaling.basedOn.1 message_age > 30s -> unset',
  ]);
});

test('what is gone is a change, too', async () => {
  const small = { scaleFrom: 2, scaleTo: 3, basedOn: [] };
  const gone = ['scaling.scaleFrom 2 -> unset', 'scaling.scaleTo 3 -> unset'];
  expect(await changes('Queue', { scaling: small }, { scaling: null })).toEqual(gone);
  expect(await changes('Queue', { scaling: small, fair: true }, {})).toEqual([...gone, 'fair true -> unset']);
});

test('groups and schedules are told apart by name, wherever they stand in the list', async () => {
  const [a, b] = ['a', 'b'].map((name) => ({ name, scaling: { scaleFrom: 1, scaleTo: 5, basedOn: [] } }));
  const changed = { name: 'b', scaling: { scaleFrom: 1, scaleTo: 6, basedOn: [] } };
  expect(await changes('Stream', { consumerGroups: [a, b] }, { consumerGroups: [b, a] })).toEqual([]);
  expect(await changes('Stream', { consumerGroups: [a, b] }, { consumerGroups: [changed] })).toEqual([
    'consumerGroups.a.scaling.scaleFrom 1 -> unset',
    'consumerGroups.a.scaling.scaleTo 5 -> unset',
    'consumerGroups.b.scaling.scaleTo 5 -> 6',
  ]);
  const schedule = (payload: string): pb.ScheduleInput => ({
    ...{ name: 'night', cron: '0 3 * * *', payload: Buffer.from(payload) },
  });
  expect(
    await changes('Queue', { schedules: [schedule('{"a":1}')] }, { schedules: [schedule('{"a":2}')] }),
  ).toEqual(['schedules.night.payload {"a":1} -> {"a":2}']);
});

test('what was never set and what is the default of the wire are the same', async () => {
  const nothing = { fair: false, maxDepth: 0, deadLetterQueue: '', scaling: null, schedules: [] };
  expect(await changes('Queue', {}, nothing)).toEqual([]);
  expect(await changes('Queue', nothing, {})).toEqual([]);
});
