// A checkpoint never runs ahead of the journal: what it holds is durable there first.
import { afterEach, expect, test, vi } from 'vitest';
import { POSITION_ROW } from '../../dataplane/shard/checkpoint.ts';
import { aJob, Bench, caller } from '../queue/bench.ts';
import { GatedFiles } from './gated-files.ts';

const gate = new GatedFiles();
let bench: Bench;
afterEach(async () => {
  gate.release();
  await bench.close();
});

test('[K1] rows wait for their journal entry', async () => {
  bench = await Bench.open({ onDisk: true, files: gate });
  await bench.enqueue('q', aJob('before'));
  await bench.checkpoint();
  const [opened] = bench.fabric.shards;
  if (opened === undefined) throw new Error('no shard');
  const { shard, rows, checkpoints } = opened;
  const position = async () => JSON.parse(String(await rows.getMeta(POSITION_ROW))).seq as number;
  const before = await position();
  expect(before).toBe(shard.durableSeq);

  gate.shut();
  const enqueued = bench.queues.enqueue(caller, { queue: 'q', jobs: [aJob('x')], mutation: null });
  await vi.waitFor(() => expect(gate.waiting).toBeGreaterThan(0), 20_000);
  const seq = before + 1;
  const ran = checkpoints.run({ seq, timeMs: shard.nowMs() }, () => shard.durable(seq));
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(await position()).toBe(before);

  gate.release();
  await Promise.all([enqueued, ran]);
  expect(await position()).toBe(seq);
});
