// kill -9 at random moments under load: what was acknowledged is there, once, and stays.
// FLOWMESH_CRASH_ROUNDS and FLOWMESH_CRASH_SEED choose length and schedule; a failure names its seed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type FlowMesh } from '@flowmesh/client';
import { expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { Ledger } from './ledger.ts';
import { PARTITIONS, QUEUES, STREAM, startWorkload } from './workload.ts';

const ROUNDS = Number(process.env.FLOWMESH_CRASH_ROUNDS ?? 50);
const SEED = Number(process.env.FLOWMESH_CRASH_SEED ?? Date.now() % 1_000_000);

/** mulberry32: a seed reproduces the schedule of kills. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function until(what: string, done: () => Promise<boolean>, forMs = 60_000): Promise<void> {
  const endMs = performance.now() + forMs;
  while (!(await done())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${forMs} ms`);
    await sleep(100);
  }
}

/** What a person would look at first. */
async function condition(server: ServerProcess): Promise<string> {
  const ready = await fetch(`http://127.0.0.1:${server.httpPort}/readyz`, {
    signal: AbortSignal.timeout(5000),
  })
    .then((response) => response.text())
    .catch(String);
  return `readyz: ${ready}, stderr: ${server.stderr()}`;
}

async function readPartition(fm: FlowMesh, stream: string, partition: number) {
  const records: { offset: number; n: number }[] = [];
  for (let offset = 0; ; ) {
    const page = await fm.stream.read(stream, { partition, offset, max: 1000 });
    for (const r of page.records) records.push({ offset: r.offset, n: (r.value as { n: number }).n });
    if (page.records.length === 0) return records;
    offset = page.nextOffset;
  }
}

test.each([1, 3])(
  `${ROUNDS} kills with %i shards lose nothing that was acknowledged (seed ${SEED})`,
  async (shards) => {
    const dir = mkdtempSync(join(tmpdir(), 'flowmesh-crash-'));
    const chance = random(SEED + shards);
    // Small segments and frequent checkpoints, so that kills meet them in every state.
    const storage = { segmentBytes: 1024 * 1024, checkpointBytes: 512 * 1024 };
    const ledger = new Ledger();
    let server: ServerProcess = await startServerProcess({ dataDir: dir, shards, storage });
    const ports = { grpcPort: server.grpcPort, httpPort: server.httpPort };
    const load = await startWorkload(server.address, ledger);
    let rounds = 0;
    try {
      for (; rounds < ROUNDS && ledger.violations.length === 0; rounds++) {
        // The clients are back and something is under way when the next kill comes.
        const before = load.answered();
        await until(
          'work goes on',
          async () => load.answered() > before + 30 || ledger.violations.length > 0,
        ).catch(async (error) => {
          throw new Error(`${error.message}; ${await condition(server)}; ${load.waiting()}`);
        });
        await sleep(chance() * 500);
        await server.kill('SIGKILL');
        // Now and then a second kill during recovery.
        if (chance() < 0.2) {
          const again = startServerProcess({ dataDir: dir, shards, storage, ...ports });
          again.catch(() => {});
          await sleep(chance() * 700);
          await (await again.catch(() => null))?.kill('SIGKILL');
        }
        server = await startServerProcess({ dataDir: dir, shards, storage, ...ports });
      }
      expect(ledger.violations, `seed ${SEED}, round ${rounds}`).toEqual([]);
      await load.stop();
      const fm = await connect({ address: server.address });
      await until('all jobs are handled', async () => {
        const queues = await fm.admin.listQueues();
        return queues.every(
          (q) => (q.figures?.waiting ?? 0) + (q.figures?.delayed ?? 0) + (q.figures?.leased ?? 0) === 0,
        );
      });
      await load.close();
      ledger.checkJobs();
      for (let p = 0; p < PARTITIONS; p++) ledger.checkPartition(p, await readPartition(fm, STREAM, p));
      for (const [key, { acked }] of ledger.keys) {
        const value = ((await fm.kv.get(key)) as number | undefined) ?? -1;
        if (value !== acked) ledger.violations.push(`key ${key} ends as ${value}, acknowledged was ${acked}`);
      }
      const counts = Number((await fm.kv.hash('crash:counts').get('n')) ?? 0);
      const committed = Number((await fm.kv.hash('{crash}:counts').get('n')) ?? 0);
      const records = await readPartition(fm, '{crash}:records', 0);
      await fm.close();

      expect(ledger.violations, `seed ${SEED}`).toEqual([]);
      expect(counts).toBe(ledger.increments);
      expect(committed, 'transactions in keys').toBe(ledger.transactions);
      expect(records.length, 'transactions in the stream').toBe(ledger.transactions);
      expect(new Set(records.map((r) => r.n)).size).toBe(ledger.transactions);
      for (const { n } of records) expect(ledger.delivered.has(n), `job of transaction ${n}`).toBe(true);
      // A run that did nothing proves nothing.
      expect(rounds).toBe(ROUNDS);
      expect(ledger.enqueued.size).toBeGreaterThan(ROUNDS * 10);
      expect(ledger.written.size).toBeGreaterThan(ROUNDS * 5);
      expect(ledger.reads).toBeGreaterThan(ROUNDS * 5);
      expect(QUEUES.length).toBeGreaterThan(0);
      process.stdout.write(
        `${shards} shards: ${rounds} kills, ${ledger.enqueued.size} enqueues, ` +
          `${ledger.written.size} records, ` +
          `${ledger.reads} keys read back, ${ledger.transactions} transactions, ` +
          `0 violations (seed ${SEED})\n`,
      );
    } finally {
      await server.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    }
  },
  900_000,
);

test('the ledger notices what it is there for', () => {
  const ledger = new Ledger();
  ledger.enqueued.set(1, 'a');
  ledger.checkJobs();
  ledger.delivery(2, 'b');
  ledger.done.add('b');
  ledger.delivery(2, 'b');
  ledger.keys.set('k', { acked: 5, asked: 6 });
  ledger.read('k', 4);
  ledger.written.set(3, { partition: 0, offset: 1 });
  ledger.checkPartition(0, [{ offset: 0, n: 9 }]);
  expect(ledger.violations).toHaveLength(4);
});
