// What is written to queues and streams with a schema, on every way in; on one shard and on three.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aQueue, Bench, caller } from '../queue/bench.ts';
import { aSpec } from '../stream/support.ts';
import {
  apply,
  aVersion,
  enqueue,
  jobsOf,
  jsonJob,
  jsonRecord,
  ORDER,
  publish,
  recordsOf,
  ref,
  refusal,
} from './support.ts';

let bench: Bench;
afterEach(() => bench.close());

const GOOD = { order_id: 'a', amount: 1 };
const BAD = { order_id: 'a', amount: '1' };

describe.each([1, 3])('shards: %d', (shards) => {
  beforeEach(async () => {
    bench = await Bench.open({ shards });
    await apply(bench, 'order', aVersion(1, ORDER));
    await bench.fabric.admin.applyQueue(caller, aQueue('q', { schemaRef: ref('order') }));
    await bench.fabric.admin.applyStream(caller, aSpec('s', 4, { schemaRef: ref('order') }));
  });

  test('[SC20] a job that matches is stored with the version that it matches', async () => {
    await enqueue(bench, 'q', jsonJob(GOOD), jsonJob({ ...GOOD, more: true }, { key: Buffer.from('k') }));
    expect(await jobsOf(bench, 'q')).toEqual([
      [JSON.stringify(GOOD), 'order@1'],
      [JSON.stringify({ ...GOOD, more: true }), 'order@1'],
    ]);
  });

  test('[SC20] a record that matches is stored with the version that it matches', async () => {
    for (let partition = 0; partition < 4; partition++) {
      await publish(bench, 's', jsonRecord(GOOD, { partition, key: Buffer.from('k') }));
      expect(await recordsOf(bench, 's', partition)).toEqual([[JSON.stringify(GOOD), 'order@1']]);
    }
  });

  test('[SC21] a refusal names the entry, the field, and what was expected; nothing is stored', async () => {
    const wrong = refusal('SCHEMA_VIOLATION', /^job 1: \/amount is string, not number \(order@1\)$/);
    await expect(enqueue(bench, 'q', jsonJob(GOOD), jsonJob(BAD))).rejects.toMatchObject(wrong);
    expect(await jobsOf(bench, 'q')).toEqual([]);
    for (let partition = 0; partition < 4; partition++) {
      const two = [jsonRecord(GOOD, { partition }), jsonRecord({ order_id: 'a' }, { partition })];
      const missing = refusal('SCHEMA_VIOLATION', /^record 1: \/amount is missing \(order@1\)$/);
      await expect(publish(bench, 's', ...two)).rejects.toMatchObject(missing);
      expect(await recordsOf(bench, 's', partition)).toEqual([]);
    }
  });
});
