// Declaring streams, publishing and reading: what comes back, in which order, and what is not shown.
import { partitionOf } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { caller, turns, World } from './fake.ts';
import { aRecord, aSpec, batchOf, Follower, publishBatch, readFrom, valuesOf } from './support.ts';

for (const shards of [1, 3]) {
  test(`[ST1] [ST4] batches get dense offsets and come back as they were (${shards} shards)`, async () => {
    const { streams, time } = await World.open(shards);
    await streams.admin.applyStream(caller, aSpec('s', 4));
    expect(await publishBatch(streams, 's', 2, batchOf('a', 'b'))).toMatchObject({
      firstOffset: 0,
      count: 2,
    });
    expect(await publishBatch(streams, 's', 2, batchOf('c'))).toMatchObject({ firstOffset: 2, count: 1 });
    const read = await readFrom(streams, 's', 2, 1);
    expect(valuesOf(read)).toEqual(['b', 'c']);
    expect(read).toMatchObject({ nextOffset: 3, endOffset: 3 });
    expect(read.records).toMatchObject([{ offset: 1, timestampMs: time.now }, { offset: 2 }]);
    expect(valuesOf(await readFrom(streams, 's', 3, 0))).toEqual([]);
  });

  test(`[ST1] all is the same after a restart, checkpoint or not (${shards} shards)`, async () => {
    const world = await World.open(shards);
    await world.admin.applyStream(caller, aSpec('s', 3));
    await publishBatch(world.streams, 's', 0, batchOf('a'));
    await publishBatch(world.streams, 's', 1, batchOf('b', 'c'));
    await world.checkpoint();
    await publishBatch(world.streams, 's', 1, batchOf('d'));
    const before = await world.admin.getStream(caller, { name: 's' });
    await world.restart();
    expect(await world.admin.getStream(caller, { name: 's' })).toEqual(before);
    expect(valuesOf(await readFrom(world.streams, 's', 1, 0))).toEqual(['b', 'c', 'd']);
    expect(await publishBatch(world.streams, 's', 1, batchOf('e'))).toMatchObject({ firstOffset: 3 });
    await world.restart();
    expect(valuesOf(await readFrom(world.streams, 's', 1, 0))).toEqual(['b', 'c', 'd', 'e']);
  });
}

test('partitions go round the shards, and a tag keeps them together', async () => {
  const { admin } = await World.open(3);
  const spread = await admin.applyStream(caller, aSpec('orders', 4));
  const tagged = await admin.applyStream(caller, aSpec('{t}orders', 4));
  expect(new Set(spread.partitions?.map(({ shard }) => shard)).size).toBe(3);
  expect(new Set(tagged.partitions?.map(({ shard }) => shard)).size).toBe(1);
});

test('[ST3] the number of partitions grows but never shrinks', async () => {
  const { admin, streams } = await World.open(3);
  await admin.applyStream(caller, aSpec('s', 2));
  await publishBatch(streams, 's', 1, batchOf('a'));
  const grown = await admin.applyStream(caller, aSpec('s', 5, { retentionBytes: 7 }));
  expect(grown.partitions).toHaveLength(5);
  expect(grown.spec).toMatchObject({ partitions: 5, retentionBytes: 7 });
  await expect(admin.applyStream(caller, aSpec('s', 4))).rejects.toMatchObject({ code: 'IMMUTABLE' });
  expect((await admin.applyStream(caller, aSpec('s', 0))).partitions).toHaveLength(5);
  expect(valuesOf(await readFrom(streams, 's', 1, 0))).toEqual(['a']);
  expect((await admin.listStreams(caller)).streams).toHaveLength(1);
});

