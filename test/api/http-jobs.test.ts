// Job routes against a fake fabric: what reaches the queue service, and what comes back.
import { expect, test } from 'vitest';
import { fakeHttp } from './support.ts';

const json = (payload: unknown) => ({
  headers: { 'content-type': 'application/json' },
  payload: JSON.stringify(payload),
});

test('jobs: enqueue takes any JSON as payload and answers 201 with the id', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.enqueue', { jobs: [{ id: '0-1-a' }], durability: 1 });
  for (const payload of [{ to: 'a@b' }, [1], 'text', 12, true, null]) {
    const response = await ask('POST', '/v1/queues/emails.send/jobs', json({ payload }));
    expect(response.statusCode).toBe(201);
    expect(response.json()).toEqual({ id: '0-1-a', durability: 'fsync' });
    const { jobs } = fabric.last('queues.enqueue').request as { jobs: unknown[] };
    expect(jobs[0]).toMatchObject({
      payload: Buffer.from(JSON.stringify(payload)),
      contentType: 'application/json',
    });
  }
});

test('jobs: all options of enqueue', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x', deduplicated: true }] });
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { headers, payload } = json({
    payloadBase64: 'AP8=',
    contentType: 'image/png',
    key: 'customer-1',
    delayMs: 30_000,
    priority: 9,
    dedupKey: 'd',
    timeoutMs: 5,
    headers: { a: 'b', ['__proto__']: 'c' },
    headersBase64: { bin: '/w==' },
    envelope: { correlationId: 'order-1', tags: ['x'] },
  });
  const response = await ask('POST', '/v1/queues/q/jobs', { headers: { ...headers, traceparent }, payload });
  expect(response.json()).toMatchObject({ id: 'x', deduplicated: true });
  const { queue, jobs } = fabric.last('queues.enqueue').request as {
    queue: string;
    jobs: [{ headers: object }];
  };
  expect(queue).toBe('q');
  expect(jobs[0]).toMatchObject({
    payload: Buffer.from([0, 255]),
    contentType: 'image/png',
    key: Buffer.from('customer-1'),
    delayMs: 30_000,
    priority: 9,
    dedupKey: 'd',
    timeoutMs: 5,
    envelope: { traceparent, correlationId: 'order-1', tags: ['x'] },
  });
  expect(jobs[0].headers).toHaveProperty('bin', Buffer.from([255]));
  expect(({} as Record<string, unknown>)['a']).toBeUndefined();
});

test('jobs: digits that a double cannot hold survive the way in and out', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.enqueue', { jobs: [{ id: 'x' }] });
  const text = '{"id":12345678901234567890,"price":0.12345678901234567891,"big":1e400,"plain":1.50}';
  await ask('POST', '/v1/queues/q/jobs', {
    headers: { 'content-type': 'application/json' },
    payload: `{"payload":${text},"delayMs":1}`,
  });
  const { jobs } = fabric.last('queues.enqueue').request as { jobs: [{ payload: Buffer }] };
  const stored = jobs[0].payload.toString();
  expect(stored).toBe(text.replace('1.50', '1.5'));
  fabric.answer('queues.lease', {
    jobs: [{ id: 'x', payload: Buffer.from(text), contentType: 'application/json; charset=utf-8' }],
  });
  const leased = await ask('POST', '/v1/queues/q/lease', json({ max: 1 }));
  expect(leased.payload).toContain(`"payload":${text}`);
});

test.each([
  [{}, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, payloadBase64: 'AA==' }, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, contentType: 'image/png' }, 'INVALID_ARGUMENT', 400],
  [{ payloadBase64: 'not base64!' }, 'MALFORMED', 400],
  [{ payload: 1, delay: 5 }, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, delayMs: '5' }, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, delayMs: -1 }, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, delayMs: 2 ** 53 }, 'INVALID_ARGUMENT', 400],
  [{ payload: 1, priority: 256 }, 'INVALID_ARGUMENT', 400],
])('jobs: %j is refused', async (body, code, status) => {
  const { ask, fabric } = await fakeHttp();
  const response = await ask('POST', '/v1/queues/q/jobs', json(body));
  expect(response.json()).toMatchObject({ code, status });
  expect(response.statusCode).toBe(status);
  expect(fabric.calls).toHaveLength(0);
});

test('jobs: lease', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.lease', {
    jobs: [
      {
        id: '0-1-a',
        leaseEpoch: 41,
        attempt: 2,
        payload: Buffer.from('{"a":1}'),
        contentType: 'application/json',
        key: Buffer.from('k'),
        headers: { h: Buffer.from('v'), b: Buffer.from([255]) },
        envelope: { traceparent: 't', tags: [] },
        enqueuedAtMs: 5,
        deadlineMs: 9,
      },
      { id: '0-1-b', payload: Buffer.from('plain'), contentType: 'text/plain', key: Buffer.from([255]) },
    ],
  });
  const response = await ask('POST', '/v1/queues/q/lease', json({ max: 2, waitMs: 100, visibilityMs: 7 }));
  expect(response.json()).toEqual({
    jobs: [
      {
        id: '0-1-a',
        leaseEpoch: 41,
        attempt: 2,
        payload: { a: 1 },
        contentType: 'application/json',
        key: 'k',
        headers: { h: 'v' },
        headersBase64: { b: '/w==' },
        envelope: { traceparent: 't' },
        enqueuedAtMs: 5,
        deadlineMs: 9,
      },
      {
        id: '0-1-b',
        leaseEpoch: 0,
        attempt: 0,
        payloadBase64: 'cGxhaW4=',
        contentType: 'text/plain',
        keyBase64: '/w==',
        headers: {},
        envelope: {},
        enqueuedAtMs: 0,
        deadlineMs: 0,
      },
    ],
  });
  expect(fabric.last('queues.lease').request).toMatchObject({
    queue: 'q',
    max: 2,
    waitMs: 100,
    visibilityMs: 7,
  });
  await ask('POST', '/v1/queues/q/lease');
  expect(fabric.last('queues.lease').request).toMatchObject({ queue: 'q', max: 1, waitMs: 0 });
});

