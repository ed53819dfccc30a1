// Consumer groups: who gets which partition, when, from where; whose commits count.
import { expect, test } from 'vitest';
import { caller, turns, World } from './fake.ts';
import { aWorld, group, join } from './group-world.ts';
import { aSpec, batchOf, type Member, publishBatch } from './support.ts';

async function committed(
  member: Member,
  partition: number,
  offset: number,
  epoch?: number,
  metadata?: string,
) {
  const seq = member.commit(partition, offset, epoch, metadata);
  await turns();
  return member.results(seq)?.[0]?.code ?? '';
}

for (const shards of [1, 3]) {
  test(`[ST21] the first member gets everything, as it comes (${shards} shards)`, async () => {
    const world = await aWorld(shards, 3, 2);
    const a = await join(world, 'a');
    expect(a.messages[0]?.welcome).toMatchObject({
      memberId: 'a',
      heartbeatMs: 5000,
      sessionTimeoutMs: 45_000,
    });
    expect(a.partitions).toEqual([0, 1, 2]);
    expect(a.values(1)).toEqual(['1.0', '1.1']);
    await publishBatch(world.streams, 's', 1, batchOf('new'));
    await turns();
    expect(a.values(1)).toEqual(['1.0', '1.1', 'new']);
  });

  test(`[ST22] [ST23] [ST24] an owner is waited for until it has stopped (${shards} shards)`, async () => {
    const world = await aWorld(shards, 4, 1);
    const a = await join(world, 'a');
    expect(await committed(a, 2, 1)).toBe('');
    const b = await join(world, 'b');
    expect(a.revoking).toHaveLength(2);
    expect(b.partitions).toEqual([]);
    expect((await world.service.getGroup(caller, group)).state).toBe('rebalancing');
    const [kept = 0] = a.partitions;
    const before = a.assigned.get(kept);
    // Until it says so, it may still commit what it has handled.
    expect(await committed(a, 2, 1, 1)).toBe('');
    a.revoked();
    await turns();
    expect(b.partitions).toEqual([2, 3]);
    expect(b.assigned.get(2)).toEqual({ epoch: 2, offset: 1 });
    expect(b.values(2)).toEqual([]);
    expect(b.values(3)).toEqual(['3.0']);
    expect(a.assigned.get(kept)).toEqual(before);
    expect(a.revoking).toEqual([]);
    expect(await committed(a, 2, 1, 1)).toBe('MEMBER_FENCED');
    expect((await world.service.getGroup(caller, group)).state).toBe('stable');
  });

  test(`[ST25] a member that leaves gives its partitions up at once (${shards} shards)`, async () => {
    const world = await aWorld(shards, 3);
    const a = await join(world, 'a');
    const b = await join(world, 'b');
    a.revoked();
    await turns();
    expect(b.partitions).toHaveLength(1);
    a.leave();
    await turns();
    expect(b.partitions).toEqual([0, 1, 2]);
    expect((await world.service.getGroup(caller, group)).members).toHaveLength(1);
  });

  test(`[ST30] positions, members and epochs survive a restart (${shards} shards)`, async () => {
    const world = await aWorld(shards, 3, 2);
    const a = await join(world, 'a');
    expect(await committed(a, 0, 1, undefined, 'note')).toBe('');
    await world.checkpoint();
    expect(await committed(a, 1, 2)).toBe('');
    const { figures, ...before } = await world.service.getGroup(caller, group);
    expect(figures).toMatchObject({ group: 'g', lag: 3, members: 1 });
    await world.restart();
    expect(await world.service.getGroup(caller, group)).toMatchObject({
      ...before,
      figures: { lag: 3, members: 1 },
    });
    const again = await join(world, 'a');
    expect(again.assigned).toEqual(
      new Map([
        [0, { epoch: 1, offset: 1 }],
        [1, { epoch: 1, offset: 2 }],
        [2, { epoch: 1, offset: 0 }],
      ]),
    );
    expect(again.values(0)).toEqual(['0.1']);
  });
}

test('[ST26] a silent member is fenced after its session; one that is heard of stays', async () => {
  const world = await aWorld(1, 2);
  const a = await join(world, 'a');
  const b = await join(world, 'b');
  a.revoked();
  await turns();
  for (let s = 0; s < 60; s += 5) {
    await world.time.advance(5000);
    b.heartbeat();
  }
  expect(a.error?.code).toBe('MEMBER_FENCED');
  expect(b.error).toBeNull();
  expect(b.partitions).toEqual([0, 1]);
});