test('[ST5] nothing is shown before it is durable', async () => {
  const world = await World.open(1);
  const { streams } = world;
  await world.admin.applyStream(caller, aSpec('s', 1));
  const follower = await Follower.open(streams, 's', 0, 0);
  const journal = world.nodes[0]?.journal;
  if (journal === undefined) throw new Error('there is a node');
  await publishBatch(streams, 's', 0, batchOf('a'));
  await turns();
  journal.isHeld = true;
  const reply = publishBatch(streams, 's', 0, batchOf('b'));
  await turns();
  const later = publishBatch(streams, 's', 0, batchOf('c'));
  await turns();
  expect(valuesOf(await readFrom(streams, 's', 0, 0))).toEqual(['a']);
  expect(follower.values).toEqual(['a']);
  journal.release();
  await reply;
  await later;
  await turns();
  expect(follower.values).toEqual(['a', 'b', 'c']);
  expect(valuesOf(await readFrom(streams, 's', 0, 0))).toEqual(['a', 'b', 'c']);
});

test('[ST6] what was not durable is gone after a restart, and its offsets are used again', async () => {
  const world = await World.open(1);
  await world.admin.applyStream(caller, aSpec('s', 1));
  await publishBatch(world.streams, 's', 0, batchOf('a'));
  const journal = world.nodes[0]?.journal;
  if (journal !== undefined) journal.isHeld = true;
  void publishBatch(world.streams, 's', 0, batchOf('lost'));
  await turns();
  await world.restart();
  expect(await publishBatch(world.streams, 's', 0, batchOf('b'))).toMatchObject({ firstOffset: 1 });
  expect(valuesOf(await readFrom(world.streams, 's', 0, 0))).toEqual(['a', 'b']);
});

test('[ST12] replies come in the order of the requests, refusals included', async () => {
  const { admin, streams } = await World.open(3);
  await admin.applyStream(caller, aSpec('s', 3));
  const order: (number | null | undefined)[] = [];
  const send = (seq: number, partition: number, batch: Buffer) =>
    streams.service.publishBatch(
      caller,
      {
        stream: 's',
        partition,
        batch,
        mutation: { producerId: 'p', seq, cause: null },
        afterSeq: 0,
        partial: false,
      },
      (reply) => order.push(reply.error?.code ? -(reply.seq ?? 0) : reply.seq),
    );
  for (let seq = 1; seq <= 9; seq++) send(seq, seq % 4, seq === 5 ? Buffer.alloc(3) : batchOf('x'));
  await turns();
  expect(order).toEqual([1, 2, -3, 4, -5, 6, -7, 8, 9]);
});

test('[ST11] a repeat of a batch gets the stored reply and is not stored again', async () => {
  const world = await World.open(1);
  await world.admin.applyStream(caller, aSpec('s', 1));
  const mutation = { producerId: 'p', seq: 1, cause: null };
  const first = await publishBatch(world.streams, 's', 0, batchOf('a'), mutation);
  expect(await publishBatch(world.streams, 's', 0, batchOf('a'), mutation)).toEqual(first);
  await world.restart();
  expect(await publishBatch(world.streams, 's', 0, batchOf('a'), mutation)).toEqual(first);
  expect(valuesOf(await readFrom(world.streams, 's', 0, 0))).toEqual(['a']);
});

test('[ST14] sequences may have gaps and come late, each counts once; a very old one is fenced', async () => {
  const { admin, streams } = await World.open(1);
  await admin.applyStream(caller, aSpec('s', 1));
  const send = (seq: number) =>
    publishBatch(streams, 's', 0, batchOf(`${seq}`), { producerId: 'p', seq, cause: null });
  expect(await send(7)).toMatchObject({ firstOffset: 0 });
  expect(await send(3)).toMatchObject({ firstOffset: 1 });
  expect(await send(7)).toMatchObject({ firstOffset: 0 });
  expect(await send(1030)).toMatchObject({ firstOffset: 2 });
  expect((await send(6)).error?.code).toBe('PRODUCER_FENCED');
  expect(await send(7)).toMatchObject({ firstOffset: 0 });
  expect(valuesOf(await readFrom(streams, 's', 0, 0))).toEqual(['7', '3', '1030']);
});

