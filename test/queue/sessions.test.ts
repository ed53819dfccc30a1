// Workers' streams: deliveries by credit, leases that belong to a session, goodbye, and settlements by range.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { aJob, Bench, caller } from './bench.ts';
import { type Delivered, SessionWorker } from './session-worker.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
});
afterEach(() => bench.close());

const Worker = {
  open: (queue: string, sessionId: string, credits: number, held: Delivered[] = [], more = {}) =>
    SessionWorker.open(bench, queue, { sessionId, credits, held, more }),
};

const enqueue = (...names: string[]) => bench.enqueue('q', ...names.map((name) => aJob(name)));

test('[Q13] a worker gets as many jobs as it has credit for', async () => {
  await enqueue('a', 'b', 'c');
  const worker = await Worker.open('q', 's', 2);
  expect(worker.payloads).toEqual(['a', 'b']);
  await worker.tell({ credits: 5 });
  expect(worker.payloads).toEqual(['a', 'b', 'c']);
});

test('[Q199] an ack that nobody waits for shares the entry of the next job, or goes after 2 ms', async () => {
  await enqueue('a', 'b');
  const worker = await Worker.open('q', 's', 5);
  const [a, b] = worker.jobs as [Delivered, Delivered];
  const seq = () => bench.fabric.shards[0]?.shard.durableSeq ?? 0;
  const before = seq();
  worker.ackSoon(a);
  await bench.turns();
  expect([seq() - before, worker.settled.length]).toEqual([0, 0]);
  await enqueue('c');
  expect([seq() - before, worker.settled.length, worker.payloads]).toEqual([1, 1, ['a', 'b', 'c']]);
  worker.ackSoon(b);
  await bench.time.advance(2, () => bench.turns());
  await vi.waitFor(() => expect([seq() - before, worker.settled.length]).toEqual([2, 2]), 20_000);
});

test('[Q199] an ack that makes room for the next job is not held back', async () => {
  await enqueue('a', 'b');
  const worker = await Worker.open('q', 's', 1);
  worker.ackSoon(worker.jobs[0] as Delivered);
  worker.session.receive({ credits: 1 } as unknown as pb.WorkRequest);
  // The clock of the fabric stands still.
  await vi.waitFor(() => expect([worker.settled.length, worker.payloads]).toEqual([1, ['a', 'b']]), 20_000);
});

test('[Q199] a read that shows an ack waits until it is durable, and not for the clock', async () => {
  await enqueue('a');
  const worker = await Worker.open('q', 's', 5);
  worker.ackSoon(worker.jobs[0] as Delivered);
  expect(await bench.figures('q')).toMatchObject({ leased: 0, waiting: 0 });
  expect(worker.settled.length).toBe(1);
});

test('[Q14] leases that end all at once are returned in as many entries as it takes', async () => {
  const jobs = Array.from({ length: 10_000 }, () => aJob('x'));
  for (let i = 0; i < 40; i++) await bench.enqueue('q', ...jobs);
  for (let i = 0; i < 4; i++) await Worker.open('q', `s${i}`, 100_000);
  expect(await bench.figures('q')).toMatchObject({ leased: 400_000 });
  await bench.advance(31_000);
  expect(await bench.figures('q')).toMatchObject({ leased: 0 });
  expect(await bench.totals('q')).toMatchObject({ failedTotal: 400_000 });
}, 120_000);

test('[Q224] what a session gives back when it ends does not come to it again', async () => {
  await enqueue('a', 'b');
  const worker = await Worker.open('q', 's', 100);
  expect(worker.payloads).toEqual(['a', 'b']);
  expect(await bench.queues.endSession(caller, { queue: 'q', sessionId: 's' })).toEqual({ released: 2 });
  await bench.idle();
  expect(await bench.figures('q')).toMatchObject({ leased: 0, waiting: 2 });
  await worker.tell({ credits: 5 });
  await enqueue('c');
  expect([worker.payloads.length, await bench.figures('q')]).toMatchObject([2, { leased: 0, waiting: 3 }]);
});

