// Streams that are cleaned by key, on real shards: what stays, what readers and groups see, what is refused.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, onTestFinished, test } from 'vitest';
import { caller } from './fake.ts';
import { type RealBed, realBed } from './real-bed.ts';
import { aRecord, aSpec, batchOf, Follower, Member, publishBatch, readFrom } from './support.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const group = { stream: 's', group: 'g' };

async function aBed(shards: number, more: Partial<pb.StreamSpec> = {}, partitions = 1): Promise<RealBed> {
  const dir = await mkdtemp(join(tmpdir(), 'flowmesh-compaction-'));
  const bed = await realBed(shards, dir);
  onTestFinished(async () => {
    await bed.close();
    await rm(dir, { recursive: true, force: true });
  });
  await bed.streams.admin.applyStream(caller, aSpec('s', partitions, { cleanup: 'compact', ...more }));
  return bed;
}

/** 'key=value', or 'key' to delete it; a batch each. */
async function write(bed: RealBed, ...texts: string[]): Promise<void> {
  for (const text of texts) {
    const [key = '', value] = text.split('=');
    const batch = encodeBatch([
      { key: Buffer.from(key), value: value === undefined ? null : Buffer.from(value) },
    ]);
    expect((await publishBatch(bed.streams, 's', 0, batch)).error ?? null).toBeNull();
  }
}

const utf8 = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString();
const textOf = ({ offset, key, value, tombstone }: pb.RecordInput) =>
  `${offset}:${utf8(key)}${tombstone ? '' : `=${utf8(value)}`}`;

const contents = async (bed: RealBed, from = 0) =>
  ((await readFrom(bed.streams, 's', 0, from)).records ?? []).map(textOf);

/** Time enough for the segment to be ended, synced and cleaned. */
async function clean(bed: RealBed): Promise<void> {
  bed.time.now += HOUR_MS;
  await bed.advance(12_000);
  await bed.checkpoint();
  await bed.advance(12_000);
  await bed.cleaned();
}

for (const shards of [1, 3]) {
  test(`[ST50] the last record of each key stays, under its offset (${shards} shards)`, async () => {
    const bed = await aBed(shards);
    await write(bed, 'a=1', 'b=1', 'a=2', 'b=2', 'a=3', 'c=1');
    await clean(bed);
    const kept = ['3:b=2', '4:a=3', '5:c=1'];
    expect(await contents(bed)).toEqual(kept);
    await bed.restart();
    expect(await contents(bed)).toEqual(kept);
    await bed.checkpoint();
    await bed.restart();
    await write(bed, 'd=1');
    expect(await contents(bed)).toEqual([...kept, '6:d=1']);
    expect((await bed.streams.admin.getStream(caller, { name: 's' })).partitions).toMatchObject([
      { logStart: 0, end: 7 },
    ]);
  });
}

test('[ST51] readers, followers and members pass over what is gone', async () => {
  const bed = await aBed(3);
  await write(bed, 'a=1', 'a=2', 'a=3');
  const atMs = bed.time.now;
  bed.time.now += 1000;
  await write(bed, 'b=1', 'b=2', 'c=1');
  const before = await Member.join(bed.streams, 'm');
  await bed.settle();
  before.commit(0, 1);
  await bed.settle();
  before.leave();
  await clean(bed);
  expect(await contents(bed, 1)).toEqual(['2:a=3', '4:b=2', '5:c=1']);
  expect(await readFrom(bed.streams, 's', 0, 3, 1)).toMatchObject({ nextOffset: 5 });
  const page = await readFrom(bed.streams, 's', 0, 0, 1);
  expect(page.records?.map(textOf)).toEqual(['2:a=3']);
  const base = { stream: 's', partition: 0, offset: null, max: 0, from: 'timestampMs' } as const;
  const readAt = async (timestampMs: number) =>
    (await bed.streams.service.read(caller, { ...base, timestampMs })).records?.[0]?.offset;
  expect([await readAt(atMs), await readAt(atMs + 1), await readAt(0)]).toEqual([2, 4, 2]);
  const follower = await Follower.open(bed.streams, 's', 0, 1);
  await bed.settle();
  await bed.settle();
  expect(follower.values).toEqual(['3', '2', '1']);
  const again = await Member.join(bed.streams, 'm');
  await bed.settle();
  await bed.settle();
  expect(again.assigned.get(0)?.offset).toBe(1);
  expect(again.values(0)).toEqual(['3', '2', '1']);
  again.commit(0, 6);
  await bed.settle();
  expect(await bed.streams.service.getGroup(caller, group)).toMatchObject({ lag: 0 });
});

test('[ST52] a tombstone can be read for its time after cleaning, then the key is gone', async () => {
  const bed = await aBed(1);
  await write(bed, 'a=1', 'a', 'b=1', 'b=2');
  await clean(bed);
  expect(await contents(bed)).toEqual(['1:a', '3:b=2']);
  bed.time.now += DAY_MS - 60_000;
  await bed.advance(12_000);
  expect(await contents(bed)).toEqual(['1:a', '3:b=2']);
  bed.time.now += 60_000;
  await bed.advance(12_000);
  await bed.cleaned();
  expect(await contents(bed)).toEqual(['3:b=2']);
});

