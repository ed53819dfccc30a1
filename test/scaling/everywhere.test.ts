// One number in every place where it is told: gRPC, HTTP, metrics, the command line and the SDK.
import { connect } from '@flowmesh/client';
import { expect, test, vi } from 'vitest';
import { connect as connectApi } from '../../cli/client.ts';
import { serve } from '../api/real-server.ts';
import { flowmesh } from '../cli/support.ts';

const PATIENCE = { timeout: 30_000, interval: 100 };

test.each([1, 3])('[Q215] what is wanted of a queue is told alike everywhere (%i shards)', async (shards) => {
  const { server, base, ask } = await serve({ shards });
  const { grpcPort } = server;
  const fm = await connect({ address: `127.0.0.1:${grpcPort}` });
  const api = await connectApi({ address: `127.0.0.1:${grpcPort}`, token: undefined });
  try {
    const scaling = { scaleFrom: 0, scaleTo: 9, basedOn: ['queue_lag > 10'] };
    expect((await ask('PUT', '/v1/queues/emails', { scaling })).body.spec.scaling).toEqual(scaling);
    await ask('PUT', '/v1/streams/orders', {
      consumerGroups: [{ name: 'billing', scaling: { scaleTo: 3 } }],
    });
    await fm.queue.enqueueMany('emails', new Array(500).fill({}));
    await fm.stream.writeMany('orders', new Array(50).fill({}));
    for (const each of ['emails', { stream: 'orders', group: 'billing' }])
      await vi.waitFor(() => fm.admin.scaling(each), PATIENCE);

    const { advice, signals } = await fm.admin.scaling('emails');
    expect(advice).toMatchObject({ active: true, reason: expect.any(String) });
    expect(signals).toMatchObject({ lag: 500, workers: 0 });
    const wanted = advice?.workersWanted ?? 0;
    expect(wanted).toBeGreaterThan(0);

    const http = await ask('GET', '/v1/queues/emails/scaling');
    expect(http.body).toMatchObject({
      advice: { workersWanted: wanted },
      signals: { lag: 500 },
      workers: [],
      scaling,
    });
    expect((await ask('GET', '/v1/queues/emails')).body.figures).toMatchObject({ workersWanted: wanted });
    expect((await ask('GET', '/v1/queues/none/scaling')).body.code).toBe('QUEUE_NOT_FOUND');
    const group = (await ask('GET', '/v1/streams/orders/groups/billing/scaling')).body;
    expect(group).toMatchObject({ advice: { active: true }, signals: { lag: 50, partitions: 4 } });
    expect(group.scaling).toEqual({ scaleFrom: 1, scaleTo: 3, basedOn: [] });

    const metrics = await (await fetch(`${base}/metrics`)).text();
    expect(metrics).toContain(`flowmesh_queue_workers_wanted{queue="emails"} ${wanted}\n`);
    expect(metrics).toContain('flowmesh_queue_busy_workers{queue="emails"} 0\n');
    expect(metrics).toContain('flowmesh_queue_processing_seconds{queue="emails",quantile="0.99"} 0\n');

    const answers = { getScaling: api.getScaling, listQueues: api.listQueues, listStreams: api.listStreams };
    const { out } = await flowmesh('scaling', answers as never);
    expect(out).toMatch(new RegExp(`^emails +500 .* 0/0 +${wanted} `, 'm'));
    expect(out).toMatch(/^orders billing +50 /m);
  } finally {
    api.close();
    await fm.close();
  }
});
