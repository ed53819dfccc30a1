// Requests and responses of the stream and group routes.
import { ownership } from './figures.ts';
import {
  anyJson,
  closed,
  count,
  durability,
  envelope,
  flag,
  headers,
  headersBase64,
  list,
  open,
  scaling,
  schemaRef,
  speed,
  text,
} from './schemas.ts';

const spec = {
  partitions: count('Number of partitions', { minimum: 1 }),
  retentionMs: count('How long records are kept'),
  retentionBytes: count('How many bytes are kept per partition; 0: no limit'),
  cleanup: text('By retention, by key (the last record of each stays), or both', {
    enum: ['delete', 'compact', 'both'],
  }),
  minCompactionLagMs: count('Compaction leaves younger records alone'),
  tombstoneRetentionMs: count('How long a tombstone stays after it was cleaned first; 0: 24 h'),
  schemaRef: { ...schemaRef, description: 'What values must match' },
  consumerGroups: list(
    closed(
      {
        name: text('Of the group'),
        scaling: { ...scaling, description: 'Between which numbers its members are scaled, and on what' },
      },
      ['name'],
    ),
    { maxItems: 100 },
  ),
};

export const declaration = closed(spec);

export const stream = open({
  spec: open({
    name: text('Name'),
    ...spec,
    partitions: { type: 'integer' },
    schemaRef: { type: ['object', 'null'] },
    consumerGroups: list(open({ name: text('Of the group'), scaling: { type: ['object', 'null'] } })),
  }),
  partitions: list(
    open({
      partition: count('Partition'),
      logStart: count('First offset that is kept'),
      end: count('Offset of the next record'),
      bytes: count('Bytes kept'),
      shard: count('Where it lives'),
    }),
  ),
  createdAtMs: count('When it was created'),
  ...ownership,
});

const content = {
  value: anyJson('Any JSON; stored as application/json'),
  valueBase64: text('Any other bytes, in Base64'),
  contentType: text('Content type of valueBase64', { minLength: 1, maxLength: 255 }),
  headers,
  headersBase64,
};

const keyBase64 = text('A key that is not text');

export const newRecords = closed(
  {
    records: list(
      closed({
        key: text('Records with one key go to one partition'),
        keyBase64,
        ...content,
        tombstone: flag('Instead of a value: the key is deleted'),
        envelope,
        timestamp: count('Time of the producer, ms'),
        partition: count('This partition, whatever the key'),
      }),
      { minItems: 1, maxItems: 10_000 },
    ),
  },
  ['records'],
);

export const written = open({
  offsets: list(open({ partition: count('Partition'), offset: count('Offset') })),
  durability,
});

export const readQuery = {
  ...closed({
    offset: count('From this offset'),
    timestamp: count('From the first record appended at or after this time, ms'),
    max: count('At most this many', { minimum: 1, maximum: 10_000 }),
  }),
  not: { type: 'object', required: ['offset', 'timestamp'] },
};

export const records = open({
  records: list(
    open({
      partition: count('Partition'),
      offset: count('Offset'),
      timestamp: count('When it was appended, ms'),
      key: { type: ['string', 'null'] },
      keyBase64,
      ...content,
      tombstone: flag('The key was deleted: there is no value'),
      envelope: { type: 'object' },
      producerTimestamp: count('Time of the producer, ms'),
    }),
  ),
  nextOffset: count('Where to read on'),
  endOffset: count('The end of the partition when this was read'),
});

export const groupPartition = open({
  partition: count('Partition'),
  committed: count('Next offset to read'),
  logStart: count('First offset that is kept'),
  end: count('Offset of the next record'),
  lag: count('Records still to read'),
  memberId: text('Who reads it'),
  epoch: count('Epoch of the assignment'),
  metadata: text('As it was committed'),
  committedAtMs: count('When it was committed or sought; 0: never'),
});

export const group = open({
  stream: text('Stream'),
  group: text('Group'),
  state: text('stable, rebalancing, empty, or idle: no members for 7 days'),
  epoch: count('Epoch'),
  members: list(
    open({
      memberId: text('Member'),
      client: text('Client'),
      epoch: count('Epoch'),
      partitions: list({ type: 'integer' }),
    }),
  ),
  partitions: list(groupPartition),
  lag: count('Records still to read, in all partitions'),
  idleSinceMs: count('Since when nobody reads; 0: it has members'),
  committedAtMs: count('The newest commit or seek; 0: none yet'),
  figures: open({
    group: text('Group'),
    lag: count('Records still to read'),
    members: count('Members'),
    oldestUncommittedAtMs: count('When the oldest record to read was written; 0: none'),
    ...speed,
  }),
});

export const seek = {
  ...closed({
    partition: count('This one; unset: all'),
    offset: count('To this offset'),
    timestamp: count('To the first record appended at or after this time, ms'),
    position: text('To an end of the log', { enum: ['earliest', 'latest'] }),
  }),
  oneOf: [{ required: ['offset'] }, { required: ['timestamp'] }, { required: ['position'] }],
};
