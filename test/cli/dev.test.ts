// flowmesh dev in-process: what it starts, says and stops, and how it keeps up with manifests that change.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keepInStep, type Reload, type ReloadWorld } from '../../cli/dev/reload.ts';
import { createTeller } from '../../cli/notices.ts';
import type { Problem } from '../../crds/problems.ts';
import type { RunningServer, ServerOptions } from '../../dataplane/main.ts';
import { flowmesh, received, type Screen } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-dev-'));
const manifest = join(dir, 'queue.yaml');
beforeAll(() => {
  writeFileSync(
    manifest,
    'apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: emails }\n' +
      'spec: { clusterRef: { name: main }, queueName: emails.send }\n',
  );
});
afterAll(() => rmSync(dir, { recursive: true }));

const answers = {
  listQueues: () => ({ queues: [] }),
  listStreams: () => ({ streams: [] }),
  applyQueue: (spec: pb.QueueSpecInput) => received(pb.Queue, { spec }),
};

/** `flowmesh dev` that is interrupted as soon as it runs; what it did to its server, in order. */
async function dev(line: string, screen: Screen = {}) {
  const steps: string[] = [];
  let started: ServerOptions | undefined;
  const ran = await flowmesh(['dev', ...line.split(' ').filter(Boolean)], answers, {
    interrupt: AbortSignal.abort(),
    startServer: async (options) => {
      started = options;
      return {
        grpcPort: options.grpcPort || 40_001,
        httpPort: options.httpPort || 40_002,
        redisPort: options.redisPort || undefined,
        drain: async () => void steps.push('drain'),
        close: async () => void steps.push('close'),
      } as unknown as RunningServer;
    },
    ...screen,
  });
  return { ...ran, steps, started };
}

test('the banner says where everything is, and lines to try that work', async () => {
  const { code, out, err, steps } = await dev(`-f ${manifest} --grpc-port 0 --token t`, { tty: true });
  expect([code, err]).toEqual([0, '']);
  expect(out.replace(dir, 'DIR')).toBe(`
● FlowMesh 1.2.3 is running

  gRPC    localhost:40001         SDKs and this command line
  HTTP    http://localhost:7080   REST, /metrics, /readyz
  Redis   localhost:6379          redis-cli, ioredis, redis-py
  data    .flowmesh               kept, 1 shard
  access  with the token

  declared in DIR/queue.yaml
    queue   emails.send   created

  try
    export FLOWMESH_ADDRESS=localhost:40001 FLOWMESH_TOKEN=...
    flowmesh queue enqueue emails.send '{"to":"ada@example.com"}'
    flowmesh queue ls
    curl localhost:7080/v1/queues/emails.send -H "authorization: Bearer $FLOWMESH_TOKEN"

Manifests are watched: save one and it is applied. Ctrl-C stops.

stopping; Ctrl-C again ends at once
stopped
`);
  expect(steps).toEqual(['drain', 'close']);
});

test('scripts get each event as a line of JSON', async () => {
  const { out } = await dev(`--ephemeral -f ${manifest} -o json --http-port 0`);
  expect(
    out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    {
      ...{ event: 'ready', grpcPort: 7070, httpPort: 40_002, redisPort: 6379, dataDir: null },
      declared: [{ kind: 'queue', name: 'emails.send', result: 'created', changes: [] }],
    },
    { event: 'stopping' },
    { event: 'stopped' },
  ]);
});

test.each([
  [
    '',
    {
      dataDir: join(process.cwd(), '.flowmesh'),
      shards: 1,
      host: '127.0.0.1',
      grpcPort: 7070,
      httpPort: 7080,
    },
  ],
  ['', { token: undefined, insecure: false, autoCreate: true, logLevel: 'warn' }],
  [
    '--ephemeral --shards 3 --grpc-port 0 --http-port 0',
    { dataDir: null, shards: 3, grpcPort: 0, httpPort: 0 },
  ],
  ['--data /d --host 0.0.0.0 --insecure', { dataDir: '/d', host: '0.0.0.0', insecure: true }],
  ['--token t --no-auto-create --log-level debug', { token: 't', autoCreate: false, logLevel: 'debug' }],
])('dev %s', async (line, options) => {
  expect((await dev(line)).started).toMatchObject(options);
});

const system = (code: string, over: object = {}) =>
  Object.assign(new Error(`${code}: why`), { code, ...over });

