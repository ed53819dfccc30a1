// A read never shows what a crash could take back: while the disk has not synced a write, no read shows it,
// and none that saw it is answered before the write itself.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Bench, caller } from '../queue/bench.ts';
import { GatedFiles } from '../shard/gated-files.ts';

const open: { bench: Bench; gate: GatedFiles }[] = [];
afterEach(async () => {
  for (const { bench, gate } of open.splice(0)) {
    gate.release();
    await bench.close();
  }
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Files are read meanwhile, by threads that may have to wait for their turn. */
const LOOK_MS = 1000;
async function look(hasSeen: () => boolean): Promise<void> {
  for (const endMs = performance.now() + LOOK_MS; performance.now() < endMs && !hasSeen(); ) await turn();
}

/** As it comes over the wire: with every default. */
const kvRequest = (op: pb.KvOpInput) => pb.KvRequest.decode(pb.KvRequest.encode({ ops: [op] }).finish());
const key = Buffer.from('k');
const text = (value: unknown) =>
  JSON.stringify(value, (_, v) =>
    Buffer.isBuffer(v) || v?.type === 'Buffer' ? Buffer.from(v).toString() : v,
  );

/** Every way to look at something, and what it says before the write. */
const reads: Record<string, (b: Bench) => Promise<unknown>> = {
  'kv get': async (b) =>
    (await b.fabric.kv.execute(caller, kvRequest({ get: { key } }))).results?.[0]?.found ?? false,
  'kv inspect': async (b) =>
    (await b.fabric.kv.execute(caller, kvRequest({ inspect: { key } }))).results?.[0]?.found ?? false,
  'kv scan': async (b) =>
    (await b.fabric.kv.execute(caller, kvRequest({ scan: {} }))).results?.[0]?.entries?.length ?? 0,
  'kv watch': async (b) => {
    let changes = 0;
    const cursor = `1-0${'-1'.repeat(b.fabric.shards.length)}`;
    const watch = await b.fabric.kv.openWatch(
      caller,
      pb.KvWatchRequest.create({ key, cursor }),
      (message) => {
        changes += message.changes?.length ?? 0;
        return true;
      },
      () => {},
    );
    await look(() => changes > 0);
    watch.close();
    return changes;
  },
  'hash scan': async (b) =>
    (await b.fabric.kv.execute(caller, kvRequest({ hashScan: { key: Buffer.from('h') } }))).results?.[0]
      ?.entries?.length ?? 0,
  keyspaces: async (b) => (await b.fabric.admin.listKeyspaces(caller)).keyspaces?.[0]?.keys ?? 0,
  'queue figures': async (b) => (await b.figures('q')).waiting,
  'queue list': async (b) => (await b.fabric.admin.listQueues(caller)).queues?.[0]?.figures?.waiting,
  'job list': async (b) => (await b.list('q')).payloads,
  'stream figures': async (b) =>
    (await b.fabric.admin.getStream(caller, pb.GetStreamRequest.create({ name: 's' }))).partitions?.[0]?.end,
  'stream follow': async (b) => {
    let records = 0;
    // What was written meanwhile is in memory by then.
    for (let i = 0; i < 10; i++) await turn();
    const follow = await b.fabric.streams.openFollow(
      caller,
      pb.FollowRequest.create({ stream: 's', partition: 0, offset: 0 }),
      (message) => {
        records += message.batches?.length ?? 0;
        return true;
      },
      () => {},
    );
    await look(() => records > 0);
    follow.close();
    return records;
  },
  'stream read': async (b) =>
    (await b.fabric.streams.read(caller, pb.ReadRequest.create({ stream: 's', partition: 0, offset: 0 })))
      .records?.length ?? 0,
};

describe.each([1, 3])('with %i shards', (shards) => {
  test.each(Object.entries(reads))(
    '[KV31] [KV9] %s shows a write only when it is durable',
    async (_name, read) => {
      const gate = new GatedFiles();
      const bench = await Bench.open({ shards, onDisk: true, files: gate });
      open.push({ bench, gate });
      await bench.declare('q');
      await bench.fabric.admin.applyStream(caller, pb.StreamSpec.create({ name: 's', partitions: 1 }));
      const before = text(await read(bench));

      gate.shut();
      let durable = 0;
      const publish = pb.PublishRequest.create({
        stream: 's',
        records: [pb.NewRecord.create({ value: key, partition: 0 })],
      });
      const writes = [
        bench.fabric.kv.execute(caller, kvRequest({ set: { key, value: key } })),
        bench.fabric.kv.execute(
          caller,
          kvRequest({ hashSet: { key: Buffer.from('h'), fields: [{ field: key, value: key }] } }),
        ),
        bench.queues.enqueue(
          caller,
          pb.EnqueueRequest.create({ queue: 'q', jobs: [pb.NewJob.create({ payload: key })] }),
        ),
        bench.fabric.streams.publish(caller, publish),
      ].map(async (write) => {
        await write;
        durable++;
      });
      let answer: string | undefined;
      const asked = read(bench).then((value) => {
        answer = text(value);
        if (answer !== before)
          expect(durable, 'writes that are durable when a read shows one').toBeGreaterThan(0);
      });
      await vi.waitFor(() => expect(gate.waiting, 'syncs that wait').toBeGreaterThan(0), 20_000);
      for (let i = 0; i < 50; i++) await turn();
      expect(durable).toBe(0);
      // It waits, or it still says what was there before.
      expect([undefined, before]).toContain(answer);

      gate.release();
      await Promise.all([...writes, asked]);
      expect(text(await read(bench)), 'the write shows in the end').not.toBe(before);
    },
  );
});
