// What the end of a child without an ack does to its parent, and what becomes of a flow when its parts
// are cancelled, purged, redriven or deleted.
import { afterEach, describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, nackOf, payloads } from './bench.ts';
import { countsOf, enqueueFlow, handle, type Tree } from './flow-bench.ts';
import { SessionWorker } from './session-worker.ts';

let bench: Bench;
afterEach(() => bench.close());

const queue = '{f}:parents';
const children = '{f}:children';
const tree = (onFailure: string, more: Partial<Tree> = {}): Tree => ({
  ...{ queue, payload: 'parent' },
  children: [
    { queue: children, payload: 'bad', name: 'the bad one', onFailure },
    { queue: children, payload: 'good', name: 'the good one' },
  ],
  ...more,
});
const kill = async (name: string, error = 'no way') => {
  const job = await bench.leaseOne(name);
  await bench.settle(name, nackOf(job, { unrecoverable: true, error }));
  await bench.idle();
  return job;
};
const childrenOf = async (id: string) => {
  const request = { queue, id, cursor: '', limit: 0, leaseEpoch: 0 };
  const { children: all } = await bench.queues.listChildren(caller, request);
  return (all ?? []).map(({ name, state, error }) => ({ name, state, error }));
};
const cancel = (of: string, id: string, reason = '') =>
  bench.queues.cancelJob(caller, { queue: of, id, reason, mutation: null });

