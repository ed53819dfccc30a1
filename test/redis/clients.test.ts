// Clients of other people's making, unchanged: ioredis, node-redis, redis-cli, redis-benchmark, redis-py and
// django-redis. scripts/peers.sh installs those that do not come with npm.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const PYTHON = fileURLToPath(new URL('../../.peers/bin/python', import.meta.url));
const hasCli = spawnSync('redis-cli', ['--version']).status === 0;
const hasPython = existsSync(PYTHON);
const without = (has: boolean, what: string) =>
  has ? '' : ` (skipped: ${what} is missing, run scripts/peers.sh)`;

// A process of its own: what runs here waits synchronously for programs that ask it.
let server: ServerProcess;
beforeAll(async () => {
  server = await startServerProcess({ redisPort: 0 });
});
afterAll(() => server.kill('SIGTERM'));

const run = (program: string, args: string[], input?: string) => {
  const { stdout, stderr, status } = spawnSync(program, args, { input, encoding: 'utf8', timeout: 60_000 });
  return { stdout, stderr, status };
};

test('ioredis: values, pipelines, transactions with WATCH, scans, binary data', async () => {
  const redis = new Redis({ port: server.redisPort, lazyConnect: true });
  await redis.connect();
  try {
    expect(await redis.set('io:a', 'x', 'EX', 100)).toBe('OK');
    expect(await redis.get('io:a')).toBe('x');
    expect(await redis.ttl('io:a')).toBeGreaterThan(90);
    const bytes = Buffer.from([0, 255, 13, 10]);
    await redis.set('io:bin', bytes);
    expect(await redis.getBuffer('io:bin')).toEqual(bytes);
    await redis.hset('io:h', { f: '1', g: '2' });
    expect(await redis.hgetall('io:h')).toEqual({ f: '1', g: '2' });
    expect(await redis.pipeline().incr('io:n').incr('io:n').zadd('io:z', 1, 'm').exec()).toEqual([
      [null, 1],
      [null, 2],
      [null, 1],
    ]);
    await redis.watch('io:n');
    expect(await redis.multi().incr('io:n').get('io:n').exec()).toEqual([
      [null, 3],
      [null, '3'],
    ]);
    const keys: string[] = [];
    for await (const page of redis.scanStream({ match: 'io:*', count: 2 })) keys.push(...(page as string[]));
    expect(keys.sort()).toEqual(['io:a', 'io:bin', 'io:h', 'io:n', 'io:z']);
    await expect(redis.lpush('io:l', 'x')).rejects.toThrow(/unknown command 'lpush'/);
  } finally {
    redis.disconnect();
  }
});

test('node-redis: RESP3, typed replies, transactions, iterators', async () => {
  const redis = createClient({ socket: { port: server.redisPort }, RESP: 3 });
  await redis.connect();
  try {
    await redis.set('nr:a', '1', { expiration: { type: 'EX', value: 50 } });
    expect(await redis.incrBy('nr:a', 41)).toBe(42);
    await redis.hSet('nr:h', { f: 'v' });
    expect({ ...(await redis.hGetAll('nr:h')) }).toEqual({ f: 'v' });
    await redis.zAdd('nr:z', [
      { score: 1.5, value: 'a' },
      { score: 2, value: 'b' },
    ]);
    expect(await redis.zRangeWithScores('nr:z', 0, -1)).toEqual([
      { value: 'a', score: 1.5 },
      { value: 'b', score: 2 },
    ]);
    await redis.sAdd('nr:s', ['x', 'y']);
    expect([...(await redis.sMembers('nr:s'))].sort()).toEqual(['x', 'y']);
    expect(await redis.multi().set('nr:b', 'x').get('nr:b').exec()).toEqual(['OK', 'x']);
    const keys: string[] = [];
    for await (const page of redis.scanIterator({ MATCH: 'nr:*' })) keys.push(...page);
    expect(keys.sort()).toEqual(['nr:a', 'nr:b', 'nr:h', 'nr:s', 'nr:z']);
  } finally {
    redis.destroy();
  }
});

