// The Redis listener over real sockets: who gets in, what closes a connection, transactions between clients.
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { type RunningServer, type ServerOptions, startServer } from '../../dataplane/main.ts';
import { encode, RespClient } from './resp-client.ts';

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(over: Partial<ServerOptions> = {}): Promise<RunningServer> {
  const server = await startServer({
    dataDir: null,
    shards: 1,
    host: '127.0.0.1',
    grpcPort: 0,
    httpPort: 0,
    redisPort: 0,
    insecure: false,
    autoCreate: true,
    logLevel: 'silent',
    ...over,
  });
  open.push(() => server.close());
  return server;
}

async function client(server: RunningServer): Promise<RespClient> {
  const opened = await RespClient.open(server.redisPort ?? 0);
  open.push(() => opened.close());
  return opened;
}

/** Everything that comes back until the server hangs up. */
async function answerTo(server: RunningServer, bytes: Buffer | string): Promise<string> {
  const socket = connect(server.redisPort ?? 0, '127.0.0.1');
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(bytes);
  await once(socket, 'close');
  return answer;
}

test('an HTTP request ends the connection before its body is looked at', async () => {
  const server = await serve();
  const body = encode(['SET', 'k', 'stolen']).toString();
  const answer = await answerTo(server, `PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n${body}`);
  expect(answer).toMatch(/^-ERR Protocol error: [^\r]*\r\n$/);
  expect(await (await client(server)).send('GET', 'k')).toBeNull();
});

test('what came before a protocol error is answered', async () => {
  const server = await serve();
  const answer = await answerTo(server, Buffer.concat([encode(['SET', 'k', 'v']), Buffer.from('*x\r\n')]));
  expect(answer).toMatch(/^\+OK\r\n-ERR Protocol error/);
});

test('without credentials nothing but AUTH and HELLO is answered, and requests are small', async () => {
  const server = await serve({ token: 'secret' });
  const stranger = await client(server);
  expect(await stranger.send('GET', 'k')).toEqual({ error: 'NOAUTH Authentication required.' });
  expect(await stranger.send('EVAL', 'x')).toEqual({ error: 'NOAUTH Authentication required.' });
  expect(await stranger.send('AUTH', 'guess')).toMatchObject({ error: expect.stringMatching(/^WRONGPASS/) });
  expect(await stranger.send('AUTH', 'secret')).toBe('OK');
  expect(await stranger.send('SET', 'k', 'x'.repeat(10_000))).toBe('OK');
  expect(await answerTo(server, encode(['AUTH', 'x'.repeat(5000)]))).toMatch(/^-ERR Protocol error/);
});

test('a value of 1 MiB is stored, one byte more ends the connection', async () => {
  const server = await serve();
  const c = await client(server);
  const value = 'x'.repeat(1024 * 1024);
  expect(await c.send('SET', 'k', value)).toBe('OK');
  expect(await c.send('GET', 'k')).toBe(value);
  expect(await answerTo(server, encode(['SET', 'k', `${value}x`]))).toMatch(/invalid bulk length/);
});

test('replies that are too large together come one by one', async () => {
  const c = await client(await serve());
  const value = 'x'.repeat(1024 * 1024);
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const name of names) await c.send('SET', name, value);
  expect(await c.pipeline(names.map((name) => ['GET', name]))).toEqual(names.map(() => value));
  expect(await c.send('MGET', ...names)).toEqual(names.map(() => value));
});

test('a pipeline sees its own writes, in order', async () => {
  const c = await client(await serve({ shards: 3 }));
  const commands = Array.from({ length: 500 }, (_, i) => [
    ['SET', `k${i % 7}`, i],
    ['GET', `k${i % 7}`],
    ['INCR', 'n'],
  ]).flat();
  const replies = await c.pipeline(commands);
  expect(replies).toEqual(Array.from({ length: 500 }, (_, i) => ['OK', String(i), i + 1]).flat());
});