test.each([
  [
    system('EADDRINUSE', { port: 7070 }),
    'port 7070 is in use on 127.0.0.1',
    'another: --grpc-port 0 takes any',
  ],
  [
    system('EADDRINUSE', { port: 7080 }),
    'port 7080 is in use on 127.0.0.1',
    'another: --http-port 0 takes any',
  ],
  [system('ENOTDIR'), '.flowmesh is not a directory', 'choose a directory with --data'],
  [system('EACCES'), '.flowmesh cannot be written: EACCES: why', 'choose another directory with --data'],
  [
    new FlowError('DATA_LOCKED', 'd is used by another process'),
    'd is used by another process',
    '--data DIR',
  ],
  [new FlowError('DATA_TOO_NEW', 'd has format 9'), 'd has format 9', 'another directory: --data DIR'],
  [new FlowError('DATA_MISMATCH', 'd has 1 shard'), 'd has 1 shard', 'with the --shards it was created with'],
  [new FlowError('UNAVAILABLE', 'cannot listen'), 'cannot listen', '--host 127.0.0.1'],
])('%s keeps it from starting, and it says what to do', async (error, message, hint) => {
  const { code, out, err } = await dev('', { startServer: () => Promise.reject(error) });
  expect([code, out]).toEqual([1, '']);
  const [first, second] = err.split('\n');
  expect(first).toBe(`error: ${message}`);
  expect(second).toContain(hint);
});

test('with a mistake in the manifests nothing is started', async () => {
  const { code, err, started } = await dev(`-f ${join(dir, 'missing.yaml')}`);
  expect([code, started]).toEqual([1, undefined]);
  expect(err).toContain('error: the manifests have mistakes; nothing was started\n');
});

test('a notice is told once, however often its file is read', () => {
  const notice = (field: string, message = 'm') => ({ subject: 'Queue a', field, message }) as Problem;
  const untold = createTeller();
  expect(untold([notice('spec.a[0].b'), notice('spec.a[3].b'), notice('spec.c')])).toEqual([
    notice('spec.a[0].b', 'm (and at another place)'),
    notice('spec.c'),
  ]);
  expect(untold([notice('spec.c'), notice('spec.d')])).toEqual([notice('spec.d')]);
  expect(untold([notice('spec.d')])).toEqual([]);
});

const queue = (name: string) => ({
  ...{ kind: 'Queue', apiVersion: '', metadata: { name }, spec: { queueName: name } },
  source: { file: 'q.yaml', document: 1, line: 1 },
});
type Found = (string | ReturnType<typeof queue>)[] | 'broken';

/** Signatures and sets of manifests as they are found, one look after another; then the end. */
async function reloads(looks: [signature: string, found: Found][]): Promise<Reload[]> {
  const end = new AbortController();
  const reported: Reload[] = [];
  const resource = (each: string | ReturnType<typeof queue>) =>
    typeof each === 'string' ? queue(each) : each;
  let look = -1;
  const world = {
    signature: async () => looks[look]?.[0] ?? '',
    read: async () => {
      const names = looks[look]?.[1] ?? [];
      const problems = names === 'broken' ? [{ message: 'wrong' }] : [];
      return {
        files: [],
        resources: names === 'broken' ? [] : names.map(resource),
        problems,
        notices: [],
        clusterOnly: [],
      };
    },
    apply: async (resources: ReturnType<typeof queue>[]) =>
      resources.map(({ spec }) => ({ kind: 'queue', name: spec.queueName, result: 'created' })),
    report: (reload: Reload) => void reported.push(reload),
    sleep: async () => {
      if (++look === looks.length) end.abort();
    },
  };
  await keepInStep(world as unknown as ReloadWorld, [queue('a')] as never, 'start', end.signal);
  return reported;
}

const applied = (names: string[], forgotten: string[] = []) =>
  expect.objectContaining({
    ...{ kind: 'applied', forgotten },
    outcomes: names.map((name) => expect.objectContaining({ name })),
  });

test('a change is taken up once it has settled, and once only', async () => {
  expect(
    await reloads([
      ['start', ['a']],
      ['start', ['a']],
    ]),
  ).toEqual([]);
  expect(
    await reloads([
      ['1', ['x']],
      ['2', ['y']],
      ['3', ['a', 'b']],
      ['3', ['a', 'b']],
      ['3', []],
    ]),
  ).toEqual([applied(['a', 'b'])]);
});

test('a set with a mistake changes nothing: what is forgotten next was declared before it', async () => {
  const looks: Parameters<typeof reloads>[0] = [
    ...(['1', '1'].map((signature) => [signature, ['a', 'b']]) as [string, string[]][]),
    ...(['2', '2'].map((signature) => [signature, 'broken']) as [string, 'broken'][]),
    ...(['3', '3'].map((signature) => [signature, ['b']]) as [string, string[]][]),
  ];
  expect(await reloads(looks)).toEqual([
    applied(['a', 'b']),
    expect.objectContaining({ kind: 'broken' }),
    applied(['b'], ['queue a']),
  ]);
});

test('a change that the API server would not take changes nothing', async () => {
  const change = { ...queue('a'), spec: { queueName: 'other' } };
  const looks: Parameters<typeof reloads>[0] = [
    ['1', [change]],
    ['1', [change]],
  ];
  expect(await reloads(looks)).toEqual([
    {
      kind: 'broken',
      problems: [
        expect.objectContaining({
          field: 'spec.queueName',
          message: 'queueName cannot be changed',
          cure: 'create another queue and move over',
        }),
      ],
    },
  ]);
});
