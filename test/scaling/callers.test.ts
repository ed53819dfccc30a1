// Who leases jobs one by one is a worker as well: which one, where the request gives no name.
import { request } from 'node:http';
import { expect, test, vi } from 'vitest';
import { connect as connectApi } from '../../cli/client.ts';
import { serve } from '../api/real-server.ts';

/** From another address of this machine, as other pods have other ones. */
function leaseFrom(base: string, localAddress: string, body: object): Promise<number> {
  const headers = { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    request(`${base}/v1/queues/q/lease`, { method: 'POST', localAddress, headers }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    })
      .once('error', reject)
      .end(JSON.stringify(body));
  });
}

test('[Q211] callers without a name are one worker for each address they come from', async () => {
  const { server, base, ask } = await serve();
  const api = await connectApi({ address: `127.0.0.1:${server.grpcPort}`, token: undefined });
  try {
    await ask('PUT', '/v1/queues/q', { scaling: { scaleTo: 9 } });
    for (let i = 0; i < 6; i++) await ask('POST', '/v1/queues/q/jobs', { payload: i });
    for (const from of ['127.0.0.1', '127.0.0.1', '127.0.0.2', '127.0.0.3'])
      expect(await leaseFrom(base, from, { waitMs: 5000 })).toBe(200);
    expect(await leaseFrom(base, '127.0.0.3', { waitMs: 5000, worker: 'pod-a' })).toBe(200);
    const { jobs } = await api.lease({ queue: 'q', max: 1, waitMs: 5000 });
    expect(jobs).toHaveLength(1);
    const workers = await vi.waitFor(
      async () => {
        const { status, body } = await ask('GET', '/v1/queues/q/scaling');
        expect(status).toBe(200);
        return body.workers;
      },
      { timeout: 30_000, interval: 100 },
    );
    expect(workers.map(({ name, leased }: { name: string; leased: number }) => [name, leased])).toEqual([
      ['anonymous@127.0.0.1', 3],
      ['anonymous@127.0.0.2', 1],
      ['anonymous@127.0.0.3', 1],
      ['pod-a', 1],
    ]);
    const { figures } = (await ask('GET', '/v1/queues/q')).body;
    expect(figures).toMatchObject({ workers: 4, busyWorkers: 4 });
  } finally {
    api.close();
  }
});
