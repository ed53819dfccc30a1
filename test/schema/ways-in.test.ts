// The same schema on every way in; on one shard and on three.
import { encodeBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller, mutation, nackOf } from '../queue/bench.ts';
import { aRecord, aSpec } from '../stream/support.ts';
import {
  aJsonVersion,
  apply,
  aVersion,
  batchOf,
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
const good = JSON.stringify(GOOD);
const of = (schema: string): pb.Envelope => ({
  ...{ traceparent: '', causationId: '', correlationId: '', tags: [], schema },
});

const enqueueBatch = (queue: string, batch: Buffer, more: Partial<pb.EnqueueBatch> = {}) =>
  new Promise<pb.EnqueueBatchReplyInput>((resolve) =>
    bench.queues.enqueueBatch(caller, { queue, batch, mutation: null, partial: false, ...more }, resolve),
  );
const publishBatch = (stream: string, batch: Buffer, more: Partial<pb.PublishBatch> = {}) =>
  new Promise<pb.PublishBatchReplyInput>((resolve) =>
    bench.fabric.streams.publishBatch(
      { ...caller },
      { stream, partition: 1, batch, mutation: null, afterSeq: 0, partial: false, ...more },
      resolve,
    ),
  );

describe.each([1, 3])('shards: %d', (shards) => {
  const Q = '{o}:q';
  const S = '{o}:s';
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
    await apply(bench, 'order', aVersion(1, ORDER), aVersion(2, { ...ORDER, user: 'string' }));
    await bench.declare(Q, { schemaRef: ref('order', 1) });
    await bench.fabric.admin.applyStream(caller, aSpec(S, 4, { schemaRef: ref('order', 1) }));
  });

  test('[SC22] the newest version, the one of the reference, or the one that the entry names', async () => {
    await bench.declare('newest', { schemaRef: ref('order') });
    await enqueue(bench, 'newest', jsonJob({ ...GOOD, user: 'u' }));
    await enqueue(bench, 'newest', jsonJob(GOOD, { envelope: of('order@1') }));
    await expect(enqueue(bench, 'newest', jsonJob(GOOD))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /^job 0: \/user is missing \(order@2\)$/),
    );
    expect(await jobsOf(bench, 'newest')).toMatchObject([
      [expect.anything(), 'order@2'],
      [good, 'order@1'],
    ]);
    await apply(bench, 'order', aVersion(3, { x: 'boolean' }));
    await enqueue(bench, 'newest', jsonJob({ x: true }));
    const wrong: [string, string, RegExp][] = [
      ['newest', 'order@4', /^job 0: says that it is order@4, which is not declared$/],
      ['newest', 'invoice@1', /^job 0: says that it is invoice@1, and order@... is written here$/],
      ['newest', 'order', /says that it is order, /],
      [Q, 'order@2', /^job 0: says that it is order@2, and only order@1 is written here$/],
    ];
    for (const [queue, schema, why] of wrong)
      await expect(enqueue(bench, queue, jsonJob(GOOD, { envelope: of(schema) }))).rejects.toMatchObject(
        refusal('SCHEMA_VIOLATION', why),
      );
  });

  test('[SC23] what is not JSON is refused', async () => {
    await expect(enqueue(bench, Q, aJob('hello'))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /^job 0: the payload is application\/octet-stream, not application\/json/),
    );
    await expect(publish(bench, S, aRecord('{}'))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /text\/plain/),
    );
    await expect(publish(bench, S, jsonRecord('{"a":'))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /is not JSON/),
    );
  });

  test('[SC24] a flow is enqueued as a whole or not at all', async () => {
    const node = (payload: unknown, parent: number): pb.FlowNode => ({
      ...{
        queue: parent < 0 ? Q : `{o}:child`,
        job: jsonJob(payload),
        parent: Math.max(0, parent),
        name: '',
        onFailure: '',
      },
    });
    await bench.declare('{o}:child', { schemaRef: ref('order', 1) });
    const flow = (...nodes: pb.FlowNode[]) => bench.queues.enqueueFlow(caller, { nodes, mutation: null });
    await expect(flow(node(GOOD, -1), node(GOOD, 0), node(BAD, 0))).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /^node 2: \/amount is string, not number \(order@1\)$/),
    );
    expect([await jobsOf(bench, Q), await jobsOf(bench, '{o}:child')]).toEqual([[], []]);
    await flow(node(GOOD, -1), node(GOOD, 0));
    expect([await jobsOf(bench, Q), await jobsOf(bench, '{o}:child')]).toEqual([
      [[good, 'order@1']],
      [[good, 'order@1']],
    ]);
  });

  test('[SC24] a transaction is carried out as a whole or not at all', async () => {
    const commit = (job: unknown, value: unknown) =>
      bench.fabric.transactions.commit(caller, {
        ops: [
          { op: 'enqueue', enqueue: { queue: Q, jobs: [jsonJob(job)], mutation: null } },
          { op: 'publish', publish: { stream: '{o}:one', records: [jsonRecord(value)], mutation: null } },
        ] as unknown as pb.TransactionOp[],
        mutation: null,
      });
    await bench.fabric.admin.applyStream(caller, aSpec('{o}:one', 1, { schemaRef: ref('order', 1) }));
    for (const [job, value] of [
      [BAD, GOOD],
      [GOOD, BAD],
    ])
      await expect(commit(job, value)).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    expect([await jobsOf(bench, Q), await recordsOf(bench, '{o}:one')]).toEqual([[], []]);
    await commit(GOOD, GOOD);
    expect([await jobsOf(bench, Q), await recordsOf(bench, '{o}:one')]).toEqual([
      [[good, 'order@1']],
      [[good, 'order@1']],
    ]);
  });

  test('[SC24] schedules enqueue what matches, and nothing else', async () => {
    const tick = (payload: unknown): pb.Schedule => ({
      ...{ name: 'tick', cron: '* * * * *', timeZone: '', overlap: 'allow', catchUpMs: null },
      ...{ payload: Buffer.from(JSON.stringify(payload)), contentType: 'application/json' },
    });
    const declare = (payload: unknown) =>
      bench.declare(Q, { schemaRef: ref('order'), schedules: [tick(payload)] });
    await expect(declare(BAD)).rejects.toMatchObject(
      refusal('SCHEMA_VIOLATION', /^schedule tick: \/user is missing/),
    );
    await declare({ ...GOOD, user: 'u' });
    await bench.advance(61_000);
    expect(await jobsOf(bench, Q)).toEqual([[JSON.stringify({ ...GOOD, user: 'u' }), 'order@2']]);
    await apply(bench, 'order', aVersion(3, { other: 'string' }));
    await bench.advance(60_000);
    expect(await jobsOf(bench, Q)).toHaveLength(1);
    const { schedules } = await bench.fabric.admin.getQueue(caller, { name: Q });
    expect(schedules).toMatchObject([{ skippedTotal: 1 }]);
  });

  test('[SC25] in a partial batch of jobs each has its own outcome, also in a repeat', async () => {
    const batch = () => batchOf(GOOD, BAD, { ...GOOD, n: 2 }, {});
    expect(await enqueueBatch(Q, batch())).toMatchObject({
      error: { code: 'SCHEMA_VIOLATION', message: expect.stringMatching(/^job 1: .*; job 3: /) },
    });
    expect(await jobsOf(bench, Q)).toEqual([]);
    const asked = { partial: true, mutation: mutation('p', 1) };
    const reply = await enqueueBatch(Q, batch(), asked);
    const refused = (message: RegExp) => ({
      error: { code: 'SCHEMA_VIOLATION', message: expect.stringMatching(message) },
    });
    expect(reply.jobs).toMatchObject([
      { id: expect.stringMatching(/-0$/) },
      refused(/^\/amount is string/),
      { id: expect.stringMatching(/-1$/) },
      refused(/^\/order_id is missing/),
    ]);
    expect(await enqueueBatch(Q, batch(), asked)).toEqual(reply);
    await bench.restart();
    expect(await enqueueBatch(Q, batch(), asked)).toEqual(reply);
    expect(await jobsOf(bench, Q)).toEqual([
      [good, 'order@1'],
      [JSON.stringify({ ...GOOD, n: 2 }), 'order@1'],
    ]);
    const none = await enqueueBatch(Q, batchOf(BAD), { partial: true });
    expect([none.error, none.jobs]).toMatchObject([undefined, [refused(/amount/)]]);
  });

  test('[SC25] in a partial batch of records each has its own outcome, also in a repeat', async () => {
    const batch = () => batchOf(GOOD, BAD, { ...GOOD, n: 2 });
    expect(await publishBatch(S, batch())).toMatchObject({ error: { code: 'SCHEMA_VIOLATION' } });
    const asked = { partial: true, mutation: mutation('p', 1) };
    const reply = await publishBatch(S, batch(), asked);
    expect(reply).toMatchObject({
      firstOffset: 0,
      count: 2,
      refused: [{ index: 1, error: { code: 'SCHEMA_VIOLATION' } }],
    });
    expect(await publishBatch(S, batch(), asked)).toEqual(reply);
    await bench.restart();
    expect(await publishBatch(S, batch(), asked)).toEqual(reply);
    expect(await recordsOf(bench, S, 1)).toEqual([
      [good, 'order@1'],
      [JSON.stringify({ ...GOOD, n: 2 }), 'order@1'],
    ]);
    expect(await publishBatch(S, batchOf(BAD), { partial: true })).toMatchObject({
      count: 0,
      refused: [{ index: 0 }],
    });
  });

  test('[SC26] a tombstone has no value to check', async () => {
    await publish(bench, S, aRecord('', { tombstone: true, key: Buffer.from('k'), partition: 0 }));
    expect(await recordsOf(bench, S)).toEqual([['', 'order@1']]);
  });

  test('[SC27] what died comes back unchecked to where it died, and checked to elsewhere', async () => {
    await bench.declare('{o}:other');
    await bench.declare(Q, { maxAttempts: 1 });
    await enqueue(bench, Q, jsonJob(BAD), jsonJob(BAD));
    for (const job of await bench.lease(Q, 2)) await bench.settle(Q, nackOf(job, { unrecoverable: true }));
    await bench.idle();
    await bench.declare(Q, { schemaRef: ref('order', 1) });
    await bench.declare('{o}:other', { schemaRef: ref('order', 1) });
    const redrive = (targetQueue: string) =>
      bench.queues.redrive(caller, { queue: `${Q}.dead`, max: 1, targetQueue, mutation: null });
    await expect(redrive('{o}:other')).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    expect(await redrive('')).toMatchObject({ moved: 1 });
    expect((await jobsOf(bench, Q)).at(-1)).toEqual([JSON.stringify(BAD), '']);
    const task = { queue: `${Q}.dead`, targetQueue: '', max: 0, perSecond: 0, parkAfter: 0, mutation: null };
    await bench.queues.startRedrive(caller, task);
    await bench.advance(5000);
    expect(await jobsOf(bench, Q)).toHaveLength(2);
    for (const job of await bench.lease(Q, 2)) expect(await bench.settle(Q, ackOf(job))).toEqual(['']);
  });

  test('[SC28] without a schema bytes are stored as they come, and stay when one comes', async () => {
    await bench.declare('free');
    const sent = encodeBatch([{ value: Buffer.from([0xff, 0x00]), contentType: 'application/json' }]);
    await enqueueBatch('free', Buffer.from(sent));
    await bench.declare('free', { schemaRef: ref('order') });
    const [job] = await bench.lease('free');
    expect(await bench.settle('free', ackOf(job as NonNullable<typeof job>))).toEqual(['']);
    await expect(enqueue(bench, 'free', aJob('x'))).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    await bench.declare('free');
    await enqueue(bench, 'free', aJob('x', { key: 'k' }));
    expect((await jobsOf(bench, 'free')).at(-1)).toEqual(['x', '']);
  });

  test.each([true, false])('[SC4] everything survives a restart (clean: %s)', async (clean) => {
    await apply(bench, 'deep', aJsonVersion(1, { type: 'object', required: ['x'] }));
    for (const name of ['a', 'b', 'c', 'd']) await bench.declare(name, { schemaRef: ref('deep') });
    await enqueue(bench, Q, jsonJob(GOOD, { key: Buffer.from('k') }));
    const before = await bench.fabric.admin.getSchema(caller, { name: 'deep' });
    await bench.restart({ clean });
    expect(await bench.fabric.admin.getSchema(caller, { name: 'deep' })).toEqual(before);
    for (const name of ['a', 'b', 'c', 'd']) {
      // The first write after the start.
      await expect(enqueue(bench, name, jsonJob({}))).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
      await enqueue(bench, name, jsonJob({ x: 1 }));
    }
    for (let partition = 0; partition < 4; partition++) {
      await expect(publish(bench, S, jsonRecord(BAD, { partition }))).rejects.toMatchObject({
        code: 'SCHEMA_VIOLATION',
      });
      await publish(bench, S, jsonRecord(GOOD, { partition }));
    }
    const [job] = await bench.lease(Q);
    expect(job?.payload).toBe(good);
    await bench.restart({ clean });
    expect((await jobsOf(bench, 'a'))[0]).toEqual(['{"x":1}', 'deep@1']);
  });
});

