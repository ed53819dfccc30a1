// Ranges of a sorted set: by rank, by score, by name. Pure, on pairs in order of (score, name).
import { at, word } from './command.ts';
import type { Overlay } from './overlay.ts';
import { Double, RedisError, type Reply, Scored } from './reply.ts';
import { slice } from './strings.ts';
import { integer, parseFloat64, syntax } from './values.ts';

/** Name as latin1, so that it sorts by bytes. */
export type Pair = [name: string, score: number];

export async function sortedPairs(overlay: Overlay, key: Buffer): Promise<Pair[]> {
  const pairs = [...((await overlay.all(key, 'zset')) as Map<string, number>)];
  return pairs.sort(inOrder);
}

export const shownPairs = (pairs: readonly Pair[], withScores: boolean): Reply => {
  const named = pairs.map(([name, score]) => [Buffer.from(name, 'latin1'), new Double(score)] as const);
  return withScores ? new Scored(named) : named.map(([name]) => name);
};

export const inOrder = ([a, x]: Pair, [b, y]: Pair): number => x - y || (a < b ? -1 : a > b ? 1 : 0);

export interface Bounds<T> {
  readonly min: T;
  readonly max: T;
  readonly isMinOpen: boolean;
  readonly isMaxOpen: boolean;
}

export function scoreRange(min: Buffer, max: Buffer): Bounds<number> {
  const parse = (bytes: Buffer): [number, boolean] => {
    const isOpen = bytes[0] === OPEN;
    const value = parseFloat64(isOpen ? bytes.subarray(1) : bytes);
    if (value === undefined) throw new RedisError('ERR min or max is not a float');
    return [value, isOpen];
  };
  const [low, isMinOpen] = parse(min);
  const [high, isMaxOpen] = parse(max);
  return { min: low, max: high, isMinOpen, isMaxOpen };
}

const [OPEN, CLOSED, MINUS, PLUS] = [40, 91, 45, 43];

/** null is beyond everything: `-` below, `+` above. */
export function lexRange(min: Buffer, max: Buffer): Bounds<string | typeof LOWEST | typeof HIGHEST> {
  const parse = (bytes: Buffer): [string | typeof LOWEST | typeof HIGHEST, boolean] => {
    if (bytes.length === 1 && bytes[0] === MINUS) return [LOWEST, false];
    if (bytes.length === 1 && bytes[0] === PLUS) return [HIGHEST, false];
    if (bytes[0] !== OPEN && bytes[0] !== CLOSED)
      throw new RedisError('ERR min or max not valid string range item');
    return [bytes.toString('latin1', 1), bytes[0] === OPEN];
  };
  const [low, isMinOpen] = parse(min);
  const [high, isMaxOpen] = parse(max);
  return { min: low, max: high, isMinOpen, isMaxOpen };
}

const LOWEST = Symbol('lowest');
const HIGHEST = Symbol('highest');

export const byScore = (pairs: Pair[], { min, max, isMinOpen, isMaxOpen }: Bounds<number>): Pair[] =>
  pairs.filter(
    ([, score]) => (isMinOpen ? score > min : score >= min) && (isMaxOpen ? score < max : score <= max),
  );

export function byLex(
  pairs: Pair[],
  { min, max, isMinOpen, isMaxOpen }: ReturnType<typeof lexRange>,
): Pair[] {
  return pairs.filter(([name]) => {
    const isAbove = typeof min === 'string' ? (isMinOpen ? name > min : name >= min) : min === LOWEST;
    const isBelow = typeof max === 'string' ? (isMaxOpen ? name < max : name <= max) : max === HIGHEST;
    return isAbove && isBelow;
  });
}

export function byRank(pairs: Pair[], start: number, end: number): Pair[] {
  const [from, to] = slice(pairs.length, start, end);
  return pairs.slice(from, to);
}

export interface RangeTerms {
  readonly by?: 'SCORE' | 'LEX';
  readonly isReverse?: boolean;
  /** One of the commands before ZRANGE took everything: BYSCORE, BYLEX and REV are not its words. */
  readonly isOld?: boolean;
  readonly isStored?: boolean;
}

interface Options {
  by: 'SCORE' | 'LEX' | undefined;
  isReverse: boolean;
  withScores: boolean;
  limit: [offset: number, count: number] | null;
}

function optionsOf(args: readonly Buffer[], terms: RangeTerms): Options {
  const options: Options = {
    by: terms.by,
    isReverse: terms.isReverse === true,
    withScores: false,
    limit: null,
  };
  for (let i = 4; i < args.length; i++) {
    const option = word(args[i]);
    if (option === 'WITHSCORES' && !terms.isStored) options.withScores = true;
    else if (option === 'LIMIT' && i + 2 < args.length) {
      options.limit = [integer(at(args, i + 1)), integer(at(args, i + 2))];
      i += 2;
    } else if (!terms.isOld && (option === 'BYSCORE' || option === 'BYLEX')) {
      options.by = option === 'BYSCORE' ? 'SCORE' : 'LEX';
    } else if (!terms.isOld && option === 'REV') options.isReverse = true;
    else throw syntax();
  }
  if (options.limit !== null && options.by === undefined) {
    throw new RedisError(
      'ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX',
    );
  }
  if (options.withScores && options.by === 'LEX') {
    throw new RedisError('ERR syntax error, WITHSCORES not supported in combination with BYLEX');
  }
  return options;
}

/** `name key from to [options]`: every form of ZRANGE. */
export async function ranged(
  overlay: Overlay,
  args: readonly Buffer[],
  terms: RangeTerms,
): Promise<{ pairs: Pair[]; withScores: boolean }> {
  const { by, isReverse, withScores, limit } = optionsOf(args, terms);
  const [first, second] = [at(args, 2), at(args, 3)];
  // By score and by name a reversed range names its upper end first.
  const [min, max] = isReverse ? [second, first] : [first, second];
  const choose =
    by === 'SCORE'
      ? bounded(byScore, scoreRange(min, max))
      : by === 'LEX'
        ? bounded(byLex, lexRange(min, max))
        : ranks(integer(first), integer(second));
  const all = await sortedPairs(overlay, at(args, 1));
  let pairs = by === undefined ? choose(isReverse ? all.reverse() : all) : choose(all);
  if (by !== undefined && isReverse) pairs = pairs.reverse();
  if (limit !== null) {
    const [offset, count] = limit;
    pairs = offset < 0 ? [] : pairs.slice(offset, count < 0 ? undefined : offset + count);
  }
  return { pairs, withScores };
}

const bounded =
  <B>(choose: (pairs: Pair[], bounds: B) => Pair[], bounds: B) =>
  (pairs: Pair[]) =>
    choose(pairs, bounds);
const ranks = (start: number, end: number) => (pairs: Pair[]) => byRank(pairs, start, end);
