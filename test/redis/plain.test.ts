// Plain gets and sets, which take a way of their own: what they answer, when, and to whom.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { createAccess, hashToken } from '../../dataplane/api/access.ts';
import { startRedis } from '../../dataplane/api/redis/listener.ts';
import { type RunningServer, type ServerOptions, startServer } from '../../dataplane/main.ts';
import { realRuntime } from '../../dataplane/runtime.ts';
import { createLog } from '../../dataplane/telemetry/log.ts';
import { GatedFiles } from '../shard/gated-files.ts';
import { encode, RespClient, type Value } from './resp-client.ts';

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(over: Partial<ServerOptions> = {}): Promise<RunningServer> {
  const server = await startServer({
    ...{ dataDir: null, shards: 1, host: '127.0.0.1', grpcPort: 0, httpPort: 0, redisPort: 0 },
    ...{ insecure: false, autoCreate: true, logLevel: 'silent' },
    ...over,
  });
  open.push(() => server.close());
  return server;
}

async function client(port: number | undefined): Promise<RespClient> {
  const opened = await RespClient.open(port ?? 0);
  open.push(() => opened.close());
  return opened;
}

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-redis-'));
  open.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 1));
};

test('a get waits for a set that is not durable yet; other keys are answered meanwhile', async () => {
  const files = new GatedFiles();
  const server = await serve({ dataDir: directory(), storage: { files } });
  const [a, b, c, d] = await Promise.all([1, 2, 3, 4].map(() => client(server.redisPort)));
  await a?.pipeline([
    ['SET', 'k', 'old'],
    ['SET', 'other', 'there'],
  ]);
  files.shut();
  const answered: [string, Value][] = [];
  const ask = (from: RespClient | undefined, ...args: string[]) =>
    from?.send(...args).then((value) => answered.push([args.join(' '), value]));
  const sent = [ask(a, 'SET', 'k', 'new')];
  while (files.waiting === 0) await turns(1);
  // This one is in the batch behind.
  sent.push(ask(b, 'SET', 'next', 'x'));
  await turns(5);
  sent.push(ask(c, 'GET', 'k'), ask(d, 'GET', 'next'));
  const e = await client(server.redisPort);
  expect(
    await e.pipeline([
      ['GET', 'other'],
      ['GET', 'none'],
    ]),
  ).toEqual(['there', null]);
  await turns(20);
  expect(answered).toEqual([]);
  files.release();
  await Promise.all(sent);
  expect(Object.fromEntries(answered)).toEqual({
    'SET k new': 'OK',
    'SET next x': 'OK',
    'GET k': 'new',
    'GET next': 'x',
  });
});

const key = fc.constantFrom('a', 'b', 'c', 'd', '', 'x'.repeat(1025), '{a}\0', '\xff');
const command = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('GET', 'get'), key) },
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('SET', 'Set'), key, fc.string({ maxLength: 4 })) },
  fc.tuple(fc.constant('DEL'), key),
  fc.tuple(fc.constant('HSET'), key, fc.constant('f'), fc.constant('v')),
  fc.tuple(fc.constant('SET'), key, fc.constant('v'), fc.constant('PX'), fc.constant('1')),
);

/** What a Map answers. */
function expected(model: Map<string, string | null>, args: readonly string[]): unknown {
  const [name = '', k = '', value = ''] = args;
  if (k === '') return { error: expect.stringMatching(/^ERR INVALID_ARGUMENT/) };
  if (k.length > 1024) return { error: expect.stringMatching(/^ERR KEY_TOO_LARGE/) };
  const there = model.get(k);
  switch (name.toUpperCase()) {
    case 'GET':
      return there === null ? { error: expect.stringMatching(/^WRONGTYPE/) } : (there ?? null);
    case 'SET':
      model.set(k, value);
      return 'OK';
    case 'DEL':
      return Number(model.delete(k));
    default:
      if (there !== undefined && there !== null) return { error: expect.stringMatching(/^WRONGTYPE/) };
      model.set(k, null);
      return there === null ? 0 : 1;
  }
}

