// Commands on sorted sets. https://redis.io/docs/latest/commands/?group=sorted-set
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { asks, at, type Clock, changes, deletes, puts, reads, type Table, word } from './command.ts';
import { PICKS_MAX, picked, sized } from './hashes.ts';
import type { Overlay } from './overlay.ts';
import { Double, RedisError, type Reply, Scored } from './reply.ts';
import { COMBINED } from './sorted-set-algebra.ts';
import {
  byLex,
  byRank,
  byScore,
  lexRange,
  type Pair,
  ranged,
  scoreRange,
  shownPairs,
  sortedPairs,
} from './sorted-set-ranges.ts';
import { float, integer, parseFloat64, syntax } from './values.ts';

const number = ([result]: readonly pb.KvResultInput[]) => Number(result?.integer ?? 0);
const bytes = (name: string) => Buffer.from(name, 'latin1');
const scores = (args: readonly Buffer[]) => [
  { sortedSetScore: pb.SortedSetScore.create({ key: at(args, 1), members: args.slice(2) }) },
];
const scoreOf = (entry: pb.KvEntryInput | undefined): Reply =>
  entry?.found ? new Double(Number(entry.score ?? 0)) : null;
const load = (overlay: Overlay, key: Buffer) => sortedPairs(overlay, key);

interface AddTerms {
  readonly flags: ReadonlySet<string>;
  readonly pairs: readonly { member: Buffer; score: number }[];
}

function addTerms(args: readonly Buffer[]): AddTerms {
  const flags = new Set<string>();
  let i = 2;
  while (i < args.length && /^(NX|XX|GT|LT|CH|INCR)$/.test(word(args[i]))) flags.add(word(args[i++]));
  const left = args.length - i;
  if (left === 0 || left % 2 !== 0) throw syntax();
  if (flags.has('NX') && flags.has('XX')) {
    throw new RedisError('ERR XX and NX options at the same time are not compatible');
  }
  const bounds = ['GT', 'LT', 'NX'].filter((flag) => flags.has(flag)).length;
  if (bounds > 1) throw new RedisError('ERR GT, LT, and/or NX options at the same time are not compatible');
  if (flags.has('INCR') && left > 2)
    throw new RedisError('ERR INCR option supports a single increment-element pair');
  const pairs: { member: Buffer; score: number }[] = [];
  for (; i < args.length; i += 2) pairs.push({ score: float(at(args, i)), member: at(args, i + 1) });
  return { flags, pairs };
}

const hasAddFlags = (args: readonly Buffer[]): boolean => /^(NX|XX|GT|LT|CH|INCR)$/.test(word(args[2]));

function plainAdd(args: readonly Buffer[]): pb.KvOpInput[] {
  const members = addTerms(args).pairs.map((pair) => pb.ScoredMember.create(pair));
  return [{ sortedSetAdd: pb.SortedSetAdd.create({ key: at(args, 1), members }) }];
}

async function add(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const { flags, pairs } = addTerms(args);
  let [added, changed] = [0, 0];
  let last: Reply = null;
  for (const { member, score } of pairs) {
    const before = (await overlay.member(at(args, 1), 'zset', member)) as number | undefined;
    const after = flags.has('INCR') ? (before ?? 0) + score : score;
    if (Number.isNaN(after)) throw new RedisError('ERR resulting score is not a number (NaN)');
    const isKept =
      (flags.has('NX') && before !== undefined) ||
      (flags.has('XX') && before === undefined) ||
      (flags.has('GT') && before !== undefined && after <= before) ||
      (flags.has('LT') && before !== undefined && after >= before);
    last = isKept ? null : new Double(after);
    if (isKept) continue;
    if (before === undefined) added++;
    else if (before !== after) changed++;
    if (before !== after) await overlay.setMember(at(args, 1), 'zset', member, after);
  }
  if (flags.has('INCR')) return last;
  return flags.has('CH') ? added + changed : added;
}

async function incrementBy(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const by = parseFloat64(at(args, 2));
  if (by === undefined) throw new RedisError('ERR value is not a valid float');
  const before = ((await overlay.member(at(args, 1), 'zset', at(args, 3))) ?? 0) as number;
  if (Number.isNaN(before + by)) throw new RedisError('ERR resulting score is not a number (NaN)');
  await overlay.setMember(at(args, 1), 'zset', at(args, 3), before + by);
  return new Double(before + by);
}

const rank = (isReverse: boolean) =>
  asks(-3, async (o, a) => {
    const hasScore = a.length === 4 && word(a[3]) === 'WITHSCORE';
    if (a.length > 3 && !hasScore) throw syntax();
    const pairs = await load(o, at(a, 1));
    const name = at(a, 2).toString('latin1');
    const index = pairs.findIndex(([member]) => member === name);
    if (index === -1) return null;
    const place = isReverse ? pairs.length - 1 - index : index;
    return hasScore ? [place, new Double((pairs[index] as Pair)[1])] : place;
  });

