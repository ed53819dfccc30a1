// flowmesh stream: records in the order of their time, groups and where they stand, positions to move to.
import { type BatchRecord, encodeBatch, patchHead } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { type Answers, flowmesh, noonMs, received } from './support.ts';

const terminal = { tty: true };
const partitions = [
  { partition: 0, logStart: 5, end: 7, bytes: 2048 },
  { partition: 1, logStart: 0, end: 0, bytes: 0 },
];
const stream = (over: pb.StreamInput = {}) =>
  received(pb.Stream, { spec: { name: 'orders.events', retentionMs: 604_800_000 }, partitions, ...over });

/** A partition with these records, served in pages of at most two. */
function serving(...records: pb.RecordInput[]): Answers {
  return {
    getStream: () => stream(),
    read: ({ partition, offset = 0, timestampMs = 0, max }: Record<string, number>) => {
      const from = records.filter((record) => {
        const isBehind = (record.offset ?? 0) >= offset && (record.timestampMs ?? 0) >= timestampMs;
        return record.partition === partition && isBehind;
      });
      const page = from.slice(0, Math.min(max ?? 0, 2));
      const [next, end] = [(page.at(-1)?.offset ?? 0) + 1, (from.at(-1)?.offset ?? 0) + 1];
      return received(pb.ReadResponse, { records: page, nextOffset: next, endOffset: end });
    },
  };
}
const record = (partition: number, offset: number, over: pb.RecordInput = {}): pb.RecordInput => ({
  ...{ partition, offset, timestampMs: noonMs - 1000 + offset, contentType: 'text/plain' },
  ...over,
});

test('ls and get show size, reach and retention', async () => {
  const listed = await flowmesh('stream ls', { listStreams: () => ({ streams: [stream()] }) }, terminal);
  expect(listed.out).toBe(
    'STREAM         PARTITIONS  RECORDS   SIZE  KEPT\norders.events           2        2  2 KiB    7d\n',
  );
  const { out } = await flowmesh('stream get orders.events', { getStream: () => stream() }, terminal);
  expect(out).toBe(
    'stream   orders.events\nrecords  2 in 2 KiB\nkept     7d\n\n' +
      'PARTITION  FIRST  NEXT  RECORDS   SIZE  SHARD\n' +
      '        0      5     7        2  2 KiB      0\n' +
      '        1      0     0        0    0 B      0\n',
  );
});

test('read merges partitions by time, page by page, and fits the terminal', async () => {
  const answers = serving(
    record(0, 5, { value: Buffer.from('日本語'.repeat(20)), key: Buffer.from('ada\n') }),
    record(0, 6, { value: Buffer.from('\u001b[2J'), key: Buffer.from('k'.repeat(99)) }),
    record(0, 8, { value: Buffer.from([0, 1]) }),
    record(1, 7, { value: Buffer.from('between') }),
  );
  const { out, err } = await flowmesh('stream read orders.events', answers, { ...terminal, columns: 60 });
  expect(out).toBe(
    [
      '11:59:59.005  0:5       ada\\n  日本語日本語日本語日本語日本…',
      '11:59:59.006  0:6       kkkkkkkkkkkkkkkkkkkkkkk…  \\e[2J',
      '11:59:59.007  1:7       -  between',
      '11:59:59.008  0:8       -  <2 bytes: 00 01>',
      '',
    ].join('\n'),
  );
  expect(err).toBe('');
});

test('read -o json is a line for each record, with bytes that are no text in base64', async () => {
  const headers = { trace: Buffer.from('x'), raw: Buffer.from([0]) };
  const answers = serving(
    record(0, 5, { value: Buffer.from('{"n":1}'), contentType: 'application/json', headers }),
    record(0, 6, { value: Buffer.from([0, 255]), key: Buffer.from('k') }),
  );
  const { out } = await flowmesh('stream read orders.events -o json', answers);
  expect(
    out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { offset: 5, key: null, value: { n: 1 }, headers: { trace: 'x', raw: { base64: 'AA==' } } },
    { offset: 6, key: 'k', valueBase64: 'AP8=', contentType: 'text/plain' },
  ]);
});

