// Random commands for the comparison with Redis: few keys, members and values, so that they meet.
import fc from 'fast-check';

export type Args = (string | number)[];

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const member = fc.constantFrom('m', 'n', 'o', 'p', '', '\xff\x00', '10');
const value = fc.constantFrom(
  '',
  'x',
  'hello',
  '10',
  '-3',
  '3.5',
  '9223372036854775807',
  ' 1',
  '1e2',
  '\x00\xfe',
  'inf',
);
const int = fc.constantFrom('0', '1', '-1', '2', '-2', '5', '100', 'x', '9223372036854775807', '1.5', '');
const index = fc.integer({ min: -6, max: 6 }).map(String);
const score = fc.constantFrom('0', '1', '-1', '2.5', '1', '3', '+inf', '-inf', '1e3', 'nan', 'x');
const bound = fc.oneof(
  score,
  score.map((text) => `(${text}`),
);
const lex = fc.constantFrom('-', '+', '[m', '(m', '[o', '(p', '[', 'bad', '(\xff\x00');
/** By name only members of one score are in order: these keys have no others. */
const lexKey = fc.constantFrom('y', 'z');
const seconds = fc.constantFrom('100', '1000', '-1', '0', 'x', '9223372036854775807');
/** Nothing expires while a test runs: one of the two would see it first. */
const millis = fc.constantFrom('100000', '1000000', '-1', '0', 'x', '9223372036854775807');
const keys = fc.array(key, { minLength: 1, maxLength: 3 });
const members = fc.array(member, { minLength: 1, maxLength: 4 });
const sometimes = (...words: string[]) => fc.subarray(words, { maxLength: Math.min(3, words.length) });

type Part = fc.Arbitrary<string | readonly string[]>;
const command = (name: string, ...parts: Part[]): fc.Arbitrary<Args> =>
  fc.tuple(...parts).map((given) => [name, ...given.flat()]);
const pairs = (a: fc.Arbitrary<string>, b: fc.Arbitrary<string>) =>
  fc.array(fc.tuple(a, b), { minLength: 1, maxLength: 3 }).map((all) => all.flat());
const numbered = (more: Part = fc.constant([])) =>
  fc
    .tuple(keys, more)
    .map(([all, rest]) => [String(all.length), ...all, ...(Array.isArray(rest) ? rest : [rest])]);
const limit = fc.oneof(fc.constant([]), fc.tuple(fc.constant('LIMIT'), index, index));
const aggregate = fc.oneof(
  fc.constant([]),
  fc.constantFrom(['AGGREGATE', 'MIN'], ['AGGREGATE', 'MAX'], ['WEIGHTS', '2']),
);

