// Flows as users meet them: the SDK's workers and handlers, HTTP, and what a worker's token may see.
import { connect } from '@flowmesh/client';
import { describe, expect, test } from 'vitest';
import { serve } from './real-server.ts';
import { atEnd } from './support.ts';

describe.each([1, 3])('shards: %d', (shards) => {
  test('[Q180] [Q183] a handler gets what its children returned', async () => {
    const { server } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const seen = Promise.withResolvers<unknown>();
    fm.queue.worker('{o}:pay', async ({ payload }) => ({ paid: payload }));
    fm.queue.worker('{o}:pack', async ({ payload }) => `packed ${payload}`);
    fm.queue.worker('{o}:order', async (job) => {
      const states = [];
      for await (const { name, state } of job.children({ pageSize: 1 })) states.push([name, state]);
      seen.resolve({ results: await job.childResults(), states, payload: job.payload });
    });
    const flow = await fm.queue.flow({
      queue: '{o}:order',
      payload: { order: 1 },
      children: [
        { queue: '{o}:pay', payload: 12, name: 'payment', priority: 3 },
        { queue: '{o}:pack', payload: 'socks' },
      ],
    });
    expect(flow).toMatchObject({ queue: '{o}:order', deduplicated: false });
    const [pay, pack] = flow.children;
    expect(await seen.promise).toEqual({
      results: { payment: { paid: 12 }, [pack?.id ?? '']: 'packed socks' },
      states: [
        ['payment', 'completed'],
        [undefined, 'completed'],
      ],
      payload: { order: 1 },
    });
    const job = await fm.admin.getJob('{o}:pay', pay?.id ?? '');
    expect(job.parent).toEqual({ queue: '{o}:order', id: flow.id });
    await expect(fm.queue.flow({ queue: 'a', payload: 1, children: [] })).resolves.toMatchObject({
      children: [],
    });
  });

  test('[Q180] [Q187] over HTTP', async () => {
    const { ask } = await serve({ shards });
    const tree = {
      queue: '{h}:parent',
      payload: { n: 1 },
      children: [
        { queue: '{h}:child', payload: { n: 2 }, name: 'two', onFailure: 'ignore' },
        { queue: '{h}:child', payloadBase64: 'AAE=', children: [{ queue: '{h}:deep', payload: 3 }] },
      ],
    };
    const created = await ask('POST', '/v1/flows', tree, { 'idempotency-key': 'f1' });
    expect(created).toMatchObject({ status: 201, body: { durability: 'fsync' } });
    expect(created.body.jobs.map(({ queue, name }: Record<string, string>) => [queue, name])).toEqual([
      ...[['{h}:parent'], ['{h}:child', 'two'], ['{h}:child'], ['{h}:deep']].map(([q, n]) => [q, n]),
    ]);
    expect((await ask('POST', '/v1/flows', tree, { 'idempotency-key': 'f1' })).body).toEqual(created.body);
    const [parent, two] = created.body.jobs;
    const [job] = (await ask('POST', '/v1/queues/%7Bh%7D:child/lease', { waitMs: 1000 })).body.jobs;
    expect(job.id).toBe(two.id);
    const ack = { leaseEpoch: job.leaseEpoch, result: { ok: true } };
    await ask('POST', `/v1/queues/%7Bh%7D:child/jobs/${job.id}/ack`, ack);
    const path = `/v1/queues/%7Bh%7D:parent/jobs/${parent.id}`;
    expect((await ask('GET', path)).body).toMatchObject({
      state: 'waiting_children',
      children: { total: 2, open: 1, failed: 0 },
    });
    const { body } = await ask('GET', `${path}/children?limit=1`);
    expect(body).toMatchObject({
      children: [{ id: two.id, name: 'two', state: 'completed', result: { ok: true } }],
      counts: { total: 2, open: 1, failed: 0 },
      cursor: '1',
    });
    const listed = await ask('GET', '/v1/queues/%7Bh%7D:parent/jobs?state=waiting_children');
    expect(listed.body.jobs.map(({ id }: { id: string }) => id)).toEqual([parent.id]);
    const { figures } = (await ask('GET', '/v1/queues/%7Bh%7D:parent')).body;
    expect(figures).toMatchObject({ waitingChildren: 1, waiting: 0 });
    const code = async (bad: unknown) => (await ask('POST', '/v1/flows', bad as object)).body.code;
    expect(await code({ ...tree, children: [{ ...tree, surprise: 1 }] })).toBe('INVALID_ARGUMENT');
    expect(await code({ ...tree, children: [{ payload: 1 }] })).toBe('INVALID_ARGUMENT');
    expect(await code({ ...tree, children: [{ queue: 'q', onFailure: 'x' }] })).toBe('INVALID_ARGUMENT');
    const wide = Array.from({ length: 1000 }, () => ({ queue: 'q', payload: 1 }));
    expect(await code({ ...tree, children: wide })).toBe('FLOW_TOO_LARGE');
    const node = '"queue":"q","payload":1';
    const levels = (depth: number): object =>
      JSON.parse(`${`{${node},"children":[`.repeat(depth - 1)}{${node}}${']}'.repeat(depth - 1)}`);
    expect(await code(levels(32))).toBeUndefined();
    // Deeper JSON is not even parsed.
    expect(await code(levels(20_000))).toBe('MALFORMED');
  });
});
