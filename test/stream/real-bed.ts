// Real shards under a clock that the test moves: journal files, LevelDB, partition logs in segment files.
import { join } from 'node:path';
import { type OpenedShard, openShard } from '../../dataplane/shard/open-shard.ts';
import { createStreamService } from '../../dataplane/stream/service.ts';
import { createStreamView, type StreamView } from '../../dataplane/stream/view.ts';
import { FakeTime, noSchemas, turns } from './fake.ts';
import type { Bed } from './model.ts';

export interface RealBed extends Bed {
  readonly time: FakeTime;
  /** No partition is being cleaned any more. */
  cleaned(): Promise<void>;
}

export async function realBed(shards: number, dir: string): Promise<RealBed> {
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
  const viewsOf = () => opened.map(({ views }) => views.find(({ name }) => name === 'stream') as StreamView);
  const serve = () =>
    createStreamService({
      shards: opened.map(({ shard }) => shard),
      views: viewsOf(),
      schemas: noSchemas,
      autoCreate: false,
      random: time.random,
      wanted: () => null,
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
    time,
    get streams() {
      return streams;
    },
    settle,
    advance: async (ms) => {
      await time.advance(ms);
      await settle();
    },
    checkpoint,
    cleaned: async () => {
      while (viewsOf().some(({ isCleaning }) => isCleaning)) await turns(1);
      await settle();
    },
    restart: async () => {
      await close();
      opened = await openAll();
      streams = serve();
      await streams.reconcile();
    },
    close,
  };
}
