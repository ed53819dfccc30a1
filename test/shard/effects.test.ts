// The index of effects goes with the journal that it points into, and loses nothing before.
import { KvRequest } from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { COUNTED, decodeLifeEvent, encodeLifeEvent } from '../../dataplane/queue/life-events.ts';
import { CAUSED, Effects, hashOf, RUN_NOTES } from '../../dataplane/shard/effects.ts';
import type { ViewContext } from '../../dataplane/shard/state-machine.ts';
import { ByteReader, ByteWriter } from '../../dataplane/storage/bytes.ts';
import { openRealBench } from '../kv/real-bench.ts';
import { b, caller } from '../kv/support.ts';

test('runs whose journal is gone are dropped at a checkpoint, the rest stays and is found', async () => {
  const bench = await openRealBench(1, { segmentBytes: 1024 * 1024, historyBytes: 1024 * 1024 });
  const write = (deliveryId: string, value: string) => {
    const mutation = { cause: { deliveryId, ordinal: 1 } };
    const ops = [{ set: { key: b('k'), value: b(value) } }];
    return bench.service.execute(caller(), KvRequest.decode(KvRequest.encode({ ops, mutation }).finish()));
  };
  const index = () => {
    const effects = bench.shards[0]?.effects;
    if (effects === undefined) throw new Error('no shard');
    return effects;
  };
  for (let i = 0; i < 2 * RUN_NOTES; i++) await write(i === 7 ? 'early@1' : 'x@1', 'v');
  expect(await index().positionsOf(1, 'early')).toHaveLength(1);
  const large = 'v'.repeat(512 * 1024);
  for (let i = 0; i < 12; i++) await write(i === 0 ? 'early@2' : 'x@1', `${i}${large}`);
  await bench.restart();
  expect(await index().positionsOf(1, 'early')).toHaveLength(2);
  await bench.checkpoint();
  for (let i = 0; bench.shards[0]?.shard.timeline.window.first === 1; i++) {
    if (i > 1000) throw new Error('nothing is trimmed');
    bench.shards[0]?.poke();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await write('late@1', 'v');
  await bench.checkpoint();
  expect(await index().positionsOf(1, 'early')).toHaveLength(1);
  expect((await index().positionsOf(1, 'x')).length).toBeLessThanOrEqual(RUN_NOTES);
  await bench.restart();
  expect(await index().positionsOf(1, 'late')).toHaveLength(1);
  await bench.close();
});

test('the bytes of what looks back are for ever', () => {
  const view = new Effects({} as ViewContext, () => 1);
  const caused = {
    type: CAUSED,
    tenant: 1,
    events: 2,
    ordinal: 7,
    deliveryId: '0-1-2s@7',
    hashes: [5],
    steps: [0, 3],
  };
  const bytes = new ByteWriter();
  view.encode(caused, bytes);
  expect(bytes.view().toString('hex')).toBe('01020708302d312d3273403701050200' + '03');
  expect(view.decode(CAUSED, new ByteReader(bytes.copy()))).toEqual(caused);
  expect(hashOf(1, '0-1-2s')).toBe(hashOf(1, '0-1-2s'));
  expect(hashOf(1, 'orders/0/7')).toBe(4970600516804756);
  const counted = { type: COUNTED, queueNo: 3, cursor: 300, counts: [1, 2, 3, 4, 5, 6, 7] } as const;
  const more = new ByteWriter();
  encodeLifeEvent(counted, more);
  expect(more.view().toString('hex')).toBe('03ac020701020304050607');
  expect(decodeLifeEvent(COUNTED, new ByteReader(more.copy()))).toEqual(counted);
});