test.each([1, 3])('[ST20] what overtakes a refused batch is refused, too (%i shards)', async (shards) => {
  const world = await World.open(shards);
  await world.admin.applyStream(caller, aSpec('s', 3));
  const send = async (seq: number, afterSeq: number, batch = batchOf(`${seq}`)) => {
    const mutation = { producerId: 'p', seq, cause: null };
    return (await publishBatch(world.streams, 's', 1, batch, mutation, afterSeq)).error?.code ?? 'done';
  };
  const values = async () => valuesOf(await readFrom(world.streams, 's', 1, 0));
  // All at once: nobody waits for an answer.
  const codes = await Promise.all([
    send(1, 0),
    send(2, 1, Buffer.alloc(3)),
    send(3, 2),
    send(4, 3),
    send(5, 1),
  ]);
  expect(codes).toEqual(['done', 'MALFORMED', 'OUT_OF_ORDER', 'OUT_OF_ORDER', 'done']);
  expect(await values()).toEqual(['1', '5']);
  // A refusal is not remembered; a repeat is one, whatever it names.
  expect(await Promise.all([send(3, 0), send(4, 3), send(1, 77)])).toEqual(['done', 'done', 'done']);
  await world.restart();
  expect([await send(6, 4), await send(7, 99)]).toEqual(['done', 'OUT_OF_ORDER']);
  expect(await values()).toEqual(['1', '5', '3', '4', '6']);
});

test('[ST2] [ST13] records go by key, by partition or in turns; offsets come in order', async () => {
  const { admin, streams } = await World.open(3);
  await admin.applyStream(caller, aSpec('s', 4));
  const key = Buffer.from('user:234');
  const records = [
    aRecord('k1', { key }),
    aRecord('p', { partition: 3 }),
    aRecord('k2', { key }),
    aRecord('r1'),
    aRecord('r2'),
  ];
  const mutation = { producerId: 'p', seq: 1, cause: { deliveryId: 'd', ordinal: 2 } };
  const request = { stream: 's', records, mutation };
  const { offsets } = await streams.service.publish(caller, request);
  expect(await streams.service.publish(caller, request)).toMatchObject({ offsets });
  const byKey = partitionOf(key, 4);
  expect(offsets?.[0]).toEqual({ partition: byKey, offset: offsets?.[0]?.offset });
  expect(offsets?.[2]).toEqual({ partition: byKey, offset: (offsets?.[0]?.offset ?? 0) + 1 });
  expect(offsets?.[1]?.partition).toBe(3);
  expect(offsets?.[3]?.partition).not.toBe(offsets?.[4]?.partition);
  const seen = await Promise.all([0, 1, 2, 3].map(async (p) => valuesOf(await readFrom(streams, 's', p, 0))));
  expect(seen.flat().sort()).toEqual(['k1', 'k2', 'p', 'r1', 'r2']);
  for (const [i, at] of (offsets ?? []).entries()) {
    const read = await readFrom(streams, 's', at.partition ?? 0, at.offset ?? 0, 1);
    expect(valuesOf(read)).toEqual([records[i]?.value.toString()]);
  }
});

