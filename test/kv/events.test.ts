// The bytes of each event, for ever: a journal written by any version must be read by every later one. If
// this fails, add an event type instead of changing one.

import { expect, test } from 'vitest';
import { decodeEvent, encodeEvent } from '../../dataplane/kv/events.ts';
import {
  collectionMeta,
  HASH,
  keyspacePrefix,
  metaKey,
  SET,
  stringMeta,
  ZSET,
} from '../../dataplane/kv/tables.ts';
import type { Event } from '../../dataplane/shard/state-machine.ts';
import { ByteReader, ByteWriter } from '../../dataplane/storage/bytes.ts';

const key = metaKey(keyspacePrefix(1, 'ks'), 'k');
const KEY = '0c00000001106b7300016b0001';
const fresh = { key, isNew: true, beforeExpireAtMs: 0, staleGeneration: 0, staleKind: 0 };
const over = { key, isNew: false, beforeExpireAtMs: 300, staleGeneration: 9, staleKind: ZSET };
const text = stringMeta({ revision: 7, expireAtMs: 0, contentType: 'c', value: Buffer.from('val') });
const many = { revision: 200, generation: 6, expireAtMs: 1_700_000_000_000, count: 3 };

const golden: [string, Event, string][] = [
  ['string put', { type: 16, ...fresh, meta: text }, `01${KEY}01070001630376616c`],
  ['string put over a sorted set', { type: 16, ...over, meta: text }, `06${KEY}ac02090401070001630376616c`],
  ['deleted', { type: 17, key, expireAtMs: 0, generation: 0, kind: 1 }, `01${KEY}0000`],
  ['expired', { type: 18, key, expireAtMs: 300, generation: 6, kind: 2 }, `02${KEY}ac0206`],
  ['expiry set', { type: 19, ...fresh, isNew: false, meta: text }, `00${KEY}01070001630376616c`],
  [
    'fields put',
    {
      type: 20,
      ...fresh,
      meta: collectionMeta({ kind: HASH, ...many }),
      names: ['f', 'g'],
      values: [Buffer.from('v'), Buffer.alloc(0)],
    },
    `01${KEY}02c80180d095ffbc3106030201660167017600`,
  ],
  [
    'elements added',
    { type: 21, ...fresh, meta: collectionMeta({ kind: SET, ...many }), names: ['', 'm'] },
    `01${KEY}03c80180d095ffbc3106030200016d`,
  ],
  [
    'scores put',
    {
      type: 22,
      ...fresh,
      meta: collectionMeta({ kind: ZSET, ...many }),
      names: ['m'],
      scores: [1.5],
      befores: [Number.NaN],
    },
    `01${KEY}04c80180d095ffbc31060301016d000000000000f83f000000000000f87f`,
  ],
  [
    'members removed',
    {
      type: 23,
      ...fresh,
      isNew: false,
      meta: collectionMeta({ kind: SET, ...many }),
      names: ['m'],
      scores: [],
    },
    `00${KEY}03c80180d095ffbc31060301016d`,
  ],
  [
    'sorted members removed',
    {
      type: 23,
      ...fresh,
      isNew: false,
      meta: collectionMeta({ kind: ZSET, ...many }),
      names: ['m'],
      scores: [-1],
    },
    `00${KEY}04c80180d095ffbc31060301016d000000000000f0bf`,
  ],
  [
    'swept',
    { type: 24, key, generation: 6, kind: ZSET, isDone: true, names: ['m'], scores: [2] },
    `${KEY}06040101016d0000000000000040`,
  ],
  [
    'keyspace declared',
    { type: 26, tenant: 1, name: 'c', isCache: true, maxBytes: 65_536, eviction: 'lfu' },
    '01016301808004' + '01',
  ],
] as unknown as [string, Event, string][];

test.each(golden)('%s', (_name, event, hex) => {
  const writer = new ByteWriter();
  encodeEvent(event, writer);
  expect(writer.view().toString('hex')).toBe(hex);
  const reader = new ByteReader(writer.copy());
  expect(decodeEvent(event.type, reader)).toEqual(event);
  expect(reader.done).toBe(true);
});
