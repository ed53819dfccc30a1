// The Node SDK against a server process of its own: what only real threads, sockets and time can show.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type FlowMesh } from '@flowmesh/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

let dataDir: string;
let server: ServerProcess;
let fm: FlowMesh;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'flowmesh-workers-'));
  server = await startServerProcess({ dataDir, grpcPort: 0, httpPort: 0 });
  fm = await connect({ address: server.address });
});
afterAll(async () => {
  await fm.close();
  await server.kill('SIGTERM');
  await rm(dataDir, { recursive: true });
});

const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 10));
};

function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

test('[Q7] a handler that blocks the process for twice its lease runs once', async () => {
  await fm.admin.applyQueue('blocked', { visibilityTimeout: '2s' });
  const attempts: number[] = [];
  const lost: string[] = [];
  const { promise: renewed, resolve: isRenewed } = Promise.withResolvers<void>();
  const worker = fm.queue.worker<string>('blocked', (job) => {
    if (job.payload === 'warm up') return renewed;
    attempts.push(job.attempt);
    block(4500);
    return undefined;
  });
  worker.on('lost', (job) => lost.push(job.id));
  // The thread needs a moment to start: it is at work when the lease of a first job ends later than at first.
  const warmUp = (await fm.queue.enqueue('blocked', 'warm up')).id;
  const deadlineMs = async () => {
    const job = await fetch(`http://127.0.0.1:${server.httpPort}/v1/queues/blocked/jobs/${warmUp}`);
    return ((await job.json()) as { leaseDeadlineMs?: number }).leaseDeadlineMs ?? 0;
  };
  await expect.poll(deadlineMs).toBeGreaterThan(0);
  await expect.poll(deadlineMs).toBeGreaterThan(await deadlineMs());
  isRenewed();
  const { id } = await fm.queue.enqueue('blocked', 'long');
  await until(() => attempts.length > 0 && worker.running === 0);
  await worker.drain();
  expect([attempts, lost]).toEqual([[1], []]);
  const { figures } = await fm.admin.getQueue('blocked');
  expect(figures).toMatchObject({ completedTotal: 2, failedTotal: 0, leased: 0, waiting: 0 });
  expect(id).not.toBe('');
});

test('[Q41] what a handler says and returns is kept with its job', async () => {
  const errors: unknown[] = [];
  const worker = fm.queue.worker<number>(
    'said',
    async (job) => {
      await job.progress({ percent: 50 });
      await job.log('one', 'two');
      return job.payload === 1 ? { total: 9 } : 'x'.repeat(70_000);
    },
    { keepResults: true },
  );
  worker.on('error', (error) => errors.push(error));
  const [first, second] = await fm.queue.enqueueMany('said', [1, 2]);
  const finished = async (id = '') => {
    for (;;) {
      const job = await fm.admin.getJob('said', id);
      if (job.state === 'completed') return job;
    }
  };
  expect(await finished(first?.id)).toMatchObject({
    progress: { percent: 50 },
    log: [{ text: 'one' }, { text: 'two' }],
    result: { total: 9 },
  });
  expect((await finished(second?.id)).result).toBeUndefined();
  expect(errors).toMatchObject([{ code: 'VALUE_TOO_LARGE' }]);
  const { jobs } = await fm.admin.listJobs('said', { state: 'completed' });
  expect(jobs.map(({ payload }) => payload)).toEqual([2, 1]);
  await worker.drain();
});

test('[Q37] the signal of a handler whose job is cancelled aborts', async () => {
  const reasons: unknown[] = [];
  const worker = fm.queue.worker('cancelled', async (job) => {
    await new Promise((resolve) => job.signal.addEventListener('abort', resolve));
    reasons.push(job.signal.reason);
    return job.ack().catch((error) => reasons.push(error));
  });
  const { id } = await fm.queue.enqueue('cancelled', 1);
  await until(() => worker.running === 1);
  expect(await fm.queue.cancel('cancelled', id, { reason: 'no use' })).toBe(true);
  await until(() => reasons.length === 2);
  expect(reasons).toMatchObject([{ code: 'CANCELLED' }, { code: 'LEASE_LOST' }]);
  expect(await fm.queue.cancel('cancelled', id)).toBe(false);
  expect(await fm.admin.getJob('cancelled', id)).toMatchObject({ state: 'cancelled', reason: 'no use' });
  await worker.drain();
});