test('[ST27] a member that comes back in time keeps its partitions under the same epochs', async () => {
  const world = await aWorld(1, 2, 3);
  const a = await join(world, 'a');
  await committed(a, 0, 2);
  a.session.disconnect();
  await world.time.advance(30_000);
  const again = await join(world, 'a');
  expect(again.assigned.get(0)).toEqual({ epoch: 1, offset: 2 });
  expect(again.values(0)).toEqual(['0.2']);
  const twin = await join(world, 'a');
  expect(again.error?.code).toBe('MEMBER_FENCED');
  expect(twin.values(0)).toEqual(['0.2']);
});

test('[ST29] a process that stood still does not fence everybody when it wakes', async () => {
  const world = await aWorld(1, 1);
  const a = await join(world, 'a');
  world.time.now += 120_000;
  await world.time.advance(2000);
  a.heartbeat();
  await world.time.advance(20_000);
  expect(a.error).toBeNull();
  expect(a.partitions).toEqual([0]);
});

test('[ST33] commits are checked: owner, epoch, range, metadata; each has its own result', async () => {
  const world = await aWorld(3, 3, 2);
  const a = await join(world, 'a');
  const offsets = [
    { partition: 0, offset: 1, epoch: 1, metadata: '' },
    { partition: 1, offset: 3, epoch: 1, metadata: '' },
    { partition: 2, offset: 1, epoch: 2, metadata: '' },
    { partition: 2, offset: 1, epoch: 1, metadata: 'x'.repeat(4097) },
    { partition: 9, offset: 1, epoch: 1, metadata: '' },
  ];
  const request = { ...group, memberId: 'a', offsets, mutation: null };
  const { results } = await world.service.commit(caller, request);
  expect(results?.map((each) => each.code ?? '')).toEqual([
    '',
    'OFFSET_OUT_OF_RANGE',
    'MEMBER_FENCED',
    'VALUE_TOO_LARGE',
    'INVALID_ARGUMENT',
  ]);
  const other = await world.service.commit(caller, {
    ...request,
    memberId: 'b',
    offsets: offsets.slice(0, 1),
  });
  expect(other.results?.[0]?.code).toBe('MEMBER_FENCED');
  expect(a.error).toBeNull();
});

test('[ST34] latest is where the group began; later partitions start at 0', async () => {
  const world = await aWorld(1, 1, 2);
  const a = await join(world, 'a', { startFrom: 'latest' });
  expect(a.assigned.get(0)?.offset).toBe(2);
  await publishBatch(world.streams, 's', 0, batchOf('missed?'));
  await world.restart();
  await world.admin.applyStream(caller, aSpec('s', 2));
  await publishBatch(world.streams, 's', 1, batchOf('first'));
  const again = await join(world, 'a', { startFrom: 'latest' });
  await world.time.advance(2000);
  expect(again.values(0)).toEqual(['missed?']);
  expect(again.values(1)).toEqual(['first']);
});