test('[ST53] records within the compaction lag, and those of the open segment, stay', async () => {
  const bed = await aBed(1, { minCompactionLagMs: 2 * HOUR_MS });
  await write(bed, 'a=1', 'a=2');
  await clean(bed);
  expect(await contents(bed)).toEqual(['0:a=1', '1:a=2']);
  await clean(bed);
  await write(bed, 'a=3', 'a=4');
  await clean(bed);
  expect(await contents(bed)).toEqual(['1:a=2', '2:a=3', '3:a=4']);
});

test('[ST54] a record without a key is refused where records are cleaned by key', async () => {
  const bed = await aBed(1);
  expect((await publishBatch(bed.streams, 's', 0, batchOf('x'))).error?.code).toBe('KEY_REQUIRED');
  const publish = (record: pb.NewRecord) =>
    bed.streams.service.publish(caller, { stream: 's', records: [record], mutation: null });
  await expect(publish(aRecord('x'))).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
  await publish(aRecord('', { key: Buffer.from('k'), tombstone: true }));
  expect(await contents(bed)).toEqual(['0:k']);
  const mixed = encodeBatch([
    { key: Buffer.from('k'), value: Buffer.from('1') },
    { value: Buffer.from('2') },
  ]);
  expect((await publishBatch(bed.streams, 's', 0, mixed)).error?.code).toBe('KEY_REQUIRED');
});

test('[ST55] the policy can change; records without a key from before stay', async () => {
  const bed = await aBed(1, { cleanup: '' });
  expect((await publishBatch(bed.streams, 's', 0, batchOf('free'))).error ?? null).toBeNull();
  await write(bed, 'a=1', 'a=2', 'a=3');
  await clean(bed);
  expect(await contents(bed)).toHaveLength(4);
  const spec = aSpec('s', 1, { cleanup: 'compact', tombstoneRetentionMs: HOUR_MS });
  const applied = await bed.streams.admin.applyStream(caller, spec);
  expect(applied.spec).toMatchObject({ cleanup: 'compact', tombstoneRetentionMs: HOUR_MS });
  await bed.restart();
  expect((await bed.streams.admin.getStream(caller, { name: 's' })).spec).toEqual(applied.spec);
  await clean(bed);
  expect(await contents(bed)).toEqual(['0:=free', '3:a=3']);
  await bed.streams.admin.applyStream(caller, aSpec('s', 1));
  expect((await publishBatch(bed.streams, 's', 0, batchOf('free'))).error ?? null).toBeNull();
  const wrong = aSpec('s', 1, { cleanup: 'sometimes' });
  await expect(bed.streams.admin.applyStream(caller, wrong)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('[ST56] by key is for ever; with both, what is past its retention goes as well', async () => {
  const forEver = await aBed(1, { retentionMs: DAY_MS });
  const both = await aBed(1, { retentionMs: DAY_MS, cleanup: 'both' });
  for (const bed of [forEver, both]) {
    await write(bed, 'a=1', 'b=1', 'b=2');
    await clean(bed);
    expect(await contents(bed)).toEqual(['0:a=1', '2:b=2']);
    await write(bed, 'c=1');
    bed.time.now += DAY_MS;
    await bed.advance(12_000);
  }
  expect(await contents(forEver)).toEqual(['0:a=1', '2:b=2', '3:c=1']);
  const { partitions } = await both.streams.admin.getStream(caller, { name: 's' });
  expect(partitions?.[0]?.logStart).toBeGreaterThanOrEqual(3);
});

test('[ST57] cleaning runs beside the traffic: commands are answered between its slices', async () => {
  const bed = await aBed(1);
  const value = 'x'.repeat(1000);
  const many = (round: number) =>
    encodeBatch(
      Array.from({ length: 1000 }, (_, i) => ({
        key: Buffer.from(`k${i}`),
        value: Buffer.from(`${round}${value}`),
      })),
    );
  for (let round = 0; round < 5; round++) await publishBatch(bed.streams, 's', 0, many(round));
  bed.time.now += HOUR_MS;
  await bed.advance(12_000);
  await bed.checkpoint();
  const size = async () => (await bed.streams.admin.getStream(caller, { name: 's' })).partitions?.[0]?.bytes;
  const before = (await size()) ?? 0;
  let answers = 0;
  await bed.advance(12_000);
  let isDone = false;
  const done = bed.cleaned().then(() => {
    isDone = true;
  });
  for (; !isDone; answers++) await write(bed, `later=${answers}`);
  await done;
  expect(await size()).toBeLessThan(before / 2);
  expect(answers).toBeGreaterThan(10);
  expect(await contents(bed, 4000)).toHaveLength(100);
});