test.each([
  ['--offset 6', { offset: 6 }],
  ['--offset 1', { offset: 5 }], // retention has passed it
  ['--time 15m', { timestampMs: noonMs - 900_000 }],
  ['--time 2026-01-30T00:00:00Z', { timestampMs: Date.UTC(2026, 0, 30) }],
])('read %s asks from there', async (options, from) => {
  const line = `stream read orders.events --partition 0 ${options}`;
  const { calls } = await flowmesh(line, serving(record(0, 6, { value: Buffer.from('x') })));
  expect(calls.filter(([method]) => method === 'read').map(([, request]) => request)).toEqual([
    { stream: 'orders.events', partition: 0, max: 100, ...from },
  ]);
});

test('read says that there are more exactly if there are', async () => {
  const two = serving(record(0, 5), record(0, 6));
  const more = 'records of each partition at most; see --limit\n';
  expect((await flowmesh('stream read orders.events --limit 1', two)).err).toBe(`1 ${more}`);
  expect((await flowmesh('stream read orders.events --limit 2', two)).err).toBe('');
  expect((await flowmesh('stream read orders.events', serving())).err).toBe(
    'no records in orders.events from there\n',
  );
});

test('a partition that is not there is named with those that are', async () => {
  const { code, err } = await flowmesh('stream read orders.events --partition 2', serving());
  expect([code, err]).toEqual([2, 'error: orders.events has no partition 2\n  its partitions are 0 to 1\n']);
});

test('tail -f goes on behind what it has shown without gap or repeat, and Ctrl-C ends it well', async () => {
  const interrupt = new AbortController();
  const chunk = (base: number, ...values: string[]) => {
    const records = values.map(
      (value): BatchRecord => ({ value: Buffer.from(value), contentType: 'text/plain' }),
    );
    const batches = Buffer.from(encodeBatch(records));
    patchHead(batches, base, noonMs);
    return { partition: 0, batches };
  };
  const answers: Answers = {
    ...serving(record(0, 6, { value: Buffer.from('six') })),
    follow: async function* ({ partition, offset }: { partition: number; offset: number }) {
      if (partition === 1) return;
      expect(offset).toBe(7);
      // As the server may: the batch that holds the offset, whole.
      yield chunk(6, 'six', 'seven');
      yield chunk(8, 'eight\u0007');
      interrupt.abort();
    },
  };
  const screen = { interrupt: interrupt.signal };
  const { code, out, err } = await flowmesh('stream tail orders.events -n 1 -f', answers, screen);
  expect(out.split('\n').map((line) => line.slice(14))).toEqual([
    '0:6       -  six',
    '0:7       -  seven',
    '0:8       -  eight\\u0007',
    '',
  ]);
  expect([code, err]).toEqual([0, 'following orders.events, Ctrl-C to stop\n']);
});

test('write sends what was typed and says where it is', async () => {
  const args = ['stream', 'write', 's', '{"id":7}', '--key-field', 'id', '--partition', '3', '-H', 'a=b'];
  const { calls, out } = await flowmesh(args, {
    publish: () => ({ offsets: [{ partition: 3, offset: 41 }] }),
  });
  expect(calls[0]?.[1]).toMatchObject({
    records: [
      {
        ...{ value: Buffer.from('{"id":7}'), contentType: 'application/json', partition: 3 },
        ...{ key: Buffer.from('7'), headers: { a: Buffer.from('b') } },
      },
    ],
  });
  expect(out).toBe('partition 3, offset 41\n');
});

