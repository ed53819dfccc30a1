// Scaling as it is declared: kept, shown, compared, refused; on one shard and on three.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bench, caller } from '../queue/bench.ts';
import { aSpec } from '../stream/support.ts';

const SCALING: pb.Scaling = {
  scaleFrom: 2,
  scaleTo: 20,
  basedOn: ['queue_lag > 10_000', 'message_age > 30s'],
};
const LEAST: pb.Scaling = { scaleFrom: null, scaleTo: 9, basedOn: [] };
const GROUP: pb.Scaling = { ...SCALING, basedOn: ['stream_lag > 10_000'] };
const codeOf = (asked: Promise<unknown>) =>
  asked.then(
    () => '',
    (error: { code: string }) => error.code,
  );

describe.each([1, 3])('%i shards', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
  });
  afterEach(() => bench.close());

  const queueScaling = async () =>
    (await bench.fabric.admin.getQueue(caller, { name: 'q' })).spec?.scaling ?? null;
  const declareStream = (...consumerGroups: pb.ConsumerGroupSpec[]) =>
    bench.fabric.admin.applyStream(caller, aSpec('s', 4, { consumerGroups }));
  const groups = async () =>
    (await bench.fabric.admin.getStream(caller, { name: 's' })).spec?.consumerGroups ?? [];
  const ask = (request: Partial<pb.GetScalingRequest>) =>
    bench.fabric.admin.getScaling(caller, { queue: '', stream: '', group: '', ...request });

  test('[AD50] a queue keeps its scaling across restarts, until declared without', async () => {
    await bench.declare('q', { scaling: SCALING });
    for (const clean of [false, true]) {
      await bench.restart({ clean });
      expect(await queueScaling()).toEqual(SCALING);
    }
    await bench.declare('q', { scaling: LEAST });
    expect(await queueScaling()).toEqual({ scaleFrom: 1, scaleTo: 9, basedOn: [] });
    await bench.declare('q', { scaling: { ...LEAST, scaleFrom: 0 } });
    expect(await queueScaling()).toMatchObject({ scaleFrom: 0 });
    await bench.declare('q');
    await bench.restart();
    expect(await queueScaling()).toBeNull();
  });

  test('[AD50] groups keep their scaling across restarts, until declared without', async () => {
    await declareStream({ name: 'billing', scaling: GROUP }, { name: 'audit', scaling: null });
    const expected = [
      { name: 'billing', scaling: GROUP },
      { name: 'audit', scaling: null },
    ];
    for (const clean of [false, true]) {
      await bench.restart({ clean });
      expect(await groups()).toEqual(expected);
    }
    await declareStream();
    await bench.restart();
    expect(await groups()).toEqual([]);
  });

  test('[AD50] an owner is told what differs of scaling', async () => {
    const owner = { uid: 'u', kind: 'Stream', namespace: 'n', name: 's', clusterUid: '' };
    const declare = (generation: number, scaleTo: number) =>
      bench.fabric.admin.declareStream(caller, {
        spec: aSpec('s', 4, { consumerGroups: [{ name: 'billing', scaling: { ...GROUP, scaleTo } }] }),
        ...{ owner, generation, adoption: '' },
      });
    await declare(1, 20);
    expect((await declare(2, 20)).result).toBe('unchanged');
    const { changes } = await declare(3, 30);
    expect(changes).toEqual([{ field: 'consumerGroups.billing.scaling.scaleTo', before: '20', after: '30' }]);
  });

  test.each<[string, Partial<pb.Scaling>]>([
    ['upside down', { scaleFrom: 3, scaleTo: 2 }],
    ['beyond all bounds', { scaleTo: 100_001 }],
    ['with too many conditions', { basedOn: new Array(17).fill('message_age > 30s') }],
    ['with a condition that is too long', { basedOn: [`message_age > ${'1'.repeat(128)}`] }],
    ['without an end', { scaleTo: 0 }],
    ['by a signal that there is not', { basedOn: ['age > 30s'] }],
  ])('[AD51] scaling %s is refused', async (_, wrong) => {
    const scaling = { ...LEAST, ...wrong };
    expect(await codeOf(bench.declare('q', { scaling }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(declareStream({ name: 'g', scaling }))).toBe('INVALID_ARGUMENT');
  });

  test('[AD51] groups without a name, or declared twice, are refused', async () => {
    expect(await codeOf(declareStream({ name: '', scaling: null }))).toBe('INVALID_ARGUMENT');
    const twice = { name: 'g', scaling: null };
    expect(await codeOf(declareStream(twice, twice))).toBe('INVALID_ARGUMENT');
  });

  test('[AD52] who asks for advice learns what is not there, and what asks for none', async () => {
    expect(await codeOf(ask({}))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(ask({ queue: 'q', stream: 's', group: 'g' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(ask({ stream: 's' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(ask({ queue: 'q' }))).toBe('QUEUE_NOT_FOUND');
    expect(await codeOf(ask({ stream: 's', group: 'g' }))).toBe('STREAM_NOT_FOUND');
    await bench.declare('q');
    await declareStream({ name: 'plain', scaling: null });
    expect(await codeOf(ask({ queue: 'q' }))).toBe('SCALING_NOT_DECLARED');
    expect(await codeOf(ask({ stream: 's', group: 'g' }))).toBe('GROUP_NOT_FOUND');
    expect(await codeOf(ask({ stream: 's', group: 'plain' }))).toBe('SCALING_NOT_DECLARED');
  });

  test('[AD52] what is not known yet is SCALING_UNKNOWN, never a number', async () => {
    await bench.declare('q', { scaling: SCALING });
    expect(await codeOf(ask({ queue: 'q' }))).toBe('SCALING_UNKNOWN');
    expect(bench.fabric.scaling.read({ tenant: 1, queue: 'q' })).toBe('unknown');
    expect(bench.fabric.scaling.read({ tenant: 1, queue: 'none' })).toBe('not-found');
  });
});
