// A data directory with something of everything in it, and the questions that show what is served from it.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type OpenedFabric, openFabric } from '../../dataplane/fabric.ts';
import { ackOf, aJob, caller, heldOf } from '../queue/bench.ts';
import { ManualTime } from '../queue/manual-time.ts';

const KEYS = 60;
const text = (bytes: unknown) => Buffer.from((bytes as Uint8Array | undefined) ?? []).toString();

/** As it comes over the wire: with every default. */
const kv = (fabric: OpenedFabric, op: pb.KvOpInput) =>
  fabric.kv.execute(caller, pb.KvRequest.decode(pb.KvRequest.encode({ ops: [op] }).finish()));

export interface Opened {
  readonly fabric: OpenedFabric;
  readonly fatal: FlowError[];
  readonly time: ManualTime;
}

export async function open(dataDir: string): Promise<Opened> {
  const time = new ManualTime();
  const fatal: FlowError[] = [];
  const fabric = await openFabric({
    dataDir,
    shards: 1,
    autoCreate: true,
    runtime: time,
    version: 'test',
    log: () => {},
    onFatal: (error) => void fatal.push(error),
    storage: { segmentBytes: 64 * 1024 },
  });
  return { fabric, fatal, time };
}

const checkpoint = async ({ fabric }: Opened) => {
  for (const { shard, checkpoints } of fabric.shards)
    await checkpoints.run({ seq: shard.durableSeq, timeMs: shard.nowMs() }, async () => {});
};

async function fill(opened: Opened, round: number): Promise<void> {
  const { fabric } = opened;
  const value = (n: number) => Buffer.from(`${round}.${n} `.repeat(20));
  for (let n = 0; n < KEYS; n++) {
    const key = Buffer.from(`key-${n}`);
    if (n % 7 === round) await kv(fabric, { delete: { key } });
    else if (n % 3 === round % 3) await kv(fabric, { set: { key, value: value(n) } });
  }
  const fields = Array.from({ length: 10 }, (_, n) => ({
    field: Buffer.from(`f${round}-${n}`),
    value: value(n),
  }));
  await kv(fabric, { hashSet: { key: Buffer.from('hash'), fields } });
  const jobs = Array.from({ length: 12 }, (_, n) =>
    aJob(`job ${round}.${n} `.repeat(15), { delayMs: n % 4 === 0 ? 1e7 : 0, priority: n % 5 === 0 ? 3 : 0 }),
  );
  await fabric.queues.enqueue(caller, { queue: 'q', jobs, mutation: null });
  const request = { queue: 'q', max: 4, waitMs: 0, visibilityMs: 0, worker: 'w' };
  const leased = await fabric.queues.lease(caller, request, new AbortController().signal);
  const settlements = (leased.jobs ?? []).map((job) => ackOf(heldOf(job)));
  await fabric.queues.settle(caller, { queue: 'q', settlements, mutation: null });
  const records = Array.from({ length: 20 }, (_, n) =>
    pb.NewRecord.create({ value: value(n), partition: 0 }),
  );
  await fabric.streams.publish(caller, pb.PublishRequest.create({ stream: 's', records }));
}

/** Two starts and four checkpoints, and a tail of the journal that no checkpoint holds. */
export async function prepare(dataDir: string): Promise<void> {
  for (let start = 0; start < 2; start++) {
    const opened = await open(dataDir);
    if (start === 0)
      await opened.fabric.admin.applyStream(caller, pb.StreamSpec.create({ name: 's', partitions: 1 }));
    for (let round = 2 * start; round < 2 * start + 2; round++) {
      await fill(opened, round);
      await checkpoint(opened);
    }
    if (start === 1) {
      await fill(opened, 4);
      for (const { checkpoints } of opened.fabric.shards) checkpoints.isHeld = true;
    }
    await opened.fabric.close();
    opened.time.clear();
  }
}

/** Question -> what is answered, or the FlowError. */
export type Answers = Map<string, string | FlowError>;

export async function ask({ fabric }: Opened): Promise<Answers> {
  const answers: Answers = new Map();
  const put = async (question: string, answer: () => Promise<unknown>) => {
    const result = await answer().then(
      (value) => JSON.stringify(value),
      (error: unknown) => error,
    );
    if (typeof result !== 'string' && !(result instanceof FlowError)) throw result;
    answers.set(question, result);
  };
  for (let n = 0; n < KEYS; n++) {
    await put(`key-${n}`, async () => {
      const { results } = await kv(fabric, { get: { key: Buffer.from(`key-${n}`) } });
      const { found, value, error } = results?.[0] ?? {};
      if (error) throw new FlowError(error.code as 'DATA_DAMAGED', error.message ?? '');
      return [found ?? false, text(value)];
    });
  }
  const entries = async (op: pb.KvOpInput) => {
    const { results } = await kv(fabric, op);
    const { entries: found, error } = results?.[0] ?? {};
    if (error) throw new FlowError(error.code as 'DATA_DAMAGED', error.message ?? '');
    return found?.map((entry) => Object.values(entry).map((v) => (v instanceof Uint8Array ? text(v) : v)));
  };
  await put('keys', () => entries({ scan: { limit: 1000 } }));
  await put('hash', () => entries({ hashScan: { key: Buffer.from('hash'), limit: 1000 } }));
  await put('queue', async () => {
    const { figures, spec } = await fabric.admin.getQueue(caller, { name: 'q' });
    return [figures?.waiting, figures?.delayed, figures?.completedTotal, spec?.name];
  });
  for (const state of ['waiting', 'delayed']) {
    await put(`${state} jobs`, async () => {
      const page = await fabric.queues.listJobs(caller, { queue: 'q', state, limit: 1000, cursor: '' });
      return page.jobs?.map((job) => [job.id, text(job.payload)]);
    });
  }
  await put('stream', async () => {
    const records: unknown[] = [];
    for (let offset = 0; ; ) {
      const request = pb.ReadRequest.create({ stream: 's', partition: 0, offset, max: 1000 });
      const page = await fabric.streams.read(caller, request);
      for (const r of page.records ?? []) records.push([r.offset, text(r.value)]);
      if ((page.records ?? []).length === 0) return records;
      offset = page.nextOffset ?? 0;
    }
  });
  return answers;
}

/** A copy for one try. */
export async function withCopy<T>(of: string, run: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-damaged-'));
  try {
    cpSync(of, dir, { recursive: true });
    return await run(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
