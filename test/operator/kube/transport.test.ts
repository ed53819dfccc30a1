// What the client does when the API server is busy, changes its mind, or falls silent.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Client, createClient } from '../../../operator/kube/client.ts';
import { createTransport, type Transport } from '../../../operator/kube/transport.ts';
import { FakeApi, type SeenRequest } from './fake-api.ts';
import { fastRuntime, until, WIDGETS, widgetsIn } from './support.ts';

let api: FakeApi;
let transport: Transport;
let client: Client;
let codes: string[];
let forgotten: number;

beforeEach(async () => {
  api = await FakeApi.start();
  codes = [];
  forgotten = 0;
  transport = createTransport({
    runtime: fastRuntime,
    userAgent: 'test',
    onAnswer: ({ method, code }) => codes.push(`${method} ${code}`),
    credentials: {
      server: api.url,
      namespace: undefined,
      access: async () => ({ headers: { authorization: `Bearer ${forgotten}` }, tls: {} }),
      forget: () => void forgotten++,
    },
  });
  client = createClient(transport);
});
afterEach(async () => {
  transport.close();
  await api.close();
});

const at = { name: 'w', namespace: 'a' };
const path = `${widgetsIn('a')}/w`;
const any = (_: SeenRequest) => true;
const put = () => api.put(widgetsIn('a'), { metadata: { name: 'w' } });

test('[A1] what is not there is undefined, every other no an error with status and reason', async () => {
  expect(await client.get(WIDGETS, at)).toBeUndefined();
  api.faults.push({ match: any, answer: { status: 403, reason: 'Forbidden' } });
  await expect(client.get(WIDGETS, at)).rejects.toMatchObject({ status: 403, reason: 'Forbidden' });
  expect(codes).toEqual(['GET 404', 'GET 403']);
});

test('[T3] busy: asked again when the server says so, three times at most', async () => {
  put();
  const busy = { status: 429, reason: 'TooManyRequests', headers: { 'retry-after': '1' } };
  for (let n = 0; n < 3; n++) api.faults.push({ match: any, answer: busy });
  expect(await client.get(WIDGETS, at)).toBeDefined();
  for (let n = 0; n < 4; n++) api.faults.push({ match: any, answer: busy });
  await expect(client.get(WIDGETS, at)).rejects.toMatchObject({ status: 429, retryAfterMs: 1000 });
  api.faults.push({ match: any, answer: { status: 503, reason: 'ServiceUnavailable' } });
  await expect(client.get(WIDGETS, at)).rejects.toMatchObject({ status: 503 });
});

test('[T3] 401: once again with fresh credentials', async () => {
  put();
  api.faults.push({ match: any, answer: { status: 401, reason: 'Unauthorized' } });
  expect(await client.get(WIDGETS, at)).toBeDefined();
  expect(forgotten).toBe(1);
  for (let n = 0; n < 2; n++)
    api.faults.push({ match: any, answer: { status: 401, reason: 'Unauthorized' } });
  await expect(client.get(WIDGETS, at)).rejects.toMatchObject({ status: 401 });
});

test('[T3] a kept-alive connection that is dead: said again, but never a creation', async () => {
  put();
  await client.get(WIDGETS, at);
  api.faults.push({ match: any, answer: 'cut' });
  expect(await client.get(WIDGETS, at)).toBeDefined();
  api.faults.push({ match: any, answer: 'cut' });
  const created = client.create(WIDGETS, { metadata: { name: 'new', namespace: 'a' } });
  await expect(created).rejects.toMatchObject({ status: 0, reason: 'Unreachable' });
  expect(api.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
});

test('[T2] no answer: the call ends at its deadline, and at once by its signal', async () => {
  api.faults.push({ match: any, answer: 'hang' });
  // Thirty seconds, at thirty times the speed.
  await expect(client.get(WIDGETS, at)).rejects.toMatchObject({ status: 0, reason: 'Unreachable' });
  api.faults.push({ match: any, answer: 'hang' });
  const aborter = new AbortController();
  const asked = client.get(WIDGETS, at, aborter.signal);
  await until('it hangs', () => api.requests.length === 2);
  aborter.abort();
  await expect(asked).rejects.toMatchObject({ reason: 'Unreachable' });
});

test('[T2] a watch on which nothing comes is a dead connection; bookmarks keep it alive', async () => {
  put();
  const types: string[] = [];
  const watching = (async () => {
    const options = { namespace: 'a', version: `${api.version}`, forSeconds: 600, idleMs: 18_000 };
    for await (const { type } of client.watch(WIDGETS, options)) types.push(type);
  })();
  const ended = watching.catch((error) => error);
  await until('it watches', () => api.watcherCount === 1);
  // A second and a half in all; silence counts as dead after 0.6.
  for (let n = 0; n < 15; n++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    api.bookmark();
  }
  expect(await ended).toMatchObject({ reason: 'Unreachable' });
  expect(types).toEqual(Array.from({ length: 15 }, () => 'BOOKMARK'));
});

test('events of any size, in any pieces, with characters of any width', async () => {
  put();
  const watch = client.watch(WIDGETS, {
    namespace: 'a',
    version: `${api.version}`,
    forSeconds: 9,
    idleMs: 90_000,
  });
  const first = watch.next();
  await until('it watches', () => api.watcherCount === 1);
  const object = { metadata: { name: 'ü🚀'.repeat(50_000) } };
  const bytes = Buffer.from(`${JSON.stringify({ type: 'ADDED', object })}\n\n`);
  for (let from = 0; from < bytes.length; from += 99_991) {
    api.sendRaw(bytes.subarray(from, from + 99_991) as never);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await first).value).toEqual({ type: 'ADDED', object });
});

test('an API server that is not there says so in one line', async () => {
  await api.close();
  await expect(client.get(WIDGETS, at)).rejects.toThrow(`GET ${path}: no answer from the API server`);
  api = await FakeApi.start();
});