const pop = (isMax: boolean) =>
  changes(-2, async (o, a) => {
    if (a.length > 3) throw syntax();
    const count = a.length === 3 ? integer(at(a, 2)) : 1;
    if (count < 0) throw new RedisError('ERR value is out of range, must be positive');
    const pairs = await load(o, at(a, 1));
    const chosen = (isMax ? pairs.reverse() : pairs).slice(0, count);
    for (const [name] of chosen) await o.setMember(at(a, 1), 'zset', bytes(name), undefined);
    const shown = chosen.map(([name, score]) => [bytes(name), new Double(score)] as const);
    return a.length === 3 ? new Scored(shown) : (shown[0] ?? []);
  });

/** `choose` looks at the arguments before anything is read. */
const removing = (choose: (args: readonly Buffer[]) => (pairs: Pair[]) => Pair[]) =>
  changes(4, async (o, a) => {
    const inRange = choose(a);
    const chosen = inRange(await load(o, at(a, 1)));
    for (const [name] of chosen) await o.setMember(at(a, 1), 'zset', bytes(name), undefined);
    return chosen.length;
  });

async function random(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  if (args.length > 4 || (args.length === 4 && word(args[3]) !== 'WITHSCORES')) throw syntax();
  const count = args.length > 2 ? integer(at(args, 2)) : 1;
  if (count < -PICKS_MAX) throw new RedisError('ERR value is out of range');
  const chosen = picked(await load(overlay, at(args, 1)), count, clock.random);
  if (args.length === 2) return chosen[0] === undefined ? null : bytes(chosen[0][0]);
  if (args.length === 3) return chosen.map(([name]) => bytes(name));
  return shownPairs(chosen, true);
}

async function storeRange(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const { pairs } = await ranged(overlay, args.slice(1), { isStored: true });
  await overlay.replaceAll(at(args, 1), 'zset', new Map(pairs));
  return pairs.length;
}

const range = (arity: number, more: Parameters<typeof ranged>[2]) =>
  asks(arity, async (o, a) => {
    const { pairs, withScores } = await ranged(o, a, more);
    return shownPairs(pairs, withScores);
  });

export const SORTED_SETS: Table = {
  ZADD: { ...puts(-4, plainAdd, number), otherwise: { when: hasAddFlags, command: changes(-4, add) } },
  ZREM: deletes(
    -3,
    (a) => [{ sortedSetRemove: pb.SortedSetRemove.create({ key: at(a, 1), members: a.slice(2) }) }],
    number,
  ),
  ZSCORE: reads(3, scores, ([r]) => scoreOf(r?.entries?.[0])),
  ZMSCORE: reads(-3, scores, ([r]) => (r?.entries ?? []).map(scoreOf)),
  ZCARD: asks(2, async (o, a) => (await sized(o, at(a, 1), 'zset')).size),
  ZINCRBY: changes(4, incrementBy),
  ZRANK: rank(false),
  ZREVRANK: rank(true),
  ZCOUNT: asks(4, async (o, a) => {
    const wanted = scoreRange(at(a, 2), at(a, 3));
    return byScore(await load(o, at(a, 1)), wanted).length;
  }),
  ZLEXCOUNT: asks(4, async (o, a) => {
    const wanted = lexRange(at(a, 2), at(a, 3));
    return byLex(await load(o, at(a, 1)), wanted).length;
  }),
  ZRANGE: range(-4, {}),
  ZREVRANGE: range(-4, { isReverse: true, isOld: true }),
  ZRANGEBYSCORE: range(-4, { by: 'SCORE', isOld: true }),
  ZREVRANGEBYSCORE: range(-4, { by: 'SCORE', isReverse: true, isOld: true }),
  ZRANGEBYLEX: range(-4, { by: 'LEX', isOld: true }),
  ZREVRANGEBYLEX: range(-4, { by: 'LEX', isReverse: true, isOld: true }),
  ZRANGESTORE: changes(-5, storeRange, [1, 2, 1]),
  ZPOPMIN: pop(false),
  ZPOPMAX: pop(true),
  ZREMRANGEBYRANK: removing((a) => {
    const [start, end] = [integer(at(a, 2)), integer(at(a, 3))];
    return (pairs) => byRank(pairs, start, end);
  }),
  ZREMRANGEBYSCORE: removing((a) => {
    const wanted = scoreRange(at(a, 2), at(a, 3));
    return (pairs) => byScore(pairs, wanted);
  }),
  ZREMRANGEBYLEX: removing((a) => {
    const wanted = lexRange(at(a, 2), at(a, 3));
    return (pairs) => byLex(pairs, wanted);
  }),
  ZRANDMEMBER: asks(-2, random),
  ...COMBINED,
};
