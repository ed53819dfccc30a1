// The same model on real shards: journal files, LevelDB, partition logs in segment files.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'vitest';
import { Model, script } from './model.ts';
import { realBed } from './real-bed.ts';

for (const shards of [1, 3]) {
  test(`[ST42] streams behave as the model on disks (${shards} shards)`, { timeout: 60_000 }, async () => {
    const play = async (steps: Parameters<Model['run']>[0]) => {
      const dir = await mkdtemp(join(tmpdir(), 'flowmesh-stream-'));
      const bed = await realBed(shards, dir);
      try {
        await new Model(bed).run(steps);
      } finally {
        await bed.close();
        await rm(dir, { recursive: true, force: true });
      }
    };
    await fc.assert(fc.asyncProperty(script, play), { numRuns: 6, endOnFailure: true });
  });
}
