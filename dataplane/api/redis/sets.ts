// Commands on sets. https://redis.io/docs/latest/commands/?group=set
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { ALL, asks, at, type Clock, changes, deletes, puts, reads, type Table, word } from './command.ts';
import { PICKS_MAX, picked, sized } from './hashes.ts';
import type { Overlay } from './overlay.ts';
import { Members, RedisError, type Reply } from './reply.ts';
import { integer, syntax } from './values.ts';

const contains = (args: readonly Buffer[]) => [
  { setContains: pb.SetContains.create({ key: at(args, 1), members: args.slice(2) }) },
];
const number = ([result]: readonly pb.KvResultInput[]) => Number(result?.integer ?? 0);
const bytes = (name: string) => Buffer.from(name, 'latin1');
const names = async (overlay: Overlay, key: Buffer) => new Set((await overlay.all(key, 'set')).keys());

type Combine = (sets: readonly ReadonlySet<string>[]) => ReadonlySet<string>;

const union: Combine = (sets) => new Set(sets.flatMap((set) => [...set]));
const intersection: Combine = ([first, ...others]) =>
  new Set([...(first ?? [])].filter((name) => others.every((set) => set.has(name))));
const difference: Combine = ([first, ...others]) =>
  new Set([...(first ?? [])].filter((name) => !others.some((set) => set.has(name))));

async function combined(overlay: Overlay, keys: readonly Buffer[], combine: Combine) {
  const sets: ReadonlySet<string>[] = [];
  for (const key of keys) sets.push(await names(overlay, key));
  return combine(sets);
}

const shown = (combine: Combine) =>
  asks(-2, async (o, a) => new Members([...(await combined(o, a.slice(1), combine))].map(bytes)), ALL);

const stored = (combine: Combine) =>
  changes(
    -3,
    async (o, a) => {
      const result = await combined(o, a.slice(2), combine);
      await o.replaceAll(at(a, 1), 'set', new Map([...result].map((name) => [name, true as const])));
      return result.size;
    },
    ALL,
  );

async function pop(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  if (args.length > 3) throw syntax();
  const count = args.length === 3 ? integer(at(args, 2)) : 1;
  if (count < 0) throw new RedisError('ERR value is out of range, must be positive');
  const chosen = picked([...(await names(overlay, at(args, 1)))], count, clock.random);
  for (const name of chosen) await overlay.setMember(at(args, 1), 'set', bytes(name), undefined);
  if (args.length === 3) return new Members(chosen.map(bytes));
  return chosen[0] === undefined ? null : bytes(chosen[0]);
}

async function random(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  if (args.length > 3) throw syntax();
  const count = args.length === 3 ? integer(at(args, 2)) : 1;
  if (count < -PICKS_MAX) throw new RedisError('ERR value is out of range');
  const chosen = picked([...(await names(overlay, at(args, 1)))], count, clock.random);
  if (args.length === 3) return chosen.map(bytes);
  return chosen[0] === undefined ? null : bytes(chosen[0]);
}

async function move(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const [from, to, member] = [at(args, 1), at(args, 2), at(args, 3)];
  if ((await overlay.look(from)).kind === null) return 0;
  await overlay.expectKind(from, 'set');
  await overlay.expectKind(to, 'set');
  if ((await overlay.member(from, 'set', member)) === undefined) return 0;
  await overlay.setMember(from, 'set', member, undefined);
  await overlay.setMember(to, 'set', member, true);
  return 1;
}

async function intersectionCount(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const { keys, rest } = counted(args, 1);
  const limit = countLimit(rest);
  const { size } = await combined(overlay, keys, intersection);
  return Math.min(limit, size);
}

/** `[LIMIT n]` of a count; 0 is none. */
export function countLimit(rest: readonly Buffer[]): number {
  if (rest.length === 0) return Number.POSITIVE_INFINITY;
  if (rest.length !== 2 || word(rest[0]) !== 'LIMIT') throw syntax();
  const limit = integer(at(rest, 1));
  if (limit < 0) throw new RedisError("ERR LIMIT can't be negative");
  return limit || Number.POSITIVE_INFINITY;
}

/** `numkeys key [key ...]` from `index` on, and what follows. */
export function counted(args: readonly Buffer[], index: number): { keys: Buffer[]; rest: Buffer[] } {
  const count = integer(at(args, index));
  if (count <= 0) throw new RedisError('ERR numkeys should be greater than 0');
  if (count > args.length - index - 1) {
    throw new RedisError("ERR Number of keys can't be greater than number of args");
  }
  return { keys: args.slice(index + 1, index + 1 + count), rest: args.slice(index + 1 + count) };
}

export const SETS: Table = {
  SADD: puts(-3, (a) => [{ setAdd: pb.SetAdd.create({ key: at(a, 1), members: a.slice(2) }) }], number),
  SREM: deletes(
    -3,
    (a) => [{ setRemove: pb.SetRemove.create({ key: at(a, 1), members: a.slice(2) }) }],
    number,
  ),
  SISMEMBER: reads(3, contains, ([r]) => (r?.entries?.[0]?.found ? 1 : 0)),
  SMISMEMBER: reads(-3, contains, ([r]) => (r?.entries ?? []).map(({ found }) => (found ? 1 : 0))),
  SCARD: asks(2, async (o, a) => (await sized(o, at(a, 1), 'set')).size),
  SMEMBERS: asks(2, async (o, a) => new Members([...(await names(o, at(a, 1)))].map(bytes))),
  SUNION: shown(union),
  SINTER: shown(intersection),
  SDIFF: shown(difference),
  SUNIONSTORE: stored(union),
  SINTERSTORE: stored(intersection),
  SDIFFSTORE: stored(difference),
  SINTERCARD: asks(-3, intersectionCount),
  SPOP: changes(-2, pop),
  SRANDMEMBER: asks(-2, random),
  SMOVE: changes(4, move, [1, 2, 1]),
};
