// What handlers say of their jobs, what is left of finished ones, and how those are listed.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, type Held, nackOf } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const report = ({ id, leaseEpoch }: Held, said: { progress?: unknown; log?: string[] }) =>
  bench.queues.report(caller, {
    ...{ queue: 'q', id, leaseEpoch, log: said.log ?? [], mutation: null },
    progress: said.progress === undefined ? '' : JSON.stringify(said.progress),
  });
const ackWith = (job: Held, value: string): pb.Settlement =>
  ({ ...ackOf(job), ack: { result: Buffer.from(value), resultContentType: 'text/plain' } }) as pb.Settlement;
const lease = async (...names: string[]) => {
  await bench.enqueue('q', ...names.map((name) => aJob(name)));
  return bench.lease('q', names.length);
};

test.each([false, true])(
  '[Q41] progress, log and result stay with the job (checkpoint: %s)',
  async (clean) => {
    const [job] = (await lease('a')) as [Held];
    await report(job, { progress: { percent: 10 }, log: ['began'] });
    const atMs = bench.time.now;
    await bench.advance(1000);
    await report(job, { log: ['half', 'done'] });
    expect(await bench.job('q', job.id)).toMatchObject({ state: 'leased', progress: '{"percent":10}' });
    await bench.restart({ clean });
    await bench.settle('q', ackWith(job, 'fine'));
    await bench.restart({ clean });
    expect(await bench.job('q', job.id)).toMatchObject({
      state: 'completed',
      progress: '{"percent":10}',
      progressAtMs: atMs,
      log: [
        { number: 0, atMs, text: 'began' },
        { number: 1, atMs: atMs + 1000, text: 'half' },
        { number: 2, text: 'done' },
      ],
      logLines: 3,
      result: Buffer.from('fine'),
      resultContentType: 'text/plain',
      finishedAtMs: expect.any(Number),
    });
  },
);

test('[Q41] of many lines the last 100 are kept, over attempts', async () => {
  const [job] = (await lease('a')) as [Held];
  for (let i = 0; i < 250; i += 50)
    await report(job, { log: Array.from({ length: 50 }, (_, k) => `line ${i + k}`) });
  await bench.settle('q', nackOf(job, { retryAfterMs: 0 }));
  await report(await bench.leaseOne('q'), { log: ['again'] });
  const { log, logLines } = await bench.job('q', job.id);
  expect([logLines, log?.length, log?.[0]?.text, log?.at(-1)?.text]).toEqual([251, 100, 'line 151', 'again']);
});

test('[Q41] who does not hold the job says nothing of it, and what is too large is refused', async () => {
  const [job] = (await lease('a')) as [Held];
  const refused = (said: object, code: string) => expect(report(job, said)).rejects.toMatchObject({ code });
  await refused({ log: ['x'.repeat(5000)] }, 'VALUE_TOO_LARGE');
  await refused({ log: Array.from({ length: 101 }, () => 'x') }, 'BATCH_TOO_LARGE');
  await refused({ progress: 'x'.repeat(5000) }, 'VALUE_TOO_LARGE');
  await expect(bench.settle('q', ackWith(job, 'x'.repeat(70_000)))).rejects.toMatchObject({
    code: 'VALUE_TOO_LARGE',
  });
  await bench.settle('q', nackOf(job, { retryAfterMs: 0 }));
  const now = await bench.leaseOne('q');
  await refused({ log: ['late'] }, 'LEASE_LOST');
  expect(await bench.settle('q', ackWith(job, 'late'))).toEqual(['LEASE_LOST']);
  await bench.settle('q', ackOf(now));
  await refused({ log: ['late'] }, 'LEASE_LOST');
  expect(await bench.job('q', job.id)).toMatchObject({ state: 'completed', logLines: undefined });
  expect((await bench.job('q', job.id)).result).toBeUndefined();
});

test('[Q42] finished jobs are listed by state, the newest first, each once', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `${i}`);
  const jobs = await lease(...names);
  await bench.enqueue('q', aJob('waits'), aJob('high', { priority: 9 }), aJob('late', { delayMs: 99_000 }));
  const [high] = (await bench.lease('q', 1)) as [Held];
  const settlements = jobs.flatMap((job, i) => {
    if (i % 10 === 3) return [nackOf(job, { unrecoverable: true })];
    if (i % 10 === 4) return [nackOf(job, { retryAfterMs: 60_000 })];
    return i % 10 === 5 ? [] : [ackOf(job)];
  });
  await bench.settle('q', ackOf(high), ...settlements);
  await bench.restart();
  const listed = async (state: string) => {
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await bench.list('q', state, 4, cursor);
      seen.push(...page.payloads);
      cursor = page.cursor;
    } while (cursor !== '');
    return seen;
  };
  const completed = names.filter((_, i) => ![3, 4, 5].includes(i % 10)).reverse();
  expect(await listed('completed')).toEqual(['high', ...completed]);
  expect(await listed('dead')).toEqual(['23', '13', '3']);
  const { jobs: dead } = await bench.queues.listJobs(caller, {
    queue: 'q',
    state: 'dead',
    limit: 0,
    cursor: 'f30',
  });
  const [newest] =
    (await bench.queues.listJobs(caller, { queue: 'q.dead', state: '', limit: 0, cursor: '' })).jobs ?? [];
  expect(dead?.at(-1)?.reason).toBe(`moved to q.dead, where it is ${newest?.id}`);
});