test('[ST35] a seek moves running members, and commits of the old position are refused', async () => {
  const world = await aWorld(3, 2, 3);
  const a = await join(world, 'a');
  expect(await committed(a, 0, 3)).toBe('');
  const seek = { ...group, mutation: null } as const;
  const moved = await world.service.seek(caller, {
    ...seek,
    partition: 0,
    to: 'offset',
    offset: 1,
    timestampMs: null,
    position: null,
  });
  expect(moved.partitions).toMatchObject([{ partition: 0, committed: 1, lag: 2, epoch: 2, memberId: 'a' }]);
  await turns();
  expect(a.assigned.get(0)).toEqual({ epoch: 2, offset: 1 });
  expect(a.assigned.get(1)).toEqual({ epoch: 1, offset: 0 });
  expect(a.values(0)).toEqual(['0.1', '0.2']);
  expect(await committed(a, 0, 3, 1)).toBe('MEMBER_FENCED');
  expect(await committed(a, 0, 3)).toBe('');
  const outside = {
    ...seek,
    partition: 0,
    to: 'offset',
    offset: 9,
    timestampMs: null,
    position: null,
  } as const;
  await expect(world.service.seek(caller, outside)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
});

test('[ST35] a seek works without members, to both ends, to a time, and survives a restart', async () => {
  const world = await aWorld(3, 2);
  const start = world.time.now;
  for (const value of ['a', 'b', 'c']) {
    await publishBatch(world.streams, 's', 0, batchOf(value));
    await world.time.advance(1000);
  }
  const base = { ...group, partition: null, mutation: null } as const;
  const at = { ...base, to: 'timestampMs', offset: null, timestampMs: start + 1000, position: null } as const;
  const committedOf = (response: { partitions?: readonly { committed?: number | null }[] | null }) =>
    response.partitions?.map((each) => each.committed);
  expect(committedOf(await world.service.seek(caller, at))).toEqual([1, 0]);
  const end = { ...base, to: 'position', offset: null, timestampMs: null, position: 'latest' } as const;
  expect(committedOf(await world.service.seek(caller, end))).toEqual([3, 0]);
  await world.restart();
  expect(committedOf(await world.service.getGroup(caller, group))).toEqual([3, 0]);
  expect(await world.service.getGroup(caller, group)).toMatchObject({ state: 'empty', lag: 0 });
  const begin = { ...base, to: 'position', offset: null, timestampMs: null, position: 'earliest' } as const;
  expect(committedOf(await world.service.seek(caller, begin))).toEqual([0, 0]);
  expect(await world.service.listGroups(caller, { stream: 's' })).toMatchObject({
    groups: [{ group: 'g', lag: 3 }],
  });
});

test('[ST36] a repeat of a seek moves nothing again', async () => {
  const world = await aWorld(1, 1, 3);
  const a = await join(world, 'a');
  const mutation = { producerId: 'p', seq: 1, cause: null };
  const seek = {
    ...group,
    partition: null,
    to: 'position',
    offset: null,
    timestampMs: null,
    position: 'earliest',
  } as const;
  await world.service.seek(caller, { ...seek, mutation });
  await turns();
  expect(await committed(a, 0, 2)).toBe('');
  await world.service.seek(caller, { ...seek, mutation });
  await turns();
  expect((await world.service.getGroup(caller, group)).partitions?.[0]?.committed).toBe(2);
  expect(await committed(a, 0, 3)).toBe('');
});

test('[ST23] a member that is to stop and then may keep its partition is still waited for', async () => {
  const world = await aWorld(1, 2, 1);
  const a = await join(world, 'a');
  const b = await join(world, 'b');
  const [going = 1] = a.revoking;
  b.leave();
  await turns();
  expect(a.revoking).toEqual([going]);
  a.revoked();
  await turns();
  expect(a.assigned.get(going)?.epoch).toBe(2);
  expect(a.values(going)).toEqual([`${going}.0`]);
});

test('[ST32] chunks wait for credit and for the connection', async () => {
  const world = await aWorld(1, 1, 0);
  const a = await join(world, 'a', { creditBytes: 1 });
  await publishBatch(world.streams, 's', 0, batchOf('a'));
  await turns();
  await publishBatch(world.streams, 's', 0, batchOf('b'));
  await turns();
  expect(a.values(0)).toEqual(['a']);
  a.tell({ message: 'creditBytes', creditBytes: 1000 });
  expect(a.values(0)).toEqual(['a', 'b']);
});

test('[ST37] [ST38] a group whose place was trimmed goes on, and its lag tells', async () => {
  const world = await World.open(1);
  await world.admin.applyStream(caller, aSpec('s', 1, { retentionMs: 60_000 }));
  await publishBatch(world.streams, 's', 0, batchOf('a', 'b'));
  const a = await join(world, 'a', { creditBytes: 0 });
  await world.time.advance(30_000);
  a.leave();
  await publishBatch(world.streams, 's', 0, batchOf('c'));
  await world.time.advance(45_000);
  expect(await world.service.getGroup(caller, group)).toMatchObject({
    lag: 1,
    partitions: [{ committed: 2, logStart: 2 }],
  });
  const b = await join(world, 'b');
  expect(b.values(0)).toEqual(['c']);
});

test('[ST3] [ST22] new partitions are given out while members work', async () => {
  const world = await aWorld(3, 1, 1);
  const a = await join(world, 'a');
  const b = await join(world, 'b');
  expect(a.partitions.length + b.partitions.length).toBe(1);
  await world.admin.applyStream(caller, aSpec('s', 4));
  await world.time.advance(2000);
  expect([...a.partitions, ...b.partitions].sort()).toEqual([0, 1, 2, 3]);
  expect(Math.abs(a.partitions.length - b.partitions.length)).toBe(0);
  expect(a.assigned.get(0)?.epoch ?? b.assigned.get(0)?.epoch).toBe(1);
});

test('[ST9] deleting a stream ends its groups', async () => {
  const world = await aWorld(3, 3, 1);
  const a = await join(world, 'a');
  await committed(a, 0, 1);
  await world.admin.deleteStream(caller, { name: 's', mutation: null, ifEmpty: false, owner: null });
  expect(a.error?.code).toBe('STREAM_NOT_FOUND');
  await world.time.advance(3000);
  await world.admin.applyStream(caller, aSpec('s', 3));
  await expect(world.service.getGroup(caller, group)).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
  const b = await join(world, 'a');
  expect(b.assigned.get(0)).toEqual({ epoch: 1, offset: 0 });
  await world.checkpoint();
  await world.restart();
  expect((await world.service.getGroup(caller, group)).members).toHaveLength(1);
});
