// FlowMesh and a real redis-server get the same commands: replies and errors are the same.
// FLOWMESH_REDIS_RUNS chooses how many scripts of about 60 commands; `npm run test:redis` runs 100,000
// commands.
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningServer, startServer } from '../../dataplane/main.ts';
import { realRuntime } from '../../dataplane/runtime.ts';
import { type Args, commands, isUnordered } from './commands.ts';
import { hasRedis, startRealRedis } from './real-redis.ts';
import { RespClient, type Value } from './resp-client.ts';

const RUNS = Number(process.env.FLOWMESH_REDIS_RUNS ?? 60);
let ours: RespClient;
let theirs: RespClient;
let server: RunningServer;
let redis: Awaited<ReturnType<typeof startRealRedis>> | undefined;

beforeAll(async () => {
  server = await startServer({
    dataDir: null,
    shards: 1,
    host: '127.0.0.1',
    grpcPort: 0,
    httpPort: 0,
    redisPort: 0,
    insecure: false,
    autoCreate: true,
    logLevel: 'error',
  });
  ours = await RespClient.open(server.redisPort ?? 0);
  if (!hasRedis) return;
  redis = await startRealRedis();
  theirs = await RespClient.open(redis.port);
});

afterAll(async () => {
  ours.close();
  theirs?.close();
  await redis?.stop();
  await server.close();
});

/** Numbers of Redis 7.0 have 17 digits, ours are the shortest text of the same double, as in Redis 7.2. */
function normal(value: Value, name: string): Value {
  if (Array.isArray(value)) {
    const items = value.map((item) => normal(item, name));
    if (!isUnordered(name)) return items;
    const groups = name === 'HGETALL' ? pairsOf(items) : items.map((item) => JSON.stringify(item));
    return [...groups].sort();
  }
  if (typeof value === 'string' && /^-?[0-9]+\.[0-9]+(e[+-]?[0-9]+)?$/.test(value))
    return String(Number(value));
  return value;
}

const pairsOf = (items: readonly Value[]): string[] =>
  items.flatMap((item, i) => (i % 2 === 0 ? [JSON.stringify([item, items[i + 1] ?? null])] : []));

/** The first word of an error is what clients look at; that of unknown commands lists ours. */
const told = (value: Value): Value =>
  value !== null &&
  typeof value === 'object' &&
  'error' in value &&
  value.error.startsWith('ERR unknown command')
    ? { error: 'ERR unknown command' }
    : value;

let compared = 0;

async function compare(script: readonly Args[]): Promise<void> {
  await ours.send('FLUSHDB');
  await theirs.send('FLUSHDB');
  /** Names of the commands between MULTI and EXEC: the answers of EXEC are theirs. */
  let queued: string[] = [];
  for (const [i, args] of script.entries()) {
    const name = String(args[0]);
    compared++;
    if (name === 'MULTI') queued = [];
    const [got, wanted] = await Promise.all([ours.send(...args), theirs.send(...args)]);
    const shown = script
      .slice(0, i + 1)
      .map((each) => JSON.stringify(each))
      .join('\n');
    if (got === 'QUEUED') queued.push(name);
    const named = (value: Value) =>
      name === 'EXEC' && Array.isArray(value)
        ? value.map((each, at) => told(normal(each, queued[at] ?? '')))
        : told(normal(value, name));
    expect(named(got), shown).toEqual(named(wanted));
  }
}

test.skipIf(!hasRedis)(
  `replies and errors are those of Redis${hasRedis ? '' : ' (skipped: redis-server is not installed)'}`,
  async () => {
    const seed = Math.floor(realRuntime.random() * 2 ** 31);
    await fc.assert(
      fc.asyncProperty(fc.array(commands, { minLength: 20, maxLength: 100, size: 'max' }), compare),
      { numRuns: RUNS, seed },
    );
    // A run that compared little proves little.
    expect(compared).toBeGreaterThan(RUNS * 40);
    if (RUNS > 100) process.stdout.write(`${compared} commands without a difference (seed ${seed})\n`);
  },
  3_600_000,
);

test.skipIf(!hasRedis)(
  `a transaction answers as in Redis${hasRedis ? '' : ' (skipped: redis-server is not installed)'}`,
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(commands, { minLength: 2, maxLength: 8 }),
        fc.array(commands, { minLength: 1, maxLength: 8 }),
        async (before, inside) => {
          const usable = inside.filter(([name]) => name !== 'NOSUCH' && name !== 'GET');
          await compare([...before, ['MULTI'], ...usable, ['EXEC'], ['DEL', 'a']]);
        },
      ),
      { numRuns: Math.ceil(RUNS / 2) },
    );
  },
  3_600_000,
);
