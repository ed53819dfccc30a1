// The bytes of every event. They are on disks: a line that has to change here breaks a promise (V1).
import { expect, test } from 'vitest';
import { decodeEvent, encodeEvent, SCHEMA_EVENT, type SchemaEvent } from '../../dataplane/schema/events.ts';
import { ByteReader, ByteWriter } from '../../dataplane/storage/bytes.ts';

const of = { tenant: 1, name: 'order' };
const golden: [SchemaEvent, string][] = [
  [
    {
      ...{ type: SCHEMA_EVENT.declared, ...of, uid: 1_700_000_000_000_123, createdAtMs: 300 },
      terms: {
        compatibility: 'full',
        versions: [{ version: 1, fields: '{"a":"string"}', jsonSchema: '', migrate: '[]' }],
      },
    },
    `01056f72646572fb80f9c0c1c48203ac02${lengthAnd(
      '{"compatibility":"full","versions":[{"version":1,"fields":"{\\"a\\":\\"string\\"}",' +
        '"jsonSchema":"","migrate":"[]"}]}',
    )}`,
  ],
  [
    {
      ...{ type: SCHEMA_EVENT.owned, ...of },
      ownership: {
        owner: { uid: 'u', kind: 'Schema', namespace: 'n', name: 's', clusterUid: '' },
        ...{ generation: 300, isDrifted: false },
      },
    },
    '01056f7264657201017506536368656d61016e017300ac0200',
  ],
  [{ type: SCHEMA_EVENT.deleted, ...of }, '01056f72646572'],
];

function lengthAnd(text: string): string {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]).toString('hex');
}

test.each(golden)('event %o', (event, hex) => {
  const writer = new ByteWriter();
  encodeEvent(event, writer);
  expect(writer.view().toString('hex')).toBe(hex);
  const reader = new ByteReader(Buffer.from(hex, 'hex'));
  expect(decodeEvent(event.type, reader)).toEqual(event);
  expect(reader.done).toBe(true);
});

test('every event type is in the list', () => {
  expect(golden.map(([{ type }]) => type)).toEqual(Object.values(SCHEMA_EVENT));
});
