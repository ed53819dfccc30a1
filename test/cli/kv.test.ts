// flowmesh kv: values arrive and leave byte for byte, tables and JSON say the same.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { type Answers, flowmesh, noonMs, type Ran, received } from './support.ts';

/** A server that gives this result to whatever operation, or these one after another. */
const giving = (...results: pb.KvResultInput[]): Answers => {
  const left = [...results];
  return {
    execute: () =>
      received(pb.KvResponse, { results: [(left.length > 1 ? left.shift() : left[0]) ?? {}] }) as unknown,
  };
};
const found = (value: string | Uint8Array, contentType = 'text/plain') =>
  giving({ found: true, value: Buffer.from(value), contentType, revision: 7, ttlMs: 1500 });
const opOf = ({ calls: [first] }: Ran) => (first?.[1]['ops'] as unknown[] | undefined)?.[0];

const binary = Uint8Array.of(0, 255, 10, 27, 91, 50, 74);

test('get writes to a pipe what is stored, byte for byte', async () => {
  expect((await flowmesh('kv get k', found(binary))).bytes).toEqual(Buffer.from(binary));
  expect((await flowmesh('kv get k', found('no newline'))).out).toBe('no newline');
  const field = giving({ entries: [{ name: Buffer.from('f'), value: binary, found: true }] });
  expect((await flowmesh('kv hget k f', field)).bytes).toEqual(Buffer.from(binary));
});

test('get shows a terminal text on its lines, and nothing that it would obey', async () => {
  const screen = { tty: true };
  expect((await flowmesh('kv get k', found('a\nb'), screen)).out).toBe('a\nb\n');
  expect((await flowmesh('kv get k', found('\u001b[2J\u009b31m'), screen)).out).toBe('\\e[2J\\u009b31m\n');
  expect((await flowmesh('kv get k', found(binary), screen)).out).toBe('<7 bytes: 00 ff 0a 1b 5b 32 4a>\n');
  const field = giving({ entries: [{ value: Buffer.from('\u001bc'), found: true }] });
  expect((await flowmesh('kv hget k f', field, screen)).out).toBe('\\ec\n');
});

test.each([
  ['{"name":"Ada"}', 'application/json', { value: { name: 'Ada' } }],
  ['{"torn', 'application/json', { value: '{"torn' }],
  ['12', 'text/plain', { value: '12' }],
  [binary, 'application/octet-stream', { valueBase64: 'AP8KG1sySg==' }],
])('get -o json of %j', async (value, contentType, shown) => {
  const { out } = await flowmesh('kv get k -o json', found(value, contentType));
  expect(JSON.parse(out)).toEqual({ key: 'k', ...shown, contentType, revision: 7, ttlMs: 1500 });
});

test.each([
  ['{"a":1}', 'application/json'],
  [' [1]\n', 'application/json'],
  ['{"torn', 'text/plain'],
  ['12', 'text/plain'],
  ['', 'text/plain'],
])('set sends %j as it was typed or piped, as %s', async (value, contentType) => {
  const typed = await flowmesh(['kv', 'set', 'k', value], giving({ found: true, revision: 3 }));
  const piped = await flowmesh('kv set k', giving({ found: true, revision: 3 }), { stdin: value });
  for (const ran of [typed, piped]) {
    expect(opOf(ran)).toMatchObject({
      set: { key: Buffer.from('k'), value: Buffer.from(value), contentType },
    });
    expect(ran).toMatchObject({ code: 0, out: 'k set, revision 3\n' });
  }
});

test('a value that begins with a dash is a value if it is a number, or comes after --', async () => {
  for (const args of [
    ['k', '-5'],
    ['k', '-0.5'],
    ['--', 'k', '--ttl'],
    ['--', 'k', '-o'],
  ]) {
    const ran = await flowmesh(['kv', 'set', ...args], giving({ found: true, revision: 1 }));
    expect(opOf(ran)).toMatchObject({
      set: { key: Buffer.from('k'), value: Buffer.from(args.at(-1) ?? '') },
    });
  }
});

test('set passes on every condition, and says why it did not hold', async () => {
  const args = 'kv set k v --ttl 90s --if-revision 4 --type text/csv -k sessions';
  const ran = await flowmesh(args, giving({ found: false, revision: 5 }));
  expect(ran.calls[0]?.[1]).toMatchObject({
    keyspace: 'sessions',
    mutation: { producerId: 'test', seq: 1 },
    ops: [{ set: { ttlMs: 90_000, ifRevision: 4, contentType: 'text/csv' } }],
  });
  expect(ran).toMatchObject({ code: 1, out: '' });
  expect(ran.err).toBe('error: not set: the key has revision 5\n  nothing was changed\n');
  const absent = await flowmesh('kv set k v --if-present', giving({ found: false }));
  expect(absent.err).toContain('not set: there is no such key');
});

