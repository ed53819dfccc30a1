// Logs without secrets, metrics without unbounded labels, and the API description.
import { AdminClient, QueuesClient } from '@flowmesh/protocol/gen/services.js';
import { expect, test } from 'vitest';
import { createLog } from '../../dataplane/telemetry/log.ts';
import { createMetrics } from '../../dataplane/telemetry/metrics.ts';
import { FakeFabric, flowError } from './fake-fabric.ts';
import { collect, fakeHttp, refused, startFake, unary } from './support.ts';

test('log lines are JSON with level, time and event; secrets and payloads are blanked', () => {
  const lines: string[] = [];
  const { warn } = createLog({ level: 'info', write: (line) => void lines.push(line) }).child({ shard: 1 });
  warn(
    {
      event: 'test.happened',
      token: 'canary',
      request: { authorization: 'canary', payload: 'canary' },
      heldMs: 5,
    },
    'it happened',
  );
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'warn',
    event: 'test.happened',
    shard: 1,
    heldMs: 5,
    msg: 'it happened',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  });
  expect(lines.join('')).not.toContain('canary');
});

test('pretty lines are for people, and keep the stack of an error', () => {
  const lines: string[] = [];
  const log = createLog({ level: 'info', pretty: true, write: (line) => void lines.push(line) });
  log.debug({ event: 'test.silent' }, 'not shown');
  log.error({ event: 'test.failed', err: new Error('boom'), port: 7070 }, 'it failed');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d ERROR test\.failed .*it failed port=7070\nError: boom\n {4}at /);
});

const queue = (name: string) => ({ spec: { name }, figures: { waiting: 3, deadTotal: 2 }, paused: true });

const grpc = (path: string) => `protocol="grpc",operation="/flowmesh.v1.${path}"`;
const enqueueStream = 'operation="/flowmesh.v1.Queues/EnqueueStream"';

test('metrics: figures of queues, streams, shards and calls', async () => {
  const { fabric, client, metrics } = await startFake();
  fabric.answer('admin.listQueues', { queues: [queue('emails')] });
  fabric.answer('admin.listStreams', {
    streams: [{ spec: { name: 's' }, partitions: [{ partition: 1, end: 9, logStart: 2, bytes: 100 }] }],
  });
  const partitions = [{ partition: 1, lag: 5 }];
  const group = { stream: 's', group: 'billing', members: [{}, {}], partitions, committedAtMs: 3000 };
  fabric.answer('streams.listGroups', { groups: [group] });
  fabric.answer('admin.listKeyspaces', {
    keyspaces: [
      { name: 'default', keys: 4 },
      { name: 'pages', mode: 'cache', keys: 2, bytes: 900, evictedTotal: 7 },
    ],
  });
  fabric.answer('admin.getCluster', { shardFigures: [{ shard: 1, state: 'serving', journalBytes: 77 }] });
  fabric.answer('admin.getQueue', flowError('QUEUE_NOT_FOUND', 'none'));
  const admin = client(AdminClient);
  await unary(admin, admin.listQueues, {});
  await refused(unary(admin, admin.getQueue, {}));
  const call = client(QueuesClient).enqueueStream();
  const replies = collect(call);
  call.write({ queue: 'emails', batch: Buffer.alloc(1), mutation: { seq: 1 } });
  await replies.until(2);
  const text = await metrics.text();
  for (const line of [
    'flowmesh_up 1',
    'flowmesh_state{state="serving"} 1',
    'flowmesh_state{state="draining"} 0',
    'flowmesh_queue_jobs{queue="emails",state="waiting"} 3',
    'flowmesh_queue_dead_total{queue="emails"} 2',
    'flowmesh_queue_paused{queue="emails"} 1',
    'flowmesh_stream_end_offset{stream="s",partition="1"} 9',
    'flowmesh_stream_group_lag{stream="s",group="billing",partition="1"} 5',
    'flowmesh_stream_group_members{stream="s",group="billing"} 2',
    'flowmesh_stream_group_committed_timestamp_seconds{stream="s",group="billing"} 3',
    'flowmesh_stream_group_idle_since_timestamp_seconds{stream="s",group="billing"} 0',
    'flowmesh_kv_keys{keyspace="default"} 4',
    'flowmesh_kv_keys{keyspace="pages"} 2',
    'flowmesh_kv_cache_bytes{keyspace="pages"} 900',
    'flowmesh_kv_evicted_total{keyspace="pages"} 7',
    'flowmesh_shard_journal_bytes{shard="1"} 77',
    'flowmesh_shard_state{shard="1",state="serving"} 1',
    `flowmesh_api_calls_total{${grpc('Admin/ListQueues')},code="OK"} 1`,
    `flowmesh_api_calls_total{${grpc('Admin/GetQueue')},code="QUEUE_NOT_FOUND"} 1`,
    `flowmesh_api_stream_messages_total{${enqueueStream},direction="received"} 1`,
    `flowmesh_api_stream_messages_total{${enqueueStream},direction="sent"} 2`,
    `flowmesh_api_open_calls{${grpc('Queues/EnqueueStream')}} 1`,
  ]) {
    expect(text).toContain(`${line}\n`);
  }
  expect(text).toContain('process_cpu_user_seconds_total');
  expect(text).toContain('flowmesh_api_call_seconds_bucket');
  // A second scrape says the same: totals are set, not added up.
  expect(await metrics.text()).toContain('flowmesh_queue_dead_total{queue="emails"} 2\n');
  call.end();
});

