// Key, queue, stream and probe routes against a fake fabric: what reaches the services, and what comes back.
import { FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { fakeHttp } from './support.ts';

const json = (payload: unknown) => ({
  headers: { 'content-type': 'application/json' },
  payload: JSON.stringify(payload),
});

test('KV: put stores the bytes with content type and time to live, and answers the revision', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('kv.execute', { results: [{ found: true, revision: 7 }], durability: 1 });
  const response = await ask('PUT', '/v1/kv/default/user%3A234%2Fx?ttl=1.5', {
    payload: Buffer.from([0, 255, 1]),
    headers: { 'content-type': 'image/png', 'idempotency-key': 'k' },
  });
  expect(response.statusCode).toBe(200);
  expect(response.json()).toEqual({ revision: 7, durability: 'fsync' });
  expect(response.headers['etag']).toBe('"7"');
  expect(fabric.last('kv.execute').request).toMatchObject({
    keyspace: 'default',
    ops: [
      {
        op: 'set',
        set: {
          key: Buffer.from('user:234/x'),
          value: Buffer.from([0, 255, 1]),
          contentType: 'image/png',
          ttlMs: 1500,
        },
      },
    ],
    mutation: { producerId: expect.stringMatching(/^http:[\w-]{27}$/), seq: 0 },
  });
});

test('KV: an empty body, and one without a content type, are values', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('kv.execute', { results: [{ revision: 1 }] });
  expect((await ask('PUT', '/v1/kv/default/empty')).statusCode).toBe(200);
  const { ops } = fabric.last('kv.execute').request as { ops: { set: object }[] };
  expect(ops[0]?.set).toMatchObject({ value: Buffer.alloc(0), contentType: 'application/octet-stream' });
});

test('KV: If-Match is a compare-and-set, If-None-Match: * a create; a miss is 412', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('kv.execute', { results: [{ found: false, revision: 9 }] });
  const set = () => (fabric.last('kv.execute').request as { ops: { set: unknown }[] }).ops[0]?.set;
  const lost = await ask('PUT', '/v1/kv/d/k', { headers: { 'if-match': '"8"' }, payload: 'x' });
  expect(lost.statusCode).toBe(412);
  expect(lost.json()).toMatchObject({ code: 'REVISION_MISMATCH', detail: 'key k has revision 9' });
  expect(set()).toMatchObject({ ifRevision: 8 });
  expect((await ask('PUT', '/v1/kv/d/k', { headers: { 'if-match': '*' } })).statusCode).toBe(412);
  expect(set()).toMatchObject({ ifPresent: true });
  expect((await ask('PUT', '/v1/kv/d/k', { headers: { 'if-none-match': '*' } })).statusCode).toBe(412);
  expect(set()).toMatchObject({ ifAbsent: true });
  expect((await ask('PUT', '/v1/kv/d/k', { headers: { 'if-match': '"a", "b"' } })).statusCode).toBe(400);
});

test('KV: get answers the stored bytes and type; absent is a 404 problem', async () => {
  const { fabric, ask } = await fakeHttp();
  const value = Buffer.from('<script>');
  fabric.answer('kv.execute', { results: [{ found: true, value, contentType: 'text/html', revision: 3 }] });
  const found = await ask('GET', '/v1/kv/default/page');
  expect(found.rawPayload).toEqual(value);
  expect(found.headers).toMatchObject({
    'content-type': 'text/html',
    etag: '"3"',
    'x-content-type-options': 'nosniff',
    'content-security-policy': expect.stringContaining('sandbox'),
  });
  expect((await ask('GET', '/v1/kv/default/page', { headers: { 'if-none-match': '"3"' } })).statusCode).toBe(
    304,
  );
  fabric.answer('kv.execute', {
    results: [{ found: true, value, contentType: 'a\r\nset-cookie: x', revision: 3 }],
  });
  expect((await ask('GET', '/v1/kv/default/page')).headers['content-type']).toBe('application/octet-stream');
  fabric.answer('kv.execute', { results: [{ found: false }] });
  const absent = await ask('GET', '/v1/kv/default/none');
  expect(absent.statusCode).toBe(404);
  expect(absent.headers['content-type']).toContain('application/problem+json');
  expect(absent.json()).toEqual({
    type: 'urn:flowmesh:error:NOT_FOUND',
    title: 'There is no such thing',
    status: 404,
    detail: 'no key none in keyspace default',
    code: 'NOT_FOUND',
  });
});

