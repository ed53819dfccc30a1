// A queue at earlier moments: what is computed from the journal is what was to be seen then, whatever
// happened since. The model is the record of what the live queue said at each step.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, extendOf, type Held, nackOf } from './bench.ts';
import { countsOf } from './flow-bench.ts';

const opened: Bench[] = [];
afterEach(async () => {
  for (const bench of opened.splice(0)) await bench.close();
});

const QUEUES = ['q', 'q.dead'];
const STATES = ['waiting', 'delayed', 'retrying', 'blocked', 'leased', 'waiting_children'];
const TERMS = {
  visibilityTimeoutMs: 30_000,
  maxAttempts: 2,
  backoff: { type: 'fixed', initialMs: 1000, maxMs: 1000, jitter: 'none' },
};

const through = <T, I>(type: pb.MessageType<T, I>, message: I): T =>
  type.decode(type.encode(message).finish() as Buffer);

async function countsAt(bench: Bench, queue: string, at: object) {
  const request = through(pb.GetQueueAtRequest, { queue, ...at });
  return through(pb.QueueAt, await bench.fabric.history.getQueueAt(caller, request));
}

/** `<state> <payload>`, by offset; an error: its code. */
async function jobsAt(bench: Bench, queue: string, at: object, state = '', limit = 2): Promise<unknown> {
  const found: string[] = [];
  let cursor = '';
  do {
    const request = through(pb.ListJobsAtRequest, {
      queue,
      ...(cursor === '' ? at : {}),
      state,
      cursor,
      limit,
    });
    const page = await bench.fabric.history.listJobsAt(caller, request).catch((error) => error.code);
    if (typeof page === 'string') return page;
    expect(page.jobs?.length).toBeLessThanOrEqual(limit);
    found.push(...((page.jobs ?? []) as pb.JobInput[]).map((job) => `${job.state} ${job.payload}`));
    cursor = page.cursor ?? '';
  } while (cursor !== '');
  return found;
}

async function liveJobs(bench: Bench, queue: string): Promise<string[]> {
  const found: [id: number, text: string][] = [];
  for (const state of STATES) {
    let cursor = '';
    do {
      const page = await bench.queues.listJobs(caller, { queue, state, limit: 3, cursor });
      for (const job of page.jobs ?? []) {
        const offset = Number.parseInt((job.id ?? '').split('-')[2] ?? '', 36);
        found.push([offset, `${state} ${job.payload}`]);
      }
      cursor = page.cursor ?? '';
    } while (cursor !== '');
  }
  return found.sort(([a], [b]) => a - b).map(([, text]) => text);
}

const FINISHED = ['completed', 'cancelled', 'dead'];

async function liveFinished(bench: Bench, queue: string, state: string): Promise<string[]> {
  const found: string[] = [];
  let cursor = '';
  do {
    const page = await bench.queues.listJobs(caller, { queue, state, limit: 3, cursor });
    found.push(...(page.jobs ?? []).map((job) => `${job.state} ${job.payload}`));
    cursor = page.cursor ?? '';
  } while (cursor !== '');
  return found;
}

interface Moment {
  readonly finished: readonly (readonly string[])[];
  readonly queue: string;
  readonly timeMs: number;
  readonly position: number;
  readonly figures: unknown;
  readonly jobs: readonly string[];
  readonly purges: number;
}

interface World {
  readonly bench: Bench;
  readonly held: Held[];
  readonly ids: string[];
  purges: number;
  next: number;
}

type Step = (world: World) => Promise<unknown>;