test('[ST15] [ST19] a read outside of the log names where it starts', async () => {
  const world = await World.open(1);
  const { streams, time } = world;
  await world.admin.applyStream(caller, aSpec('s', 1, { retentionMs: 60_000 }));
  await publishBatch(streams, 's', 0, batchOf('a', 'b'));
  await time.advance(30_000);
  await publishBatch(streams, 's', 0, batchOf('c'));
  await time.advance(45_000);
  await expect(readFrom(streams, 's', 0, 1)).rejects.toMatchObject({
    code: 'OFFSET_OUT_OF_RANGE',
    message: expect.stringContaining('starts at 2'),
  });
  await expect(readFrom(streams, 's', 0, 4)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
  expect(valuesOf(await readFrom(streams, 's', 0, 3))).toEqual([]);
  await world.restart();
  expect((await world.admin.getStream(caller, { name: 's' })).partitions).toMatchObject([
    { logStart: 2, end: 3 },
  ]);
});

test('[ST16] a read by time starts at the first record appended then or later', async () => {
  const { admin, streams, time } = await World.open(1);
  await admin.applyStream(caller, aSpec('s', 1));
  const start = time.now;
  for (const value of ['a', 'b', 'c']) {
    await publishBatch(streams, 's', 0, batchOf(value));
    await time.advance(1000);
  }
  const readAt = (timestampMs: number) =>
    streams.service.read(caller, {
      stream: 's',
      partition: 0,
      offset: null,
      timestampMs,
      max: 0,
      from: 'timestampMs',
    });
  expect(valuesOf(await readAt(start + 1000))).toEqual(['b', 'c']);
  expect(valuesOf(await readAt(start + 1001))).toEqual(['c']);
  expect(valuesOf(await readAt(start + 60_000))).toEqual([]);
});

test('[ST8] missing streams are made on the first publish, in order, or refused', async () => {
  const made = await World.open(3, true);
  const replies = await Promise.all(
    ['a', 'b', 'c'].map((value) => publishBatch(made.streams, 'new', 1, batchOf(value))),
  );
  expect(replies.map(({ firstOffset }) => firstOffset)).toEqual([0, 1, 2]);
  expect(valuesOf(await readFrom(made.streams, 'new', 1, 0))).toEqual(['a', 'b', 'c']);
  const refused = await World.open(1);
  const reply = await publishBatch(refused.streams, 'new', 0, batchOf('a'));
  expect(reply.error?.code).toBe('STREAM_NOT_FOUND');
});

test('[ST17] a follower gets what is there and what comes, and waits when it is told to', async () => {
  const world = await World.open(1);
  const { streams } = world;
  await world.admin.applyStream(caller, aSpec('s', 1));
  await publishBatch(streams, 's', 0, batchOf('a', 'b'));
  const follower = await Follower.open(streams, 's', 0, 0, false);
  expect(follower.chunks).toHaveLength(1);
  await publishBatch(streams, 's', 0, batchOf('c'));
  await publishBatch(streams, 's', 0, batchOf('d'));
  await turns();
  expect(follower.values).toEqual(['a', 'b']);
  follower.accepts = true;
  follower.session.resume();
  expect(follower.values).toEqual(['a', 'b', 'c', 'd']);
  expect(follower.chunks).toHaveLength(2);
  follower.session.close();
  await publishBatch(streams, 's', 0, batchOf('e'));
  await turns();
  expect(follower.chunks).toHaveLength(2);
});

test('[ST17] a follower reads from files what is no longer in memory', async () => {
  const world = await World.open(1);
  const { streams } = world;
  await world.admin.applyStream(caller, aSpec('s', 1));
  const logs = world.nodes[0]?.logs;
  for (const value of ['a', 'b', 'c']) await publishBatch(streams, 's', 0, batchOf(value));
  if (logs !== undefined) logs.isCold = true;
  const follower = await Follower.open(streams, 's', 0, 1);
  await turns();
  expect(follower.values).toEqual(['b', 'c']);
  expect(logs?.loads).toBe(1);
});

test('[ST18] a follower that is overtaken by the retention is told so', async () => {
  const { admin, streams, time } = await World.open(1);
  await admin.applyStream(caller, aSpec('s', 1, { retentionBytes: 1 }));
  for (const value of ['a', 'b']) await publishBatch(streams, 's', 0, batchOf(value));
  const follower = await Follower.open(streams, 's', 0, 0, false);
  for (const value of ['c', 'd']) await publishBatch(streams, 's', 0, batchOf(value));
  await time.advance(11_000);
  follower.session.resume();
  expect(follower.values).toEqual(['a', 'b']);
  expect(follower.error).toMatchObject({
    code: 'OFFSET_OUT_OF_RANGE',
    message: expect.stringContaining('starts at 3'),
  });
});

test('[ST1] [ST7] names are checked, also of streams that are made on the way', async () => {
  const { admin, streams } = await World.open(1, true);
  for (const name of ['', 'a\nb', 'x'.repeat(256)]) {
    expect((await publishBatch(streams, name, 0, batchOf('a'))).error?.code).toBe('INVALID_ARGUMENT');
    await expect(admin.applyStream(caller, aSpec(name, 1))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  }
  await expect(admin.applyStream(caller, aSpec('s', 5000))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('[ST9] a deleted stream is gone at once, is swept, and its name starts anew', async () => {
  const world = await World.open(3);
  const { streams, admin, time } = world;
  await admin.applyStream(caller, aSpec('s', 4));
  for (let p = 0; p < 4; p++) await publishBatch(streams, 's', p, batchOf('old'));
  const follower = await Follower.open(streams, 's', 0, 0);
  await admin.deleteStream(caller, { name: 's', mutation: null, ifEmpty: false, owner: null });
  expect(follower.error?.code).toBe('STREAM_NOT_FOUND');
  await expect(admin.getStream(caller, { name: 's' })).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
  await admin.applyStream(caller, aSpec('s', 2));
  await time.advance(3000);
  expect(world.nodes.reduce((sum, { logs }) => sum + logs.logs.size, 0)).toBe(2);
  expect(valuesOf(await readFrom(streams, 's', 0, 0))).toEqual([]);
  await world.checkpoint();
  await world.restart();
  expect((await world.admin.getStream(caller, { name: 's' })).partitions).toHaveLength(2);
});

test('[ST9] a repeat of a deletion leaves the stream alone that has its name now', async () => {
  const { admin } = await World.open(3);
  await admin.applyStream(caller, aSpec('s', 4));
  const mutation = { producerId: 'p', seq: 1, cause: null };
  await admin.deleteStream(caller, { name: 's', mutation, ifEmpty: false, owner: null });
  await admin.applyStream(caller, aSpec('s', 4));
  await admin.deleteStream(caller, { name: 's', mutation, ifEmpty: false, owner: null });
  expect((await admin.getStream(caller, { name: 's' })).partitions).toHaveLength(4);
});

test('[ST10] a declaration that a crash cut short leaves nothing behind that matters', async () => {
  const world = await World.open(3);
  const home = (await world.admin.applyStream(caller, aSpec('s', 1))).partitions?.[0]?.shard ?? 0;
  const others = [1, 2].map((step) => world.nodes[(home + step) % 3]);
  const journal = world.nodes[home]?.journal;
  if (journal !== undefined) journal.isHeld = true;
  void world.admin.applyStream(caller, aSpec('s', 3)).catch(() => {});
  void world.admin.applyStream(caller, aSpec('{s}', 1)).catch(() => {});
  await turns();
  expect(others.map((node) => node?.view.find(1, 's') !== undefined)).toEqual([true, true]);
  await world.restart();
  await world.time.advance(3000);
  expect((await world.admin.getStream(caller, { name: 's' })).partitions).toHaveLength(1);
  expect((await publishBatch(world.streams, 's', 1, batchOf('a'))).error?.code).toBe('INVALID_ARGUMENT');
  expect((await world.admin.applyStream(caller, aSpec('s', 2))).partitions).toHaveLength(2);
  expect(await publishBatch(world.streams, 's', 1, batchOf('a'))).toMatchObject({ firstOffset: 0 });
});

test('[ST10] parts of a stream whose home has forgotten it are removed after a restart', async () => {
  const world = await World.open(3);
  const spec = await world.admin.applyStream(caller, aSpec('s', 3));
  const home = spec.partitions?.[0]?.shard ?? 0;
  for (const [i, node] of world.nodes.entries()) if (i !== home) node.journal.isHeld = true;
  void world.admin
    .deleteStream(caller, { name: 's', mutation: null, ifEmpty: false, owner: null })
    .catch(() => {});
  await turns();
  await world.restart();
  expect(world.nodes.map(({ view }) => view.find(1, 's'))).toEqual([undefined, undefined, undefined]);
  await world.time.advance(3000);
  expect(world.nodes.map(({ logs }) => logs.logs.size)).toEqual([0, 0, 0]);
});