test('[Q224] a worker that drains gets nothing more, and settles what it has', async () => {
  await enqueue('a');
  const worker = await Worker.open('q', 's', 100);
  await worker.tell({ drain: {} });
  await enqueue('b');
  await worker.tell({ credits: 5 });
  expect(worker.payloads).toEqual(['a']);
  worker.ackSoon(worker.jobs[0] as Delivered);
  await bench.advance(10);
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 1 });
  const other = await Worker.open('q', 'other', 1);
  expect(other.payloads).toEqual(['b']);
});

test('[Q14] a session that ends gives back all it held, however much that is', async () => {
  const key = 'k'.repeat(1000);
  for (let i = 0; i < 4000; i += 500) {
    const jobs = Array.from({ length: 500 }, (_, j) => aJob('x', { key: `${key}${i + j}` }));
    await bench.enqueue('q', ...jobs);
  }
  await Worker.open('q', 's', 4000);
  expect(await bench.figures('q')).toMatchObject({ leased: 4000 });
  expect(await bench.queues.endSession(caller, { queue: 'q', sessionId: 's' })).toEqual({ released: 4000 });
  expect(await bench.figures('q')).toMatchObject({ leased: 0, waiting: 4000 });
});

test('[Q14] settlements that would not fit into one entry are refused whole', async () => {
  await bench.enqueue('q', ...Array.from({ length: 1000 }, () => aJob('x')));
  const worker = await Worker.open('q', 's', 1000);
  const error = 'e'.repeat(8000);
  const nacks = worker.jobs.map(({ offset, epoch }) => ({ offset, epoch, nack: { error } }));
  await worker.tell({ settle: { seq: 1, acks: [], nacks, extends: [], results: [] } });
  expect(worker.settled).toEqual([{ seq: 1, error: expect.objectContaining({ code: 'BATCH_TOO_LARGE' }) }]);
  expect(await bench.figures('q')).toMatchObject({ leased: 1000 });
  await worker.tell({ settle: { seq: 2, acks: [], nacks: nacks.slice(0, 100), extends: [], results: [] } });
  expect(await bench.figures('q')).toMatchObject({ leased: 900 });
});

test('a range acks what it names', async () => {
  await enqueue('a', 'b', 'c');
  const worker = await Worker.open('q', 's', 3);
  const [a] = worker.jobs;
  await worker.tell({
    settle: {
      seq: 1,
      acks: [{ offset: a?.offset, epoch: a?.epoch, count: 2 }],
      nacks: [],
      extends: [],
      results: [],
    },
  });
  expect(worker.settled).toEqual([{ seq: 1, lostOffsets: [] }]);
  expect(await bench.figures('q')).toMatchObject({ leased: 1 });
});

test('[Q2] the parts of a range that are not held are reported as lost', async () => {
  await enqueue('a', 'b', 'c');
  const worker = await Worker.open('q', 's', 3);
  const [a, b] = worker.jobs as [Delivered, Delivered];
  const nacks = [{ offset: b.offset, epoch: b.epoch, nack: { retryAfterMs: 0 } }];
  await worker.tell({ settle: { seq: 1, acks: [], nacks, extends: [], results: [] } });
  await worker.tell({
    settle: {
      seq: 9,
      acks: [{ offset: a.offset, epoch: a.epoch, count: 3 }],
      nacks: [],
      extends: [],
      results: [],
    },
  });
  expect(worker.settled.at(-1)).toEqual({ seq: 9, lostOffsets: [b.offset] });
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 2, failedTotal: 1 });
});

test('[Q6] renewals keep every lease of the session, by whatever connection they come', async () => {
  await enqueue('a', 'b');
  const worker = await Worker.open('q', 's', 2);
  for (let i = 0; i < 5; i++) {
    await bench.advance(20_000);
    await bench.queues.renewSession(caller, { queue: 'q', sessionId: 's' });
  }
  await worker.ack(...worker.jobs);
  expect(worker.settled.map(({ lostOffsets }) => lostOffsets)).toEqual([[]]);
});

test('[Q10] a connection that is lost keeps its leases until their deadline', async () => {
  await enqueue('a');
  const gone = await Worker.open('q', 's', 1);
  gone.session.disconnect();
  const other = await Worker.open('q', 't', 1);
  await bench.advance(29_000);
  expect(other.jobs).toEqual([]);
  await bench.advance(5000);
  expect(other.jobs).toMatchObject([{ payload: 'a', attempt: 2 }]);
});