test('a watched key that changes makes EXEC answer nil, one that does not lets it through', async () => {
  const server = await serve();
  const [a, b] = [await client(server), await client(server)];
  await a.send('SET', 'k', '1');
  await a.send('WATCH', 'k');
  await b.send('SET', 'k', '2');
  await a.send('MULTI');
  expect(await a.send('SET', 'k', '3')).toBe('QUEUED');
  expect(await a.send('EXEC')).toBeNull();
  expect(await a.send('GET', 'k')).toBe('2');
  await a.send('WATCH', 'k');
  await a.send('MULTI');
  await a.send('INCR', 'k');
  expect(await a.send('EXEC')).toEqual([3]);
});

test('transactions of many clients lose nothing', async () => {
  const server = await serve();
  const clients = await Promise.all(Array.from({ length: 8 }, () => client(server)));
  await Promise.all(
    clients.map(async (c) => {
      for (let i = 0; i < 25; i++) {
        await c.pipeline([
          ['MULTI'],
          ['INCR', 'n'],
          ['APPEND', 's', 'x'],
          ['ZINCRBY', 'z', 1, 'm'],
          ['EXEC'],
        ]);
      }
    }),
  );
  const [c] = clients;
  expect(await c?.send('GET', 'n')).toBe('200');
  expect(await c?.send('STRLEN', 's')).toBe(200);
  expect(await c?.send('ZSCORE', 'z', 'm')).toBe('200');
});

test('keys of several shards in one transaction are refused, those of one tag are not', async () => {
  const c = await client(await serve({ shards: 3 }));
  const names = Array.from({ length: 20 }, (_, i) => `k${i}`);
  expect(await c.send('MSETNX', ...names.flatMap((name) => [name, 1]))).toMatchObject({
    error: expect.stringMatching(/^CROSSSLOT/),
  });
  expect(await c.send('MSETNX', ...names.flatMap((name) => [`{t}${name}`, 1]))).toBe(1);
});

test('a scan walks over every key once, page by page, on any connection', async () => {
  const server = await serve({ shards: 3 });
  const c = await client(server);
  const names = Array.from({ length: 250 }, (_, i) => `key:${i}`);
  await c.send('MSET', ...names.flatMap((name) => [name, 'v']));
  const seen: string[] = [];
  let cursor = '0';
  do {
    const other = await client(server);
    const [next, page] = (await other.send('SCAN', cursor, 'COUNT', 30, 'MATCH', 'key:*')) as [
      string,
      string[],
    ];
    seen.push(...page);
    cursor = next;
  } while (cursor !== '0');
  expect(seen.sort()).toEqual(names.sort());
  expect(await c.send('SCAN', '12345')).toMatchObject({
    error: expect.stringMatching(/^ERR invalid cursor/),
  });
});

test('RESP3 has maps, sets, doubles and its own nil', async () => {
  const server = await serve();
  const answer = await answerTo(
    server,
    Buffer.concat(
      [
        ['HELLO', '3'],
        ['HSET', 'h', 'f', 'v'],
        ['HGETALL', 'h'],
        ['SADD', 's', 'm'],
        ['SMEMBERS', 's'],
        ['ZADD', 'z', '1.5', 'm'],
        ['ZSCORE', 'z', 'm'],
        ['ZRANGE', 'z', '0', '-1', 'WITHSCORES'],
        ['GET', 'none'],
        ['QUIT'],
      ].map(encode),
    ),
  );
  expect(answer).toContain('%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n');
  expect(answer).toContain('%1\r\n$1\r\nf\r\n$1\r\nv\r\n');
  expect(answer).toContain('~1\r\n$1\r\nm\r\n');
  expect(answer).toContain(',1.5\r\n*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n_\r\n+OK\r\n');
});

test('what no long double can hold is no float to INCRBYFLOAT, as in Redis', async () => {
  const c = await client(await serve());
  const add = async (before: string, amount: string) => {
    await c.send('SET', 'k', before);
    return c.send('INCRBYFLOAT', 'k', amount);
  };
  const noFloat = { error: 'ERR value is not a valid float' };
  expect(await add('1e29223372036854775807', '0.1')).toEqual(noFloat);
  expect(await add('1', '-1e5000')).toEqual(noFloat);
  expect(await add('1', '1e-5000')).toEqual(noFloat);
  expect(await add('0e5', '0.5')).toBe('0.5');
  expect(await add('inf', '1')).toEqual({ error: 'ERR increment would produce NaN or Infinity' });
});