test.skipIf(!hasCli)(
  `redis-cli: one shot, and a script on standard input${without(hasCli, 'redis-cli')}`,
  () => {
    const port = String(server.redisPort);
    expect(run('redis-cli', ['-p', port, 'SET', 'cli', 'x'])).toMatchObject({ stdout: 'OK\n', status: 0 });
    const script = 'HSET cli:h f v\nHGETALL cli:h\nTYPE cli:h\nNOSUCH\n';
    const { stdout } = run('redis-cli', ['-3', '-p', port], script);
    expect(stdout).toMatch(/^1\nf v\nhash\nERR unknown command 'NOSUCH'/);
    expect(run('redis-cli', ['-p', port, '--scan', '--pattern', 'cli*']).stdout.split('\n').sort()).toEqual([
      '',
      'cli',
      'cli:h',
    ]);
  },
);

test.skipIf(!hasCli)(`redis-benchmark runs through${without(hasCli, 'redis-benchmark')}`, () => {
  const args = ['-p', String(server.redisPort), '-n', '500', '-c', '10', '-P', '4', '-r', '1000', '--csv'];
  const { stdout, status } = run('redis-benchmark', [
    ...args,
    '-t',
    'ping_mbulk,set,get,incr,sadd,hset,spop,zadd,zpopmin,mset',
  ]);
  expect(status).toBe(0);
  const names = stdout.split('\n').map((line) => line.split(',')[0]);
  expect(names).toEqual(expect.arrayContaining(['"SET"', '"GET"', '"INCR"', '"SADD"', '"HSET"', '"ZADD"']));
});

test.skipIf(!hasPython)(`redis-py: values, pipelines, WATCH, scans${without(hasPython, 'redis-py')}`, () => {
  const script = `
import redis
r = redis.Redis(port=${server.redisPort}, decode_responses=True, protocol=3)
assert r.set('py:a', 'x', ex=100) and r.get('py:a') == 'x' and 90 < r.ttl('py:a') <= 100
assert r.hset('py:h', mapping={'f': 1, 'g': 2}) == 2 and r.hgetall('py:h') == {'f': '1', 'g': '2'}
assert r.zadd('py:z', {'a': 1, 'b': 2.5}) == 2
assert [tuple(p) for p in r.zrange('py:z', 0, -1, withscores=True)] == [('a', 1.0), ('b', 2.5)]
assert r.sadd('py:s', 'x', 'y') == 2 and r.smembers('py:s') == {'x', 'y'}
with r.pipeline() as p:
    p.watch('py:n')
    p.multi()
    p.incr('py:n')
    p.incr('py:n')
    assert p.execute() == [1, 2]
assert sorted(r.scan_iter('py:*')) == ['py:a', 'py:h', 'py:n', 'py:s', 'py:z']
lock = r.set('py:lock', 'me', nx=True, px=1000)
assert lock and not r.set('py:lock', 'you', nx=True)
assert r.info()['redis_version'] and r.dbsize() >= 6
try:
    r.lpush('py:l', 1)
    raise SystemExit('lpush must be refused')
except redis.ResponseError as error:
    assert 'unknown command' in str(error)
print('fine')
`;
  expect(run(PYTHON, ['-c', script])).toMatchObject({ stdout: 'fine\n', stderr: '' });
});

test.skipIf(!hasPython)(
  `django-redis: the cache of a Django project${without(hasPython, 'django-redis')}`,
  () => {
    const script = `
from django.conf import settings
settings.configure(CACHES={'default': {
    'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': 'redis://127.0.0.1:${server.redisPort}/1'}})
import django
django.setup()
from django.core.cache import cache
cache.set('a', {'n': [1, 2]}, timeout=100)
assert cache.get('a') == {'n': [1, 2]} and 90 < cache.ttl('a') <= 100
assert cache.add('b', 1) and not cache.add('b', 2)
cache.set_many({'c': 1, 'd': 2})
assert cache.get_many(['c', 'd', 'none']) == {'c': 1, 'd': 2}
assert cache.has_key('c') and cache.touch('c', 50) and cache.ttl('c') <= 50
assert sorted(cache.keys('*')) == ['a', 'b', 'c', 'd']
assert cache.delete_many(['a', 'b']) == 2 and cache.delete_pattern('*') == 2
assert cache.get('c') is None
print('fine')
`;
    expect(run(PYTHON, ['-c', script])).toMatchObject({ stdout: 'fine\n', stderr: '' });
  },
);
