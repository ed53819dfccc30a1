// flowmesh queue: tables at the width of the terminal, what is asked of the server, questions before losses.
import { stripVTControlCharacters } from 'node:util';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { flowmesh, noonMs, received } from './support.ts';

const terminal = { tty: true };
const queue = (name: string, figures: pb.QueueFiguresInput = {}, over: pb.QueueInput = {}) =>
  received(pb.Queue, { spec: { name, deadLetterQueue: `${name}.dead` }, figures, ...over });
const job = (fields: pb.JobInput) =>
  received(pb.Job, { queue: 'q', state: 'waiting', enqueuedAtMs: noonMs - 61_000, counters: {}, ...fields });

const queues = () => ({
  listQueues: () => ({
    queues: [
      queue('{tenant-42}.invoices.render', { waiting: 1_234_567, oldestReadyAtMs: noonMs - 7_260_000 }),
      queue('emails.send', { leased: 3, blocked: 2, completedTotal: 41_000, deadTotal: 7, workers: 12 }),
    ],
  }),
});

test('ls fits 80 columns and leaves out columns rather than cutting names', async () => {
  const { out } = await flowmesh('queue ls', queues(), terminal);
  expect(out).toBe(
    'QUEUE                          WAITING  DELAYED  BLOCKED  LEASED  DEAD  OLDEST\n' +
      'emails.send                          0        0        2       3     7       -\n' +
      '{tenant-42}.invoices.render  1,234,567        0        0       0     0   2h 1m\n',
  );
});

test('ls says how many workers are wanted where scaling asks for it', async () => {
  const scaled = queue('emails.send', { workers: 12, busyWorkers: 3, workersWanted: 5 });
  const { out } = await flowmesh('queue ls', { listQueues: () => ({ queues: [scaled, queue('plain')] }) });
  expect(out.split('\n').map((line) => line.slice(-14).trim())).toEqual([
    'BUSY  WANTED',
    '3/12       5',
    '0/0       -',
    '',
  ]);
});

test('ls in a narrow terminal cuts names in the end, and in a pipe nothing', async () => {
  const narrow = await flowmesh('queue ls', queues(), { ...terminal, columns: 56 });
  expect(narrow.out).toBe(
    'QUEUE             WAITING  DELAYED  LEASED  DEAD  OLDEST\n' +
      'emails.send             0        0       3     7       -\n' +
      '{tenant-42}.i…  1,234,567        0       0     0   2h 1m\n',
  );
  const piped = await flowmesh('queue ls', queues(), { columns: 20 });
  expect(piped.out.split('\n')[2]).toBe(
    '{tenant-42}.invoices.render  1,234,567        0        0       0       0     0   2h 1m   0/0',
  );
});

test('colours mark what is wrong without moving a column', async () => {
  const { out } = await flowmesh('queue ls', queues(), { ...terminal, color: true });
  expect(out).toContain('\u001b[31m7\u001b[39m');
  const plain = await flowmesh('queue ls', queues(), terminal);
  expect(stripVTControlCharacters(out)).toBe(plain.out);
});

test('an empty answer is nothing on standard output, and a hint beside it', async () => {
  const none = { listQueues: () => ({ queues: [] }) };
  expect(await flowmesh('queue ls', none)).toMatchObject({
    out: '',
    err: 'no queues yet; declare one: flowmesh queue declare emails.send\n',
  });
  expect(await flowmesh('queue ls -o json', none)).toMatchObject({ out: '[]\n', err: '' });
});

const manyStates = () => [
  job({ id: '0-1-0', key: Buffer.from('ключ'), reason: 'waits for a free worker' }),
  job({ id: '0-1-1', state: 'leased', worker: 'mailer\u001b[2J', leaseDeadlineMs: noonMs + 25_000 }),
  job({ id: '0-1-2', state: 'delayed', readyAtMs: noonMs + 3_600_000, key: Buffer.from('日本語の鍵') }),
  job({
    ...{ id: '0-1-3', state: 'retrying', readyAtMs: noonMs + 8000, counters: { acquired: 2 } },
    lastError: 'connection refused by smtp.example.org on port 587\nat send (mail.ts:3)',
  }),
  job({ id: '0-1-4', sourceId: '0-9-9', sourceQueue: 'a', lastError: 'no such mailbox', reason: 'waits' }),
];

