// What handlers did, from real workers and consumers of the SDK: asked over gRPC, HTTP and by the SDK.
import { connect, type Effect } from '@flowmesh/client';
import { describe, expect, test } from 'vitest';
import { serve } from './real-server.ts';
import { atEnd } from './support.ts';

const words = ({ ordinal, kind, key, queue, stream, value }: Effect) =>
  [ordinal, kind, key ?? stream ?? queue, value].filter((each) => each !== undefined).join(' ');

describe.each([1, 3])('shards: %d', (shards) => {
  test('[TX10] [TX13] effects of handlers, in the order in which they were called', async () => {
    const { server, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { id } = await fm.queue.enqueue('in', { n: 1 });
    const handled = Promise.withResolvers<void>();
    const worker = fm.queue.worker('in', async () => {
      await Promise.all([
        fm.kv.set('a', 'one'),
        fm.kv.set('b', 2),
        fm.queue.enqueue('out', { n: 2 }),
        fm.kv.get('a'),
        fm.kv.delete('a'),
        fm.stream.write('events', { n: 3 }),
      ]);
      await fm.transaction((tx) => {
        tx.kv.set('{t}c', 'tx');
        tx.queue.enqueue('{t}q', 'tx');
        tx.stream.write('{t}s', 'tx');
      });
      await fm.queue.flow({ queue: '{f}p', payload: 'p', children: [{ queue: '{f}c', payload: 'c' }] });
      await fm.kv.set('z', 'end');
      handled.resolve();
    });
    await handled.promise;
    await worker.drain();
    const found: Effect[] = [];
    for await (const effect of fm.history.effects({ job: id }, { values: true, pageSize: 2 }))
      found.push(effect);
    found.sort((a, b) => a.ordinal - b.ordinal);
    expect(found.map((each) => words({ ...each, value: JSON.stringify(each.value) }))).toEqual([
      '1 set a "one"',
      '2 set b 2',
      '3 enqueued out {"n":2}',
      '4 delete a',
      '5 written events {"n":3}',
      '6 set {t}c "tx"',
      '7 enqueued {t}q "tx"',
      '8 written {t}s "tx"',
      '9 enqueued {f}p "p"',
      '10 enqueued {f}c "c"',
      '11 set z "end"',
    ]);
    const { body } = await ask('GET', `/v1/effects?job=${id}&limit=3`);
    expect([body.effects.length, body.knownSinceMs, typeof body.cursor]).toEqual([3, 0, 'string']);
    const all = (await ask('GET', `/v1/effects?job=${id}&values=true`)).body;
    expect(all.cursor).toBeNull();
    expect(all.effects.find(({ ordinal }: Effect) => ordinal === 3)).toMatchObject({
      kind: 'enqueued',
      queue: 'out',
      payload: { n: 2 },
      deliveryId: expect.stringContaining(`${id}@`),
    });
  });

  test('[TX10] effects of a record, and of who names the cause over HTTP', async () => {
    const { server, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { partition, offset } = await fm.stream.write('orders', { n: 1 });
    const consumer = fm.stream.consumer('orders', 'g', { from: 'earliest' });
    for await (const event of consumer) {
      await event.run(() => fm.queue.enqueue('ship', event.value));
      break;
    }
    const cause = { 'flowmesh-cause': `5 orders/${partition}/${offset}@99` };
    expect((await ask('POST', '/v1/queues/ship/jobs', { payload: 1 }, cause)).status).toBe(201);
    const found: string[] = [];
    for await (const effect of fm.history.effects({ stream: 'orders', partition, offset }))
      found.push(words(effect));
    expect(found).toEqual(['1 enqueued ship', '5 enqueued ship']);
    const one = await ask(
      'GET',
      `/v1/effects?delivery=${encodeURIComponent(cause['flowmesh-cause'].slice(2))}`,
    );
    expect(one.body.effects).toHaveLength(1);
    for (const query of ['', 'job=0-1-1&delivery=x', 'stream=s&partition=0', 'job=0-1-1&cursor=x'])
      expect((await ask('GET', `/v1/effects?${query}`)).body, query).toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    const bad = await ask('POST', '/v1/queues/ship/jobs', { payload: 1 }, { 'flowmesh-cause': 'x' });
    expect(bad.body).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[Q160] [Q161] a queue as it was, over HTTP and from the SDK', async () => {
    const { server, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const jobs = await fm.queue.enqueueMany('q', ['a', 'b', 'c'], { key: 'k' });
    const counts = (await ask('GET', `/v1/queues/q/past?asOfTimeMs=${Date.now() + 1000}`)).body;
    expect(counts).toMatchObject({ queue: 'q', waiting: 1, blocked: 2, leased: 0 });
    const worker = fm.queue.worker('q', () => {});
    await expect.poll(async () => (await fm.admin.getQueue('q')).figures?.completedTotal).toBe(3);
    await worker.drain();
    const moment = { position: counts.position as number };
    expect(await fm.history.queueAt('q', moment)).toMatchObject({
      position: moment.position,
      waiting: 1,
      blocked: 2,
    });
    expect((await fm.history.queueAt('q', { time: new Date(Date.now() + 1000) })).waiting).toBe(0);
    const found: unknown[] = [];
    for await (const { id, state, payload } of fm.history.jobsAt('q', moment, { pageSize: 2 }))
      found.push([id, state, payload]);
    expect(found).toEqual([
      [jobs[0]?.id, 'waiting', 'a'],
      [jobs[1]?.id, 'blocked', 'b'],
      [jobs[2]?.id, 'blocked', 'c'],
    ]);
    const path = '/v1/queues/q/past/jobs';
    const first = (await ask('GET', `${path}?asOfPosition=${moment.position}&limit=1&state=blocked`)).body;
    expect(first.jobs).toMatchObject([{ id: jobs[1]?.id, key: 'k', state: 'blocked' }]);
    const rest = (await ask('GET', `${path}?cursor=${first.cursor}&state=blocked`)).body;
    expect(rest).toMatchObject({ jobs: [{ id: jobs[2]?.id }], cursor: null });
    for (const query of ['', 'asOfTimeMs=5&asOfPosition=5', 'asOfTimeMs=x'])
      expect((await ask('GET', `/v1/queues/q/past?${query}`)).status, query).toBe(400);
  });
});
