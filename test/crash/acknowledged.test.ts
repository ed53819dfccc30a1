// kill -9 at random moments under load: what was acknowledged is there, once, and stays.
// FLOWMESH_CRASH_ROUNDS and FLOWMESH_CRASH_SEED choose length and schedule; a failure names its seed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startServerProcess } from '../support/server-process.ts';
import { Ledger } from './ledger.ts';
import { summary, survive } from './rounds.ts';

const ROUNDS = Number(process.env.FLOWMESH_CRASH_ROUNDS ?? 50);
const SEED = Number(process.env.FLOWMESH_CRASH_SEED ?? Date.now() % 1_000_000);
// Small segments and frequent checkpoints, so that kills meet them in every state.
const storage = { segmentBytes: 1024 * 1024, checkpointBytes: 512 * 1024 };

test.each([1, 3])(
  `${ROUNDS} kills with %i shards lose nothing that was acknowledged (seed ${SEED})`,
  async (shards) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'flowmesh-crash-'));
    try {
      const ledger = await survive({
        rounds: ROUNDS,
        seed: SEED + shards,
        start: (_round, ports) => startServerProcess({ dataDir, shards, storage, ...ports }),
        crash: (server) => server.kill('SIGKILL'),
        async crashWhileStarting(starting, chance) {
          await sleep(chance() * 700);
          const server = await starting.catch(() => null);
          await server?.kill('SIGKILL');
          return server;
        },
      });
      process.stdout.write(summary(shards, ROUNDS, ledger, SEED));
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
  Math.max(900_000, ROUNDS * 20_000),
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
  ledger.keyedDelivery('a', 0);
  ledger.keyedDelivery('a', 2);
  ledger.consumed(0, 0);
  ledger.consumed(0, 2);
  expect(ledger.violations).toHaveLength(6);
});
