// HTTP against the whole server, in memory and on disk: what the documents promise, seen from curl.
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@flowmesh/client';
import { KvClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { type ServerOptions, startServer } from '../../dataplane/main.ts';
import { atEnd, refused, unary } from './support.ts';

const options: ServerOptions = {
  dataDir: null,
  shards: 1,
  host: '127.0.0.1',
  grpcPort: 0,
  httpPort: 0,
  insecure: false,
  autoCreate: true,
  logLevel: 'silent',
  onFatal: (error) => {
    throw error;
  },
};

async function serve(over: Partial<ServerOptions> = {}) {
  const server = await startServer({ ...options, ...over });
  atEnd(() => server.close());
  const base = `http://127.0.0.1:${server.httpPort}`;
  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }
  return { server, base, ask };
}

/** The parts of a response that does not end, one by one. */
async function listen(url: string, init: RequestInit, separator = '\n\n') {
  const leaving = new AbortController();
  atEnd(() => leaving.abort());
  const response = await fetch(url, { ...init, signal: leaving.signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  return {
    type: response.headers.get('content-type'),
    async next(): Promise<string> {
      for (;;) {
        const end = text.indexOf(separator);
        if (end !== -1) {
          const part = text.slice(0, end);
          text = text.slice(end + separator.length);
          return part;
        }
        const chunk = await reader?.read();
        if (chunk === undefined || chunk.done) throw new Error(`the response ended with ${text}`);
        text += chunk.value;
      }
    },
    close: async () => leaving.abort(),
  };
}

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

  test('[KV36] keys: listed in pages; watched as lines or events, from where one left off', async () => {
    const { base, ask } = await serve({ shards });
    const put = (key: string, body: unknown) => ask('PUT', `/v1/kv/default/${key}`, body);
    await put('user%2F1', { n: 1 });
    await put('user%2F2', { n: 2 });
    await put('other', 'x');
    const found: unknown[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ask('GET', `/v1/kv/default?prefix=user/&limit=1${cursor}`);
      found.push(...body.keys);
      if (body.cursor === undefined) break;
      cursor = `&cursor=${encodeURIComponent(body.cursor)}`;
    }
    const key = (n: number) => ({ key: `user/${n}`, type: 'string' });
    expect(found).toHaveLength(2);
    expect(found).toEqual(expect.arrayContaining([key(1), key(2)]));

    const events = { accept: 'text/event-stream' };
    const url = `${base}/v1/kv/default?watch=true&prefix=user/`;
    const live = await listen(url, { headers: events });
    expect(live.type).toBe('text/event-stream');
    expect(await live.next()).toMatch(/^id: 1-\S+\nevent: position\ndata: /);
    await put('user%2F3', { n: 3 });
    await ask('DELETE', '/v1/kv/default/user%2F3');
    const first = await live.next();
    expect(first).toMatch(/event: change\ndata: .*"value":\{"n":3\}/);
    expect(await live.next()).toContain('"reason":"delete"');
    await live.close();

    const id = /^id: (\S+)/.exec(first)?.[1] ?? '';
    const again = await listen(url, { headers: { ...events, 'last-event-id': id } });
    await again.next();
    expect(await again.next()).toContain('"reason":"delete"');
    await again.close();

    const lines = await listen(`${base}/v1/kv/default?watch=true&cursor=${id}`, {}, '\n');
    expect(JSON.parse(await lines.next())).toEqual({ cursor: id });
    expect(JSON.parse(await lines.next())).toMatchObject({ key: 'user/3', reason: 'delete', type: 'string' });
    for (const [query, code] of [
      ['watch=true&cursor=nonsense', 'INVALID_ARGUMENT'],
      ['watch=true&limit=5', 'INVALID_ARGUMENT'],
      ['watch=perhaps', 'INVALID_ARGUMENT'],
      ['afterRevision=5', 'INVALID_ARGUMENT'],
      ['cursor=!!', 'MALFORMED'],
    ])
      expect((await ask('GET', `/v1/kv/default?${query}`)).body, query).toMatchObject({ code });
  });

  test('[KV37] [KV38] keys as they were: by revision and snapshot, over HTTP and from the SDK', async () => {
    const { server, base, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { revision } = await fm.kv.set('k', 'one');
    await fm.kv.set('gone', 1);
    const snapshot = await fm.kv.snapshot();
    const listed = (await ask('GET', '/v1/kv/default?asOf=now&limit=1')).body;
    await fm.kv.set('k', 'two');
    await fm.kv.delete('gone');
    await fm.kv.set('new', 1);
    expect(await fm.kv.asOf({ revision }).get('k')).toBe('one');
    expect(await snapshot.getEntry('k')).toMatchObject({ value: 'one', revision });
    expect(await snapshot.inspect('new')).toBeUndefined();
    const keys: string[] = [];
    for await (const { key } of snapshot.scan({ pageSize: 1 })) keys.push(key);
    expect(keys.sort()).toEqual(['gone', 'k']);
    const value = async (query: string) => (await fetch(`${base}/v1/kv/default/k?${query}`)).text();
    expect(await value(`asOfRevision=${revision}`)).toBe('one');
    expect(await value(`asOf=${snapshot.cursor}`)).toBe('one');
    expect(await value('asOf=now')).toBe('two');
    const found: string[] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page = `limit=1&cursor=${encodeURIComponent(cursor)}&asOf=${listed.asOf}`;
      const { body } = await ask('GET', `/v1/kv/default?${page}`);
      found.push(...body.keys.map(({ key }: { key: string }) => key));
      cursor = body.cursor;
    }
    expect(found.sort()).toEqual(['gone', 'k']);
    const both = await ask('GET', '/v1/kv/default/k?asOf=now&asOfTimeMs=5');
    expect(both.body).toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(fm.kv.asOf({ cursor: 'x' }).get('k')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[KV36] a watch says that the server closes, and the SDK goes on at the next one', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'flowmesh-watch-'));
    atEnd(() => rm(dataDir, { recursive: true }));
    const first = await serve({ shards, dataDir });
    const { grpcPort } = first.server;
    const fm = await connect({ address: `127.0.0.1:${grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { revision } = await fm.kv.set('k', 0);
    const lines = await listen(`${first.base}/v1/kv/default?watch=true`, {}, '\n');
    await lines.next();
    const seen: unknown[] = [];
    let watching = Promise.withResolvers<void>();
    const loop = (async () => {
      const onWatching = () => watching.resolve();
      for await (const { key, reason, value } of fm.kv.watch({
        key: 'k',
        afterRevision: revision,
        onWatching,
      })) {
        seen.push([key, reason, value]);
        if (reason === 'delete') return;
      }
    })();
    await watching.promise;
    watching = Promise.withResolvers();
    await fm.kv.set('k', 1);
    await expect.poll(() => seen).toEqual([['k', 'set', 1]]);
    await first.server.close();
    expect(JSON.parse(await lines.next())).toMatchObject({ key: 'k', value: 1 });
    expect(JSON.parse(await lines.next())).toMatchObject({ error: { code: 'UNAVAILABLE' } });
    await serve({ shards, dataDir, grpcPort });
    await fm.kv.set('k', 2);
    await fm.kv.delete('k');
    await loop;
    expect(seen).toEqual([
      ['k', 'set', 1],
      ['k', 'set', 2],
      ['k', 'delete', undefined],
    ]);
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
