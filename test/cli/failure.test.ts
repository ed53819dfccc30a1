// What goes wrong behind a right command line: one line with the code, one that helps, exit code 1.
import { createServer, type Server } from 'node:net';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../cli/client.ts';
import { flowmesh, received } from './support.ts';

const failing = (error: Error) => ({
  getQueue: () => {
    throw error;
  },
});

test.each([
  [
    'QUEUE_NOT_FOUND',
    'there is no queue q',
    'what there is: flowmesh queue ls; to create one: flowmesh queue declare NAME',
  ],
  ['UNAUTHENTICATED', 'a token is needed', 'give the token with --token, or in FLOWMESH_TOKEN'],
  ['INVALID_ARGUMENT', 'name has 300 characters, at most 255', ''],
  ['QUEUE_FULL', 'queue q is full', 'wait for workers to catch up, or raise limits.maxDepth'],
] as const)('%s is told with its code and what to do', async (code, message, hint) => {
  const text = await flowmesh('queue get q', failing(new FlowError(code, message)));
  expect([text.code, text.out]).toEqual([1, '']);
  expect(text.err).toBe(`error: ${message} (${code})\n${hint === '' ? '' : `  ${hint}\n`}`);
  const json = await flowmesh('queue get q -o json', failing(new FlowError(code, message)));
  expect([json.code, json.out]).toEqual([1, '']);
  expect(JSON.parse(json.err)).toEqual({ error: { code, message, hint } });
});

test('an error brings nothing onto the terminal that it would obey', async () => {
  const { err } = await flowmesh('queue get q', failing(new FlowError('MALFORMED', 'bad \u001b[2J\u009b')));
  expect(err).toContain('bad \\e[2J\\u009b');
});

test('a bug shows its stack and asks for a report', async () => {
  const { code, err } = await flowmesh('queue get q', failing(new TypeError('x is not a function')));
  expect(code).toBe(1);
  expect(err).toMatch(/^error: TypeError: x is not a function\n {4}at .*failure\.test\.ts/);
  expect(err).toMatch(/\n {2}this should not happen; please report it\n$/);
});

let foreign: Server;
let port: number;
beforeAll(async () => {
  foreign = createServer(
    (socket) => void socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
  );
  await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
  port = (foreign.address() as { port: number }).port;
});
afterAll(() => void foreign.close());

const nobody = 'start one with: flowmesh dev   (or give another address: --address, FLOWMESH_ADDRESS)';

test.each([
  ['localhost', 2, 'localhost is not an address', 'write host:port, such as localhost:7070'],
  [
    'http://localhost:7070',
    2,
    'http://localhost:7070 is not an address',
    'write host:port, such as localhost:7070',
  ],
  ['localhost:0', 2, 'localhost:0 is not an address', 'write host:port, such as localhost:7070'],
  ['localhost:65536', 2, 'localhost:65536 is not an address', 'write host:port, such as localhost:7070'],
  ['localhost:1', 1, 'no FlowMesh at localhost:1', nobody],
  ['[::1]:1', 1, 'no FlowMesh at [::1]:1', nobody],
  ['no-such-host.invalid:7070', 1, 'no FlowMesh at no-such-host.invalid:7070', nobody],
])('--address %s', async (address, code, message, hint) => {
  const ran = await flowmesh(`kv get k --address ${address}`, connect);
  expect([ran.code, ran.err]).toEqual([code, `error: ${message}\n  ${hint}\n`]);
});

test('a port that speaks something else is told apart from one where nobody is', async () => {
  const { code, err } = await flowmesh(`kv get k --address 127.0.0.1:${port}`, connect);
  expect(code).toBe(1);
  expect(err).toBe(
    `error: what listens at 127.0.0.1:${port} does not speak gRPC (UNAVAILABLE)\n` +
      '  HTTP has a port of its own; the one for gRPC is 7070 unless it was set\n',
  );
});

test('a server that answers that it is closing is not taken for one that is not there', async () => {
  const metadata = new grpc.Metadata();
  metadata.set('flowmesh-code', 'UNAVAILABLE');
  const closing = new FlowError('UNAVAILABLE', 'the server is closing', { cause: { metadata } });
  const { err } = await flowmesh('queue get q', failing(closing));
  expect(err).toMatch(/^error: the server is closing \(UNAVAILABLE\)\n {2}try again/);
  const gone = await flowmesh('queue get q', failing(new FlowError('UNAVAILABLE', 'ECONNRESET')));
  expect(gone.err).toBe(`error: no FlowMesh at localhost:7070 (UNAVAILABLE)\n  ${nobody}\n`);
});

const well = {
  getCluster: () =>
    received(pb.Cluster, {
      ...{ version: '0.9.0', clusterId: 'c1', autoCreate: true },
      shardFigures: [{ shard: 0, state: 'serving', journalBytes: 152_678, journalPosition: 1234 }],
    }),
  listQueues: () => received(pb.ListQueuesResponse, { queues: [{ figures: { waiting: 3, leased: 1 } }] }),
  listStreams: () =>
    received(pb.ListStreamsResponse, { streams: [{ partitions: [{ logStart: 5, end: 12 }] }] }),
  listKeyspaces: () => received(pb.ListKeyspacesResponse, { keyspaces: [{ keys: 1000 }, { keys: 2 }] }),
};

test('status sums up what there is', async () => {
  const { code, out } = await flowmesh('status', well, { tty: true });
  expect([code, out]).toEqual([
    0,
    [
      'FlowMesh    0.9.0 at localhost:7070, serving',
      'cluster     c1',
      'queues      1, 3 jobs waiting, 1 leased',
      'streams     1, 7 records',
      'keys        1,002',
      'undeclared  appear at first use',
      '',
      'SHARD  STATE      JOURNAL  POSITION  DURABLE  CHECKPOINT',
      '    0  serving  149.1 KiB     1,234        0           0',
      '',
    ].join('\n'),
  ]);
});

test('status fails when a shard is not well, and still shows everything', async () => {
  const shardFigures = [
    { shard: 0, state: 'disk_full' },
    { shard: 1, state: 'serving' },
  ];
  const ill = { ...well, getCluster: () => received(pb.Cluster, { shardFigures }) };
  const text = await flowmesh('status', ill);
  expect(text.code).toBe(1);
  expect(text.out).toContain('not well');
  expect(text.err).toBe('error: shard 0 is disk_full\n  see the log of the server\n');
  const json = await flowmesh('status -o json', ill);
  expect(JSON.parse(json.out)).toMatchObject({ totals: { queues: 1, records: 7, keys: 1002 }, shardFigures });
});

test('version answers with and without a server', async () => {
  const there = JSON.parse((await flowmesh('version -o json', well)).out);
  expect(there).toMatchObject({ version: '1.2.3', server: { address: 'localhost:7070', version: '0.9.0' } });
  const { code, out } = await flowmesh('version --address localhost:1', connect);
  expect([code, out.split('\n')[2]]).toEqual([0, 'server    no FlowMesh at localhost:1']);
});
