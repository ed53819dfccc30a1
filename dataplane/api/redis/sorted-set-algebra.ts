// Unions, intersections and differences of sorted sets; sets count as sorted sets with score 1.
import { ALL, asks, at, changes, type Table, word } from './command.ts';
import type { Overlay } from './overlay.ts';
import { RedisError, type Reply } from './reply.ts';
import { counted, countLimit } from './sets.ts';
import { inOrder, type Pair, shownPairs } from './sorted-set-ranges.ts';
import { parseFloat64, syntax, wrongType } from './values.ts';

type Scores = ReadonlyMap<string, number>;
type Way = 'union' | 'intersection' | 'difference';

interface Terms {
  readonly weights: readonly number[];
  readonly aggregate: string;
  readonly withScores: boolean;
}

function termsOf(rest: readonly Buffer[], keys: readonly Buffer[], way: Way, isStored: boolean): Terms {
  let weights: readonly number[] = keys.map(() => 1);
  let aggregate = 'SUM';
  let withScores = false;
  for (let i = 0; i < rest.length; i++) {
    const option = word(rest[i]);
    if (option === 'WITHSCORES' && !isStored) withScores = true;
    else if (option === 'WEIGHTS' && way !== 'difference' && rest.length - i > keys.length) {
      weights = rest.slice(i + 1, i + 1 + keys.length).map(weight);
      i += keys.length;
    } else if (option === 'AGGREGATE' && way !== 'difference' && /^(SUM|MIN|MAX)$/.test(word(rest[i + 1]))) {
      aggregate = word(rest[++i]);
    } else throw syntax();
  }
  return { weights, aggregate, withScores };
}

function weight(bytes: Buffer): number {
  const value = parseFloat64(bytes);
  if (value === undefined) throw new RedisError('ERR weight value is not a float');
  return value;
}

async function scoresOf(overlay: Overlay, key: Buffer): Promise<Scores> {
  const { kind } = await overlay.look(key);
  if (kind === null) return new Map();
  if (kind === 'zset') return (await overlay.all(key, 'zset')) as Map<string, number>;
  if (kind !== 'set') throw wrongType();
  return new Map([...(await overlay.all(key, 'set')).keys()].map((name) => [name, 1]));
}

/** Infinities of both signs cancel out, as in Redis. */
function aggregated(how: string, a: number, b: number): number {
  if (how === 'MIN') return Math.min(a, b);
  if (how === 'MAX') return Math.max(a, b);
  const sum = a + b;
  return Number.isNaN(sum) ? 0 : sum;
}

const weighted = (score: number, weight: number): number => {
  const value = score * weight;
  return Number.isNaN(value) ? 0 : value;
};

function combine(sets: readonly Scores[], { weights, aggregate }: Terms, way: Way): Pair[] {
  const [first = new Map<string, number>(), ...others] = sets;
  if (way === 'difference') {
    return [...first].filter(([name]) => !others.some((set) => set.has(name))).sort(inOrder);
  }
  const result = new Map<string, number>();
  for (const [i, set] of sets.entries()) {
    for (const [name, score] of set) {
      if (way === 'intersection' && !sets.every((other) => other.has(name))) continue;
      const value = weighted(score, weights[i] ?? 1);
      const before = result.get(name);
      result.set(name, before === undefined ? value : aggregated(aggregate, before, value));
    }
  }
  return [...result].sort(inOrder);
}

/** As in Redis, keys of the wrong kind are found before options that are wrong. */
async function combined(overlay: Overlay, args: readonly Buffer[], index: number, way: Way) {
  const { keys, rest } = counted(args, index);
  const sets: Scores[] = [];
  for (const key of keys) sets.push(await scoresOf(overlay, key));
  const terms = termsOf(rest, keys, way, index > 1);
  return { pairs: combine(sets, terms, way), withScores: terms.withScores };
}

const shown = (way: Way) =>
  asks(
    -3,
    async (o, a): Promise<Reply> => {
      const { pairs, withScores } = await combined(o, a, 1, way);
      return shownPairs(pairs, withScores);
    },
    [2, -1, 1],
  );

const stored = (way: Way) =>
  changes(
    -4,
    async (o, a): Promise<Reply> => {
      const { pairs } = await combined(o, a, 2, way);
      await o.replaceAll(at(a, 1), 'zset', new Map(pairs));
      return pairs.length;
    },
    ALL,
  );

async function intersectionCount(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const { keys, rest } = counted(args, 1);
  const limit = countLimit(rest);
  const sets: Scores[] = [];
  for (const key of keys) sets.push(await scoresOf(overlay, key));
  const terms = { weights: [], aggregate: 'SUM', withScores: false };
  const { length } = combine(sets, terms, 'intersection');
  return Math.min(limit, length);
}

export const COMBINED: Table = {
  ZUNION: shown('union'),
  ZINTER: shown('intersection'),
  ZDIFF: shown('difference'),
  ZUNIONSTORE: stored('union'),
  ZINTERSTORE: stored('intersection'),
  ZDIFFSTORE: stored('difference'),
  ZINTERCARD: asks(-3, intersectionCount, [2, -1, 1]),
};
