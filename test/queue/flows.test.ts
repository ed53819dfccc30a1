// Flows: parents that wait for their children. Everything here holds with one shard and with three, and
// across restarts.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, describe, expect, test } from 'vitest';
import { CHILD_ENDED, type ChildEnded, encodeFlowEvent } from '../../dataplane/queue/flow-events.ts';
import type { Shard } from '../../dataplane/shard/shard.ts';
import type { Event } from '../../dataplane/shard/state-machine.ts';
import { ByteWriter } from '../../dataplane/storage/bytes.ts';
import { ackOf, aJob, Bench, caller, payloads } from './bench.ts';
import { countsOf, enqueueFlow, handle, type Tree } from './flow-bench.ts';
import { SessionWorker } from './session-worker.ts';

let bench: Bench;
afterEach(() => bench.close());

const leaf = (queue: string, payload: string, more: Partial<Tree> = {}): Tree => ({
  queue,
  payload,
  ...more,
});

describe.each([1, 3])('with %i shards', (shards) => {
  const open = async () => {
    bench = await Bench.open({ shards, onDisk: true });
  };
  const ordered = (tree: Partial<Tree> = {}): Tree => ({
    ...{ queue: '{f}:order', payload: 'order' },
    children: [leaf('{f}:pay', 'pay', { name: 'payment' }), leaf('{f}:pack', 'a'), leaf('{f}:pack', 'b')],
    ...tree,
  });

  test.each([false, true])('[Q180] a parent waits for its children (checkpoint: %s)', async (clean) => {
    await open();
    const [order = '', pay = ''] = await enqueueFlow(bench, ordered());
    expect(payloads(await bench.lease('{f}:order', 9))).toEqual([]);
    await bench.restart({ clean });
    expect(await bench.job('{f}:order', order)).toMatchObject({
      ...{ state: 'waiting_children', reason: 'waits for 3 of its 3 children' },
      children: { total: 3, open: 3, failed: 0 },
    });
    expect(await bench.job('{f}:pay', pay)).toMatchObject({ parent: { queue: '{f}:order', id: order } });
    expect((await bench.list('{f}:order', 'waiting_children')).payloads).toEqual(['order']);
    expect(await countsOf(bench, '{f}:order')).toEqual({ waitingChildren: 1, waiting: 0 });
    const past = await bench.fabric.history.getQueueAt(caller, {
      ...{ queue: '{f}:order', at: 'timeMs', timeMs: bench.time.now, position: null },
    });
    await bench.advance(1000);
    await handle(bench, '{f}:pack');
    await bench.restart({ clean });
    expect(await bench.job('{f}:order', order)).toMatchObject({ children: { total: 3, open: 1, failed: 0 } });
    await handle(bench, '{f}:pay');
    expect(await countsOf(bench, '{f}:order')).toEqual({ waitingChildren: 0, waiting: 1 });
    await bench.restart({ clean });
    const at = { at: 'position', timeMs: null, position: past.position ?? 0 } as const;
    const then = await bench.fabric.history.getQueueAt(caller, { queue: '{f}:order', ...at });
    expect(then).toMatchObject({ waitingChildren: 1, waiting: 0 });
    expect(payloads(await bench.lease('{f}:order', 9))).toEqual(['order']);
    expect(await bench.history('{f}:order', order)).toEqual([
      ...['enqueued', 'child_completed', 'child_completed', 'child_completed', 'leased'],
    ]);
  });

  test('[Q181] a flow is enqueued as a whole, or not at all', async () => {
    await open();
    await bench.declare('{f}:pack', { maxDepth: 1 });
    await expect(enqueueFlow(bench, ordered())).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    await bench.declare('{f}:pack', { maxDepth: 0 });
    await bench.declare('{f}:pay');
    await bench.queues.setDraining(caller, { queue: '{f}:pay', draining: true, mutation: null });
    await expect(enqueueFlow(bench, ordered())).rejects.toMatchObject({ code: 'QUEUE_DRAINING' });
    await bench.queues.setDraining(caller, { queue: '{f}:pay', draining: false, mutation: null });
    await enqueueFlow(bench, ordered());
    expect(payloads(await bench.lease('{f}:pack', 9))).toEqual(['a', 'b']);
  });

  test('[Q182] a parent that is let go is a job like any other: delay, priority, key', async () => {
    await open();
    const key = 'k';
    await bench.enqueue('{f}:order', aJob('first', { key }));
    await enqueueFlow(bench, ordered({ payload: 'keyed', key }));
    await enqueueFlow(bench, ordered({ payload: 'late', delayMs: 5000 }));
    await enqueueFlow(bench, ordered({ payload: 'high', priority: 9 }));
    await bench.enqueue('{f}:order', aJob('second', { key }));
    await bench.advance(10_000);
    await handle(bench, '{f}:pay', '{f}:pack');
    await bench.enqueue('{f}:order', aJob('third', { key }));
    await bench.restart();
    expect(payloads(await handle(bench, '{f}:order'))).toEqual(['high', 'first', 'second', 'keyed', 'third']);
    await bench.advance(5000);
    expect(payloads(await handle(bench, '{f}:order'))).toEqual(['late']);
  });

  test('[Q183] results of children are there for the parent, by name and id, in pages', async () => {
    await open();
    const [order = ''] = await enqueueFlow(bench, ordered());
    await handle(bench, '{f}:pay', '{f}:pack');
    const job = await bench.leaseOne('{f}:order');
    const page = async (cursor: string) =>
      bench.queues.listChildren(caller, {
        ...{ queue: '{f}:order', id: order, cursor, limit: 2, leaseEpoch: job.leaseEpoch },
      });
    const first = await page('');
    const second = await page(first.cursor ?? '');
    const all = [...(first.children ?? []), ...(second.children ?? [])];
    expect(all.map(({ name, state, result }) => [name, state, Buffer.from(result ?? []).toString()])).toEqual(
      [
        ['payment', 'completed', 'done pay'],
        ['', 'completed', 'done a'],
        ['', 'completed', 'done b'],
      ],
    );
    expect([first.children?.length, second.cursor]).toEqual([2, '']);
    await bench.settle('{f}:order', ackOf(job));
    await expect(page('')).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  test('[Q184] results stay until the parent has finished, however long the children are kept', async () => {
    await open();
    await bench.declare('{f}:pay', { retentionMs: 1000 });
    const [order = '', pay = ''] = await enqueueFlow(bench, ordered());
    await handle(bench, '{f}:pay');
    await bench.enqueue('{f}:pay', aJob('x'));
    await handle(bench, '{f}:pay');
    await bench.advance(24 * 3_600_000);
    await expect(bench.job('{f}:pay', pay)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
    await bench.restart({ clean: true });
    const request = { queue: '{f}:order', id: order, cursor: '', limit: 1, leaseEpoch: 0 };
    const { children } = await bench.queues.listChildren(caller, request);
    expect(Buffer.from(children?.[0]?.result ?? []).toString()).toBe('done pay');
  });

  test('[Q185] levels below levels', async () => {
    await open();
    const tree = leaf('{f}:a', 'a', { children: [leaf('{f}:b', 'b', { children: [leaf('{f}:c', 'c')] })] });
    await enqueueFlow(bench, tree);
    for (const name of ['c', 'b', 'a']) {
      await bench.restart();
      for (const other of ['a', 'b', 'c'].filter((each) => each !== name))
        expect(payloads(await bench.lease(`{f}:${other}`, 9))).toEqual([]);
      expect(payloads(await handle(bench, `{f}:${name}`))).toEqual([name]);
    }
  });

  test('[Q186] a root whose dedup key is known is not enqueued, nor is what is below it', async () => {
    await open();
    const [first = ''] = await enqueueFlow(bench, ordered({ dedupKey: 'd' }));
    expect(await enqueueFlow(bench, ordered({ dedupKey: 'd' }))).toEqual([first]);
    expect(await countsOf(bench, '{f}:pack')).toEqual({ waitingChildren: 0, waiting: 2 });
  });
});

describe('what is refused', () => {
  const chain = (depth: number): Tree =>
    leaf('q', `${depth}`, depth > 1 ? { children: [chain(depth - 1)] } : {});
  const node = (queue: string, more: Partial<pb.FlowNode> = {}): pb.FlowNode => ({
    ...{ queue, job: aJob('x'), parent: 0, name: '', onFailure: '' },
    ...more,
  });

  test('[Q187] trees that are too large, or are none', async () => {
    bench = await Bench.open();
    const wide = leaf('q', 'root', { children: Array.from({ length: 1000 }, (_, i) => leaf('q', `${i}`)) });
    await expect(enqueueFlow(bench, wide)).rejects.toMatchObject({ code: 'FLOW_TOO_LARGE' });
    await expect(enqueueFlow(bench, chain(33))).rejects.toMatchObject({ code: 'FLOW_TOO_LARGE' });
    expect(await enqueueFlow(bench, chain(32))).toHaveLength(32);
    const bad: [pb.FlowNode[], string][] = [
      [[], 'INVALID_ARGUMENT'],
      [[node('q'), node('q', { parent: 1 })], 'INVALID_ARGUMENT'],
      [[node('q'), node('q', { parent: 2 }), node('q', { parent: 1 })], 'INVALID_ARGUMENT'],
      [[node('q', { onFailure: 'ignore' })], 'INVALID_ARGUMENT'],
      [[node('q'), node('q', { onFailure: 'whatever' })], 'INVALID_ARGUMENT'],
      [[node('q'), node('q', { name: 'a' }), node('q', { name: 'a' })], 'INVALID_ARGUMENT'],
      [[node('q'), node('q', { job: aJob('x', { dedupKey: 'd' }) })], 'INVALID_ARGUMENT'],
      [[node('q', { job: aJob('x', { dedupKey: 'd', dedupMode: 'debounce' }) })], 'INVALID_ARGUMENT'],
      [[node('q'), node('q.dead')], 'INVALID_ARGUMENT'],
      [[node('q', { job: null })], 'INVALID_ARGUMENT'],
      [[node(''), node('q')], 'INVALID_ARGUMENT'],
    ];
    for (const [nodes, code] of bad) {
      const refused = bench.queues.enqueueFlow(caller, { nodes, mutation: null });
      await expect(refused, JSON.stringify(nodes)).rejects.toMatchObject({ code });
    }
    const large = Array.from({ length: 4 }, () => node('q', { job: aJob('x'.repeat(1_000_000)) }));
    const tooLarge = bench.queues.enqueueFlow(caller, { nodes: [node('r'), ...large], mutation: null });
    await expect(tooLarge).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
    expect(await bench.figures('q')).toMatchObject({ waiting: 1, leased: 0 });
  });

  test('[Q187] queues on different shards', async () => {
    bench = await Bench.open({ shards: 3 });
    const tree = leaf('a', 'a', { children: ['b', 'c', 'd', 'e'].map((queue) => leaf(queue, queue)) });
    await expect(enqueueFlow(bench, tree)).rejects.toMatchObject({ code: 'CROSS_SHARD' });
  });
});

test('[Q188] a thousand children: each end is O(1) rows and one small event', async () => {
  bench = await Bench.open({ onDisk: true });
  const children = Array.from({ length: 999 }, (_, i) => leaf('c', `${i}`));
  const [root = ''] = await enqueueFlow(bench, leaf('p', 'root', { children }));
  const worker = await SessionWorker.open(bench, 'c', { sessionId: 's', credits: 1000 });
  expect(worker.jobs).toHaveLength(999);
  await worker.ack(...(worker.jobs.slice(1) as never[]));
  expect(await bench.job('p', root)).toMatchObject({ children: { total: 999, open: 1 } });
  await worker.ack(worker.jobs[0] as never);
  const sizes: number[] = [];
  const shard = bench.fabric.shards[0]?.shard as Shard;
  const subject = { view: 'queue', matches: ({ type }: Event) => type === CHILD_ENDED };
  for await (const { event } of shard.history(subject)) {
    const writer = new ByteWriter();
    encodeFlowEvent(event as ChildEnded, writer);
    sizes.push(writer.length);
  }
  expect(sizes).toHaveLength(999);
  expect(Math.max(...sizes)).toBeLessThan(120);
  expect(payloads(await bench.lease('p'))).toEqual(['root']);
});