/** Answers are those of Redis to the byte, but for order where Redis promises none. */
export const commands: fc.Arbitrary<Args> = fc.oneof(
  command('SET', key, value, sometimes('NX', 'XX', 'GET', 'KEEPTTL')),
  command('SET', key, value, fc.constant(['EX']), seconds),
  ...[
    'GET',
    'GETDEL',
    'STRLEN',
    'INCR',
    'DECR',
    'TYPE',
    'PERSIST',
    'HGETALL',
    'HLEN',
    'SMEMBERS',
    'SCARD',
    'ZCARD',
    'TTL',
    'HKEYS',
    'HVALS',
  ].map((name) => command(name, key)),
  ...['GETSET', 'SETNX', 'APPEND'].map((name) => command(name, key, value)),
  command(
    'GETEX',
    key,
    fc.oneof(
      fc.constant([]),
      fc.constant('PERSIST'),
      fc.tuple(fc.constant('EX'), seconds),
      fc.tuple(fc.constant('PX'), millis),
    ),
  ),
  command('MSET', pairs(key, value)),
  command('MSETNX', pairs(key, value)),
  command('MGET', keys),
  ...['DEL', 'EXISTS', 'UNLINK', 'TOUCH'].map((name) => command(name, keys)),
  ...['GETRANGE', 'SUBSTR'].map((name) => command(name, key, index, index)),
  command('SETRANGE', key, fc.constantFrom('0', '1', '7', '-1', 'x'), value),
  ...['INCRBY', 'DECRBY'].map((name) => command(name, key, int)),
  command('INCRBYFLOAT', key, fc.constantFrom('0.1', '-2.25', '3', '1e2', 'x', '0')),
  command('EXPIRE', key, seconds, sometimes('NX', 'XX', 'GT', 'LT')),
  command('PEXPIRE', key, millis, sometimes('NX', 'XX', 'GT', 'LT')),
  ...['RENAME', 'RENAMENX'].map((name) => command(name, key, key)),
  command('COPY', key, key, sometimes('REPLACE')),
  command('HSET', key, pairs(member, value)),
  command('HSETNX', key, member, value),
  ...['HGET', 'HEXISTS', 'HSTRLEN'].map((name) => command(name, key, member)),
  ...['HMGET', 'HDEL', 'SADD', 'SREM', 'SMISMEMBER', 'ZREM', 'ZMSCORE'].map((name) =>
    command(name, key, members),
  ),
  command('HINCRBY', key, member, int),
  command('HINCRBYFLOAT', key, member, fc.constantFrom('0.1', '2', '-1.5', 'x')),
  command('SISMEMBER', key, member),
  command('SMOVE', key, key, member),
  ...['SUNION', 'SINTER', 'SDIFF'].map((name) => command(name, keys)),
  ...['SUNIONSTORE', 'SINTERSTORE', 'SDIFFSTORE'].map((name) => command(name, key, keys)),
  command('SINTERCARD', numbered(fc.constantFrom([], ['LIMIT', '1'], ['LIMIT', '-1']))),
  command('ZADD', key, sometimes('NX', 'XX', 'GT', 'LT', 'CH', 'INCR'), pairs(score, member)),
  command('ZADD', key, pairs(score, member)),
  command('ZINCRBY', key, score, member),
  ...['ZSCORE', 'ZRANK', 'ZREVRANK'].map((name) => command(name, key, member)),
  command('ZCOUNT', key, bound, bound),
  command('ZADD', lexKey, pairs(fc.constant('0'), member)),
  command('ZLEXCOUNT', lexKey, lex, lex),
  command('ZRANGE', key, index, index, sometimes('WITHSCORES', 'REV')),
  command('ZRANGE', key, bound, bound, fc.constant('BYSCORE'), sometimes('WITHSCORES', 'REV'), limit),
  command('ZRANGE', lexKey, lex, lex, fc.constant('BYLEX'), sometimes('REV'), limit),
  command('ZREVRANGE', key, index, index, sometimes('WITHSCORES')),
  ...['ZRANGEBYSCORE', 'ZREVRANGEBYSCORE'].map((name) =>
    command(name, key, bound, bound, sometimes('WITHSCORES'), limit),
  ),
  ...['ZRANGEBYLEX', 'ZREVRANGEBYLEX'].map((name) => command(name, lexKey, lex, lex, limit)),
  command('ZRANGESTORE', key, key, index, index),
  ...['ZPOPMIN', 'ZPOPMAX'].map((name) => command(name, key, fc.constantFrom([], '1', '2', '-1'))),
  command('ZREMRANGEBYRANK', key, index, index),
  command('ZREMRANGEBYSCORE', key, bound, bound),
  command('ZREMRANGEBYLEX', lexKey, lex, lex),
  ...['ZUNION', 'ZINTER'].map((name) => command(name, numbered(aggregate), sometimes('WITHSCORES'))),
  command('ZDIFF', numbered(), sometimes('WITHSCORES')),
  ...['ZUNIONSTORE', 'ZINTERSTORE'].map((name) => command(name, key, numbered(aggregate))),
  command('ZDIFFSTORE', key, numbered()),
  command('ZINTERCARD', numbered(fc.constantFrom([], ['LIMIT', '1']))),
  command('NOSUCH', key),
  command('GET'),
);

/** Redis promises no order of these. */
const UNORDERED = /^(SMEMBERS|SUNION|SINTER|SDIFF|HKEYS|HVALS|HGETALL)$/;

export function isUnordered(name: string): boolean {
  return UNORDERED.test(name);
}
