// Streams by kubectl apply: what they have beyond queues (test/kube/queues.test.ts has what both share).
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import type { StreamObject } from '../../operator/controllers/stream/kind.ts';
import { kubectl } from './definitions.ts';
import { type DataPlane, Fleet } from './fleet.ts';

let fleet: Fleet;
let main: DataPlane;

beforeAll(async () => {
  fleet = await Fleet.start();
  main = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 } });
});
afterAll(() => fleet?.stop());

const streamOf = async (name: string) =>
  (await main.api.listStreams({})).streams.find(({ spec }) => spec?.name === name);

async function ready(name: string, spec: object = {}) {
  await fleet.create('Stream', `default/${name}`, spec);
  return fleet.condition<StreamObject>('Stream', `default/${name}`, 'Ready=True');
}

describe('a stream that is applied', () => {
  test('is there with owner and generation, and its status and columns say so', async () => {
    const object = await ready('orders', {
      streamName: 'orders.events',
      partitions: 3,
      retention: { time: '2d' },
    });
    expect(await streamOf('orders.events')).toMatchObject({
      spec: { partitions: 3, retentionMs: 172_800_000 },
      owner: { uid: object.metadata.uid, kind: 'Stream', namespace: 'default', name: 'orders' },
      generation: 1,
    });
    expect(object.status).toMatchObject({
      streamName: 'orders.events',
      effective: { partitions: 3, retention: { time: '2d' }, cleanup: { policy: 'Delete' } },
      figures: { records: 0, lag: 0 },
    });
    const { out } = await kubectl(fleet.plane, 'get', 'streams');
    expect(out).toMatch(/orders\s+orders.events\s+True\s+3\s+0/);
  });

  test('grows with its spec; fewer partitions and another name are refused with the reason', async () => {
    await ready('growing', { partitions: 2 });
    await fleet.patch('Stream', 'default/growing', { spec: { partitions: 4 } });
    await fleet.condition('Stream', 'default/growing', 'Synced=True');
    expect((await streamOf('growing'))?.spec?.partitions).toBe(4);
    const shrink = fleet.patch('Stream', 'default/growing', { spec: { partitions: 1 } });
    await expect(shrink).rejects.toThrow('partitions can grow, not shrink');
    const rename = fleet.patch('Stream', 'default/growing', { spec: { streamName: 'grown' } });
    await expect(rename).rejects.toThrow('streamName cannot be changed');
  });

  test('shows the lag of each group', async () => {
    await ready('read', { partitions: 1 });
    const group = { stream: 'read', group: 'billing', position: 'earliest' };
    await main.api.seek({ ...group, mutation: main.api.mutation() });
    const records = ['a', 'b', 'c'].map((value) => ({ value: Buffer.from(value) }));
    await main.api.publish({ stream: 'read', records, mutation: main.api.mutation() });
    await until('the lag', async () => {
      const { status } = (await fleet.get<StreamObject>('Stream', 'default/read')) ?? {};
      return status?.figures?.records === 3 && status.figures.lag === 3;
    });
    const { status } = (await fleet.get<StreamObject>('Stream', 'default/read')) ?? {};
    expect(status?.figures?.groups).toEqual([{ name: 'billing', lag: 3, members: 0 }]);
  });
});

describe('drift of a stream', () => {
  test('is set back where it can be', async () => {
    await ready('kept', { retention: { time: '1d' } });
    await main.api.applyStream({ name: 'kept', retentionMs: 60_000, mutation: main.api.mutation() });
    await fleet.condition('Stream', 'default/kept', 'Drifted=True', 5000);
    expect((await streamOf('kept'))?.spec?.retentionMs).toBe(86_400_000);
  });

  test('and says what to do where it cannot: partitions that somebody else added', async () => {
    await ready('added', { partitions: 1 });
    await main.api.applyStream({ name: 'added', partitions: 2, mutation: main.api.mutation() });
    const object = await fleet.condition<StreamObject>(
      'Stream',
      'default/added',
      'Synced=False/Refused',
      5000,
    );
    const shown = object.status?.conditions?.find(({ type }) => type === 'Ready');
    expect(shown).toMatchObject({ status: 'True', message: expect.stringContaining('can grow, not shrink') });
    await fleet.patch('Stream', 'default/added', { spec: { partitions: 2 } });
    await fleet.condition('Stream', 'default/added', 'Synced=True', 10_000);
  });
});

describe('deletion of a stream', () => {
  test.each([
    ['Retain', true],
    ['DeleteIfEmpty', false],
    ['Delete', false],
  ] as const)('%s', async (deletionPolicy, stays) => {
    const name = `goes-${deletionPolicy.toLowerCase()}`;
    await ready(name, { deletionPolicy });
    await fleet.delete('Stream', `default/${name}`);
    await fleet.gone('Stream', `default/${name}`);
    const stream = await streamOf(name);
    expect(stream === undefined).toBe(!stays);
    expect(stream?.owner ?? null).toBeNull();
  });
});