test('[Q9] a worker is told of leases that ran out', async () => {
  await enqueue('a');
  const worker = await Worker.open('q', 's', 1);
  await bench.advance(31_000);
  expect(worker.lost).toEqual([worker.jobs[0]?.offset]);
});

test('[Q10] goodbye gives back at once what was not settled, uncounted', async () => {
  await enqueue('a', 'b', 'c');
  const worker = await Worker.open('q', 's', 3);
  await worker.ack(worker.jobs[0] as Delivered);
  worker.session.disconnect();
  expect(await bench.queues.endSession(caller, { queue: 'q', sessionId: 's' })).toEqual({ released: 2 });
  const next = await Worker.open('q', 't', 3);
  expect(next.jobs).toMatchObject([
    { payload: 'b', attempt: 1 },
    { payload: 'c', attempt: 1 },
  ]);
});

test.each([false, true])('[Q11] a session goes on after a restart (checkpoint: %s)', async (clean) => {
  await enqueue('a');
  const before = await Worker.open('q', 's', 1);
  await bench.advance(20_000);
  await bench.queues.renewSession(caller, { queue: 'q', sessionId: 's' });
  await bench.restart({ clean });
  await bench.advance(15_000);
  const after = await Worker.open('q', 's', 0, before.jobs);
  await after.ack(before.jobs[0] as Delivered);
  expect(after.settled).toEqual([{ seq: 1, lostOffsets: [] }]);
});

test('[Q11] a worker that connects again gives back what never reached it, and keeps the rest', async () => {
  await enqueue('a', 'b');
  const before = await Worker.open('q', 's', 2);
  const after = await Worker.open('q', 's', 0, before.jobs.slice(0, 1));
  expect(await bench.figures('q')).toMatchObject({ leased: 1, waiting: 1 });
  await after.ack(...before.jobs);
  expect(after.settled).toEqual([{ seq: 1, lostOffsets: [before.jobs[1]?.offset] }]);
});

test('[Q11] of two connections of one session the newer gets the jobs', async () => {
  const older = await Worker.open('q', 's', 10);
  const newer = await Worker.open('q', 's', 10);
  await enqueue('a');
  await bench.idle();
  expect([older.payloads, newer.payloads]).toEqual([[], ['a']]);
});

test('jobs are shared between workers that wait', async () => {
  const workers = [await Worker.open('q', 's', 200), await Worker.open('q', 't', 200)];
  await enqueue(...Array.from({ length: 200 }, (_, i) => `${i}`));
  await bench.idle();
  expect(workers.map(({ jobs }) => jobs.length > 0)).toEqual([true, true]);
  expect(workers.flatMap(({ jobs }) => jobs).length).toBe(200);
});

test('[Q13] a congested connection is given nothing until it drained', async () => {
  const worker = await Worker.open('q', 's', 10);
  (worker.session as never as { isCongested: boolean }).isCongested = true;
  await enqueue('a');
  await bench.idle();
  expect(worker.jobs).toEqual([]);
  worker.session.resume();
  await bench.idle();
  expect(worker.payloads).toEqual(['a']);
});

test('jobs with and without options come in one delivery with the offsets they have', async () => {
  await bench.enqueue(
    'q',
    aJob('a'),
    aJob('late', { delayMs: 1000 }),
    aJob('b'),
    aJob('k1', { key: 'k' }),
    aJob('k2', { key: 'k' }),
  );
  const worker = await Worker.open('q', 's', 10);
  expect(worker.jobs.map(({ offset, payload }) => [offset, payload])).toEqual([
    [0, 'a'],
    [2, 'b'],
    [3, 'k1'],
  ]);
  await worker.ack(...worker.jobs);
  await bench.advance(1000);
  expect(worker.payloads.slice(3).sort()).toEqual(['k2', 'late']);
});

