// Fills a new data directory, and ends as kill -9 would: node journal.ts '{"dataDir", "bytes", "keys"}'.
// With `bytes` its journal, while checkpoints are held back: records, jobs and keys in one shard, written by
// many at once. With `keys` so many keys of 100 B, with checkpoints as they come.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { openFabric } from '../../dataplane/fabric.ts';
import { realRuntime } from '../../dataplane/runtime.ts';

const {
  dataDir,
  bytes,
  keys: keysWanted,
} = JSON.parse(process.argv[2] ?? '{}') as { dataDir: string; bytes: number; keys: number };
const caller = { identity: 'bench', tenant: 1, deadlineMs: 0 };
const fabric = await openFabric({
  dataDir,
  shards: 1,
  autoCreate: true,
  runtime: realRuntime,
  version: 'bench',
  log: () => {},
  onFatal: (error) => {
    throw error;
  },
});
for (const { checkpoints } of fabric.shards) checkpoints.isHeld = keysWanted === 0;

const body = Buffer.alloc(1024, 'x');
const written = () => fabric.shards[0]?.journal.tail().bytes ?? 0;
let keys = 0;
let jobs = 0;
let records = 0;

async function publish(): Promise<void> {
  const batch = Array.from({ length: 200 }, () => pb.NewRecord.create({ value: body, partition: 0 }));
  await fabric.streams.publish(caller, pb.PublishRequest.create({ stream: 'bench', records: batch }));
  records += batch.length;
}

async function enqueue(): Promise<void> {
  const batch = Array.from({ length: 200 }, () => pb.NewJob.create({ payload: body }));
  await fabric.queues.enqueue(caller, pb.EnqueueRequest.create({ queue: 'bench', jobs: batch }));
  jobs += batch.length;
}

async function set(differing = 200_000, size = 200): Promise<void> {
  const first = keys;
  const ops = Array.from({ length: 200 }, (_, i) => ({
    set: { key: Buffer.from(`key-${(first + i) % differing}`), value: body.subarray(0, size) },
  }));
  keys += ops.length;
  await fabric.kv.execute(caller, pb.KvRequest.decode(pb.KvRequest.encode({ ops }).finish()));
}

const loop = async (step: () => Promise<void>) => {
  while (written() < bytes) await step();
};
if (keysWanted === 0)
  await Promise.all([publish, publish, enqueue, enqueue, set].map((step) => loop(() => step())));
else {
  const writer = async () => {
    while (keys < keysWanted) await set(keysWanted, 100);
  };
  await Promise.all(Array.from({ length: 8 }, writer));
}
process.stdout.write(`${JSON.stringify({ bytes: written(), keys, jobs, records })}\n`, () =>
  process.kill(process.pid, 'SIGKILL'),
);