test('jobs: ack, nack and extend settle one job; a lost lease is a 409 problem', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.settle', { results: [{}], durability: 1 });
  const settled = () => fabric.last('queues.settle').request;
  const base = '/v1/queues/q/jobs/0-1-a';
  expect((await ask('POST', `${base}/ack`, json({ leaseEpoch: 4 }))).json()).toEqual({ durability: 'fsync' });
  expect(settled()).toMatchObject({
    queue: 'q',
    settlements: [{ id: '0-1-a', leaseEpoch: 4, action: 'ack' }],
  });
  const nack = { leaseEpoch: 4, error: 'boom', retryAfterMs: 0, unrecoverable: true };
  await ask('POST', `${base}/nack`, json(nack));
  expect(settled()).toMatchObject({
    settlements: [
      { action: 'nack', nack: { error: 'boom', retryAfterMs: 0, unrecoverable: true, release: false } },
    ],
  });
  await ask('POST', `${base}/extend`, json({ leaseEpoch: 4, visibilityMs: 900 }));
  expect(settled()).toMatchObject({ settlements: [{ action: 'extend', extend: { visibilityMs: 900 } }] });
  await ask('POST', `${base}/ack`, json({ leaseEpoch: 4, result: { total: 9 } }));
  const ack = { result: Buffer.from('{"total":9}'), resultContentType: 'application/json' };
  expect(settled()).toMatchObject({ settlements: [{ action: 'ack', ack }] });
  const said = { leaseEpoch: 4, progress: { percent: 5 }, log: ['a', 'b'] };
  expect((await ask('POST', `${base}/report`, json(said))).json()).toEqual({});
  expect(fabric.last('queues.report').request).toMatchObject({
    ...{ queue: 'q', id: '0-1-a', leaseEpoch: 4, progress: '{"percent":5}', log: ['a', 'b'] },
  });
  const kept = {
    id: '0-1-a',
    progress: '5',
    result: Buffer.from('[1]'),
    resultContentType: 'application/json',
  };
  fabric.answer('queues.getJob', { ...kept, state: 'completed' });
  expect((await ask('GET', base)).json()).toMatchObject({ progress: 5, result: [1] });
  fabric.answer('queues.settle', { results: [{ code: 'LEASE_LOST', message: 'lease 4 ended' }] });
  const lost = await ask('POST', `${base}/ack`, json({ leaseEpoch: 4 }));
  expect(lost.json()).toMatchObject({ code: 'LEASE_LOST', status: 409, detail: 'lease 4 ended' });
  fabric.answer('queues.getJob', { state: 'completed' });
  fabric.answer('queues.jobHistory', { transitions: [{ kind: 'acked', leaseEpoch: 4 }] });
  expect((await ask('POST', `${base}/ack`, json({ leaseEpoch: 4 }))).statusCode).toBe(200);
  expect((await ask('POST', `${base}/ack`, json({ leaseEpoch: 3 }))).statusCode).toBe(409);
  expect((await ask('POST', `${base}/nack`, json({ leaseEpoch: 4 }))).statusCode).toBe(409);
  expect((await ask('POST', `${base}/ack`, json({}))).json()).toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('jobs: cancel', async () => {
  const { fabric, ask } = await fakeHttp();
  fabric.answer('queues.cancelJob', { cancelled: true, state: 'leased' });
  const cancelled = await ask('DELETE', '/v1/queues/q/jobs/0-1-a?reason=no%20use');
  expect(cancelled.json()).toEqual({ cancelled: true, state: 'leased' });
  expect(fabric.last('queues.cancelJob').request).toMatchObject({
    queue: 'q',
    id: '0-1-a',
    reason: 'no use',
  });
});

test('jobs: list, get and history', async () => {
  const { fabric, ask } = await fakeHttp();
  const job = {
    id: '0-1-a',
    queue: 'q',
    state: 'waiting',
    payload: Buffer.from('1'),
    contentType: 'application/json',
  };
  fabric.answer('queues.listJobs', { jobs: [job], cursor: 'c2' });
  fabric.answer('queues.getJob', { ...job, counters: { failed: 2 } });
  fabric.answer('queues.jobHistory', { transitions: [{ timeMs: 5, kind: 'enqueued' }], trimmed: true });
  const list = await ask('GET', '/v1/queues/q/jobs?state=waiting&limit=10&cursor=c1');
  expect(list.json()).toMatchObject({
    jobs: [{ id: '0-1-a', state: 'waiting', payload: 1, key: null }],
    cursor: 'c2',
  });
  expect(fabric.last('queues.listJobs').request).toMatchObject({ state: 'waiting', limit: 10, cursor: 'c1' });
  expect((await ask('GET', '/v1/queues/q/jobs?state=lost')).statusCode).toBe(400);
  const one = await ask('GET', '/v1/queues/q/jobs/0-1-a');
  expect(one.json()).toMatchObject({ payload: 1, counters: { acquired: 0, failed: 2 }, lastError: '' });
  expect(fabric.last('queues.getJob').request).toMatchObject({ queue: 'q', id: '0-1-a' });
  const history = await ask('GET', '/v1/queues/q/jobs/0-1-a/history');
  expect(history.json()).toMatchObject({
    transitions: [{ timeMs: 5, kind: 'enqueued', detail: '' }],
    trimmed: true,
  });
});