test('ls follows the cursor to the limit, shows a key once, and says that there are more', async () => {
  const page = (names: string[], cursor: string) => ({
    entries: names.map((name) => ({ name: Buffer.from(name), type: 'string' })),
    cursor: Buffer.from(cursor),
  });
  const pages = () => giving(page(['a', 'b'], 'x'), page(['b', 'c\u001b[2J'], 'y'), page(['d'], ''));
  const some = await flowmesh('kv ls --limit 3', pages());
  expect(some.out).toBe('KEY     TYPE\na       string\nb       string\nc\\e[2J  string\n');
  expect(some.err).toBe('more keys than 3; all of them: --limit 0\n');
  const all = JSON.parse((await flowmesh('kv ls --limit 0 -o json', pages())).out);
  expect(all).toEqual({
    keys: ['a', 'b', 'c\u001b[2J', 'd'].map((key) => ({ key, type: 'string' })),
    isComplete: true,
  });
});

test('del says what it deleted and what was not there; nothing at all is a failure', async () => {
  const some = await flowmesh('kv del a b', giving({ found: true }, { found: false }));
  expect(some).toMatchObject({ code: 0, out: 'a deleted\n', err: 'no such key: b\n' });
  const none = await flowmesh('kv del a b', giving({ found: false }));
  expect(none).toMatchObject({ code: 1, out: '', err: 'error: there is no key a, b\n' });
});

test.each([
  ['kv incr n', { increment: { delta: 1 } }, { integer: 5 }, '5\n'],
  ['kv incr n -5', { increment: { delta: -5 } }, { integer: -4 }, '-4\n'],
  ['kv expire k 1h30m', { expire: { ttlMs: 5_400_000 } }, { found: true }, 'k expires in 1h 30m\n'],
  ['kv expire k never', { expire: { ttlMs: 0 } }, { found: true }, 'k does not expire any more\n'],
  [
    'kv inspect k',
    { inspect: { key: Buffer.from('k') } },
    { found: true, type: 'hash', integer: 1200, revision: 9, ttlMs: -1 },
    'type      hash\nsize      1,200 fields\nrevision  9\nexpires   never\n',
  ],
  [
    'kv hset h a 1 b 2',
    { hashSet: { fields: [{ field: Buffer.from('a'), value: Buffer.from('1') }, {}] } },
    { integer: 1 },
    '2 set, 1 of them new\n',
  ],
  ['kv hincr h f 1.5', { hashIncrement: { number: 1.5 } }, { number: 2.5 }, '2.5\n'],
  ['kv hincr h f', { hashIncrement: { integer: 1 } }, { integer: 2 }, '2\n'],
  ['kv hdel h a b', { hashDelete: { fields: [{}, {}] } }, { integer: 1 }, '1 removed\n'],
  [
    'kv sadd s x y',
    { setAdd: { members: [Buffer.from('x'), Buffer.from('y')] } },
    { integer: 2 },
    '2 added\n',
  ],
  ['kv srem s x', { setRemove: { members: [Buffer.from('x')] } }, { integer: 0 }, '0 removed\n'],
  ['kv sismember s x', { setContains: { members: [{}] } }, { entries: [{ found: true }] }, '1\n'],
  ['kv sismember s x', { setContains: { members: [{}] } }, { entries: [{ found: false }] }, '0\n'],
  [
    'kv zadd z -1 low 2.5 high',
    { sortedSetAdd: { members: [{ member: Buffer.from('low'), score: -1 }, { score: 2.5 }] } },
    { integer: 2 },
    '2 added\n',
  ],
  ['kv zincr z m -0.5', { sortedSetIncrement: { delta: -0.5 } }, { number: 1.5 }, '1.5\n'],
  ['kv zscore z m', { sortedSetScore: {} }, { entries: [{ found: true, score: 3 }] }, '3\n'],
  [
    'kv zrange z --reverse --min -1 --max 5 --offset 2 --limit 7',
    { sortedSetRange: { reverse: true, minScore: -1, maxScore: 5, offset: 2, limit: 7 } },
    {
      entries: [
        { name: Buffer.from('日本'), score: 5 },
        { name: Buffer.from('b'), score: -0.25 },
      ],
    },
    'SCORE  MEMBER\n    5  日本\n-0.25  b\n',
  ],
  ['kv zrem z m', { sortedSetRemove: {} }, { integer: 1 }, '1 removed\n'],
])('%s', async (line, op, result, out) => {
  const ran = await flowmesh(line, giving(result));
  expect(opOf(ran)).toMatchObject(op);
  expect(ran).toMatchObject({ code: 0, out, err: '' });
});