test('[SC4] copies that a crash left behind are put right before anybody is served', async () => {
  bench = await Bench.open({ shards: 3, onDisk: true });
  await apply(bench, 'order', aVersion(1, ORDER));
  await apply(bench, 'gone', aVersion(1, ORDER));
  // As after a crash between home and the others: they lack a version, have a schema that home deleted.
  const home = (name: string) =>
    bench.fabric.shards.find(({ views }) =>
      [...schemasOf(views).declared.all(1)].some((each) => each.name === name),
    );
  const terms = { compatibility: 'backward', versions: [aVersion(1, ORDER), aVersion(2, { x: 'string' })] };
  const ask = (name: string, command: object) =>
    home(name)?.shard.call({ view: 'schema', caller, name, ...command } as never);
  await ask('order', { kind: 'declare', uid: 1, createdAtMs: 1, terms });
  await ask('gone', { kind: 'delete' });
  await bench.restart();
  for (const { views } of bench.fabric.shards) {
    const { state } = schemasOf(views);
    expect(state.find(1, 'order')?.versions.map(({ version }) => version)).toEqual([1, 2]);
    expect(state.find(1, 'gone')).toBeUndefined();
  }
});

const schemasOf = (views: readonly unknown[]) =>
  views.find(
    (view) => (view as { name: string }).name === 'schema',
  ) as import('../../dataplane/schema/view.ts').SchemaView;
