// The same model on real shards: journal files, LevelDB, partition logs in segment files.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'vitest';
import { type OpenedShard, openShard } from '../../dataplane/shard/open-shard.ts';
import { createStreamService } from '../../dataplane/stream/service.ts';
import { createStreamView, type StreamView } from '../../dataplane/stream/view.ts';
import { FakeTime, turns } from './fake.ts';
import { type Bed, Model, script } from './model.ts';

async function realBed(shards: number, dir: string): Promise<Bed> {
  const time = new FakeTime();
  const open = (id: number): Promise<OpenedShard> =>
    openShard({
      id,
      shards,
      dir: join(dir, `shard-${id}`),
      runtime: time,
      factories: [createStreamView],
      log: () => {},
      onFatal: (error) => {
        throw error;
      },
      onState: () => {},
    });
  const openAll = () => Promise.all(Array.from({ length: shards }, (_, id) => open(id)));
  const serve = () =>
    createStreamService({
      shards: opened.map(({ shard }) => shard),
      views: opened.map(({ views }) => views.find(({ name }) => name === 'stream') as StreamView),
      autoCreate: false,
      random: time.random,
    });
  let opened = await openAll();
  let streams = serve();
  const close = async () => {
    await Promise.all(opened.map((each) => each.close()));
    time.clear();
  };
  // A step of a group takes a few trips through journals: home, cursors, home again.
  const settle = async () => {
    for (let i = 0; i < 6; i++) {
      await Promise.all(opened.map(({ shard }) => shard.settled()));
      await turns(3);
    }
  };
  const checkpoint = async () => {
    await settle();
    const none = async () => {};
    for (const { shard, checkpoints } of opened) {
      await checkpoints.run({ seq: shard.durableSeq, timeMs: shard.nowMs() }, none);
    }
  };
  return {
    get streams() {
      return streams;
    },
    settle,
    advance: async (ms) => {
      await time.advance(ms);
      await settle();
    },
    checkpoint,
    restart: async () => {
      await close();
      opened = await openAll();
      streams = serve();
      await streams.reconcile();
    },
    close,
  };
}

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
