// Members that die, come back, race each other and come in crowds.
import { expect, test } from 'vitest';
import { caller, turns, World } from './fake.ts';
import { aWorld, group, join } from './group-world.ts';
import { aSpec, batchOf, Member, publishBatch } from './support.ts';

async function codeOf(member: Member, partition: number, offset: number, epoch?: number) {
  const seq = member.commit(partition, offset, epoch);
  await turns();
  return member.results(seq)?.[0]?.code ?? '';
}

/** Time passes, and those who live are heard of. */
async function wait(world: World, ms: number, alive: readonly Member[]): Promise<void> {
  for (let at = 0; at < ms; at += 5000) {
    await world.time.advance(Math.min(5000, ms - at));
    for (const member of alive) member.heartbeat();
  }
}

for (const shards of [1, 3]) {
  test(`[ST28] an owner that dies while it is to stop delays only that (${shards} shards)`, async () => {
    const world = await aWorld(shards, 4, 1);
    const a = await join(world, 'a');
    const b = await join(world, 'b');
    expect(a.revoking).toHaveLength(2);
    a.session.disconnect();
    const c = await join(world, 'c');
    await wait(world, 40_000, [b, c]);
    expect([...b.partitions, ...c.partitions]).toEqual([]);
    await wait(world, 10_000, [b, c]);
    expect([...b.partitions, ...c.partitions].sort()).toEqual([0, 1, 2, 3]);
    expect(b.partitions).toHaveLength(2);
    for (const each of [b, c]) {
      for (const p of each.partitions) {
        expect(each.assigned.get(p)?.epoch).toBe(2);
        expect(each.values(p)).toEqual([`${p}.0`]);
      }
    }
    expect(await codeOf(b, b.partitions[0] ?? 0, 1)).toBe('');
  });

  test(`[ST27] [ST28] an owner that comes back is asked again to stop (${shards} shards)`, async () => {
    const world = await aWorld(shards, 2, 1);
    const a = await join(world, 'a');
    const b = await join(world, 'b');
    const [going = 1] = a.revoking;
    const { epoch } = await world.service.getGroup(caller, group);
    a.session.disconnect();
    const again = await join(world, 'a');
    expect((await world.service.getGroup(caller, group)).epoch).toBe(epoch);
    expect(again.revoking).toEqual([going]);
    expect(await codeOf(again, going, 1, 1)).toBe('');
    again.revoked();
    await turns();
    expect(b.assigned.get(going)).toEqual({ epoch: 2, offset: 1 });
    // It did not hear that its word arrived, and says it again.
    again.revoked([going]);
    await turns();
    expect(b.assigned.get(going)).toEqual({ epoch: 2, offset: 1 });
  });
}

test('[ST27] a member that did not hear of its new epoch gets it when it comes back', async () => {
  const world = await aWorld(3, 1, 3);
  const a = await join(world, 'a');
  a.session.disconnect();
  await world.service.seek(caller, {
    ...group,
    partition: 0,
    to: 'offset',
    offset: 2,
    timestampMs: null,
    position: null,
    mutation: null,
  });
  const again = await join(world, 'a');
  expect(again.assigned.get(0)).toEqual({ epoch: 2, offset: 2 });
  expect(await codeOf(again, 0, 3, 1)).toBe('MEMBER_FENCED');
  expect(await codeOf(again, 0, 3)).toBe('');
});

test('[ST24] a member that was fenced and comes back gets new epochs; its old ones stay dead', async () => {
  const world = await aWorld(1, 1, 2);
  const a = await join(world, 'a');
  await world.time.advance(60_000);
  expect(a.error?.code).toBe('MEMBER_FENCED');
  const again = await join(world, 'a');
  const epoch = again.assigned.get(0)?.epoch ?? 0;
  expect(epoch).toBeGreaterThan(1);
  expect(await codeOf(again, 0, 1, 1)).toBe('MEMBER_FENCED');
  expect(await codeOf(again, 0, 1)).toBe('');
});

test('[ST26] a member that hangs in its handler keeps its partitions as long as it is heard of', async () => {
  const world = await aWorld(1, 2, 2);
  const slow = await join(world, 'slow');
  const b = await join(world, 'b');
  slow.revoked();
  await turns();
  const [mine = 0] = slow.partitions;
  await wait(world, 3_600_000, [slow, b]);
  expect(slow.error).toBeNull();
  expect(await codeOf(slow, mine, 1, 1)).toBe('');
});

test('[ST35] a commit that races a seek never wins, whichever comes first', async () => {
  const world = await aWorld(3, 3, 5);
  const a = await join(world, 'a');
  for (let round = 1; round <= 12; round++) {
    const p = round % 3;
    const before = a.assigned.get(p)?.epoch ?? 0;
    const seek = world.service.seek(caller, {
      ...group,
      partition: p,
      to: 'offset',
      offset: 2,
      timestampMs: null,
      position: null,
      mutation: null,
    });
    const seqs: number[] = [];
    for (let i = 0; i < round; i++) {
      seqs.push(a.commit(p, 5, before));
      await turns(1);
    }
    const late = seek.then(() => a.commit(p, 5, before));
    await seek;
    await turns();
    expect(a.results(await late)?.[0]?.code).toBe('MEMBER_FENCED');
    const figures = (await world.service.getGroup(caller, group)).partitions?.[p];
    expect(figures).toMatchObject({ committed: 2, lag: 3, epoch: before + 1 });
    expect(a.assigned.get(p)).toEqual({ epoch: before + 1, offset: 2 });
  }
});