test('jobs says of each job what it waits for, in 80 columns', async () => {
  const { out } = await flowmesh(
    'queue jobs q',
    { listJobs: () => ({ jobs: manyStates(), cursor: '' }) },
    terminal,
  );
  expect(out).toBe(
    'JOB    STATE     ENQUEUED   ATTEMPTS  KEY         WHY\n' +
      '0-1-0  waiting   1m 1s ago         0  ключ        waits for a free worker\n' +
      '0-1-1  leased    1m 1s ago         0  -           mailer\\e[2J, ends in 25s\n' +
      '0-1-2  delayed   1m 1s ago         0  日本語の鍵  ready in 1h\n' +
      '0-1-3  retrying  1m 1s ago         2  -           ready in 8s: connection refus…\n' +
      '0-1-4  waiting   1m 1s ago         0  -           no such mailbox\n',
  );
});

test('jobs follows pages up to the limit, and tells scripts whether that is all', async () => {
  const pages = [
    { jobs: manyStates().slice(0, 2), cursor: 'x' },
    { jobs: manyStates().slice(2, 3), cursor: 'y' },
  ];
  const { out, calls } = await flowmesh('queue jobs q --limit 3 --state delayed -o json', {
    listJobs: () => pages.shift(),
  });
  expect(calls.map(([, request]) => request)).toEqual([
    { queue: 'q', state: 'delayed', limit: 3, cursor: '' },
    { queue: 'q', state: 'delayed', limit: 1, cursor: 'x' },
  ]);
  const { jobs, isComplete } = JSON.parse(out);
  expect(isComplete).toBe(false);
  expect(jobs[2]).toMatchObject({ id: '0-1-2', key: '日本語の鍵', readyAtMs: noonMs + 3_600_000 });
});

test('asked for dead jobs, it says where they have gone', async () => {
  const { err } = await flowmesh('queue jobs q --state dead', {
    listJobs: () => ({ jobs: [], cursor: '' }),
    getQueue: () => queue('q'),
  });
  expect(err).toBe('no dead jobs in q\ndead jobs are moved: flowmesh queue jobs q.dead\n');
});

test('job tells the story of a job', async () => {
  const { out } = await flowmesh(
    'queue job q 0-1-3',
    {
      getJob: () =>
        job({
          ...{ id: '0-1-3', state: 'leased', reason: 'held', worker: 'w1', leaseEpoch: 9, priority: 5 },
          ...{ leaseDeadlineMs: noonMs + 25_000, counters: { acquired: 2, failed: 1 } },
          ...{ payload: Buffer.from('{"to":"\u001b[31m"}'), lastError: 'refused\nat send' },
        }),
      jobHistory: () =>
        received(pb.JobHistoryResponse, {
          transitions: [
            { kind: 'enqueued', timeMs: noonMs - 61_000 },
            { kind: 'leased', timeMs: noonMs - 60_600, worker: 'w1', leaseEpoch: 8 },
            { kind: 'failed', timeMs: noonMs - 1000, leaseEpoch: 8, detail: 'refused\nat send' },
          ],
        }),
    },
    terminal,
  );
  expect(out).toBe(
    [
      'job         0-1-3',
      'queue       q',
      'state       leased: held',
      'enqueued    11:58:59.000, 1m 1s ago',
      'priority    5',
      'attempts    2 (1 failed, 0 timed out)',
      'lease       w1, epoch 9, ends in 25s',
      'last error  refused',
      'payload     {"to":"\\e[31m"}',
      '',
      'timeline',
      'TIME                  WHAT      DETAIL',
      '11:58:59.000          enqueued',
      '11:58:59.400  +400ms  leased    by w1, epoch 8',
      '11:59:59.000     +1m  failed    epoch 8, refused\\nat send',
      '',
    ].join('\n'),
  );
});

test('enqueue sends every option once, and says when the job was there already', async () => {
  const { calls, out } = await flowmesh(
    [
      ...['queue', 'enqueue', 'q', '{"n":1}', '--key', 'k', '--delay', '1h', '--priority', '9'],
      ...['--limit-key', 't', '--dedup-key', 'd', '--timeout', '5m', '-H', 'a=1', '-H', 'b=x=y'],
    ],
    { enqueue: () => ({ jobs: [{ id: '0-1-7', deduplicated: true }] }) },
  );
  expect(calls[0]?.[1]).toEqual({
    queue: 'q',
    mutation: { producerId: 'test', seq: 1 },
    jobs: [
      {
        ...{ payload: Buffer.from('{"n":1}'), contentType: 'application/json', key: Buffer.from('k') },
        ...{ delayMs: 3_600_000, priority: 9, dedupKey: 'd', timeoutMs: 300_000 },
        limitKey: Buffer.from('t'),
        headers: { a: Buffer.from('1'), b: Buffer.from('x=y') },
      },
    ],
  });
  expect(out).toBe('0-1-7  (an earlier job with the same dedup key)\n');
});

