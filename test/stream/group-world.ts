// A world with one stream, and members of one group of it.
import { caller, turns, World } from './fake.ts';
import { aSpec, batchOf, Member, publishBatch } from './support.ts';

export const group = { stream: 's', group: 'g' };

export async function aWorld(shards: number, partitions: number, records = 0): Promise<World> {
  const world = await World.open(shards);
  await world.admin.applyStream(caller, aSpec('s', partitions));
  for (let p = 0; p < partitions; p++) {
    for (let i = 0; i < records; i++) await publishBatch(world.streams, 's', p, batchOf(`${p}.${i}`));
  }
  return world;
}

export async function join(world: World, id: string, more = {}): Promise<Member> {
  const member = await Member.join(world.streams, id, more);
  await turns();
  return member;
}