test('KV: delete is 204, 404 when absent, 412 when the revision differs', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('kv.execute', { results: [{ found: true }] });
  expect((await ask('DELETE', '/v1/kv/default/k')).statusCode).toBe(204);
  fabric.answer('kv.execute', { results: [{ found: false }] });
  expect((await ask('DELETE', '/v1/kv/default/k')).statusCode).toBe(404);
  expect((await ask('DELETE', '/v1/kv/default/k', { headers: { 'if-match': '"2"' } })).statusCode).toBe(412);
  fabric.answer('kv.execute', { results: [{ error: { code: 'WRONG_TYPE', message: 'k is a hash' } }] });
  expect((await ask('GET', '/v1/kv/default/k')).json()).toMatchObject({ code: 'WRONG_TYPE', status: 409 });
});

test('queues: declare, list, get, pause, resume, purge, redrive', async () => {
  const { fabric, ask } = await fakeHttp();
  const queue = { spec: { name: 'q', maxAttempts: 3 }, figures: { waiting: 2 }, shard: 1 };
  fabric.answer('admin.applyQueue', queue);
  fabric.answer('admin.getQueue', queue);
  fabric.answer('admin.listQueues', { queues: [queue] });
  const shown = {
    spec: { name: 'q', maxAttempts: 3 },
    paused: false,
    figures: { waiting: 2, leased: 0 },
    shard: 1,
  };
  const backoff = { type: 'fixed', initialMs: 10 };
  const declared = await ask('PUT', '/v1/queues/q', json({ maxAttempts: 3, backoff }));
  expect(declared.json()).toMatchObject(shown);
  expect(fabric.last('admin.applyQueue').request).toMatchObject({ name: 'q', maxAttempts: 3, backoff });
  expect((await ask('PUT', '/v1/queues/q')).statusCode).toBe(200);
  expect((await ask('GET', '/v1/queues/q')).json()).toMatchObject(shown);
  expect(fabric.last('admin.getQueue').request).toMatchObject({ name: 'q' });
  expect((await ask('GET', '/v1/queues')).json()).toMatchObject({ queues: [shown] });
  expect((await ask('POST', '/v1/queues/q/pause')).json()).toEqual({ paused: true });
  expect(fabric.last('queues.setPaused').request).toMatchObject({ queue: 'q', paused: true });
  expect((await ask('POST', '/v1/queues/q/resume', json({}))).json()).toEqual({ paused: false });
  fabric.answer('queues.purge', { purged: 4 });
  expect((await ask('POST', '/v1/queues/q/purge')).json()).toEqual({ purged: 4 });
  fabric.answer('queues.redrive', { moved: 2, remaining: 1 });
  const redriven = await ask('POST', '/v1/queues/q.dead/redrive', json({ max: 2, targetQueue: 'q' }));
  expect(redriven.json()).toEqual({ moved: 2, remaining: 1 });
  expect(fabric.last('queues.redrive').request).toMatchObject({ queue: 'q.dead', max: 2, targetQueue: 'q' });
  for (const [method, name] of [
    ['PUT', 'startRedrive'],
    ['GET', 'getRedrive'],
    ['DELETE', 'cancelRedrive'],
  ] as const) {
    fabric.answer(`queues.${name}`, { queue: 'q.dead', number: 1, state: 'running', moved: 7 });
    const body = method === 'PUT' ? json({ perSecond: 50, parkAfter: 2 }) : undefined;
    const task = await ask(method, '/v1/queues/q.dead/redrive', body);
    expect(task.json()).toMatchObject({ number: 1, state: 'running', moved: 7, endedAtMs: 0, error: '' });
    expect(fabric.last(`queues.${name}`).request).toMatchObject({ queue: 'q.dead' });
  }
  expect(fabric.last('queues.startRedrive').request).toMatchObject({ perSecond: 50, parkAfter: 2, max: 0 });
});

