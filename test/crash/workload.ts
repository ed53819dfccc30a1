// Clients that use everything at once and write down every acknowledgement. The SDK repeats what was not
// answered with the same (producerId, seq), so each call here happens exactly once or the ledger says
// otherwise.
import { connect, FlowError, type FlowMesh } from '@flowmesh/client';
import type { Ledger } from './ledger.ts';

export const QUEUES = ['crash.a', 'crash.b', 'crash.c'];
export const STREAM = 'crash.records';
export const PARTITIONS = 3;
export const KEYED_QUEUE = 'crash.keyed';
const GROUP = 'crash-group';
const KEYS = 6;
/** A restart takes its time where other things run. What is lost shows in the ledger, not by being slow. */
const RETRY_FOR = '10m';

export interface Workload {
  /** Lets every call that runs be answered, then stops asking. */
  stop(): Promise<void>;
  /** Ends the clients once all jobs are handled. */
  close(): Promise<void>;
  /** Calls answered since the start. */
  answered(): number;
  /** What waits for an answer now. */
  waiting(): string;
}

export async function startWorkload(address: string, ledger: Ledger): Promise<Workload> {
  const fm: FlowMesh = await connect({ address, deadline: RETRY_FOR });
  let isOver = false;
  let next = 0;
  let answered = 0;
  const waiting = new Map<string, number>();
  const failed = (what: string, error: unknown) => {
    ledger.violations.push(
      `${what} failed: ${error instanceof FlowError ? error.code : ''} ${String(error)}`,
    );
    isOver = true;
  };
  const loop = async (what: string, step: () => Promise<void>) => {
    while (!isOver) {
      try {
        waiting.set(what, (waiting.get(what) ?? 0) + 1);
        await step();
        waiting.set(what, (waiting.get(what) ?? 0) - 1);
        answered++;
      } catch (error) {
        failed(what, error);
      }
    }
  };

  await fm.admin.applyStream(STREAM, { partitions: PARTITIONS });
  const enqueue = (queue: string) => async () => {
    const n = next++;
    const { id } = await fm.queue.enqueue(queue, { n });
    ledger.enqueued.set(n, id);
  };
  const write = async () => {
    const n = next++;
    ledger.written.set(n, await fm.stream.write(STREAM, { n }, { key: `k${n % 7}` }));
  };
  /** One writer for each key: sets, deletes, reads its own. */
  const owner = (key: string) => {
    let value = 0;
    return async () => {
      const state = ledger.keys.get(key) ?? { acked: -1, asked: -1 };
      ledger.keys.set(key, state);
      const isDelete = value++ % 5 === 4;
      state.asked = isDelete ? -1 : value;
      if (isDelete) await fm.kv.delete(key);
      else await fm.kv.set(key, value);
      state.acked = state.asked;
      ledger.read(key, ((await fm.kv.get(key)) as number | undefined) ?? -1);
    };
  };
  const increment = async () => {
    await fm.kv.hash('crash:counts').increment('n', 1);
    ledger.increments++;
  };
  const transaction = async () => {
    const n = next++;
    await fm.transaction((tx) => {
      tx.kv.hash('{crash}:counts').increment('n', 1);
      tx.queue.enqueue('{crash}:jobs', { n });
      tx.stream.write('{crash}:records', { n }, { partition: 0 });
    });
    ledger.transactions++;
  };

  /** One writer for each key, so that its jobs have an order. Some come later, some first. */
  const keyed = (key: string) => {
    let n = 0;
    return async () => {
      await fm.queue.enqueue(KEYED_QUEUE, { key, n }, { key });
      ledger.keyedAsked.set(key, n++);
    };
  };
  const delayed = async () => {
    const n = next++;
    const { id } = await fm.queue.enqueue(QUEUES[0] as string, { n }, { delay: 0.3, priority: n % 3 });
    ledger.enqueued.set(n, id);
  };
  const consumer = fm.stream.consumer(STREAM, GROUP, { from: 'earliest' });
  const consuming = (async () => {
    for await (const record of consumer) ledger.consumed(record.partition, record.offset);
  })().catch((error) => failed('consume', error));
  const keyedWorker = fm.queue.worker(
    KEYED_QUEUE,
    async (job) => {
      const { key, n } = job.payload as { key: string; n: number };
      ledger.keyedDelivery(key, n);
    },
    { concurrency: 10, visibility: '3s' },
  );
  keyedWorker.on('error', () => {});
  const workers = [...QUEUES, '{crash}:jobs'].map((queue) => {
    const worker = fm.queue.worker(
      queue,
      async (job) => {
        ledger.delivery((job.payload as { n: number }).n, job.id);
        await job.ack();
        ledger.done.add(job.id);
      },
      { concurrency: 20, visibility: '3s' },
    );
    worker.on('error', () => {});
    return worker;
  });
  const loops = [
    ...QUEUES.flatMap((queue) => [1, 2, 3].map(() => loop(`enqueue to ${queue}`, enqueue(queue)))),
    ...[1, 2, 3].map(() => loop('write', write)),
    ...Array.from({ length: KEYS }, (_, i) => loop('key', owner(`crash:key-${i}`))),
    loop('increment', increment),
    ...['a', 'b', 'c'].map((key) => loop('keyed', keyed(key))),
    loop('delayed', delayed),
    ...[1, 2].map(() => loop('transaction', transaction)),
  ];
  return {
    async stop() {
      isOver = true;
      await Promise.all(loops);
    },
    async close() {
      await Promise.all([...workers, keyedWorker].map((worker) => worker.drain()));
      await consumer.close();
      await consuming;
      await fm.close();
    },
    answered: () => answered,
    waiting: () => `waiting: ${JSON.stringify([...waiting])}, over: ${isOver}`,
  };
}