test('lease shows what an ack takes, and ack, nack and extend send it', async () => {
  const leased = { id: '0-1-0', leaseEpoch: 4, attempt: 2, deadlineMs: noonMs + 30_000 };
  const { out, err, calls } = await flowmesh('queue lease q --max 5 --wait 0s --visibility 1m', {
    lease: () => received(pb.LeaseResponse, { jobs: [{ ...leased, payload: Buffer.from('hi') }] }),
  });
  expect(calls[0]?.[1]).toMatchObject({ queue: 'q', max: 5, waitMs: 0, visibilityMs: 60_000 });
  expect(out).toBe('JOB    EPOCH  ATTEMPT  LEASE ENDS  PAYLOAD\n0-1-0      4        2  in 30s      hi\n');
  expect(err).toBe('done with it? flowmesh queue ack q 0-1-0 4\n');
  const settled = async (line: string) => {
    const ran = await flowmesh(line, { settle: () => ({ results: [{ code: '' }] }) });
    return [(ran.calls[0]?.[1]['settlements'] as unknown[] | undefined)?.[0], ran.out];
  };
  const handle = { id: '0-1-0', leaseEpoch: 4 };
  expect(await settled('queue ack q 0-1-0 4')).toEqual([{ ...handle, ack: {} }, '0-1-0 completed\n']);
  expect(await settled('queue extend q 0-1-0 4 90s')).toEqual([
    { ...handle, extend: { visibilityMs: 90_000 } },
    '0-1-0 is yours for 1m 30s more\n',
  ]);
  expect(await settled('queue nack q 0-1-0 4 --error gone --dead')).toMatchObject([
    { ...handle, nack: { error: 'gone', unrecoverable: true } },
    '0-1-0 dead\n',
  ]);
  expect(await settled('queue nack q 0-1-0 4 --retry-after 0s')).toMatchObject([
    { nack: { error: 'rejected by hand', retryAfterMs: 0 } },
    '0-1-0 rejected\n',
  ]);
});

test('a lease that is lost is an error with its code', async () => {
  const lost = { code: 'LEASE_LOST', message: 'the lease is no longer held' };
  const { code, out, err } = await flowmesh('queue ack q 0-1-0 4', { settle: () => ({ results: [lost] }) });
  expect([code, out]).toEqual([1, '']);
  expect(err).toMatch(/^error: the lease is no longer held \(LEASE_LOST\)\n {2}\S/);
});