test.each([1, 3])(
  'pipelines of gets and sets among others answer what a map would (%i shards)',
  async (shards) => {
    const c = await client((await serve({ shards })).redisPort);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(command, { minLength: 1, maxLength: 12 }), { maxLength: 6 }),
        async (runs) => {
          await c.send('FLUSHDB');
          const model = new Map<string, string | null>();
          for (const run of runs) {
            const wanted = run.map((args) => expected(model, args));
            const got = await c.pipeline(run);
            // What has ended may still be there for those behind it in the pipeline, or not.
            const ends = run.findIndex((args) => args.length > 4);
            if (ends === -1) expect(got).toEqual(wanted);
            else expect(got.slice(0, ends + 1)).toEqual(wanted.slice(0, ends + 1));
            if (ends !== -1) {
              await c.send('FLUSHDB');
              model.clear();
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  },
);

test('a key that has ended is gone at once', async () => {
  const c = await client((await serve()).redisPort);
  await c.send('SET', 'k', 'v', 'PX', 5);
  await turns(20);
  expect(await c.send('GET', 'k')).toBeNull();
});

test('values that are too large together, and not in memory, come all the same, in order', async () => {
  const dataDir = directory();
  const large = (i: number) => String(i).repeat(1024 * 1024);
  const first = await serve({ dataDir });
  const writer = await client(first.redisPort);
  for (let i = 0; i < 6; i++) await writer.send('SET', `k${i}`, large(i));
  await first.close();
  const c = await client((await serve({ dataDir })).redisPort);
  const gets = Array.from({ length: 6 }, (_, i) => ['GET', `k${i}`]);
  const replies = await c.pipeline([['SET', 'new', 'x'], ...gets, ['GET', 'new'], ['SET', 'k5', 'y']]);
  expect(replies).toEqual(['OK', ...gets.map((_, i) => large(i)), 'x', 'OK']);
});

test('who may read only may not set, in a pipeline neither', async () => {
  const { fabric } = await serve();
  const tokens = [{ identity: 'reader', sha256: hashToken('r'), verbs: ['get'] as const }];
  const listener = await startRedis({
    ...{ fabric, host: '127.0.0.1', port: 0, runtime: realRuntime, version: '0' },
    ...{
      access: createAccess({ anonymous: false, tokens }),
      log: createLog({ level: 'silent', pretty: false }),
    },
  });
  open.push(() => listener.close(0));
  const c = await client(listener.port);
  expect(await c.send('GET', 'k')).toEqual({ error: 'NOAUTH Authentication required.' });
  const denied = { error: expect.stringMatching(/^NOPERM/) };
  const replies = await c.pipeline([
    ['AUTH', 'r'],
    ['SET', 'k', 'v'],
    ['GET', 'k'],
    ['SET', 'k', 'v'],
  ]);
  expect(replies).toEqual(['OK', denied, null, denied]);
});

test('a request that is cut behind AUTH goes on', async () => {
  const server = await serve({ token: 'secret' });
  const socket = connect({ port: server.redisPort ?? 0, host: '127.0.0.1', noDelay: true });
  open.push(() => void socket.destroy());
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString();
  });
  const bytes = Buffer.concat([encode(['AUTH', 'secret']), encode(['SET', 'k', 'v'])]);
  socket.write(bytes.subarray(0, -9));
  while (answer === '') await turns(1);
  socket.write(bytes.subarray(-9));
  while (answer.length < 10) await turns(1);
  expect(answer).toBe('+OK\r\n+OK\r\n');
});

test.each([1, 3])('sets and gets in any order answer as one after the other (%d shards)', async (shards) => {
  const files = new GatedFiles();
  const server = await serve({ shards, dataDir: directory(), storage: { files } });
  const asking = await client(server.redisPort);
  const calls = fc.array(
    fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), value: fc.option(fc.string({ maxLength: 5 })) }),
    { minLength: 1, maxLength: 40 },
  );
  const model = new Map<string, string>();
  const property = fc.asyncProperty(calls, async (list) => {
    const expected = list.map(({ key, value }) => {
      if (value === null) return model.get(key) ?? null;
      model.set(key, value);
      return 'OK';
    });
    const asked = list.map(({ key, value }) => (value === null ? ['GET', key] : ['SET', key, value]));
    expect(await asking.pipeline(asked)).toEqual(expected);
  });
  await fc.assert(property, { numRuns: 60 });
});

test('a pipeline that sets and gets in turns waits for few syncs', async () => {
  const files = new GatedFiles();
  let syncs = 0;
  const openFile = files.open;
  files.open = async (path, mode) => {
    const file = await openFile(path, mode);
    const sync = () => {
      syncs++;
      return file.sync();
    };
    return { ...file, sync };
  };
  const server = await serve({ dataDir: directory(), storage: { files } });
  const asking = await client(server.redisPort);
  const pairs = Array.from({ length: 200 }, (_, i) => [
    ['SET', `k${i}`, `${i}`],
    ['GET', `k${i}`],
  ]);
  const before = syncs;
  const replies = await asking.pipeline(pairs.flat());
  expect(replies).toEqual(Array.from({ length: 200 }, (_, i) => ['OK', `${i}`]).flat());
  expect(syncs - before).toBeLessThan(20);
});

test('large values between sets come in order, and no set is done twice', async () => {
  const server = await serve({ dataDir: directory(), storage: { keysBytesMax: 0 } });
  const asking = await client(server.redisPort);
  const large = (i: number) => String(i).repeat(1024 * 1024);
  for (let i = 0; i < 6; i++) await asking.send('SET', `large${i}`, large(i));
  const calls = Array.from({ length: 6 }, (_, i) => [
    ['GET', `large${i}`],
    ['SET', `small${i}`, `${i}`],
    ['GET', `small${i}`],
  ]);
  const replies = await asking.pipeline(calls.flat());
  expect(replies).toEqual(Array.from({ length: 6 }, (_, i) => [large(i), 'OK', `${i}`]).flat());
});
