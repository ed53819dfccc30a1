// Publishing and committing inside a transaction: all or nothing, and nothing is left of nothing.
import { expect, test } from 'vitest';
import { InOrder } from '../../dataplane/stream/in-order.ts';
import type { TransactionPart } from '../../dataplane/stream/service.ts';
import { caller, turns, World } from './fake.ts';
import { aRecord, aSpec, batchOf, Follower, Member, publishBatch, readFrom, valuesOf } from './support.ts';

const stream = '{t}s';
const group = { stream, group: 'g' };

async function run(world: World, parts: TransactionPart<unknown>[]): Promise<unknown[]> {
  const shard = world.nodes[parts[0]?.shard ?? 0]?.shard;
  const replies = await shard?.transact(
    parts.flatMap(({ commands }) => commands),
    undefined,
  );
  let at = 0;
  return parts.map(({ commands, respond }) => {
    const own = (replies ?? []).slice(at, at + commands.length);
    at += commands.length;
    return respond(own);
  });
}

async function aGroup(shards: number) {
  const world = await World.open(shards);
  await world.admin.applyStream(caller, aSpec(stream, 2));
  await publishBatch(world.streams, stream, 0, batchOf('a', 'b'));
  const member = await Member.join(world.streams, 'm', { stream });
  await turns();
  const { transactions } = world.streams;
  const publish = (...values: string[]) =>
    transactions.publish(caller, {
      stream,
      records: values.map((value) => aRecord(value, { partition: 1 })),
      mutation: null,
    });
  const commit = (offset: number, epoch = 1) =>
    transactions.commit(caller, {
      ...group,
      memberId: 'm',
      offsets: [{ partition: 0, offset, epoch, metadata: '' }],
      mutation: null,
    });
  return { world, member, publish, commit };
}

test('[ST40] a transaction publishes and commits in one entry', async () => {
  const { world, publish, commit } = await aGroup(3);
  const entries = () => world.nodes.reduce((sum, { journal }) => sum + journal.entries.length, 0);
  const before = entries();
  const responses = await run(world, [await publish('x', 'y'), commit(2)]);
  expect(entries()).toBe(before + 1);
  expect(responses).toMatchObject([
    {
      offsets: [
        { partition: 1, offset: 0 },
        { partition: 1, offset: 1 },
      ],
    },
    { results: [{}] },
  ]);
  await world.restart();
  expect(valuesOf(await readFrom(world.streams, stream, 1, 0))).toEqual(['x', 'y']);
  expect((await world.service.getGroup(caller, group)).partitions?.[0]?.committed).toBe(2);
});

test('[ST40] a refused part takes everything back: log, cursor and what may be seen', async () => {
  const { world, publish, commit } = await aGroup(1);
  const follower = await Follower.open(world.streams, stream, 1, 0);
  const logs = world.nodes[0]?.logs;
  const refused = run(world, [await publish('x'), commit(2), await publish('y'), commit(2, 7)]);
  await expect(refused).rejects.toMatchObject({ code: 'MEMBER_FENCED' });
  await turns();
  expect(follower.values).toEqual([]);
  expect([...(logs?.logs.values() ?? [])].map(({ endOffset }) => endOffset)).toEqual([2, 0]);
  expect((await world.service.getGroup(caller, group)).partitions?.[0]?.committed).toBe(0);
  await run(world, [await publish('z')]);
  await turns();
  expect(follower.values).toEqual(['z']);
  await world.checkpoint();
  await world.restart();
  expect(valuesOf(await readFrom(world.streams, stream, 1, 0))).toEqual(['z']);
});

test('[ST5] [ST40] a rollback shows nothing of the entry that is still on its way', async () => {
  const { world, publish, commit } = await aGroup(1);
  const follower = await Follower.open(world.streams, stream, 1, 0);
  const journal = world.nodes[0]?.journal;
  if (journal !== undefined) journal.isHeld = true;
  const first = run(world, [await publish('x')]);
  await turns();
  const refused = expect(run(world, [await publish('y'), commit(2, 7)])).rejects.toThrow();
  await turns();
  expect(follower.values).toEqual([]);
  journal?.release();
  await first;
  await refused;
  await turns();
  expect(follower.values).toEqual(['x']);
});

test('[ST41] what lives on several shards is refused, and says what helps', async () => {
  const world = await World.open(3);
  await world.admin.applyStream(caller, aSpec('wide', 3));
  const { transactions } = world.streams;
  const records = [aRecord('a', { partition: 0 }), aRecord('b', { partition: 1 })];
  await expect(
    transactions.publish(caller, { stream: 'wide', records, mutation: null }),
  ).rejects.toMatchObject({
    code: 'CROSS_SHARD',
    message: expect.stringContaining('{tag}'),
  });
  const one = await transactions.publish(caller, {
    stream: 'wide',
    records: records.slice(1),
    mutation: null,
  });
  expect(one.commands).toHaveLength(1);
});

test('[ST12] answers leave in the order of the requests, however many wait', () => {
  const order = new InOrder<number>();
  const seen: number[] = [];
  const slots = Array.from({ length: 5000 }, () => order.open((n) => seen.push(n)));
  const numbered = slots.map((slot, n) => ({ slot, n }));
  for (const { slot, n } of [
    ...numbered.filter(({ n }) => n % 3 === 0),
    ...numbered.filter(({ n }) => n % 3 > 0),
  ]) {
    order.close(slot, n);
  }
  expect(seen).toEqual(numbered.map(({ n }) => n));
});