test('[ST36] a seek that is refused disturbs nobody', async () => {
  const world = await aWorld(1, 1, 2);
  const a = await join(world, 'a');
  const seek = { ...group, to: 'offset', timestampMs: null, position: null, mutation: null } as const;
  for (const [partition, code] of [
    [0, 'OFFSET_OUT_OF_RANGE'],
    [7, 'INVALID_ARGUMENT'],
  ] as const) {
    await expect(world.service.seek(caller, { ...seek, partition, offset: 9 })).rejects.toMatchObject({
      code,
    });
  }
  await turns();
  expect(a.messages.filter(({ assignment }) => assignment)).toHaveLength(1);
  expect(await codeOf(a, 0, 2, 1)).toBe('');
});

test('[ST31] a hundred members that come and go never stop one that stays', async () => {
  const world = await aWorld(3, 8);
  const stays = await join(world, 'a-stays');
  const crowd: Member[] = [];
  for (let i = 0; i < 100; i++) crowd.push(await Member.join(world.streams, `m${i}`));
  const releaseAll = async () => {
    for (let i = 0; i < 4; i++) {
      for (const each of [stays, ...crowd]) if (each.revoking.length > 0) each.revoked();
      await turns();
    }
  };
  await releaseAll();
  const kept = stays.partitions;
  expect(kept).toHaveLength(1);
  const [p = 0] = kept;
  const epoch = stays.assigned.get(p)?.epoch;
  const told = stays.messages.filter(({ assignment }) => assignment).length;
  for (let i = 0; i < 100; i++) {
    const gone = crowd.shift();
    if (i % 2 === 0) gone?.leave();
    else gone?.session.disconnect();
    if (i < 60) crowd.push(await Member.join(world.streams, `n${i}`));
    await publishBatch(world.streams, 's', p, batchOf(`r${i}`));
    await turns(2);
    expect(await codeOf(stays, p, i + 1, epoch)).toBe('');
  }
  await releaseAll();
  expect(stays.values(p)).toHaveLength(100);
  expect(stays.assigned.get(p)?.epoch).toBe(epoch);
  expect(stays.messages.filter(({ assignment }) => assignment)).toHaveLength(told);
});

test('[ST37] lag never counts what was trimmed, and never goes below zero', async () => {
  const world = await World.open(1);
  await world.admin.applyStream(caller, aSpec('s', 1, { retentionMs: 60_000 }));
  for (const value of ['a', 'b']) await publishBatch(world.streams, 's', 0, batchOf(value));
  const a = await join(world, 'a');
  expect(await codeOf(a, 0, 1)).toBe('');
  a.leave();
  await world.time.advance(30_000);
  await publishBatch(world.streams, 's', 0, batchOf('c'));
  await world.time.advance(45_000);
  for (const restart of [false, true]) {
    if (restart) await world.restart();
    expect((await world.service.getGroup(caller, group)).partitions).toMatchObject([
      { committed: 1, logStart: 2, end: 3, lag: 1 },
    ]);
  }
});

test('[ST38] a member that retention overtakes while it waits goes on at the start of the log', async () => {
  const world = await World.open(1);
  await world.admin.applyStream(caller, aSpec('s', 1, { retentionBytes: 1 }));
  await publishBatch(world.streams, 's', 0, batchOf('a'));
  const slow = await join(world, 'slow', { creditBytes: 1 });
  for (const value of ['b', 'c', 'd']) await publishBatch(world.streams, 's', 0, batchOf(value));
  await wait(world, 15_000, [slow]);
  slow.tell({ message: 'creditBytes', creditBytes: 10_000 });
  await turns();
  expect(slow.values(0)).toEqual(['a', 'd']);
  expect(await codeOf(slow, 0, 4)).toBe('');
});

test('[ST39] [ST43] figures tell when a group committed last and since when nobody reads', async () => {
  const world = await aWorld(3, 2, 2);
  const show = () => world.service.getGroup(caller, group);
  const a = await join(world, 'a');
  expect(await show()).toMatchObject({ state: 'stable', idleSinceMs: 0, committedAtMs: 0 });
  await wait(world, 5000, [a]);
  const committedMs = world.time.now;
  expect(await codeOf(a, 1, 1)).toBe('');
  await wait(world, 5000, [a]);
  a.leave();
  await turns();
  const leftMs = world.time.now;
  for (const restart of [false, true]) {
    if (restart) await world.restart();
    expect(await show()).toMatchObject({
      state: 'empty',
      idleSinceMs: leftMs,
      committedAtMs: committedMs,
      partitions: [{ committedAtMs: 0 }, { committedAtMs: committedMs }],
    });
  }
  world.time.now += 7 * 86_400_000;
  expect(await show()).toMatchObject({ state: 'idle', idleSinceMs: leftMs });
  await join(world, 'b');
  expect(await show()).toMatchObject({ state: 'stable', idleSinceMs: 0 });
});

test('[ST39] what was committed is still there after a year without members', async () => {
  const world = await aWorld(1, 1, 2);
  const a = await join(world, 'a');
  expect(await codeOf(a, 0, 1)).toBe('');
  a.leave();
  await turns();
  world.time.now += 365 * 86_400_000;
  await world.time.advance(3000);
  await world.checkpoint();
  await world.restart();
  expect((await world.service.getGroup(caller, group)).partitions).toMatchObject([{ committed: 1 }]);
});
