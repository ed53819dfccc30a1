// Schemas over the wire: a real server, the Node SDK, HTTP, and the command line with its manifests.
import { connect } from '@flowmesh/client';
import { expect, test } from 'vitest';
import { connect as connectCli } from '../../cli/client.ts';
import { serve } from '../api/real-server.ts';
import { atEnd } from '../api/support.ts';
import { flowmesh } from '../cli/support.ts';

const ORDER = { order_id: 'string', amount: 'number', currency: { type: 'string', default: 'EUR' } } as const;

async function aServer() {
  const { server, ask } = await serve({ shards: 3 });
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  atEnd(() => fm.close());
  const cli = () => connectCli({ address: `127.0.0.1:${server.grpcPort}`, token: undefined });
  return {
    ask,
    fm,
    run: (command: string | string[], screen?: { stdin?: string }) => flowmesh(command, cli, screen),
  };
}

test('[SC25] a bad job of one caller does not fail its neighbours in the same batch', async () => {
  const { fm } = await aServer();
  await fm.schema.apply('order', { versions: [{ version: 1, fields: ORDER }] });
  await fm.admin.applyQueue('orders', { schemaRef: { name: 'order' } });
  await fm.admin.applyStream('events', { partitions: 1, schemaRef: { name: 'order', version: 1 } });
  const payloads = Array.from({ length: 100 }, (_, i) => ({
    order_id: `o-${i}`,
    amount: i % 10 === 3 ? 'x' : i,
  }));
  for (const write of [
    (payload: object) => fm.queue.enqueue('orders', payload),
    (payload: object) => fm.stream.write('events', payload),
  ]) {
    const outcomes = await Promise.allSettled(payloads.map((payload): Promise<unknown> => write(payload)));
    const refused = outcomes.flatMap((each, i) =>
      each.status === 'rejected' ? [[i, each.reason.code, each.reason.message]] : [],
    );
    expect(refused).toEqual(
      [3, 13, 23, 33, 43, 53, 63, 73, 83, 93].map((i) => [
        i,
        'SCHEMA_VIOLATION',
        '/amount is string, not number (order@1)',
      ]),
    );
  }
  const page = await fm.stream.read('events', { partition: 0, from: 'earliest' } as never);
  expect(page.records.map(({ offset }) => offset)).toEqual(Array.from({ length: 90 }, (_, i) => i));
  expect(page.records.at(-1)).toMatchObject({ value: { order_id: 'o-99' }, envelope: { schema: 'order@1' } });
  await expect(fm.queue.enqueueMany('orders', [payloads[0], payloads[3]])).rejects.toMatchObject({
    code: 'SCHEMA_VIOLATION',
    message: 'entry 1: /amount is string, not number (order@1)',
  });
  await expect(fm.queue.enqueue('orders', 'text')).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
});

test('[SC1] [SC10] [SC11] declared, shown, refused and deleted by SDK and HTTP', async () => {
  const { fm, ask } = await aServer();
  const declared = await ask('PUT', '/v1/schemas/order', {
    compatibility: 'full',
    versions: [
      { version: 1, fields: ORDER, migrate: [] },
      { version: 2, jsonSchema: { type: 'object' } },
    ],
  });
  expect([declared.status, declared.body]).toMatchObject([200, { latestVersion: 2, users: 0, owner: null }]);
  expect((await ask('GET', '/v1/schemas/order')).body).toEqual(declared.body);
  expect((await ask('GET', '/v1/schemas')).body).toMatchObject({
    schemas: [{ spec: { name: 'order', compatibility: 'full', versions: [{ version: 1 }, { version: 2 }] } }],
  });
  expect(await fm.schema.get('order')).toMatchObject({
    ...{ name: 'order', compatibility: 'full', latestVersion: 2, users: 0, drifted: false },
    versions: [
      { version: 1, fields: ORDER, migrate: [] },
      { version: 2, jsonSchema: { type: 'object' } },
    ],
  });
  expect((await fm.schema.list()).map(({ name }) => name)).toEqual(['order']);

  expect((await ask('GET', '/v1/schemas/none')).body).toMatchObject({
    code: 'SCHEMA_NOT_FOUND',
    status: 404,
  });
  const bad = await ask('PUT', '/v1/schemas/bad', {
    versions: [{ version: 1, jsonSchema: { type: 'strng' } }],
  });
  expect(bad.body).toMatchObject({
    code: 'SCHEMA_INVALID',
    status: 400,
    detail: expect.stringMatching(/\/type must be/),
  });
  expect((await ask('PUT', '/v1/schemas/bad', { versions: [] })).status).toBe(400);
  const unknown = await ask('PUT', '/v1/queues/q', { schemaRef: { name: 'none' } });
  expect(unknown.body).toMatchObject({ code: 'SCHEMA_UNKNOWN', status: 409 });

  const queue = await ask('PUT', '/v1/queues/q', { schemaRef: { name: 'order', version: 1 } });
  expect(queue.body).toMatchObject({ spec: { schemaRef: { name: 'order', version: 1 } } });
  await ask('PUT', '/v1/streams/s', { schemaRef: { name: 'order', version: 1 } });
  const job = await ask('POST', '/v1/queues/q/jobs', { payload: { order_id: 7, amount: 1 } });
  expect([job.status, job.body]).toMatchObject([
    422,
    { code: 'SCHEMA_VIOLATION', detail: 'job 0: /order_id is number, not string (order@1)' },
  ]);
  const records = await ask('POST', '/v1/streams/s/records', {
    records: [{ value: { order_id: 'a', amount: 1 } }, { value: {} }],
  });
  expect(records.body).toMatchObject({
    code: 'SCHEMA_VIOLATION',
    detail: expect.stringMatching(/^record 1: /),
  });
  expect((await ask('POST', '/v1/queues/q/jobs', { payload: { order_id: 'a', amount: 1 } })).status).toBe(
    201,
  );
  const jobs = await ask('GET', '/v1/queues/q/jobs');
  expect(jobs.body).toMatchObject({ jobs: [{ envelope: { schema: 'order@1' } }] });

  expect((await ask('GET', '/v1/figures?kind=schema')).body).toMatchObject({
    schemas: [{ name: 'order', users: 2 }],
  });
  await expect(fm.schema.delete('order')).rejects.toMatchObject({ code: 'SCHEMA_IN_USE' });
  await fm.admin.deleteQueue('q');
  await fm.admin.deleteStream('s');
  await fm.schema.delete('order');
  await expect(fm.schema.get('order')).rejects.toMatchObject({ code: 'SCHEMA_NOT_FOUND' });
});