describe.each([1, 3])('with %i shards', (shards) => {
  const open = async () => {
    bench = await Bench.open({ shards, onDisk: true });
  };

  test.each(['', 'fail-parent'])('[Q190] the parent dies of it, and says of what (%s)', async (policy) => {
    await open();
    const [parent = '', bad = ''] = await enqueueFlow(bench, tree(policy));
    await kill(children);
    await bench.restart();
    const [dead] = (await bench.queues.listJobs(caller, { ...LIST, queue: `${queue}.dead` })).jobs ?? [];
    const reason = `child ${bad} (the bad one) of queue ${children} died: no way`;
    expect(dead).toMatchObject({ lastError: reason, sourceId: parent });
    expect(await bench.job(queue, parent)).toMatchObject({ state: 'dead' });
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 0, waiting: 0 });
    // The others go on, and their results can be looked at.
    expect(payloads(await handle(bench, children))).toEqual(['good']);
    expect(await childrenOf(parent)).toEqual([
      { name: 'the bad one', state: 'dead', error: 'no way' },
      { name: 'the good one', state: 'completed', error: '' },
    ]);
  });

  test('[Q190] and so do those above it, as far as their policies let it', async () => {
    await open();
    const upper = (onFailure: string): Tree => ({
      ...{ queue: '{f}:top', payload: 'top' },
      children: [tree('fail-parent', { onFailure, name: 'middle' })],
    });
    await enqueueFlow(bench, upper('fail-parent'));
    await kill(children);
    await bench.idle();
    expect((await bench.list('{f}:top.dead')).payloads).toEqual(['top']);
    await handle(bench, children);
    await enqueueFlow(bench, upper('ignore'));
    await kill(children);
    await bench.idle();
    expect(payloads(await handle(bench, '{f}:top'))).toEqual(['top']);
  });

  test('[Q191] ignore: as if it had been acked', async () => {
    await open();
    const [parent = ''] = await enqueueFlow(bench, tree('ignore'));
    await kill(children);
    await bench.restart();
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 1, waiting: 0 });
    await handle(bench, children);
    expect(payloads(await handle(bench, queue))).toEqual(['parent']);
    expect(await bench.job(queue, parent)).toMatchObject({ children: { total: 2, open: 0, failed: 1 } });
    expect((await childrenOf(parent))[0]).toMatchObject({ state: 'dead', error: 'no way' });
  });

  test('[Q192] continue: the parent goes on without waiting for the others', async () => {
    await open();
    const [parent = ''] = await enqueueFlow(bench, tree('continue'));
    await kill(children);
    await bench.restart();
    const job = await bench.leaseOne(queue);
    expect(await childrenOf(parent)).toMatchObject([{ state: 'dead' }, { state: 'open' }]);
    await handle(bench, children);
    expect(await childrenOf(parent)).toMatchObject([{ state: 'dead' }, { state: 'completed' }]);
    expect(await bench.settle(queue, ackOf(job))).toEqual(['']);
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 0, waiting: 0 });
  });

  test('[Q193] remove: as if it had never been', async () => {
    await open();
    const [parent = ''] = await enqueueFlow(bench, tree('remove'));
    await kill(children);
    await bench.restart();
    expect(await bench.job(queue, parent)).toMatchObject({ children: { total: 1, open: 1, failed: 0 } });
    await handle(bench, children);
    expect(payloads(await handle(bench, queue))).toEqual(['parent']);
    expect(await childrenOf(parent)).toEqual([{ name: 'the good one', state: 'completed', error: '' }]);
  });

  test('[Q194] a parent that is cancelled takes the children with it that are not finished', async () => {
    await open();
    const below = { queue: '{f}:deep', payload: 'deep' };
    const family = [
      { queue: children, payload: 'held' },
      { queue: children, payload: 'done' },
      ...[1, 2, 3].map((i) => ({ queue: children, payload: `k${i}`, key: 'k' })),
      { queue: children, payload: 'late', delayMs: 60_000 },
      { queue: '{f}:middle', payload: 'middle', children: [below] },
    ];
    const ids = await enqueueFlow(bench, tree('', { children: family }));
    const worker = await SessionWorker.open(bench, children, { sessionId: 's', credits: 2 });
    await worker.ack(worker.jobs.find(({ payload }) => payload === 'done') as never);
    expect(await cancel(queue, ids[0] ?? '', 'changed my mind')).toEqual({
      ...{ cancelled: true, state: 'waiting_children' },
    });
    await bench.idle();
    expect(worker.lostCodes).toEqual(['CANCELLED']);
    const state = async (name: string, id = '') => (await bench.job(name, id)).state;
    expect(await Promise.all([1, 2, 3, 4, 5, 6].map((i) => state(children, ids[i])))).toEqual([
      ...['cancelled', 'completed', 'cancelled', 'cancelled', 'cancelled', 'cancelled'],
    ]);
    expect(await state('{f}:deep', ids[8])).toBe('cancelled');
    expect((await bench.job('{f}:deep', ids[8] ?? '')).reason).toBe(`its parent ${ids[7]} was cancelled`);
    await bench.restart({ clean: true });
    await bench.advance(120_000);
    for (const name of [queue, children, '{f}:middle', '{f}:deep']) {
      expect(payloads(await bench.lease(name, 9)), name).toEqual([]);
      expect(await countsOf(bench, name), name).toEqual({ waitingChildren: 0, waiting: 0 });
    }
  });

  test('[Q194] hundreds of them, over a restart', async () => {
    await open();
    const family = Array.from({ length: 700 }, (_, i) => ({ queue: children, payload: `${i}` }));
    const [parent = ''] = await enqueueFlow(bench, tree('', { children: family }));
    void cancel(queue, parent);
    await bench.restart();
    await bench.idle();
    await bench.idle();
    expect(await bench.figures(children)).toMatchObject({ waiting: 0, leased: 0 });
  });

  test('[Q195] a child that is cancelled or purged has failed', async () => {
    await open();
    const [, bad = ''] = await enqueueFlow(bench, tree('fail-parent'));
    await cancel(children, bad, 'not needed');
    await bench.idle();
    const dead = async () => (await bench.queues.listJobs(caller, { ...LIST, queue: `${queue}.dead` })).jobs;
    const reason = `child ${bad} (the bad one) of queue ${children} was cancelled: not needed`;
    expect(await dead()).toMatchObject([{ lastError: reason }]);

    await handle(bench, children);
    const [, leased = '', purged = ''] = await enqueueFlow(bench, tree('ignore'));
    const job = await bench.leaseOne(children);
    expect(job.id).toBe(leased);
    await bench.queues.purge(caller, { queue: children, mutation: null });
    await bench.restart();
    await bench.idle();
    expect((await dead())?.[1]?.lastError).toBe(
      `child ${purged} (the good one) of queue ${children} was cancelled: its queue was purged`,
    );
  });

  test('[Q195] a purge passes by those that are leased; a purged parent leaves its children', async () => {
    await open();
    await enqueueFlow(bench, tree('ignore'));
    const held = await bench.lease(children, 2);
    await bench.queues.purge(caller, { queue: children, mutation: null });
    await bench.idle();
    await bench.settle(children, nackOf(held[0] as never, { release: true }), ackOf(held[1] as never));
    await bench.restart();
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 1, waiting: 0 });
    expect(payloads(await handle(bench, children))).toEqual(['bad']);
    expect(payloads(await handle(bench, queue))).toEqual(['parent']);

    await enqueueFlow(bench, tree(''));
    expect(await bench.queues.purge(caller, { queue, mutation: null })).toEqual({ purged: 1 });
    expect(payloads(await handle(bench, children))).toEqual(['bad', 'good']);
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 0, waiting: 0 });
    expect(payloads(await bench.lease(queue))).toEqual([]);
  });

  test('[Q196] a redriven child is a job of its own; a redriven parent sees its results', async () => {
    await open();
    await enqueueFlow(bench, tree('fail-parent'));
    await kill(children);
    await handle(bench, children);
    const redrive = (name: string) =>
      bench.queues.redrive(caller, { queue: name, max: 0, targetQueue: '', mutation: null });
    await redrive(`${children}.dead`);
    expect(payloads(await handle(bench, children))).toEqual(['bad']);
    expect(await countsOf(bench, queue)).toEqual({ waitingChildren: 0, waiting: 0 });
    await redrive(`${queue}.dead`);
    const again = await bench.leaseOne(queue);
    expect(again.payload).toBe('parent');
    expect(await childrenOf(again.id)).toMatchObject([{ state: 'dead' }, { state: 'completed' }]);
  });

  test('[Q197] a queue whose jobs parents wait for is not deleted; that of a parent is', async () => {
    await open();
    await enqueueFlow(bench, tree('ignore'));
    const remove = (name: string) =>
      bench.fabric.admin.deleteQueue(caller, { name, ifEmpty: false, mutation: null, owner: null });
    await expect(remove(children)).rejects.toMatchObject({ code: 'NOT_EMPTY' });
    await remove(queue);
    await bench.restart();
    await handle(bench, children);
    await remove(children);
    await bench.restart({ clean: true });
    await bench.enqueue(queue, aJob('x'));
    expect(payloads(await bench.lease(queue))).toEqual(['x']);
  });
});

const LIST = { state: '', limit: 0, cursor: '' };