test('metrics: names are bounded, gone ones disappear, a silent fabric stops no scrape', async () => {
  const fabric = new FakeFabric();
  const metrics = createMetrics(fabric);
  fabric.answer('admin.listQueues', { queues: Array.from({ length: 1500 }, (_, i) => queue(`q${i}`)) });
  const text = await metrics.text();
  expect(text.match(/^flowmesh_queue_workers\{/gm)).toHaveLength(1000);
  expect(text).toContain('flowmesh_metrics_omitted{kind="queue"} 500\n');
  fabric.answer('admin.listQueues', { queues: [queue('only')] });
  expect((await metrics.text()).match(/^flowmesh_queue_workers\{/gm)).toHaveLength(1);
  fabric.answer('admin.listQueues', flowError('UNAVAILABLE', 'starting'));
  const silent = await metrics.text();
  expect(silent).toContain('flowmesh_up 0\n');
  expect(silent).not.toContain('queue="only"');
});

test('/metrics counts requests by route and code', async () => {
  const { ask } = await fakeHttp();
  await ask('GET', '/v1/queues/a');
  await ask('GET', '/v1/queues/b');
  await ask('GET', '/v1/nowhere/secret-name');
  const response = await ask('GET', '/metrics');
  expect(response.headers['content-type']).toContain('text/plain');
  expect(response.payload).toContain(
    'flowmesh_api_calls_total{protocol="http",operation="GET /v1/queues/:queue",code="OK"} 2\n',
  );
  expect(response.payload).toContain('operation="unmatched",code="NOT_FOUND"} 1\n');
  expect(response.payload).not.toContain('secret-name');
});

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: { in: string; name: string }[];
  readonly requestBody?: { content: Record<string, object> };
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}

test('/openapi.json describes every operation, its body and its problems', async () => {
  const { ask } = await fakeHttp();
  const description = (await ask('GET', '/openapi.json')).json() as {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
    components: { schemas: object };
  };
  expect(description.openapi).toBe('3.1.0');
  const operations = Object.values(description.paths).flatMap((methods) => Object.values(methods));
  const ids = operations.map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { operationId, summary, responses } of operations) {
    expect([operationId, summary?.length > 10, Object.keys(responses)]).toEqual([
      operationId,
      true,
      expect.arrayContaining(['4XX', '5XX']),
    ]);
  }
  const problem = { $ref: '#/components/schemas/Problem' };
  const enqueue = description.paths['/v1/queues/{queue}/jobs']?.['post'];
  expect(enqueue?.responses['4XX']?.content?.['application/problem+json']?.schema).toEqual(problem);
  expect(enqueue?.requestBody?.content['application/json']).toBeDefined();
  expect(description.components.schemas).toHaveProperty('Problem');
  const put = description.paths['/v1/kv/{keyspace}/{key}']?.['put'];
  expect(put?.requestBody?.content['*/*']).toBeDefined();
  expect(put?.parameters?.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['ttl', 'if-match', 'key']),
  );
});