test('a tombstone is written with a key and no value, and read as what it is', async () => {
  const written = { publish: () => ({ offsets: [{ partition: 0, offset: 9 }] }) };
  const { calls, out } = await flowmesh('stream write s --key ada --tombstone', written);
  expect(calls[0]?.[1]).toMatchObject({ records: [{ key: Buffer.from('ada'), tombstone: true }] });
  expect(out).toBe('partition 0, offset 9\n');
  for (const [line, message] of [
    ['stream write s --tombstone', 'a tombstone needs the key that it deletes'],
    ['stream write s x --key ada --tombstone', 'a tombstone has no value'],
  ] as const) {
    const refused = await flowmesh(line, written);
    expect([refused.code, refused.calls, refused.err.split('\n')[0]]).toEqual([2, [], `error: ${message}`]);
  }
  const answers = serving(record(0, 5, { key: Buffer.from('ada'), tombstone: true }));
  expect((await flowmesh('stream read orders.events', answers)).out).toContain('ada  (deleted)\n');
  const json = JSON.parse((await flowmesh('stream read orders.events -o json', answers)).out);
  expect(json).toMatchObject({ key: 'ada', value: null, tombstone: true });
});

test('groups and group say who reads what, how far behind, and since when nobody does', async () => {
  const group = received(pb.Group, {
    ...{ group: 'billing', stream: 'orders.events', state: 'stable', lag: 1200 },
    committedAtMs: noonMs - 90_000,
    figures: {
      ...{ busyWorkers: 1, workersWanted: 4, arrivalsPerSecond: 12.5, completionsPerSecond: 1250.04 },
      ...{ processingMs: 40, oldestUncommittedAtMs: noonMs - 130_000 },
    },
    members: [{ memberId: 'm1', client: 'worker\u001b[2J' }],
    partitions: [
      { partition: 0, committed: 5, end: 1205, lag: 1200, memberId: 'm1', committedAtMs: noonMs - 90_000 },
      { partition: 1, committed: 0, end: 0, lag: 0 },
    ],
  });
  const old = received(pb.Group, {
    ...{ group: 'audit', stream: 'orders.events', state: 'idle', lag: 3 },
    idleSinceMs: noonMs - 8 * 86_400_000,
  });
  const listed = await flowmesh('stream groups orders.events', {
    listGroups: () => ({ groups: [group, old] }),
  });
  expect(listed.out).toBe(
    'GROUP    STATE    BUSY  WANTED    LAG  OLDEST   COMMITTED\n' +
      'audit    idle 8d   0/0       -      3       -           -\n' +
      'billing  stable    1/1       4  1,200  2m 10s  1m 30s ago\n',
  );
  expect(listed.err).toContain('Offsets are kept');
  const { out } = await flowmesh('stream group orders.events billing', { getGroup: () => group }, terminal);
  expect(out).toBe(
    'group      billing of orders.events\nstate      stable, 1 member\nlag        1,200 records\n' +
      'traffic    12.5/s in, 1,250/s done, 40ms each\n' +
      'busy       1 member, 4 wanted (flowmesh scaling says why)\n' +
      'committed  1m 30s ago\n\n' +
      'PARTITION  COMMITTED   END    LAG        WHEN  MEMBER\n' +
      '        0          5  1205  1,200  1m 30s ago  worker\\e[2J\n' +
      '        1          0     0      0           -  -\n',
  );
});

test.each([
  ['--to earliest', { position: 'earliest' }],
  ['--to latest --partition 1', { position: 'latest', partition: 1 }],
  ['--to 1042', { offset: 1042 }],
  ['--time 1h', { timestampMs: noonMs - 3_600_000 }],
])('seek %s', async (options, target) => {
  const moved = { seek: () => received(pb.Group, { partitions: [{ partition: 0, committed: 9, lag: 2 }] }) };
  const { calls, out } = await flowmesh(`stream seek s billing ${options}`, moved);
  expect(calls[0]?.[1]).toEqual({
    ...{ stream: 's', group: 'billing', partition: undefined, mutation: { producerId: 'test', seq: 1 } },
    ...target,
  });
  expect(out).toBe('PARTITION  NEXT  LAG\n        0     9    2\n');
});

test('delete asks with what would be lost', async () => {
  const answers = { getStream: () => stream(), deleteStream: () => ({}) };
  const refused = await flowmesh('stream delete orders.events', answers);
  expect(refused.err).toContain('Delete orders.events with its 2 records?');
  expect(refused.code).toBe(2);
  const done = await flowmesh('stream delete orders.events -y', answers);
  expect(done).toMatchObject({ code: 0, out: 'orders.events deleted\n' });
});
