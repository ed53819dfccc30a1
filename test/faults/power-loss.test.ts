// Power cuts at random moments under load: what was acknowledged is there, although everything that was not
// synced is gone, in part or in whole. FLOWMESH_POWER_ROUNDS and FLOWMESH_POWER_SEED choose length and
// schedule; a failure names its seed.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { summary, survive } from '../crash/rounds.ts';
import { startServerProcess } from '../support/server-process.ts';
import { FaultyDisk, type Mode, shimIsMissing } from './disk.ts';

const ROUNDS = Number(process.env.FLOWMESH_POWER_ROUNDS ?? 3);
const SEED = Number(process.env.FLOWMESH_POWER_SEED ?? Date.now() % 1_000_000);
const storage = { segmentBytes: 1024 * 1024, checkpointBytes: 512 * 1024 };
const missing = shimIsMissing();
const skipped = missing === undefined ? '' : `SKIPPED: ${missing}: `;

const disks: FaultyDisk[] = [];
afterEach(() => {
  for (const disk of disks.splice(0)) disk.remove();
});

function cuts(shards: number, rounds: number, modesOf: (round: number) => readonly Mode[]) {
  const disk = new FaultyDisk();
  disks.push(disk);
  return survive({
    rounds,
    seed: SEED + shards,
    start: (round, ports) =>
      startServerProcess(
        { dataDir: disk.dataDir, shards, storage, ...ports },
        { env: disk.env({ seed: SEED * 1000 + Math.floor(round * 2), modes: modesOf(round) }) },
      ),
    crash: (server) => disk.cut(server),
    async crashWhileStarting(starting, chance) {
      await sleep(chance() * 700);
      disk.pull();
      const server = await starting.catch(() => null);
      if (server !== null) await disk.cut(server);
      return server;
    },
  });
}

describe.skipIf(missing !== undefined)(`${skipped}power loss`, () => {
  test.each([1, 3])(
    `${ROUNDS} power cuts with %i shards lose nothing that was acknowledged (seed ${SEED})`,
    async (shards) => {
      const ledger = await cuts(shards, ROUNDS, (round) => (Math.floor(round) % 2 === 0 ? [] : ['torn']));
      process.stdout.write(summary(shards, ROUNDS, ledger, SEED));
    },
    Math.max(120_000, ROUNDS * 20_000),
  );

  test('a cut during or right after the first start leaves a directory that starts', async () => {
    for (let i = 0; i < 6; i++) {
      const disk = new FaultyDisk();
      disks.push(disk);
      const start = (seed: number) =>
        startServerProcess(
          { dataDir: disk.dataDir, shards: 2 },
          { env: disk.env({ seed, modes: ['torn'], syncUs: 2000 }) },
        );
      const first = start(SEED + i);
      first.catch(() => {});
      if (i > 2) await sleep(350 + 80 * i);
      else await first;
      disk.pull();
      const server = await first.catch(() => null);
      if (server !== null) await disk.cut(server);
      await (await start(0)).kill('SIGKILL');
    }
  }, 60_000);

  test('a sync that does nothing is noticed', async () => {
    const run = cuts(1, 3, () => ['sync-does-nothing']);
    await expect(run).rejects.toThrow(/seed|DATA_DAMAGED/);
  }, 120_000);
});
