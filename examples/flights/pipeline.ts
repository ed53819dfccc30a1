// The job itself: records -> stream -> consumer group -> queue -> workers -> keys. Each step hands over in
// a transaction, so that a crash at any moment neither loses a flight nor counts one twice:
//   P1. A consumer commits its offsets and enqueues the delayed flights among them in one commit: after a
//       crash the events that are read again are those whose jobs do not exist.
//   P2. Workers ack jobs and add them to the sums in one commit: a job that is delivered again was never
//       counted.
// The tag {flights} puts all names on one shard, which is what a transaction asks for.
import { FlowError, type FlowMesh, type Job, type StreamEvent } from '@flowmesh/client';
import { type Flight, hourOf, isDelayed, type Tally, tally } from './dataset.ts';

export const STREAM = '{flights}.records';
export const GROUP = 'delays';
export const QUEUE = '{flights}.delayed';
/** Hash: `17h short|flights` and `17h short|minutes`. */
export const DELAYS = '{flights}:delays';
/** Sorted set: groups by the minutes that they lost. */
export const LEADERBOARD = '{flights}:leaderboard';

/** Told how far a step is. */
export type OnProgress = (done: number) => void;

/** Nothing is left of an earlier run. */
export async function startOver(fm: FlowMesh): Promise<void> {
  await ignoring('STREAM_NOT_FOUND', fm.admin.deleteStream(STREAM));
  await ignoring('QUEUE_NOT_FOUND', fm.admin.deleteQueue(QUEUE));
  await Promise.all([fm.kv.delete(DELAYS), fm.kv.delete(LEADERBOARD)]);
  await fm.admin.applyStream(STREAM, { partitions: 4 });
  await fm.admin.applyQueue(QUEUE, { visibilityTimeout: '30s' });
}

async function ignoring(code: FlowError['code'], call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (!(error instanceof FlowError) || error.code !== code) throw error;
  });
}

const WRITE_CHUNK = 5000;

/** Writes every record; flights of one hour stay in order. */
export async function produce(
  fm: FlowMesh,
  flights: readonly Flight[],
  onProgress: OnProgress,
): Promise<void> {
  for (let from = 0; from < flights.length; from += WRITE_CHUNK) {
    const chunk = flights.slice(from, from + WRITE_CHUNK);
    await fm.stream.writeMany(STREAM, chunk, { key: ({ time }) => hourOf(time) });
    onProgress(from + chunk.length);
  }
}

/** How many records the group has not handled yet. */
export async function backlogOfGroup(fm: FlowMesh): Promise<number> {
  try {
    return (await fm.admin.getGroup(STREAM, GROUP)).lag;
  } catch (error) {
    if (!(error instanceof FlowError) || error.code !== 'GROUP_NOT_FOUND') throw error;
    const { partitions } = await fm.admin.getStream(STREAM);
    return partitions.reduce((sum, { logStart, end }) => sum + end - logStart, 0);
  }
}

const EVENTS_PER_COMMIT = 1000;

/** Reads `total` records as the group and enqueues a job for each delayed flight (P1). Returns how many. */
export async function enqueueDelayed(fm: FlowMesh, total: number, onProgress: OnProgress): Promise<number> {
  if (total === 0) return 0;
  let [handled, enqueued] = [0, 0];
  let batch: StreamEvent<Flight>[] = [];
  for await (const event of fm.stream.consumer<Flight>(STREAM, GROUP, { autoCommit: false })) {
    batch.push(event);
    const isLast = handled + batch.length === total;
    if (batch.length < EVENTS_PER_COMMIT && !isLast) continue;
    enqueued += await handOver(fm, batch);
    handled += batch.length;
    onProgress(handled);
    batch = [];
    if (isLast) break;
  }
  return enqueued;
}

async function handOver(fm: FlowMesh, batch: readonly StreamEvent<Flight>[]): Promise<number> {
  const delayed = batch.filter(({ value }) => isDelayed(value));
  // Of each partition the newest event: its offset covers those before it.
  const newest = new Map(batch.map((event) => [event.partition, event]));
  await fm.transaction((tx) => {
    for (const event of newest.values()) tx.commit(event);
    for (const { value } of delayed) tx.queue.enqueue(QUEUE, value);
  });
  return delayed.length;
}

/** Jobs that are not done. */
export async function backlogOfQueue(fm: FlowMesh): Promise<number> {
  const { figures } = await fm.admin.getQueue(QUEUE);
  if (figures === null) return 0;
  return figures.waiting + figures.delayed + figures.blocked + figures.leased;
}

/** Works until `total` jobs are done (P2). */
export async function countDelayed(fm: FlowMesh, total: number, onProgress: OnProgress): Promise<void> {
  if (total === 0) return;
  let done = 0;
  const finished = Promise.withResolvers<void>();
  const counter = new Counter(fm);
  const worker = fm.queue.worker<Flight>(QUEUE, (job) => counter.count(job), { concurrency: 512 });
  worker.on('completed', () => {
    onProgress(++done);
    if (done === total) finished.resolve();
  });
  worker.on('failed', (_job, error) => finished.reject(error));
  try {
    await finished.promise;
  } finally {
    await worker.drain();
  }
}

interface Waiting {
  job: Job<Flight>;
  counted: PromiseWithResolvers<void>;
}

/**
 * Jobs that are in hand at the same time share a commit: their acks and the sums of their groups. One that
 * fails takes the others along, uncounted as they are, and the queue delivers all of them again.
 */
class Counter {
  readonly #fm: FlowMesh;
  #waiting: Waiting[] = [];

  constructor(fm: FlowMesh) {
    this.#fm = fm;
  }

  count(job: Job<Flight>): Promise<void> {
    if (this.#waiting.length === 0) setImmediate(() => void this.#commit());
    const counted = Promise.withResolvers<void>();
    this.#waiting.push({ job, counted });
    return counted.promise;
  }

  async #commit(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      const tallies = tally(batch.map(({ job }) => job.payload));
      await this.#fm.transaction((tx) => {
        for (const { job } of batch) tx.ack(job);
        for (const [group, { flights, minutes }] of tallies) {
          tx.kv.hash(DELAYS).increment(`${group}|flights`, flights);
          tx.kv.hash(DELAYS).increment(`${group}|minutes`, minutes);
          tx.kv.sortedSet(LEADERBOARD).increment(group, minutes);
        }
      });
      for (const { counted } of batch) counted.resolve();
    } catch (error) {
      for (const { counted } of batch) counted.reject(error);
    }
  }
}

/** What the keys say. */
export async function readTallies(fm: FlowMesh): Promise<Map<string, Tally>> {
  const fields = await fm.kv.hash(DELAYS).getAll();
  const tallies = new Map<string, Tally>();
  for (const [name, value] of Object.entries(fields)) {
    const [group = '', what] = name.split('|');
    const tally = tallies.get(group) ?? { flights: 0, minutes: 0 };
    tallies.set(group, { ...tally, [what === 'flights' ? 'flights' : 'minutes']: Number(value) });
  }
  return tallies;
}

/** The sorted set, highest first. */
export const readLeaderboard = (fm: FlowMesh) => fm.kv.sortedSet(LEADERBOARD).range({ reverse: true });
