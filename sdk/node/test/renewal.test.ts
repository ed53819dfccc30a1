import { once } from 'node:events';
import { Worker as Thread } from 'node:worker_threads';
import { afterEach, expect, test } from 'vitest';
import { connect, type FlowMesh } from '../src/index.ts';
import type { Figures } from './fake-thread.ts';
import { sleep, until } from './support.ts';

const open: { thread: Thread; fm: FlowMesh }[] = [];

afterEach(async () => {
  for (const { thread, fm } of open.splice(0)) {
    await fm.close();
    await thread.terminate();
  }
});

async function start(blockedTimeout: string) {
  const thread = new Thread(new URL('./fake-thread.ts', import.meta.url));
  const [address] = await once(thread, 'message');
  const fm = await connect({ address, blockedTimeout });
  open.push({ thread, fm });
  const figures = async (): Promise<Figures> => {
    thread.postMessage('q');
    const [answer] = await once(thread, 'message');
    return answer;
  };
  return { fm, figures };
}

/** The session is renewed although it has no job yet. */
async function threadRenews(figures: () => Promise<Figures>): Promise<void> {
  while ((await figures()).renewals === 0) await sleep(20);
}

function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

test('a handler that blocks the main thread for longer than the lease keeps its job', async () => {
  const { fm, figures } = await start('5m');
  const attempts: number[] = [];
  const worker = fm.queue.worker(
    'q',
    (job) => {
      attempts.push(job.attempt);
      block(3200);
    },
    { visibility: 1.2 },
  );
  await threadRenews(figures);
  await fm.queue.enqueue('q', 1);
  await until(() => attempts.length > 0 && worker.running === 0, 'the handler is done');
  await worker.drain();
  const { renewals, jobs } = await figures();
  expect(attempts).toEqual([1]);
  expect(jobs).toEqual([{ state: 'done', attempt: 1 }]);
  expect(renewals).toBeGreaterThan(1);
});

test('[Q8] a main thread that blocks for longer than blockedTimeout loses its leases', async () => {
  const { fm, figures } = await start('1100ms');
  const lost: unknown[] = [];
  let hasBlocked = false;
  const worker = fm.queue.worker(
    'q',
    async () => {
      if (hasBlocked) return;
      hasBlocked = true;
      block(2600);
      await sleep(50);
    },
    { visibility: 0.6 },
  );
  worker.on('lost', (job) => lost.push(job.id));
  await threadRenews(figures);
  await fm.queue.enqueue('q', 1);
  await until(() => lost.length > 0, 'the lease is lost');
  await until(() => worker.running === 0, 'a later delivery is done');
  await worker.drain();
  const [job] = (await figures()).jobs;
  expect(job?.state).toBe('done');
  expect(job?.attempt).toBeGreaterThan(1);
});
