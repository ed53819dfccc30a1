// HTTP against the whole server, in memory and on disk: what the documents promise, seen from curl.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../dataplane/main.ts';
import { options, serve } from './real-server.ts';
import { atEnd, refused, unary } from './support.ts';

describe.each([1, 3])('shards: %d', (shards) => {
  test('keys: write, read, compare-and-set, expire, delete', async () => {
    const { base, ask } = await serve({ shards });
    const url = `${base}/v1/kv/default/user%2F1`;
    const put = (body: string, headers: Record<string, string> = {}, query = '') =>
      fetch(url + query, { method: 'PUT', body, headers: { 'content-type': 'text/plain', ...headers } });
    expect((await ask('GET', '/v1/kv/default/user%2F1')).status).toBe(404);
    const created = await put('one', { 'if-none-match': '*' });
    expect(created.status).toBe(200);
    const etag = created.headers.get('etag') ?? '';
    expect((await put('other', { 'if-none-match': '*' })).status).toBe(412);
    expect((await put('two', { 'if-match': etag })).status).toBe(200);
    expect((await put('three', { 'if-match': etag })).status).toBe(412);
    const read = await fetch(url);
    expect(await read.text()).toBe('two');
    expect(read.headers.get('content-type')).toBe('text/plain');
    expect((await put('soon gone', {}, '?ttl=0.05')).status).toBe(200);
    await expect.poll(async () => (await fetch(url)).status, { timeout: 3000 }).toBe(404);
    await put('x');
    expect((await fetch(url, { method: 'DELETE', headers: { 'if-match': '"999999"' } })).status).toBe(412);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(204);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(404);
  });

  test('jobs: enqueue, lease, settle, retry, history', async () => {
    const { ask } = await serve({ shards });
    const enqueue = (body: object, headers = {}) => ask('POST', '/v1/queues/emails/jobs', body, headers);
    const lease = async (body: object = {}) =>
      (await ask('POST', '/v1/queues/emails/lease', { waitMs: 1000, ...body })).body.jobs;

    const first = await enqueue({ payload: { to: 'a@b' }, headers: { h: 'v' } }, { 'idempotency-key': 'k' });
    expect(first).toMatchObject({ status: 201, body: { durability: 'fsync' } });
    const repeat = await enqueue({ payload: { to: 'a@b' }, headers: { h: 'v' } }, { 'idempotency-key': 'k' });
    expect(repeat.body.id).toBe(first.body.id);

    const [job] = await lease();
    expect(job).toMatchObject({ id: first.body.id, attempt: 1, payload: { to: 'a@b' }, headers: { h: 'v' } });
    expect(await lease({ waitMs: 0 })).toEqual([]);
    const path = `/v1/queues/emails/jobs/${job.id}`;
    expect((await ask('POST', `${path}/ack`, { leaseEpoch: job.leaseEpoch + 1 })).body.code).toBe(
      'LEASE_LOST',
    );
    expect(
      (await ask('POST', `${path}/extend`, { leaseEpoch: job.leaseEpoch, visibilityMs: 60_000 })).status,
    ).toBe(200);
    const nacked = await ask('POST', `${path}/nack`, {
      leaseEpoch: job.leaseEpoch,
      error: 'smtp',
      retryAfterMs: 1,
    });
    expect(nacked.status).toBe(200);
    const [again] = await lease();
    expect(again).toMatchObject({ id: job.id, attempt: 2 });
    expect(again.leaseEpoch).toBeGreaterThan(job.leaseEpoch);
    for (let repeats = 0; repeats < 2; repeats++) {
      expect((await ask('POST', `${path}/ack`, { leaseEpoch: again.leaseEpoch })).status).toBe(200);
    }
    expect((await ask('GET', path)).body).toMatchObject({ state: 'completed', payload: { to: 'a@b' } });
    const { transitions } = (await ask('GET', `${path}/history`)).body;
    expect(transitions.map(({ kind }: { kind: string }) => kind)).toEqual(
      expect.arrayContaining(['enqueued', 'leased', 'nacked', 'acked']),
    );
  });

  test('queues: declare, pause, figures, dead letters and redrive', async () => {
    const { ask } = await serve({ shards });
    const declared = await ask('PUT', '/v1/queues/q', {
      maxAttempts: 1,
      backoff: { type: 'fixed', initialMs: 1 },
    });
    expect(declared.body).toMatchObject({ spec: { name: 'q', maxAttempts: 1, deadLetterQueue: 'q.dead' } });
    await ask('POST', '/v1/queues/q/jobs', { payload: 1 });
    await ask('POST', '/v1/queues/q/pause');
    expect((await ask('POST', '/v1/queues/q/lease', { waitMs: 50 })).body.jobs).toEqual([]);
    expect((await ask('GET', '/v1/queues/q')).body).toMatchObject({ paused: true, figures: { waiting: 1 } });
    await ask('POST', '/v1/queues/q/resume');
    const [job] = (await ask('POST', '/v1/queues/q/lease', { waitMs: 1000 })).body.jobs;
    await ask('POST', `/v1/queues/q/jobs/${job.id}/nack`, { leaseEpoch: job.leaseEpoch, error: 'boom' });
    const dead = await ask('GET', '/v1/queues/q.dead/jobs');
    expect(dead.body.jobs).toMatchObject([{ payload: 1, sourceQueue: 'q', lastError: 'boom' }]);
    expect((await ask('POST', '/v1/queues/q.dead/redrive', {})).body).toEqual({ moved: 1, remaining: 0 });
    expect((await ask('GET', '/v1/queues/q/jobs?state=waiting')).body.jobs).toHaveLength(1);
    expect((await ask('POST', '/v1/queues/q/purge')).body).toEqual({ purged: 1 });
    expect((await ask('GET', '/v1/queues')).body.queues.length).toBeGreaterThanOrEqual(2);
  });

  test('streams cleaned by key: each record has one, and null is not nothing', async () => {
    const { ask } = await serve({ shards });
    const spec = { partitions: 1, cleanup: 'compact', tombstoneRetentionMs: 60_000 };
    expect((await ask('PUT', '/v1/streams/prices', spec)).body.spec).toMatchObject(spec);
    expect((await ask('PUT', '/v1/streams/prices', { cleanup: 'never' })).status).toBe(400);
    const write = (record: object) => ask('POST', '/v1/streams/prices/records', { records: [record] });
    expect((await write({ value: 1 })).body).toMatchObject({ code: 'KEY_REQUIRED', status: 400 });
    expect((await write({ key: 'a', value: 1, tombstone: true })).body.code).toBe('INVALID_ARGUMENT');
    await write({ key: 'a', value: null });
    await write({ key: 'a', tombstone: true });
    const { body } = await ask('GET', '/v1/streams/prices/partitions/0/records');
    expect(body.records).toMatchObject([{ value: null }, { value: null, tombstone: true }]);
    expect(body.records[0].tombstone).toBeUndefined();
  });

  test('streams: write by key, read by offset and time, seek a group', async () => {
    const { ask } = await serve({ shards });
    await ask('PUT', '/v1/streams/orders', { partitions: 2 });
    const records = [1, 2, 3].map((n) => ({ key: 'k', value: { n }, headers: { h: 'v' } }));
    const written = await ask('POST', '/v1/streams/orders/records', { records });
    expect(written.body.durability).toBe('fsync');
    const { partition } = written.body.offsets[0];
    expect(written.body.offsets).toEqual([0, 1, 2].map((offset) => ({ partition, offset })));
    const path = `/v1/streams/orders/partitions/${partition}/records`;
    const read = await ask('GET', `${path}?offset=1&max=1`);
    expect(read.body).toMatchObject({
      records: [{ partition, offset: 1, key: 'k', value: { n: 2 }, headers: { h: 'v' } }],
      nextOffset: 2,
      endOffset: 3,
    });
    const { timestamp } = read.body.records[0];
    expect((await ask('GET', `${path}?timestamp=${timestamp}`)).body.records.length).toBeGreaterThan(0);
    expect((await ask('GET', `${path}?offset=99`)).body).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      status: 416,
    });
    const sought = await ask('POST', '/v1/streams/orders/groups/g/seek', { position: 'latest' });
    expect(
      sought.body.partitions.find((each: { partition: number }) => each.partition === partition),
    ).toMatchObject({
      committed: 3,
      lag: 0,
    });
    expect((await ask('GET', '/v1/streams/orders/groups/g')).body).toMatchObject({
      group: 'g',
      state: 'empty',
    });
    expect((await ask('GET', '/v1/streams/orders/groups')).body.groups).toHaveLength(1);
  });
});