test('[Q18] of a worker that died only the jobs it can have started count as timed out', async () => {
  await enqueue('a', 'b', 'c', 'd', 'e');
  const dead = await Worker.open('q', 's', 5, [], { concurrency: 2 });
  await dead.ack(dead.jobs[0] as Delivered);
  await bench.restart();
  await bench.advance(31_000);
  const again = await Worker.open('q', 't', 9);
  await bench.advance(3000);
  const attempts = Object.fromEntries(again.jobs.map(({ payload, attempt }) => [payload, attempt]));
  expect(attempts).toEqual({ b: 2, c: 2, d: 1, e: 1 });
  expect(await bench.totals('q')).toMatchObject({ failedTotal: 2, completedTotal: 1 });
});

test('[Q6] a renewal lasts as long as the worker asked for', async () => {
  await enqueue('a');
  const worker = await Worker.open('q', 's', 1, [], { visibilityMs: 300_000 });
  await bench.advance(200_000);
  await bench.restart({ clean: true });
  expect(await bench.queues.renewSession(caller, { queue: 'q', sessionId: 's' })).toEqual({
    deadlineMs: bench.time.now + 300_000,
  });
  await bench.advance(200_000);
  const after = await Worker.open('q', 's', 0, worker.jobs);
  await after.ack(worker.jobs[0] as Delivered);
  expect(after.settled).toEqual([{ seq: 1, lostOffsets: [] }]);
});

test('[Q6] renewals keep no lease for longer than 12 hours', async () => {
  await enqueue('a');
  const worker = await Worker.open('q', 's', 1, [], { visibilityMs: 4 * 3_600_000 });
  for (let hours = 0; hours < 12; hours += 3) {
    expect(worker.lost).toEqual([]);
    await bench.advance(3 * 3_600_000);
    await bench.queues.renewSession(caller, { queue: 'q', sessionId: 's' });
  }
  await bench.advance(1000);
  expect(worker.lost).toEqual([0]);
});

test('[Q12] 100 workers that connect again 20 times under load finish each job once', async () => {
  const acked = new Map<number, number>();
  const doubled: string[] = [];
  const workers: SessionWorker[] = [];
  /** Acks all but every fifth job in hand; what was acked durably must not come again. */
  const work = async (worker: SessionWorker, keeps: boolean) => {
    const jobs = worker.jobs.splice(0);
    for (const job of jobs) if (acked.has(job.offset)) doubled.push(job.payload);
    const kept = keeps ? jobs.filter((_, i) => i % 5 === 4) : [];
    const done = jobs.filter((job) => !kept.includes(job));
    worker.jobs.push(...kept);
    if (done.length === 0) return;
    worker.ackSoon(...done);
    for (const job of done) acked.set(job.offset, job.epoch);
  };
  for (let i = 0; i < 100; i++) workers.push(await Worker.open('q', `s${i}`, 10));
  for (let round = 0; round < 20; round++) {
    await enqueue(...Array.from({ length: 500 }, (_, i) => `${round}-${i}`));
    for (let i = 0; i < workers.length; i++) {
      const before = workers[i] as SessionWorker;
      await work(before, true);
      // Some go in the middle of a delivery, some keep a job, some begin a new session.
      before.session.disconnect();
      const sessionId = (i + round) % 7 === 0 ? `s${i}-${round}` : before.sessionId;
      if (sessionId !== before.sessionId) {
        await bench.idle();
        await bench.queues.endSession(caller, { queue: 'q', sessionId: before.sessionId });
        before.jobs.length = 0;
      }
      const held = before.jobs.splice(0);
      const options = { sessionId, credits: 10, held, before, settle: false };
      const next = await SessionWorker.open(bench, 'q', options);
      next.jobs.push(...held);
      workers[i] = next;
    }
    await bench.advance(500);
  }
  for (let i = 0; i < 100 && acked.size < 10_000; i++) {
    for (const worker of workers) {
      await work(worker, false);
      await worker.tell({ credits: 10 });
    }
  }
  expect(doubled).toEqual([]);
  expect(acked.size).toBe(10_000);
  await bench.idle();
  expect(await bench.figures('q')).toEqual({ waiting: 0, delayed: 0, blocked: 0, leased: 0 });
  expect(await bench.totals('q')).toMatchObject({ completedTotal: 10_000, failedTotal: 0 });
}, 120_000);
