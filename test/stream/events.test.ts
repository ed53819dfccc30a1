// The bytes of every event, kept reply and row. They are on disks: a line that has to change here breaks a
// promise (V1).
import { expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../dataplane/storage/bytes.ts';
import { decodeReply, encodeReply, type StreamReply } from '../../dataplane/stream/commands.ts';
import { decodeEvent, encodeEvent, STREAM_EVENT, type StreamEvent } from '../../dataplane/stream/events.ts';
import * as t from '../../dataplane/stream/tables.ts';

const cursor = { no: 3, group: 'g', partition: 2, owner: 'm', epoch: 300, offset: -1 };

const golden: [StreamEvent, string][] = [
  [
    {
      type: STREAM_EVENT.declared,
      no: 3,
      tenant: 1,
      name: 'orders',
      uid: 1_700_000_000_000_123,
      partitions: 4,
      retentionMs: 604_800_000,
      retentionBytes: 0,
      createdAtMs: 1_700_000_000_000,
    },
    '0301066f7264657273fb80f9c0c1c48203048088b2a0020080d095ffbc31',
  ],
  [{ type: STREAM_EVENT.partitionOpened, no: 3, partition: 2, logId: 6 }, '030206'],
  [{ type: STREAM_EVENT.appended, no: 3, partition: 2, batch: Buffer.from('batch') }, '0302056261746368'],
  [{ type: STREAM_EVENT.trimmed, no: 3, partition: 2, offset: 70_000 }, '0302f0a204'],
  [{ type: STREAM_EVENT.deleted, no: 3 }, '03'],
  [{ type: STREAM_EVENT.swept, no: 3, keys: ['\x00\x01\xff', 'k'] }, '0302030001ff016b'],
  [{ type: STREAM_EVENT.groupCreated, no: 3, group: 'g', initialPartitions: 4 }, '03016704'],
  [
    { type: STREAM_EVENT.memberJoined, no: 3, group: 'g', member: 'm', client: 'c', startFrom: 'latest' },
    '030167016d016301',
  ],
  [{ type: STREAM_EVENT.memberLeft, no: 3, group: 'g', member: 'm' }, '030167016d'],
  [
    { type: STREAM_EVENT.assigned, no: 3, group: 'g', partition: 2, owner: 'm', epoch: 300 },
    '03016702016dac02',
  ],
  [{ type: STREAM_EVENT.revoking, no: 3, group: 'g', partition: 2, target: 'n' }, '03016702016e'],
  [{ type: STREAM_EVENT.cursorGranted, ...cursor }, '03016702016dac0200'],
  [
    { type: STREAM_EVENT.committed, no: 3, group: 'g', partition: 2, offset: 70_000, metadata: 'note' },
    '03016702f0a204046e6f7465',
  ],
  [{ type: STREAM_EVENT.cursorMoved, ...cursor, offset: 5 }, '03016702016dac0206'],
  [
    {
      type: STREAM_EVENT.cleanupSet,
      no: 3,
      cleanup: 'both',
      minCompactionLagMs: 300,
      tombstoneRetentionMs: 86_400_000,
    },
    '0302ac0280b89929',
  ],
  [
    {
      type: STREAM_EVENT.owned,
      no: 3,
      ownership: {
        owner: { uid: 'u', kind: 'Stream', namespace: 'n', name: 's', clusterUid: '' },
        generation: 300,
        isDrifted: false,
      },
    },
    '030101750653747265616d016e017300ac0200',
  ],
  [{ type: STREAM_EVENT.schemaRefSet, no: 3, schemaRef: { name: 'order', version: 2 } }, '03056f7264657202'],
  [
    {
      type: STREAM_EVENT.consumerGroupsSet,
      no: 3,
      consumerGroups: [
        { name: 'g', scaling: { scaleFrom: 0, scaleTo: 300, basedOn: ['lag'] } },
        { name: 'h', scaling: null },
      ],
    },
    '030201670100ac0201036c6167016800',
  ],
];

test.each(golden)('event %o', (event, hex) => {
  const writer = new ByteWriter();
  encodeEvent(event, writer);
  expect(writer.view().toString('hex')).toBe(hex);
  const reader = new ByteReader(Buffer.from(hex, 'hex'));
  expect(decodeEvent(event.type, reader)).toEqual(event);
  expect(reader.done).toBe(true);
});

test('every event type is in the list', () => {
  expect(golden.map(([{ type }]) => type)).toEqual(Object.values(STREAM_EVENT));
});

const replies: [StreamReply, string][] = [
  [
    { kind: 'published', partition: 2, firstOffset: 70_000, count: 3, appendTimeMs: 1_700_000_000_000 },
    '0102f0a2040380d095ffbc31',
  ],
  [
    {
      ...{ kind: 'published', partition: 2, firstOffset: 70_000, count: 3, appendTimeMs: 1_700_000_000_000 },
      refused: [{ index: 300, message: 'why' }],
    },
    '0602f0a2040380d095ffbc3101ac0203776879',
  ],
  [
    { kind: 'committed', results: [null, { code: 'MEMBER_FENCED', message: 'why' }] },
    '0202000d4d454d4245525f46454e43454403776879',
  ],
  [{ kind: 'placed', places: [{ partition: 2, epoch: 300, offset: 5 }] }, '030102ac0205'],
  [{ kind: 'deleted', uid: 9 }, '0409'],
];

test.each(replies)('reply %o', (reply, hex) => {
  const writer = new ByteWriter();
  encodeReply(reply, writer);
  expect(writer.view().toString('hex')).toBe(hex);
  expect(decodeReply(Buffer.from(hex, 'hex'))).toEqual(reply);
});

const rows = [
  [t.COUNTERS, { nextStream: 4, nextLog: 8, deletedAt: 300 }, '0408ac02'],
  [
    t.STREAMS,
    {
      name: 's',
      uid: 7,
      partitions: 4,
      retentionMs: 1000,
      retentionBytes: 0,
      createdAtMs: 5,
      isDeleted: true,
      cleanup: 'compact',
      minCompactionLagMs: 300,
      tombstoneRetentionMs: 1000,
      ownership: null,
      bornAt: 1,
      changedAt: 300,
      schemaRef: { name: 'order', version: 2 },
      consumerGroups: [{ name: 'g', scaling: null }],
    },
    '01730704e80700050101ac02e8070001ac02056f726465720201016700',
  ],
  [t.PARTITIONS, { logId: 6 }, '06'],
  [
    t.CURSORS,
    { offset: -1, owner: 'm', epoch: 2, metadata: 'note', committedAtMs: 300 },
    '00016d02046e6f7465ac02',
  ],
  [t.GROUPS, { epoch: 9, createdAtMs: 5, initialPartitions: 4, emptySinceMs: 300 }, '090504ac02'],
  [t.MEMBERS, { client: 'c', startFrom: 'latest', epoch: 2 }, '01630102'],
  [t.ASSIGNMENTS, { owner: 'm', epoch: 2, target: null }, '016d0200'],
  [t.ASSIGNMENTS, { owner: 'm', epoch: 2, target: '' }, '016d020100'],
] as unknown as [typeof t.STREAMS, t.StreamRow, string][];

test.each(rows)('row of $name', (table, row, hex) => {
  const writer = new ByteWriter();
  table.encode(row, writer);
  expect(writer.view().toString('hex')).toBe(hex);
  expect(table.decode(new ByteReader(Buffer.from(hex, 'hex')))).toEqual(row);
});

test('rows of groups and cursors from before their times were noted', () => {
  const of = (hex: string) => new ByteReader(Buffer.from(hex, 'hex'));
  expect(t.CURSORS.decode(of('00016d02046e6f7465'))).toMatchObject({ metadata: 'note', committedAtMs: 0 });
  expect(t.GROUPS.decode(of('090504'))).toMatchObject({ initialPartitions: 4, emptySinceMs: 0 });
});

test('a row of a stream from before consumer groups were declared', () => {
  const hex = '01730704e80700050101ac02e8070001ac02056f7264657202';
  const row = t.STREAMS.decode(new ByteReader(Buffer.from(hex, 'hex')));
  expect(row).toMatchObject({ schemaRef: { name: 'order', version: 2 }, consumerGroups: [] });
});

test('a row of a stream from before there were schemas', () => {
  const row = t.STREAMS.decode(new ByteReader(Buffer.from('01730704e80700050101ac02e8070001ac02', 'hex')));
  expect(row).toMatchObject({ changedAt: 300, schemaRef: null });
});

test('a row of a stream from before there were owners, and counters from before deletions were noted', () => {
  const row = t.STREAMS.decode(new ByteReader(Buffer.from('01730704e80700050101ac02e807', 'hex')));
  expect(row).toMatchObject({ tombstoneRetentionMs: 1000, ownership: null, bornAt: 0, changedAt: 0 });
  expect(t.COUNTERS.decode(new ByteReader(Buffer.from('0408', 'hex')))).toMatchObject({ deletedAt: 0 });
});

test('a row of a stream from before there was a choice of cleanup', () => {
  const row = t.STREAMS.decode(new ByteReader(Buffer.from('01730704e807000501', 'hex')));
  expect(row).toMatchObject({ name: 's', cleanup: 'delete', minCompactionLagMs: 0, tombstoneRetentionMs: 0 });
});

test('keys lead back to what they name, whatever the names contain', () => {
  const group = 'g\0ü';
  const cursorKey = t.cursorKey(1, 3, 2, group);
  expect([t.readNo(cursorKey), t.readPartition(cursorKey), t.readCursorGroup(cursorKey)]).toEqual([
    3,
    2,
    group,
  ]);
  const memberKey = t.memberKey(1, 3, group, 'm\0');
  const { text, next } = t.readGroup(memberKey);
  expect([text, t.readText(memberKey, next).text]).toEqual([group, 'm\0']);
  const assignmentKey = t.assignmentKey(1, 3, group, 70_000);
  expect(t.readU32(assignmentKey, t.readGroup(assignmentKey).next)).toBe(70_000);
  expect(t.readTenant(t.tenantKey(9))).toBe(9);
});