test('tail prints a line at each interval, in 80 columns, with rates between the lines', async () => {
  let [nowMs, asked] = [noonMs, 0];
  const { out, code } = await flowmesh(
    'queue tail q --interval 1ms --count 2',
    {
      getQueue: () => {
        nowMs += 2000;
        const total = 1000 * asked++;
        const figures = { waiting: 12_345, enqueuedTotal: total, completedTotal: total / 2, workers: 3 };
        return queue('q', { ...figures, oldestReadyAtMs: nowMs - 65_000 }, { paused: asked === 3 });
      },
    },
    { ...terminal, nowMs: () => nowMs },
  );
  expect(code).toBe(0);
  expect(out).toBe(
    [
      '    TIME  WAITING DELAYED BLOCKED  LEASED    IN/S DONE/S FAIL/S OLDEST WORKERS',
      '12:00:04   12,345       0       0       0     500    250      0     1m       3',
      '12:00:06   12,345       0       0       0     500    250      0     1m  paused',
      '',
    ].join('\n'),
  );
  expect(Math.max(...out.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
});

test.each([
  [
    'redrive-start q.dead --to q --max 500 --rate 50 --park-after 2',
    'startRedrive',
    { targetQueue: 'q', max: 500, perSecond: 50, parkAfter: 2 },
  ],
  ['redrive-status q.dead', 'getRedrive', {}],
  ['redrive-cancel q.dead', 'cancelRedrive', { mutation: { producerId: 'test', seq: 1 } }],
])('%s shows how far the task is', async (line, method, request) => {
  const task = received(pb.RedriveTask, {
    ...{ queue: 'q.dead', number: 3, state: 'failed', error: 'gone\u001b[2J', targetQueue: 'q' },
    ...{ moved: 1200, remaining: 5, parked: 2, perSecond: 50 },
    ...{ startedAtMs: noonMs - 60_000, endedAtMs: noonMs - 30_000 },
  });
  const { calls, out } = await flowmesh(`queue ${line}`, { [method]: () => task }, terminal);
  expect(calls).toMatchObject([[method, { queue: 'q.dead', ...request }]]);
  expect(out).toBe(
    [
      'redrive  3 of q.dead',
      'state    failed: gone\\e[2J',
      'to       q',
      'moved    1,200, 5 still wait',
      'parked   2 in q.dead.parked',
      'rate     50 a second',
      'started  11:59:00.000, 1m ago, took 30s',
      '',
    ].join('\n'),
  );
});

const purgeable = { getQueue: () => queue('q', { waiting: 2, delayed: 1 }), purge: () => ({ purged: 3 }) };
const asked = { errTty: true, stdinTty: true };

test.each([
  ['y\n', 0, '3 jobs removed\n', ['getQueue', 'purge']],
  ['YES\n', 0, '3 jobs removed\n', ['getQueue', 'purge']],
  ['n\n', 1, '', ['getQueue']],
  ['\n', 1, '', ['getQueue']],
  ['yesterday\n', 1, '', ['getQueue']],
])('purge asks, and %j is taken as it is meant', async (stdin, code, out, methods) => {
  const ran = await flowmesh('queue purge q', purgeable, { ...asked, stdin });
  expect(ran).toMatchObject({ code, out });
  expect(ran.err).toContain('Remove about 3 jobs of q? [y/N]');
  expect(ran.calls.map(([method]) => method)).toEqual(methods);
});

test.each([
  ['queue purge q', 'Remove about 3 jobs of q?'],
  ['queue delete q', 'Delete q with its 3 jobs?'],
])('%s without anybody to ask does nothing', async (line, question) => {
  const ran = await flowmesh(line, purgeable);
  expect(ran).toMatchObject({ code: 2, out: '' });
  expect(ran.err).toBe(`error: nobody is here to answer: ${question}\n  say --yes if so\n`);
  expect(ran.calls.map(([method]) => method)).toEqual(['getQueue']);
});

test('--yes asks nobody; an empty queue needs no question either, and the server holds to that', async () => {
  expect(await flowmesh('queue purge q --yes', purgeable)).toMatchObject({
    code: 0,
    out: '3 jobs removed\n',
  });
  const ran = await flowmesh('queue delete q --if-empty', {
    getQueue: () => queue('q'),
    deleteQueue: () => ({}),
  });
  expect(ran.calls.at(-1)).toMatchObject(['deleteQueue', { name: 'q', ifEmpty: true }]);
  expect(ran.out).toBe('q deleted\n');
});

test('pause and resume say what they did', async () => {
  const setPaused = () => ({});
  const paused = await flowmesh('queue pause q', { setPaused });
  expect([paused.out, paused.calls[0]?.[1]]).toMatchObject(['q paused\n', { queue: 'q', paused: true }]);
  const resumed = await flowmesh('queue resume q', { setPaused });
  expect([resumed.out, resumed.calls[0]?.[1]]).toMatchObject(['q resumed\n', { paused: false }]);
});

test('a redrive task is started with what was said, shown, and cancelled', async () => {
  const running = { queue: 'q.dead', number: 2, state: 'running', moved: 1200, remaining: 34, perSecond: 50 };
  const task = () => received(pb.RedriveTask, { ...running, startedAtMs: noonMs - 24_000 });
  const answers = { startRedrive: task, getRedrive: task, cancelRedrive: task };
  const started = await flowmesh('queue redrive-start q.dead --to other --rate 50 --park-after 2', answers);
  expect(started.calls[0]).toMatchObject([
    'startRedrive',
    { queue: 'q.dead', targetQueue: 'other', perSecond: 50, parkAfter: 2 },
  ]);
  expect(started.out).toMatch(/moved +1,200, 34 still wait/);
  expect(started.out).toMatch(/rate +50 a second/);
  expect((await flowmesh('queue redrive-status q.dead', answers)).out).toBe(started.out);
  const cancelled = await flowmesh('queue redrive-cancel q.dead -o json', answers);
  expect(JSON.parse(cancelled.out)).toMatchObject({ state: 'running', number: 2 });
  expect(cancelled.calls[0]?.[0]).toBe('cancelRedrive');
});

test('schedules are listed with their next tick, and get names the first of them', async () => {
  const schedule = { name: 'night', cron: '0 3 * * *', timeZone: 'Europe/Berlin', overlap: 'skip' };
  const queue = received(pb.Queue, {
    spec: {
      name: 'q',
      schedules: [{ ...schedule, payload: Buffer.from('{"a":1}'), contentType: 'application/json' }],
    },
    schedules: [
      { name: 'night', nextMs: noonMs + 3_600_000, firedMs: noonMs, jobId: '0-1-2', skippedTotal: 3 },
    ],
  });
  const listed = await flowmesh('queue schedules q', { getQueue: () => queue });
  expect(listed.out).toMatch(/night +0 3 \* \* \* +Europe\/Berlin +in 1h.* 0-1-2 +3/);
  const shown = await flowmesh('queue get q', { getQueue: () => queue });
  expect(shown.out).toContain('night in 1h');
});