test('streams: declare, list, get, write, read', async () => {
  const { fabric, ask } = await fakeHttp();
  const stream = { spec: { name: 's', partitions: 2 }, partitions: [{ partition: 0, end: 5 }] };
  fabric.answer('admin.applyStream', stream);
  fabric.answer('admin.getStream', stream);
  fabric.answer('admin.listStreams', { streams: [stream] });
  expect((await ask('PUT', '/v1/streams/s', json({ partitions: 2 }))).json()).toMatchObject(stream);
  expect((await ask('GET', '/v1/streams/s')).json()).toMatchObject(stream);
  expect((await ask('GET', '/v1/streams')).json()).toMatchObject({ streams: [stream] });
  fabric.answer('streams.publish', { offsets: [{ partition: 1, offset: 9 }, {}], durability: 1 });
  const records = [
    { key: 'k', value: { a: 1 }, headers: { h: 'v' } },
    { valueBase64: 'AA==', partition: 1, timestamp: 77 },
  ];
  const written = await ask('POST', '/v1/streams/s/records', json({ records }));
  expect(written.statusCode).toBe(200);
  expect(written.json()).toEqual({
    offsets: [
      { partition: 1, offset: 9 },
      { partition: 0, offset: 0 },
    ],
    durability: 'fsync',
  });
  expect(fabric.last('streams.publish').request).toMatchObject({
    stream: 's',
    records: [
      {
        key: Buffer.from('k'),
        value: Buffer.from('{"a":1}'),
        contentType: 'application/json',
        partition: null,
      },
      { value: Buffer.from([0]), partition: 1, timeMs: 77, contentType: 'application/octet-stream' },
    ],
  });
  fabric.answer('streams.read', {
    records: [
      { partition: 1, offset: 9, timestampMs: 5, value: Buffer.from('2'), contentType: 'application/json' },
    ],
    nextOffset: 10,
    endOffset: 12,
  });
  const read = await ask('GET', '/v1/streams/s/partitions/1/records?offset=9&max=5');
  expect(read.json()).toEqual({
    records: [
      {
        partition: 1,
        offset: 9,
        timestamp: 5,
        key: null,
        value: 2,
        contentType: 'application/json',
        headers: {},
        envelope: {},
      },
    ],
    nextOffset: 10,
    endOffset: 12,
  });
  expect(fabric.last('streams.read').request).toMatchObject({ stream: 's', partition: 1, offset: 9, max: 5 });
  await ask('GET', '/v1/streams/s/partitions/1/records?timestamp=123');
  expect(fabric.last('streams.read').request).toMatchObject({ from: 'timestampMs', timestampMs: 123 });
  for (const query of ['offset=1&timestamp=2', 'offset=-1', 'offset=x', 'other=1']) {
    expect((await ask('GET', `/v1/streams/s/partitions/1/records?${query}`)).statusCode).toBe(400);
  }
  expect((await ask('GET', '/v1/streams/s/partitions/x/records')).statusCode).toBe(400);
});

