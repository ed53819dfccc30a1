// npm run bench:backlog -- 1M: what waiting jobs cost. The same traffic on an empty queue and on one with a
// backlog, memory of the server after a garbage collection, plain jobs and jobs with a key each; then HSET
// into a large hash.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerProcess } from '../test/support/server-process.ts';
import { type RawClient, rawClient } from './load/raw.ts';
import { machine, withServer } from './support/run.ts';
import { median, shown } from './support/windows.ts';

const asked = /^(\d+)([kM]?)$/.exec(process.argv[2] ?? '1M');
if (asked === null) throw new Error('give a number of jobs such as 100k, 1M or 10M');
const N = Number(asked[1]) * { '': 1, k: 1000, M: 1_000_000 }[asked[2] as '' | 'k' | 'M'];
const PROBE = Math.min(200_000, N);
const say = (line: string) => void process.stdout.write(`${line}\n`);

async function timed(count: number, run: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await run();
  return (count * 1000) / (performance.now() - startMs);
}

/** Resident memory when the server has come to rest: checkpoints written, garbage collected. */
async function restingRss(server: ServerProcess): Promise<number> {
  await sleep(3000);
  const readings: number[] = [];
  for (let i = 0; i < 5; i++) {
    readings.push((await server.memory()).rss);
    await sleep(300);
  }
  return Math.min(...readings);
}

const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

async function backlog(label: string, key?: (i: number) => string): Promise<boolean> {
  return withServer(async (server) => {
    const client: RawClient = rawClient(server.address);
    const queue = `bench.${label}`;
    // A backlog that came and went: what the process needs for the traffic itself, and what the C library
    // keeps of the peaks on the way. Only what is held for waiting jobs makes the difference to the next one.
    await client.enqueue(queue, { from: 0, to: N }, key);
    await client.drain(queue, N);
    const emptyRss = await restingRss(server);
    const probe = async () => ({
      enqueue: await timed(PROBE, () =>
        client.enqueue(queue, { from: 0, to: PROBE }, key && ((i) => `probe-${key(i)}`)),
      ),
      drain: await timed(PROBE, () => client.drain(queue, PROBE)),
    });
    const empty = await probe();
    await client.enqueue(queue, { from: 0, to: N }, key);
    const fullRss = await restingRss(server);
    const full = await probe();
    const more = fullRss - emptyRss;
    say(
      `${label.padEnd(6)} empty ${mb(emptyRss)}, with ${shown(N)} waiting ${mb(fullRss)}: ` +
        `${more >= 0 ? '+' : ''}${mb(more)}`,
    );
    say(
      `       enqueue ${shown(empty.enqueue)} -> ${shown(full.enqueue)} jobs/s, ` +
        `lease and ack ${shown(empty.drain)} -> ${shown(full.drain)} jobs/s`,
    );
    client.close();
    return more <= 30e6;
  });
}

async function largeHash(): Promise<boolean> {
  return withServer(async (server) => {
    const client = rawClient(server.address);
    const value = 'v'.repeat(50);
    for (let i = 0; i < N; i += 2000) {
      await client.hashSet(
        'large',
        Array.from({ length: 2000 }, (_, j) => [`field-${i + j}`, value] as const),
      );
    }
    await sleep(3000);
    const once = async (key: string, field: string) => {
      const startMs = performance.now();
      await client.hashSet(key, [[field, value]]);
      return performance.now() - startMs;
    };
    const times = { large: [] as number[], empty: [] as number[] };
    for (let i = 0; i < 2000; i++) {
      times.large.push(await once('large', `new-${i}`));
      times.empty.push(await once(`empty-${i}`, `new-${i}`));
    }
    const ratio = median(times.large) / median(times.empty);
    say(
      `hash   HSET into ${shown(N)} fields ${median(times.large).toFixed(3)} ms, ` +
        `into an empty one ${median(times.empty).toFixed(3)} ms: ${ratio.toFixed(2)}x`,
    );
    client.close();
    return ratio <= 2;
  });
}

say(`backlog: ${shown(N)} jobs of 200 B, ${machine()}`);
const results = [await backlog('plain'), await backlog('keyed', (i) => `key-${i}`), await largeHash()];
if (results.includes(false)) {
  say('beyond the bound: at most +30 MB for the backlog, at most 2x for the hash');
  process.exitCode = 1;
}
