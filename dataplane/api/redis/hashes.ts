// Commands on hashes. https://redis.io/docs/latest/commands/?group=hash
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { asks, at, type Clock, changes, deletes, puts, reads, type Table, word } from './command.ts';
import { addDecimals, isLongDouble } from './decimals.ts';
import type { Overlay } from './overlay.ts';
import { OK, Pairs, RedisError, type Reply } from './reply.ts';
import { integer, isInt64, parseFloat64, parseInt64, syntax } from './values.ts';

const fieldsOf = (args: readonly Buffer[], command: string): pb.KvOpInput[] => {
  if (args.length % 2 === 1) throw new RedisError(`ERR wrong number of arguments for '${command}' command`);
  const fields: pb.HashFieldInput[] = [];
  for (let i = 2; i < args.length; i += 2) {
    fields.push(pb.HashField.create({ field: at(args, i), value: at(args, i + 1) }));
  }
  return [{ hashSet: pb.HashSet.create({ key: at(args, 1), fields }) }];
};
const get = (args: readonly Buffer[]) => [
  { hashGet: pb.HashGet.create({ key: at(args, 1), fields: args.slice(2) }) },
];
const textOf = (entry: pb.KvEntryInput | undefined): Buffer | null =>
  entry?.found ? ((entry.value ?? EMPTY) as Buffer) : null;
const EMPTY = Buffer.alloc(0);
const bytes = (name: string) => Buffer.from(name, 'latin1');
const all = async (overlay: Overlay, args: readonly Buffer[]) =>
  (await overlay.all(at(args, 1), 'hash')) as Map<string, Buffer>;

async function increment(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const by = parseInt64(at(args, 3));
  if (by === undefined) throw new RedisError('ERR value is not an integer or out of range');
  const before = (await overlay.member(at(args, 1), 'hash', at(args, 2))) as Buffer | undefined;
  const value = before === undefined ? 0n : parseInt64(before);
  if (value === undefined) throw new RedisError('ERR hash value is not an integer');
  if (!isInt64(value + by)) throw new RedisError('ERR increment or decrement would overflow');
  await overlay.setMember(at(args, 1), 'hash', at(args, 2), bytes(String(value + by)));
  return value + by;
}

async function incrementByFloat(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const amount = at(args, 3);
  if (parseFloat64(amount) === undefined || !isLongDouble(amount.toString('latin1')))
    throw new RedisError('ERR value is not a valid float');
  const before = (await overlay.member(at(args, 1), 'hash', at(args, 2))) as Buffer | undefined;
  const text = before?.toString('latin1') ?? '0';
  if ((before !== undefined && parseFloat64(before) === undefined) || !isLongDouble(text)) {
    throw new RedisError('ERR hash value is not a float');
  }
  const sum = addDecimals(text, amount.toString('latin1'));
  if (sum === undefined) throw new RedisError('ERR increment would produce NaN or Infinity');
  await overlay.setMember(at(args, 1), 'hash', at(args, 2), bytes(sum));
  return sum;
}

async function setIfNone(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  if ((await overlay.member(at(args, 1), 'hash', at(args, 2))) !== undefined) return 0;
  await overlay.setMember(at(args, 1), 'hash', at(args, 2), at(args, 3));
  return 1;
}

/** `n` items at random: different ones, or with a negative count any. */
export function picked<T>(items: readonly T[], count: number, random: () => number): T[] {
  if (items.length === 0) return [];
  const any = () => items[Math.floor(random() * items.length)] as T;
  if (count < 0) return Array.from({ length: -count }, any);
  const left = [...items];
  for (let i = 0; i < Math.min(count, left.length); i++) {
    const j = i + Math.floor(random() * (left.length - i));
    [left[i], left[j]] = [left[j] as T, left[i] as T];
  }
  return left.slice(0, count);
}

export const PICKS_MAX = 100_000;

async function randomField(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  if (args.length > 4 || (args.length === 4 && word(args[3]) !== 'WITHVALUES')) throw syntax();
  const count = args.length > 2 ? integer(at(args, 2)) : 1;
  if (count < -PICKS_MAX) throw new RedisError('ERR value is out of range');
  const chosen = picked([...(await all(overlay, args))], count, clock.random);
  if (args.length === 2) return chosen[0] === undefined ? null : bytes(chosen[0][0]);
  if (args.length === 3) return chosen.map(([name]) => bytes(name));
  return chosen.flatMap(([name, value]) => [bytes(name), value]);
}

export const HASHES: Table = {
  HSET: puts(
    -4,
    (a) => fieldsOf(a, 'hset'),
    ([r]) => Number(r?.integer ?? 0),
  ),
  HMSET: puts(
    -4,
    (a) => fieldsOf(a, 'hmset'),
    () => OK,
  ),
  HGET: reads(3, get, ([r]) => textOf(r?.entries?.[0])),
  HMGET: reads(-3, get, ([r]) => (r?.entries ?? []).map(textOf)),
  HEXISTS: reads(3, get, ([r]) => (r?.entries?.[0]?.found ? 1 : 0)),
  HSTRLEN: reads(3, get, ([r]) => textOf(r?.entries?.[0])?.length ?? 0),
  HDEL: deletes(
    -3,
    (a) => [{ hashDelete: pb.HashDelete.create({ key: at(a, 1), fields: a.slice(2) }) }],
    ([r]) => Number(r?.integer ?? 0),
  ),
  HLEN: asks(2, async (o, a) => (await sized(o, at(a, 1), 'hash')).size),
  HINCRBY: changes(4, increment),
  HINCRBYFLOAT: changes(4, incrementByFloat),
  HSETNX: changes(4, setIfNone),
  HGETALL: asks(2, async (o, a) => new Pairs([...(await all(o, a))].map(([n, v]) => [bytes(n), v] as const))),
  HKEYS: asks(2, async (o, a) => [...(await all(o, a)).keys()].map(bytes)),
  HVALS: asks(2, async (o, a) => [...(await all(o, a)).values()]),
  HRANDFIELD: asks(-2, randomField),
};

/** Of a collection that need not be read. Asking for a member of another kind says WRONGTYPE. */
export async function sized(overlay: Overlay, key: Buffer, kind: 'hash' | 'set' | 'zset') {
  await overlay.expectKind(key, kind);
  return overlay.look(key);
}