test('collections are read to the end, and shown as they are stored', async () => {
  const page = (name: string | Uint8Array, cursor: string) => ({
    entries: [{ name: Buffer.from(name), value: Buffer.from('v\u0007') }],
    cursor: Buffer.from(cursor),
  });
  const scan = () => giving(page('a', 'x'), page(binary, ''));
  expect((await flowmesh('kv smembers s', scan())).out).toBe('a\n<7 bytes: 00 ff 0a 1b 5b 32 4a>\n');
  expect((await flowmesh('kv hgetall h', scan())).out).toBe(
    'FIELD                            VALUE\n' +
      'a                                v\\u0007\n' +
      '<7 bytes: 00 ff 0a 1b 5b 32 4a>  v\\u0007\n',
  );
  const json = async (line: string) => JSON.parse((await flowmesh(`${line} -o json`, scan())).out);
  const base64 = 'AP8KG1sySg==';
  expect(await json('kv hgetall h')).toMatchObject({ key: 'h', fields: { a: 'v\u0007' } });
  expect(await json('kv smembers s')).toEqual({ key: 's', members: ['a', { base64 }] });
  expect((await json('kv ls')).keys).toMatchObject([{ key: 'a' }, { keyBase64: base64 }]);
});

test.each([
  ['kv get k', 'there is no key k'],
  ['kv inspect k', 'there is no key k'],
  ['kv expire k 5s', 'there is no key k'],
  ['kv hgetall k', 'there is no key k'],
  ['kv hget k f', 'there is no field f in k'],
  ['kv zscore k m', 'there is no member m in k'],
])('%s of what is not there fails', async (line, message) => {
  expect(await flowmesh(line, giving({}))).toMatchObject({ code: 1, out: '', err: `error: ${message}\n` });
});

test.each([
  ['--at 15m', { timeMs: noonMs - 900_000 }],
  ['--at-revision 7', { revision: 7 }],
])('get %s asks for the key as it was then', async (option, asOf) => {
  const { out, calls } = await flowmesh(`kv get k ${option}`, found('old'));
  expect([out, calls[0]?.[1]['asOf']]).toEqual(['old', asOf]);
});

test.each([
  ['hget k f', { entries: [{ name: Buffer.from('f'), value: Buffer.from('v'), found: true }] }],
  ['hgetall k', { entries: [{ name: Buffer.from('f'), value: Buffer.from('v'), found: true }] }],
  ['smembers k', { entries: [{ name: Buffer.from('m'), found: true }] }],
  ['sismember k m', { entries: [{ found: true }] }],
  ['zscore k m', { entries: [{ score: 1, found: true }] }],
  ['zrange k', { entries: [{ name: Buffer.from('m'), score: 1 }] }],
  ['inspect k', { found: true, type: 'set', integer: 3 }],
  ['ls k', { entries: [{ name: Buffer.from('k'), type: 'string' }] }],
])('kv %s looks back with --at', async (line, result) => {
  const { code, calls } = await flowmesh(`kv ${line} --at 15m`, giving(result));
  expect([code, calls[0]?.[1]['asOf']]).toEqual([0, { timeMs: noonMs - 900_000 }]);
});

test('watch prints each change as it comes, whatever is in it, and Ctrl-C ends it well', async () => {
  const interrupt = new AbortController();
  const change = (key: string, reason: string, over: pb.KvChangeInput = {}) => ({
    ...{ key: Buffer.from(key), reason, timeMs: noonMs, type: 'string', revision: 4 },
    ...over,
  });
  const value = Buffer.from('\u001b[2J');
  const members = [
    { name: Buffer.from('ada'), found: true },
    { name: Buffer.from('bob\u0007'), found: false },
  ];
  const watch = () => ({
    watch: async function* () {
      yield received(pb.KvWatchResponse, {});
      yield received(pb.KvWatchResponse, {
        changes: [
          change('a', 'set', { value, contentType: 'text/plain' }),
          change('s', 'set', { type: 'set', members }),
        ],
      });
      yield received(pb.KvWatchResponse, { changes: [change('b\n', 'expire')] });
      interrupt.abort();
    },
  });
  const line = 'kv watch user: --time 15m';
  const { code, out, err, calls } = await flowmesh(line, watch(), { interrupt: interrupt.signal });
  expect(calls[0]?.[1]).toMatchObject({ prefix: Buffer.from('user:'), fromTimeMs: noonMs - 900_000 });
  expect(out).toBe(
    '12:00:00.000  set     a  \\e[2J\n' +
      '12:00:00.000  set     s  set +ada -bob\\u0007\n' +
      '12:00:00.000  expire  b\\n\n',
  );
  expect([code, err]).toEqual([0, 'watching user:*, Ctrl-C to stop\n']);
  const json = (await flowmesh('kv watch -o json', watch())).out.trimEnd().split('\n');
  expect(json.map((each) => JSON.parse(each))).toMatchObject([
    { key: 'a', reason: 'set', value: '\u001b[2J', contentType: 'text/plain', revision: 4 },
    { key: 's', reason: 'set', members: [{ name: 'ada', found: true }, { found: false }] },
    { key: 'b\n', reason: 'expire' },
  ]);
});