const enqueue = fc
  .record({
    key: fc.constantFrom('', '', 'a', 'b'),
    priority: fc.constantFrom(0, 0, 5),
    delayMs: fc.constantFrom(0, 0, 0, 2500),
    dedupKey: fc.constantFrom('', '', '', 'd'),
    limitKey: fc.constantFrom('', '', 'x', 'y'),
  })
  .map(
    (o): Step =>
      async ({ bench, ids, next }) => {
        const debounced =
          o.dedupKey !== '' && o.key === '' ? { dedupMode: 'debounce', dedupWindowMs: 1000 } : {};
        const [job] = await bench.enqueue('q', aJob(`job-${next}`, { ...o, ...debounced }));
        ids.push(job?.id ?? '');
      },
  );

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: enqueue },
  {
    weight: 2,
    arbitrary: fc.constantFrom('', 'ignore').map(
      (onFailure): Step =>
        async ({ bench, ids, next }) => {
          const child = { parent: 0, name: 'c', queue: 'q', onFailure };
          const nodes = [
            { ...child, name: '', onFailure: '', job: aJob(`parent-${next}`) },
            { ...child, job: aJob(`child-${next}`) },
          ];
          const { jobs } = await bench.queues.enqueueFlow(caller, { nodes, mutation: null });
          ids.push(...(jobs ?? []).map(({ id }) => id ?? ''));
        },
    ),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constantFrom('q', 'q', 'q.dead'), fc.integer({ min: 1, max: 3 })).map(
      ([queue, max]): Step =>
        async ({ bench, held }) =>
          held.push(...(await bench.lease(queue, max))),
    ),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.nat(20), fc.constantFrom('ack', 'nack', 'die', 'release', 'extend')).map(
      ([at, how]): Step =>
        async ({ bench, held }) => {
          const [job] = held.splice(at % Math.max(1, held.length), 1);
          if (job === undefined) return;
          const settlement = {
            ack: ackOf(job),
            nack: nackOf(job, { error: 'no' }),
            die: nackOf(job, { error: 'no', unrecoverable: true }),
            release: nackOf(job, { release: true }),
            extend: extendOf(job, 20_000),
          }[how] as pb.Settlement;
          await bench.settle(job.id.startsWith(await prefixOf(bench, 'q')) ? 'q' : 'q.dead', settlement);
          if (how === 'extend') held.push(job);
        },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.nat(20).map(
      (at): Step =>
        async ({ bench, ids }) => {
          const id = ids[at % Math.max(1, ids.length)];
          if (id !== undefined)
            await bench.queues.cancelJob(caller, { queue: 'q', id, reason: '', mutation: null });
        },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(700, 1500, 31_000).map(
      (ms): Step =>
        ({ bench }) =>
          bench.advance(ms),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom<Step>(
      ({ bench }) => bench.restart(),
      ({ bench }) => bench.checkpoint(),
      ({ bench }) =>
        bench.queues.redrive(caller, { queue: 'q.dead', max: 2, targetQueue: '', mutation: null }),
      ({ bench }) =>
        bench.declare('q', {
          ...TERMS,
          limits: { concurrencyPerKey: 1, concurrency: 0, ratePerKey: null, rate: null },
        }),
      ({ bench }) => bench.declare('q', TERMS),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constant<Step>(async (world) => {
      world.purges++;
      await world.bench.queues.purge(caller, { queue: 'q', mutation: null });
    }),
  },
);

async function prefixOf(bench: Bench, queue: string): Promise<string> {
  for (const { views, shard } of bench.fabric.shards) {
    const cell = (
      views[1] as unknown as { state: { cell(t: number, n: string): { queueNo: number } | undefined } }
    ).state.cell(1, queue);
    if (cell !== undefined) return `${shard.id.toString(36)}-${cell.queueNo.toString(36)}-`;
  }
  return '?';
}

async function look(world: World): Promise<Moment[]> {
  const { bench, purges } = world;
  await bench.idle();
  const moments: Moment[] = [];
  for (const queue of QUEUES) {
    const { waitingChildren } = await countsOf(bench, queue);
    const figures = { ...(await bench.figures(queue)), waitingChildren };
    const jobs = await liveJobs(bench, queue);
    const { position } = await countsAt(bench, queue, { timeMs: bench.time.now });
    const finished = [];
    for (const state of FINISHED) finished.push(await liveFinished(bench, queue, state));
    moments.push({ queue, timeMs: bench.time.now, position, figures, jobs, finished, purges });
  }
  return moments;
}

describe.each([1, 3])('%i shards', (shards) => {
  test('[Q160] [Q161] [Q162] counts and jobs as of a moment are what was to be seen then', async () => {
    let moved = 0;
    const run = async (script: readonly Step[]) => {
      const bench = await Bench.open({ shards, onDisk: true });
      opened.push(bench);
      for (const queue of QUEUES) await bench.declare(queue, TERMS);
      const world: World = { bench, held: [], ids: [], purges: 0, next: 0 };
      const moments: Moment[] = [];
      for (const each of script) {
        world.next++;
        await each(world);
        moments.push(...(await look(world)));
        await bench.advance(1);
      }
      for (const { queue, timeMs, position, figures, jobs, finished, purges } of moments) {
        for (const at of [{ position }, { timeMs }]) {
          const then = await countsAt(bench, queue, at);
          const { waiting, delayed, retrying, blocked, leased, waitingChildren } = then;
          const shown = { waiting, delayed: delayed + retrying, blocked, leased, waitingChildren };
          expect(shown).toEqual(figures);
        }
        const isPurged = queue === 'q' && purges < world.purges;
        expect(await jobsAt(bench, queue, { position })).toEqual(isPurged ? 'HISTORY_TRIMMED' : jobs);
        if (isPurged) continue;
        for (const [i, state] of FINISHED.entries())
          expect(await jobsAt(bench, queue, { position }, state), state).toEqual(finished[i]);
        const delayed = jobs.filter((job) => job.startsWith('delayed'));
        expect(await jobsAt(bench, queue, { timeMs }, 'delayed')).toEqual(delayed);
        moved += jobs.length;
      }
      opened.splice(opened.indexOf(bench), 1);
      await bench.close();
    };
    const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 22 }), run);
    await fc.assert(property, { numRuns: shards === 1 ? 10 : 3 });
    expect(moved, 'queues that were always empty prove nothing').toBeGreaterThan(0);
  }, 240_000);
});