test('an operator declares a schema in the name of an object, and watches it', async () => {
  const { fm } = await aServer();
  const owner = { uid: 'u-1', kind: 'Schema', namespace: 'shop', name: 'order' };
  const stop = new AbortController();
  const seen: string[] = [];
  let isWatching = () => {};
  const watching = new Promise<void>((resolve) => {
    isWatching = resolve;
  });
  const watch = (async () => {
    for await (const { change, kind, name } of fm.admin.watch({
      kinds: ['schema'],
      onWatching: isWatching,
      signal: stop.signal,
    })) {
      seen.push(`${change} ${kind} ${name}`);
      if (change === 'deleted') stop.abort();
    }
  })();
  await watching;
  const settings = { versions: [{ version: 1, fields: ORDER }] };
  expect(await fm.schema.declare('order', settings, { owner, generation: 1 })).toMatchObject({
    result: 'created',
  });
  expect(await fm.schema.declare('order', settings, { owner, generation: 1 })).toMatchObject({
    result: 'unchanged',
  });
  expect(await fm.admin.releaseOwner('schema', 'order')).toBe(true);
  await fm.schema.delete('order');
  await watch;
  expect([seen[0], seen.at(-1)]).toEqual(['declared schema order', 'deleted schema order']);
});

test('[SC10] manifests in any order: schemas are applied first, and say what changed', async () => {
  const { run, fm } = await aServer();
  const manifests = (versions: string) => `
apiVersion: flowmesh.io/v1alpha1
kind: Queue
metadata: { name: orders }
spec: { schemaRef: { name: order } }
---
apiVersion: flowmesh.io/v1alpha1
kind: Schema
metadata: { name: order }
spec: { versions: [${versions}] }
`;
  const one = '{ version: 1, fields: { id: string } }';
  expect((await run('apply -f -', { stdin: manifests(one) })).out).toMatch(
    /schema +order +created\n.*queue +orders +created/,
  );
  await expect(fm.queue.enqueue('orders', { id: 1 })).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
  expect((await run('apply -f -', { stdin: manifests(one) })).out).toMatch(/schema +order +unchanged/);
  const two = `${one}, { version: 2, fields: { id: integer } }`;
  expect((await run('apply -f -', { stdin: manifests(two) })).out).toMatch(
    /schema +order +.*version 2 added/,
  );
  await fm.queue.enqueue('orders', { id: 1 });
  const changed = await run('apply -f -', { stdin: manifests('{ version: 1, fields: { id: number } }') });
  expect([changed.code, changed.out + changed.err]).toEqual([1, expect.stringMatching(/never changes/)]);

  expect((await run('schema ls')).out).toMatch(/order +2 +2 +1 +backward/);
  expect((await run('schema get order')).out).toMatch(/version 2 +\{"fields":\{"id":"integer"\}\}/);
  expect((await run('queue get orders')).out).toMatch(/schema +order\n/);
  expect((await run(['schema', 'validate', 'order', '{"id":7}'])).code).toBe(0);
  const wrong = await run('schema validate order --schema-version 1', { stdin: '{"id":7}' });
  expect([wrong.code, wrong.out]).toEqual([1, '/id is number, not string\n']);
  expect((await run('schema delete order --yes')).err).toMatch(/SCHEMA_IN_USE/);
});
