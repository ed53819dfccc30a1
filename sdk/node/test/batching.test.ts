import { expect, test } from 'vitest';
import type { Job } from '../src/index.ts';
import { failureOf, sleep, startFake, until } from './support.ts';

const payloads = (jobs: readonly Job<number>[]) => jobs.map((job) => job.payload);
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

test('[Q35] jobs come in full batches, and the rest in time', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueueMany('q', numbers(25));
  const batches: number[][] = [];
  let atWork = 0;
  let most = 0;
  const worker = fm.queue.worker<number>(
    'q',
    async (jobs) => {
      batches.push(payloads(jobs));
      most = Math.max(most, ++atWork);
      await sleep(5);
      atWork--;
    },
    { batch: { size: 10, timeout: '50ms' } },
  );
  await until(() => fake.queues.queue('q').states()['done'] === 25, 'all jobs are done');
  expect(batches).toEqual([numbers(10), numbers(20).slice(10), numbers(25).slice(20)]);
  expect(most).toBe(1);
  await worker.drain();
});

test.each(['errors', 'allSettled'])('[Q35] only the jobs that failed run again (%s)', async (how) => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueueMany('q', numbers(6));
  const runs = new Map<number, number>();
  const outcomeOf = async ({ payload }: Job<number>) => {
    runs.set(payload, (runs.get(payload) ?? 0) + 1);
    if (payload % 3 === 1 && runs.get(payload) === 1) throw new Error(`no ${payload}`);
  };
  const worker = fm.queue.worker<number>(
    'q',
    async (jobs) => {
      const settled = await Promise.allSettled(jobs.map(outcomeOf));
      if (how === 'allSettled') return settled;
      return settled.map((each) => (each.status === 'rejected' ? each.reason : undefined));
    },
    { batch: { size: 6, timeout: 0.05 } },
  );
  await until(() => fake.queues.queue('q').states()['done'] === 6, 'all jobs are done');
  expect([...runs].sort()).toEqual([
    [0, 1],
    [1, 2],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 1],
  ]);
  await worker.drain();
});

test('[Q35] a handler that throws fails what it has not acked itself', async () => {
  const { fake, fm } = await startFake();
  await fm.queue.enqueueMany('q', numbers(3));
  const batches: number[][] = [];
  const worker = fm.queue.worker<number>(
    'q',
    async (jobs) => {
      batches.push(payloads(jobs));
      await jobs[0]?.ack();
      if (batches.length === 1) throw new Error('half way');
    },
    { batch: { size: 3, timeout: '50ms' } },
  );
  await until(() => fake.queues.queue('q').states()['done'] === 3, 'all jobs are done');
  expect(batches).toEqual([
    [0, 1, 2],
    [1, 2],
  ]);
  await worker.drain();
});

test('[Q35] a size that is none is refused', async () => {
  const { fm } = await startFake();
  for (const size of [0, 1.5, 1001]) {
    const start = async () => fm.queue.worker('q', () => {}, { batch: { size } });
    expect(await failureOf(start())).toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
});
