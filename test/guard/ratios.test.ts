// Guards against work that became dearer: processor time of typical work over that of a yardstick, measured
// in turns in this process, so that neither the machine nor its other users matter much. The median of the
// rounds counts. When something became cheaper, lower its ratio here.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@flowmesh/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { median } from '../../bench/support/windows.ts';
import { type RunningServer, startServer } from '../../dataplane/main.ts';
import { options } from '../api/real-server.ts';
import { processorMs, works, yardstick } from './work.ts';

/** Medians of many runs, alone and beside others. */
const RATIOS: Record<string, number> = { jobs: 0.45, streams: 1.15, keys: 0.53, redis: 0.73 };
/** Twice the work comes to 1.4 to 1.6, since some of it is there once; a busy machine adds up to 0.15. */
const SLACK = 1.4;
const ROUNDS = 10;

const dataDir = mkdtempSync(join(tmpdir(), 'flowmesh-guard-'));
let server: RunningServer;
let fm: Awaited<ReturnType<typeof connect>>;

beforeAll(async () => {
  server = await startServer({ ...options, dataDir, redisPort: 0 });
  fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
});
afterAll(async () => {
  await fm.close();
  await server.close();
  rmSync(dataDir, { recursive: true });
});

test.each(Object.keys(works))('%s cost no more than they did', { timeout: 120_000 }, async (name) => {
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const yard = await processorMs(() => void yardstick());
    const cost = await processorMs(() => works[name]?.(fm, server.redisPort ?? 0));
    const again = await processorMs(() => void yardstick());
    // The first round compiles.
    if (round > 0) ratios.push((2 * cost) / (yard + again));
  }
  const ratio = median(ratios);
  process.stdout.write(`${name}: ${ratio.toFixed(2)} yardsticks (${RATIOS[name]} is usual)\n`);
  expect(ratio).toBeLessThan(SLACK * (RATIOS[name] ?? 0));
});