test('an error inside the answer is an error', async () => {
  const wrong = giving({ error: { code: 'WRONG_TYPE', message: 'the key holds a hash' } });
  const { code, err } = await flowmesh('kv get k', wrong);
  expect(code).toBe(1);
  expect(err).toBe(
    'error: the key holds a hash (WRONG_TYPE)\n' +
      '  use the operations of that type, or delete the key first\n',
  );
});

test('watch prints changes as they come, and says where it stands in JSON', async () => {
  const change = (more: pb.KvChangeInput) => ({
    key: Buffer.from('user:1'),
    type: 'string',
    cursor: '1-9-5',
    ...more,
  });
  const answers = (interrupt: AbortController): Answers => ({
    watch: async function* () {
      yield received(pb.KvWatchResponse, { cursor: '1-5-3' });
      const changes = [
        change({
          reason: 'set',
          value: Buffer.from('{"n":1}'),
          contentType: 'application/json',
          revision: 4,
        }),
        change({
          reason: 'set',
          type: 'set',
          members: [{ name: Buffer.from('m\u0007'), found: true }, { name: Buffer.from('n') }],
        }),
        change({ reason: 'expire' }),
      ];
      yield received(pb.KvWatchResponse, { changes, cursor: '1-9-5' });
      interrupt.abort();
    },
  });
  const run = (line: string) => {
    const interrupt = new AbortController();
    return flowmesh(line, answers(interrupt), { interrupt: interrupt.signal });
  };
  const { out, err, calls } = await run('kv watch user: -k sessions --cursor 1-2-3');
  expect(err).toBe('watching user:*, Ctrl-C to stop\n');
  expect(out.split('\n').map((line) => line.slice(25))).toEqual([
    'set     user:1  {"n":1}',
    'set     user:1  set +m\\u0007 -n',
    'expire  user:1',
    '',
  ]);
  expect(calls[0]?.[1]).toMatchObject({
    keyspace: 'sessions',
    prefix: Buffer.from('user:'),
    cursor: '1-2-3',
  });
  const [first] = (await run('kv watch --key user:1 -o json')).out.trim().split('\n');
  expect(JSON.parse(first ?? '')).toMatchObject({
    key: 'user:1',
    reason: 'set',
    value: { n: 1 },
    cursor: '1-9-5',
  });
  expect((await run('kv watch user: --key user:1')).code).toBe(2);
});

test('get --at and --at-revision ask for what was there then', async () => {
  const asked = async (more: string) =>
    (await flowmesh(`kv get k ${more}`, found('old'))).calls[0]?.[1]['asOf'] as unknown;
  expect(await asked('--at-revision 7')).toEqual({ revision: 7 });
  expect(await asked('--at 2026-01-31T12:00:00Z')).toEqual({ timeMs: Date.UTC(2026, 0, 31, 12) });
  expect(await asked('')).toBeUndefined();
  expect((await flowmesh('kv get k --at 5m --at-revision 7', {})).code).toBe(2);
});

test('cache declares the keyspace, and keyspaces shows what it holds', async () => {
  const made = { name: 'pages', mode: 'cache', maxBytes: 65_536, eviction: 'lfu' };
  const answers: Answers = {
    applyKeyspace: () => received(pb.Keyspace, made),
    listKeyspaces: () =>
      received(pb.ListKeyspacesResponse, {
        keyspaces: [{ ...made, keys: 3, bytes: 900, evictedTotal: 7 }, { keys: 1 }],
      }),
  };
  const { out, calls } = await flowmesh('kv cache -k pages --max-bytes 65536 --evict lfu', answers);
  expect(calls[0]?.[1]).toMatchObject(made);
  expect(out).toBe('pages is a cache of at most 65,536 bytes, eviction lfu\n');
  const table = (await flowmesh('kv keyspaces', answers)).out
    .split('\n')
    .map((line) => line.trim().split(/ +/));
  expect(table.slice(1, 3)).toEqual([
    ['pages', '3', 'cache'],
    ['default', '1', 'durable'],
  ]);
  const json = JSON.parse((await flowmesh('kv keyspaces -o json', answers)).out);
  expect(json[0]).toMatchObject({ name: 'pages', bytes: 900, evictedTotal: 7 });
});
