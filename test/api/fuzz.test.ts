// Nasty values against the whole server: every unary rpc and every route may refuse, none may fail inside.
// The messages come from a fixed seed, so a failure stays where it is.

import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { services } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { NEEDS } from '../../dataplane/api/permissions.ts';
import { startServer } from '../../dataplane/main.ts';
import { messageOf, NUMBERS, nastyBatch, nastySettle, type Random, randomFrom } from './nasty.ts';
import { atEnd, collect } from './support.ts';

const options = {
  dataDir: null,
  shards: 3,
  host: '127.0.0.1',
  grpcPort: 0,
  httpPort: 0,
  insecure: false,
} as const;

async function serve() {
  const server = await startServer({ ...options, autoCreate: true, logLevel: 'silent' });
  atEnd(() => server.close());
  return server;
}

const LONG_POLL = new Set(['/flowmesh.v1.Queues/Lease']);

test('no message makes an rpc answer INTERNAL', async () => {
  const server = await serve();
  const client = new grpc.Client(`127.0.0.1:${server.grpcPort}`, grpc.credentials.createInsecure());
  atEnd(() => client.close());
  const random = randomFrom(20_251_124);
  const failures: string[] = [];
  const answered = new Map<string, number>();
  const unary = Object.values(services).flatMap((definition) =>
    Object.values(definition).filter((method) => !method.requestStream && !method.responseStream),
  );
  for (let round = 0; round < 60; round++) {
    await Promise.all(
      unary.map(async ({ path, requestSerialize, responseDeserialize }) => {
        const type = requestTypeOf(path);
        const message = messageOf(type, random);
        if (LONG_POLL.has(path)) message['waitMs'] = 1;
        const deadline = Date.now() + 5000;
        const status = await new Promise<grpc.StatusObject | null>((resolve) => {
          const serialize = requestSerialize as (value: unknown) => Buffer;
          client.makeUnaryRequest(path, serialize, responseDeserialize, message, { deadline }, (error) =>
            resolve(error as grpc.StatusObject | null),
          );
        });
        answered.set(path, (answered.get(path) ?? 0) + (status === null ? 1 : 0));
        const isBug =
          status &&
          [grpc.status.INTERNAL, grpc.status.UNKNOWN, grpc.status.DEADLINE_EXCEEDED].includes(status.code);
        if (isBug) failures.push(`${path} ${status.details} ${JSON.stringify(message).slice(0, 400)}`);
      }),
    );
  }
  expect(failures.slice(0, 5)).toEqual([]);
  expect(server.fabric.state()).toBe('serving');
});

/** '/flowmesh.v1.Queues/GetJob' -> the request message of the protos. */
function requestTypeOf(path: string): string {
  const rpc = path.slice(path.lastIndexOf('/') + 1);
  const special: Record<string, string> = {
    ApplyQueue: 'QueueSpec',
    ApplyStream: 'StreamSpec',
    ApplySchema: 'SchemaSpec',
    ApplyKeyspace: 'KeyspaceSpec',
    Execute: 'KvRequest',
    JobHistory: 'GetJobRequest',
    IsActive: 'ScaledObjectRef',
    GetMetricSpec: 'ScaledObjectRef',
  };
  if (path.includes('Transactions')) return 'TransactionRequest';
  return special[rpc] ?? `${rpc}Request`;
}

const BODIES = [
  undefined,
  {},
  { payload: null },
  { payload: 1, delayMs: 2 ** 53 - 1, priority: 255, timeoutMs: 1, dedupKey: 'x'.repeat(2000) },
  { payloadBase64: '', key: '', headers: { '': '' } },
  { payload: 1, headers: { ['x'.repeat(300)]: 'y' } },
  { leaseEpoch: 0 },
  { leaseEpoch: 2 ** 53 - 1, visibilityMs: 2 ** 53 - 1 },
  { leaseEpoch: 1, error: '\ud800', retryAfterMs: 2 ** 53 - 1 },
  { max: 10_000, waitMs: 0, visibilityMs: 2 ** 53 - 1 },
  { maxAttempts: 2 ** 40, visibilityTimeoutMs: 0, retentionMs: 0 },
  { partitions: 2 ** 40 },
  { records: [{ value: 1, partition: 2 ** 40 }] },
  { records: [{ value: 1, timestamp: 2 ** 53 - 1, keyBase64: '' }] },
  { offset: 2 ** 53 - 1 },
  { timestamp: 2 ** 53 - 1, partition: 2 ** 40 },
  { targetQueue: '', max: 2 ** 53 - 1 },
];
const NAMES = [
  'q',
  'q.dead',
  '%00',
  '__proto__',
  '%7Btag%7Dx',
  'ü',
  '..',
  'x'.repeat(400),
  '0-1-0',
  '9-9-9',
  '1',
];