test('[Q161] a job that was cancelled in the middle of its line is not listed', async () => {
  const bench = await Bench.open({ onDisk: true });
  opened.push(bench);
  await bench.declare('q', TERMS);
  const made = await bench.enqueue('q', ...['one', 'two', 'three'].map((name) => aJob(name, { key: 'k' })));
  const [first] = await bench.lease('q');
  const id = made[1]?.id ?? '';
  await bench.queues.cancelJob(caller, { queue: 'q', id, reason: '', mutation: null });
  const { position } = await countsAt(bench, 'q', { timeMs: bench.time.now });
  const figures = await bench.figures('q');
  await bench.settle('q', ackOf(first as Held));
  const [third] = await bench.lease('q');
  expect(third?.payload).toBe('three');
  expect(await jobsAt(bench, 'q', { position })).toEqual(['leased one', 'blocked three']);
  expect(await jobsAt(bench, 'q', { position }, 'cancelled')).toEqual(['cancelled two']);
  expect(await countsAt(bench, 'q', { position })).toMatchObject(figures);
});

test('[Q160] what is in front of the history, ahead of it or no moment at all is refused', async () => {
  const bench = await Bench.open({ onDisk: true });
  opened.push(bench);
  await bench.declare('q', TERMS);
  await bench.enqueue('q', aJob('one'));
  for (const at of [{}, { position: 99_999 }])
    await expect(countsAt(bench, 'q', at)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(countsAt(bench, 'none', { timeMs: 1 })).rejects.toMatchObject({ code: 'QUEUE_NOT_FOUND' });
  await expect(countsAt(bench, 'q', { position: 0 })).rejects.toMatchObject({ code: 'HISTORY_TRIMMED' });
  expect(await jobsAt(bench, 'q', { position: 1 })).toEqual([]);
  expect(await jobsAt(bench, 'q', { position: 1 }, 'nonsense')).toBe('INVALID_ARGUMENT');
  const cursor = through(pb.ListJobsAtRequest, { queue: 'q', cursor: 'x' });
  const listed = bench.fabric.history.listJobsAt(caller, cursor);
  await expect(listed).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('[Q161] pages end earlier where more jobs have moved than one remembers', async () => {
  const bench = await Bench.open({ onDisk: true });
  opened.push(bench);
  await bench.declare('q', TERMS);
  const names = Array.from({ length: 9000 }, (_, i) => `${i}`);
  await bench.enqueue('q', ...names.map((name) => aJob(name)));
  const { position } = await countsAt(bench, 'q', { timeMs: bench.time.now });
  for (let i = 0; i < 9; i++) {
    const held = await bench.lease('q', 1000);
    expect(held).toHaveLength(1000);
    await bench.settle('q', ...held.map(ackOf));
  }
  await bench.enqueue('q', aJob('later'));
  expect(await jobsAt(bench, 'q', { position }, '', 1000)).toEqual(names.map((name) => `waiting ${name}`));
  expect((await countsAt(bench, 'q', { position })).waiting).toBe(9000);
  expect(await jobsAt(bench, 'q', { position }, 'completed', 1000)).toEqual([]);
  const { position: now } = await countsAt(bench, 'q', { timeMs: bench.time.now });
  const completed = (await jobsAt(bench, 'q', { position: now }, 'completed', 1000)) as string[];
  expect(completed).toEqual(names.map((name) => `completed ${name}`).reverse());
});
