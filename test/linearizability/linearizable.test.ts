// Keys are registers: histories of several clients, with servers that are killed in between, checked by
// Porcupine. FLOWMESH_LINEARIZABLE_KILLS and FLOWMESH_LINEARIZABLE_SEED choose length and schedule.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { seeded } from '../support/seeded.ts';
import { check, type History, type Operation } from './history.ts';
import { runWorkload } from './workload.ts';

const KILLS = Number(process.env['FLOWMESH_LINEARIZABLE_KILLS'] ?? 3);
const SEED = Number(process.env['FLOWMESH_LINEARIZABLE_SEED'] ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 120_000 + KILLS * 20_000;

const dataDir = mkdtempSync(join(tmpdir(), 'flowmesh-linearizable-'));
let history: History;
beforeAll(async () => {
  const options = { shards: 3, clients: 8, lifeMs: 1200, kills: KILLS, chance: seeded(SEED) };
  history = await runWorkload({ dataDir, ...options });
}, TIMEOUT_MS);
afterAll(() => rmSync(dataDir, { recursive: true }));

test(
  `[KV40] histories across ${KILLS} kills are linearizable, key by key (seed ${SEED})`,
  async () => {
    const { operations } = history;
    const unknown = history.count(({ output }) => output.unknown === true);
    const verdict = await check(operations);
    process.stdout.write(`${operations.length} operations, ${unknown} of unknown outcome, ${KILLS} kills\n`);
    expect(Object.entries(verdict.keys).filter(([, each]) => each !== 'Ok')).toEqual([]);
    // A run that did nothing proves nothing.
    expect(operations.length).toBeGreaterThan(300);
    expect(
      history.count(({ input, output }) => input.kind === 'swap' && output.found === true),
    ).toBeGreaterThan(10);
  },
  TIMEOUT_MS,
);

const isWrite = ({ input, output }: Operation) => input.kind === 'set' && !output.unknown;

test.each<[string, (operations: Operation[]) => void]>([
  [
    'a stale read',
    (operations) => {
      // What was written over before the read began.
      for (const read of operations) {
        if (read.input.kind !== 'get' || !read.output.found || !read.key.startsWith('r')) continue;
        const past = operations
          .filter((each) => isWrite(each) && each.key === read.key && each.return < read.call)
          .sort((a, b) => a.return - b.return);
        const newest = past.at(-1);
        const old = past.find((each) => newest !== undefined && each.return < newest.call);
        if (old === undefined || old.input.value === read.output.value) continue;
        read.output = { found: true, value: old.input.value ?? '', revision: old.output.revision ?? 0 };
        return;
      }
    },
  ],
  [
    'a lost write',
    (operations) => {
      const at = operations.findIndex(
        (each) =>
          isWrite(each) &&
          operations.some(({ input, output }) => input.kind === 'get' && output.value === each.input.value),
      );
      operations.splice(at, 1);
    },
  ],
  [
    'an increment that counted twice',
    (operations) => {
      const counted = operations.filter(({ input, output }) => input.kind === 'increment' && !output.unknown);
      const middle = counted[Math.floor(counted.length / 2)];
      if (middle !== undefined) middle.output.value = String(Number(middle.output.value) + 1000);
    },
  ],
])(
  '[KV40] %s in such a history is found',
  async (_name, plant) => {
    const operations = structuredClone(history.operations);
    plant(operations);
    expect(operations).not.toEqual(history.operations);
    expect(await check(operations)).toMatchObject({ isLinearizable: false });
  },
  TIMEOUT_MS,
);
