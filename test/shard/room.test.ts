// A disk that stands still while data keeps coming: memory is bounded, what is refused is told so, reads and
// acks go on, and it clears by itself.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test, vi } from 'vitest';
import { type OpenedFabric, openFabric } from '../../dataplane/fabric.ts';
import { MemoryWatch } from '../../dataplane/shard/memory-watch.ts';
import { type LogFiles, realLogFiles } from '../../dataplane/storage/log-files.ts';
import { ackOf, aJob, caller, heldOf } from '../queue/bench.ts';
import { ManualTime } from '../queue/manual-time.ts';

const MIB = 1024 * 1024;

/** Partition logs whose writes wait while the gate is shut; the journal goes on. */
function gatedLogs(): { files: LogFiles; shut(): void; release(): void } {
  let shut: Promise<void> | undefined;
  let open = () => {};
  const files: LogFiles = {
    ...realLogFiles,
    async open(file, mode) {
      const real = await realLogFiles.open(file, mode);
      const write = async (pieces: readonly Uint8Array[], position: number) => {
        await shut;
        await real.write(pieces, position);
      };
      return { ...real, write, read: (into, at) => real.read(into, at) };
    },
  };
  return {
    files,
    shut: () => {
      shut = new Promise((resolve) => {
        open = resolve;
      });
    },
    release: () => {
      shut = undefined;
      open();
    },
  };
}

/** A lease and its ack. */
async function handleOne(fabric: OpenedFabric): Promise<void> {
  const request = { queue: 'q', max: 1, waitMs: 0, visibilityMs: 0, worker: 'w' };
  const { jobs } = await fabric.queues.lease(caller, request, new AbortController().signal);
  const settlements = (jobs ?? []).map((job) => ackOf(heldOf(job)));
  const { results } = await fabric.queues.settle(caller, { queue: 'q', settlements, mutation: null });
  expect(results?.map(({ code }) => code ?? '')).toEqual(['']);
}

const publish = (fabric: OpenedFabric) =>
  fabric.streams.publish(
    caller,
    pb.PublishRequest.create({
      stream: 's',
      records: [pb.NewRecord.create({ value: Buffer.alloc(MIB / 2, 'x'), partition: 0 })],
    }),
  );

test('[O1] data is refused while what is in memory waits for the disk, and nothing else is', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'flowmesh-room-'));
  const logs = gatedLogs();
  const time = new ManualTime();
  const fabric = await openFabric({
    dataDir: dir,
    shards: 1,
    autoCreate: true,
    runtime: time,
    version: 'test',
    log: () => {},
    onFatal: () => {},
    storage: { logFiles: logs.files, unwrittenBytesMax: 8 * MIB },
  });
  await fabric.queues.enqueue(caller, { queue: 'q', jobs: [aJob('before')], mutation: null });
  await publish(fabric);

  logs.shut();
  let taken = 0;
  let refusal: unknown;
  for (; refusal === undefined && taken < 100; taken++) {
    await publish(fabric).catch((error) => {
      refusal = error;
    });
  }
  expect(refusal).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryAfterMs: 250 });
  expect(taken).toBeLessThan(25);
  const { shardFigures } = await fabric.admin.getCluster(caller);
  expect(shardFigures?.[0]?.state).toBe('memory_full');
  await time.advance(1000, async () => {});
  expect(fabric.state()).toBe('memory_full');

  const read = pb.ReadRequest.create({ stream: 's', partition: 0, offset: 0, max: 1 });
  expect((await fabric.streams.read(caller, read)).records).toHaveLength(1);
  await handleOne(fabric);

  logs.release();
  await vi.waitFor(() => publish(fabric), 5000);
  await time.advance(1000, async () => {});
  expect(fabric.state()).toBe('serving');
  await fabric.close();
  time.clear();
  await rm(dir, { recursive: true });
});

const memoryOf = (figures: { resident: number; live: number }) => ({
  limitBytes: 100,
  resident: () => figures.resident,
  live: () => figures.live,
});

test('[M1] memory is short near the limit, until there is room again', () => {
  const figures = { resident: 0, live: 0 };
  const watch = new MemoryWatch(memoryOf(figures));
  const after = (resident: number, live: number) => {
    Object.assign(figures, { resident, live });
    watch.look();
    return watch.isShort;
  };
  expect(after(85, 80)).toBe(false);
  expect(after(86, 80)).toBe(true);
  expect(after(81, 80)).toBe(true);
  expect(after(79, 75)).toBe(false);
  expect(after(90, 70)).toBe(true);
  // The system keeps the pages, but the heap has room in them.
  expect(after(90, 49)).toBe(false);
  expect(after(90, 51)).toBe(true);
});

test('[O2] short of memory: data is refused with a hint, reads and acks go on, and it clears', async () => {
  const time = new ManualTime();
  const figures = { resident: 0, live: 0 };
  const fabric = await openFabric({
    dataDir: null,
    shards: 1,
    autoCreate: true,
    runtime: time,
    version: 'test',
    log: () => {},
    onFatal: () => {},
    memory: memoryOf(figures),
  });
  const enqueue = () =>
    fabric.queues.enqueue(caller, { queue: 'q', jobs: [aJob('x', { key: 'k' })], mutation: null });
  await enqueue();
  Object.assign(figures, { resident: 95, live: 90 });
  await time.advance(1000, async () => {});
  expect(fabric.state()).toBe('memory_full');
  await expect(enqueue()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryAfterMs: 250 });
  await expect(publish(fabric)).rejects.toMatchObject({ message: /memory of the process is short/ });
  await handleOne(fabric);
  Object.assign(figures, { resident: 70, live: 60 });
  await time.advance(1000, async () => {});
  await enqueue();
  expect(fabric.state()).toBe('serving');
  await fabric.close();
  time.clear();
});