test('no name and no body makes a route answer 500', async () => {
  const server = await serve();
  const random = randomFrom(7);
  const failures: string[] = [];
  const routes = [...NEEDS.keys()].filter((operation) => operation.includes(' /v1/'));
  for (let round = 0; round < 40; round++) {
    await Promise.all(
      routes.map(async (route) => {
        const [method = '', path = ''] = route.split(' ');
        const url = path.replace(/:\w+/g, () => random.pick(NAMES));
        const query = random.pick([
          '',
          '',
          '?ttl=1e300',
          '?offset=9007199254740991',
          '?max=1',
          '?state=dead&cursor=%00',
        ]);
        const body = method === 'GET' ? undefined : random.pick(BODIES);
        const response = await fetch(`http://127.0.0.1:${server.httpPort}${url}${query}`, {
          method,
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        const text = await response.text();
        if (response.status === 500)
          failures.push(`${method} ${url}${query} ${JSON.stringify(body)} ${text}`);
      }),
    );
  }
  expect(failures.slice(0, 5)).toEqual([]);
  expect(server.fabric.state()).toBe('serving');
});

const STREAMS: Record<string, (random: Random, isFirst: boolean) => [string, Record<string, unknown>]> = {
  'Kv/Pipeline': (random) => ['KvRequest', messageOf('KvRequest', random)],
  'Queues/EnqueueStream': (random) => [
    'EnqueueBatch',
    { ...messageOf('EnqueueBatch', random), batch: nastyBatch(random) },
  ],
  'Streams/PublishStream': (random) => [
    'PublishBatch',
    { ...messageOf('PublishBatch', random), batch: nastyBatch(random) },
  ],
  'Queues/Work': (random, isFirst) => [
    'WorkRequest',
    isFirst || random.chance(0.1)
      ? { hello: messageOf('WorkHello', random) }
      : random.pick([{}, { credits: random.pick(NUMBERS) }, { settle: nastySettle(random) }]),
  ],
  'Streams/Consume': (random, isFirst) => [
    'ConsumeRequest',
    isFirst || random.chance(0.1)
      ? { hello: messageOf('ConsumeHello', random) }
      : random.pick([
          {},
          { creditBytes: random.pick(NUMBERS) },
          { commit: messageOf('ConsumeCommit', random) },
          { revoked: { partitions: [random.pick(NUMBERS)] } },
          { heartbeat: {} },
          { leave: {} },
        ]),
  ],
  'Streams/Follow': (random) => ['FollowRequest', messageOf('FollowRequest', random)],
};

test('no message makes a stream end or answer with INTERNAL', async () => {
  const server = await serve();
  const client = new grpc.Client(`127.0.0.1:${server.grpcPort}`, grpc.credentials.createInsecure());
  atEnd(() => client.close());
  const random = randomFrom(42);
  const failures: string[] = [];
  const raw = (bytes: Buffer) => bytes;
  for (let round = 0; round < 40; round++) {
    await Promise.all(
      Object.entries(STREAMS).map(async ([rpc, next]) => {
        const messages = Array.from({ length: rpc === 'Streams/Follow' ? 1 : 4 }, (_, i) =>
          next(random, i === 0),
        );
        const call = client.makeBidiStreamRequest(`/flowmesh.v1.${rpc}`, raw, raw);
        const replies = collect(call);
        for (const [type, message] of messages) call.write(encode(type, message));
        call.end();
        const timer = setTimeout(() => call.cancel(), 100);
        const { code, details } = await replies.status;
        clearTimeout(timer);
        const inBand = replies.messages.some((bytes) => bytes.includes('INTERNAL'));
        if (code === grpc.status.INTERNAL || code === grpc.status.UNKNOWN || inBand) {
          failures.push(
            `${rpc} ${details} ${JSON.stringify(messages.map(([, each]) => each)).slice(0, 600)}`,
          );
        }
      }),
    );
  }
  expect(failures.slice(0, 5)).toEqual([]);
  expect(server.fabric.state()).toBe('serving');
});

function encode(type: string, message: Record<string, unknown>): Buffer {
  const codec = (pb as unknown as Record<string, pb.MessageType<unknown, unknown>>)[type];
  return Buffer.from(codec?.encode(message).finish() ?? []);
}

test('a sequence that was used for another kind of request is refused, not INTERNAL', async () => {
  const { fabric } = await serve();
  const caller = { identity: 'test', tenant: 1, deadlineMs: 0 };
  const mutation = pb.Mutation.create({ producerId: 'p', seq: 7 });
  const jobs = [pb.NewJob.create({ payload: Buffer.from('x') })];
  await fabric.queues.enqueue(caller, pb.EnqueueRequest.create({ queue: 'q', jobs, mutation }));
  const purge = fabric.queues.purge(caller, pb.PurgeRequest.create({ queue: 'q', mutation }));
  await expect(purge).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('Streams.Commit of partition 0 works on several shards', async () => {
  const { fabric } = await serve();
  const caller = { identity: 'test', tenant: 1, deadlineMs: 0 };
  const records = [pb.NewRecord.create({ value: Buffer.from('x'), partition: 0 })];
  await fabric.streams.publish(caller, pb.PublishRequest.create({ stream: 's', records }));
  const offsets = [pb.CommitOffset.decode(pb.CommitOffset.encode({ offset: 1, epoch: 9 }).finish())];
  const request = pb.CommitRequest.create({ stream: 's', group: 'g', memberId: 'm', offsets });
  const { results } = await fabric.streams.commit(caller, request);
  expect(results?.[0]?.code).toBe('MEMBER_FENCED');
});