test('groups: list, get, seek', async () => {
  const { fabric, ask } = await fakeHttp();
  const group = {
    stream: 's',
    group: 'g',
    state: 'stable',
    lag: 3,
    partitions: [{ partition: 0, committed: 4 }],
  };
  fabric.answer('streams.getGroup', group);
  fabric.answer('streams.listGroups', { groups: [group] });
  fabric.answer('streams.seek', { partitions: [{ partition: 0, committed: 1 }] });
  expect((await ask('GET', '/v1/streams/s/groups')).json()).toMatchObject({ groups: [group] });
  expect((await ask('GET', '/v1/streams/s/groups/g')).json()).toMatchObject(group);
  const url = '/v1/streams/s/groups/g/seek';
  const sought = () => fabric.last('streams.seek').request;
  expect((await ask('POST', url, json({ position: 'earliest' }))).json()).toMatchObject({
    partitions: [{ partition: 0, committed: 1 }],
  });
  expect(sought()).toMatchObject({
    stream: 's',
    group: 'g',
    to: 'position',
    position: 'earliest',
    partition: null,
  });
  await ask('POST', url, json({ partition: 0, timestamp: 5 }));
  expect(sought()).toMatchObject({ to: 'timestampMs', timestampMs: 5, partition: 0 });
  await ask('POST', url, json({ offset: 0 }));
  expect(sought()).toMatchObject({ to: 'offset', offset: 0 });
  expect((await ask('POST', url, json({ offset: 0, position: 'latest' }))).statusCode).toBe(400);
  expect((await ask('POST', url, json({}))).statusCode).toBe(400);
});

test('Idempotency-Key: one producer per identity, method, path and key', async () => {
  const { fabric, ask } = await fakeHttp();
  const producerOf = async (url: string, key: string) => {
    const { headers, payload } = json({ payload: 1 });
    await ask('POST', url, { headers: { ...headers, 'idempotency-key': key }, payload });
    const { mutation } = fabric.last('queues.enqueue').request as { mutation: { producerId: string } };
    return mutation.producerId;
  };
  const first = await producerOf('/v1/queues/q/jobs', 'a');
  expect(await producerOf('/v1/queues/q/jobs', 'a')).toBe(first);
  expect(await producerOf('/v1/queues/q/jobs', 'b')).not.toBe(first);
  expect(await producerOf('/v1/queues/r/jobs', 'a')).not.toBe(first);
  await ask('POST', '/v1/queues/q/jobs', json({ payload: 1 }));
  expect(fabric.last('queues.enqueue').request).toMatchObject({ mutation: null });
});

test('errors: status and code, Retry-After in seconds, a request id for bugs', async () => {
  const { fabric, ask, lines } = await fakeHttp();
  fabric.answer('queues.enqueue', new FlowError('QUEUE_FULL', 'q is full', { retryAfterMs: 1200 }));
  const full = await ask('POST', '/v1/queues/q/jobs', json({ payload: 1 }));
  expect(full.statusCode).toBe(429);
  expect(full.headers['retry-after']).toBe('2');
  expect(full.json()).toMatchObject({ code: 'QUEUE_FULL', retryAfterMs: 1200 });
  fabric.answer('queues.enqueue', new RangeError('secret detail'));
  const bug = await ask('POST', '/v1/queues/q/jobs', json({ payload: 'canary-payload' }));
  expect(bug.statusCode).toBe(500);
  expect(bug.json().detail).toMatch(/^internal error; request id \w{10}$/);
  expect(bug.payload).not.toContain('secret');
  expect(lines.join('')).toContain('secret detail');
  expect(lines.join('')).not.toContain('canary-payload');
});

test('probes: live, ready, degraded, draining', async () => {
  const { fabric, ask } = await fakeHttp();
  expect((await ask('GET', '/readyz')).json()).toEqual({ status: 'ready' });
  fabric.become('disk_full');
  const degraded = await ask('GET', '/readyz');
  expect(degraded.statusCode).toBe(200);
  expect(degraded.json()).toMatchObject({ status: 'degraded', reason: expect.stringContaining('disk_full') });
  for (const state of ['starting', 'draining'] as const) {
    fabric.become(state);
    const response = await ask('GET', '/readyz');
    expect(response.statusCode).toBe(503);
    expect(response.json().detail).toContain(state);
    expect((await ask('GET', '/healthz')).statusCode).toBe(200);
  }
  fabric.become('starting');
  expect((await ask('GET', '/v1/queues')).json()).toMatchObject({ code: 'UNAVAILABLE', status: 503 });
  fabric.become('failed');
  expect((await ask('GET', '/healthz')).statusCode).toBe(503);
});