test('a long poll whose client hangs up takes no job with it', async () => {
  const { base, ask } = await serve();
  await ask('PUT', '/v1/queues/q', {});
  const gone = new AbortController();
  const poll = fetch(`${base}/v1/queues/q/lease`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"waitMs":30000}',
    signal: gone.signal,
  }).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 100));
  gone.abort();
  await poll;
  await new Promise((resolve) => setTimeout(resolve, 100));
  await ask('POST', '/v1/queues/q/jobs', { payload: 1 });
  const [job] = (await ask('POST', '/v1/queues/q/lease', { waitMs: 1000 })).body.jobs;
  expect(job.attempt).toBe(1);
});

test('what was acknowledged over HTTP is there after a restart', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'flowmesh-http-'));
  atEnd(() => rmSync(dataDir, { recursive: true }));
  const first = await serve({ dataDir });
  await first.ask('PUT', '/v1/kv/default/k', { a: 1 });
  const { id } = (await first.ask('POST', '/v1/queues/q/jobs', { payload: 'keep' })).body;
  await first.server.close();
  const second = await serve({ dataDir });
  expect((await second.ask('GET', '/v1/kv/default/k')).body).toEqual({ a: 1 });
  expect((await second.ask('GET', `/v1/queues/q/jobs/${id}`)).body).toMatchObject({ payload: 'keep' });
});

test('token, metrics and probes of the whole server', async () => {
  const { server, ask } = await serve({ token: 'secret' });
  const authorization = 'Bearer secret';
  expect((await ask('GET', '/readyz')).body).toEqual({ status: 'ready' });
  expect((await ask('GET', '/v1/queues')).status).toBe(401);
  expect((await ask('PUT', '/v1/queues/q', {}, { authorization })).status).toBe(200);
  const metrics = await ask('GET', '/metrics', undefined, { authorization });
  expect(metrics.body).toContain('flowmesh_queue_jobs{queue="q",state="waiting"} 0\n');
  expect(metrics.body).toContain('flowmesh_up 1\n');
  const kv = new KvClient(`127.0.0.1:${server.grpcPort}`, grpc.credentials.createInsecure());
  atEnd(() => kv.close());
  expect((await refused(unary(kv, kv.execute, {}))).code).toBe(grpc.status.UNAUTHENTICATED);
  const metadata = new grpc.Metadata();
  metadata.set('authorization', authorization);
  await unary(kv, kv.execute, { ops: [{ get: { key: Buffer.from('k') } }] }, metadata);
  await server.drain();
  expect((await ask('GET', '/readyz')).status).toBe(503);
});

test('a server beyond loopback does not start without credentials', async () => {
  await expect(startServer({ ...options, host: '0.0.0.0' })).rejects.toThrow('--insecure');
});
