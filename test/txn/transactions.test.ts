// One entry for keys, jobs and records: all of it, or nothing that anybody could notice.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { TransactionResponse } from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ackOf,
  aJob,
  Bench,
  caller,
  extendOf,
  type Held,
  mutation,
  nackOf,
  payloads,
} from '../queue/bench.ts';

type Op = pb.TransactionOp;
const Q = '{t}q';
const S = '{t}s';
/** What a client is sent: a remembered reply is the same bytes. */
const wire = (reply: pb.TransactionResponseInput) =>
  Buffer.from(TransactionResponse.encode(reply).finish()).toString('hex');
const bytes = (text: string) => Buffer.from(`{t}${text}`);

const kv = (...ops: object[]): Op =>
  ({
    kv: { keyspace: '', ops: ops.map((op) => ({ ...op, op: Object.keys(op)[0] })), mutation: null },
  }) as never;
const enqueue = (...jobs: pb.NewJob[]): Op => ({ enqueue: { queue: Q, jobs, mutation: null } }) as never;
const settle = (...settlements: pb.Settlement[]): Op =>
  ({ settle: { queue: Q, settlements, mutation: null } }) as never;
const publish = (...values: string[]): Op =>
  ({
    publish: {
      stream: S,
      records: values.map((value) => ({
        key: Buffer.alloc(0),
        value: Buffer.from(value),
        contentType: '',
        headers: {},
        envelope: null,
        timeMs: 0,
        partition: 0,
      })),
      mutation: null,
    },
  }) as never;
const commitOffset = (offset: number): Op => {
  const offsets = [{ partition: 0, offset, epoch: 1, metadata: '' }];
  return { commit: { stream: S, group: 'g', memberId: 'm', offsets, mutation: null } } as never;
};
const set = (key: string, value: string) => ({
  set: {
    key: bytes(key),
    value: Buffer.from(value),
    contentType: '',
    ttlMs: 0,
    keepTtl: false,
    ifAbsent: false,
    ifPresent: false,
    ifRevision: 0,
  },
});

describe.each([1, 3])('%i shards', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
    await bench.declare(Q, { maxDepth: 9 });
    await bench.fabric.admin.applyStream(caller, {
      name: S,
      partitions: 1,
      retentionMs: 0,
      retentionBytes: 0,
      cleanup: '',
      minCompactionLagMs: 0,
      tombstoneRetentionMs: 0,
      schemaRef: null,
      consumerGroups: [],
      mutation: null,
    });
    const hello = { stream: S, group: 'g', memberId: 'm', creditBytes: 1024, startFrom: '', client: '' };
    await bench.fabric.streams.openConsume(
      caller,
      hello,
      () => true,
      () => {},
    );
    await bench.idle();
  });
  afterEach(() => bench.close());

  const commit = (ops: Op[], m: pb.Mutation | null = null) =>
    bench.fabric.transactions.commit(caller, { ops, mutation: m });
  const records = async () => {
    const request = {
      stream: S,
      partition: 0,
      offset: 0,
      timestampMs: null,
      max: 0,
      from: 'offset' as const,
    };
    const { records: found } = await bench.fabric.streams.read(caller, request as never);
    return (found ?? []).map(({ value }) => Buffer.from(value ?? []).toString());
  };
  const committed = async () =>
    (
      await bench.fabric.streams.getGroup(caller, { stream: S, group: 'g' }).catch(() => null)
    )?.partitions?.map((p) => p.committed);
  const keys = async () => {
    const request = (op: string, body: object) => ({ op, [op]: { key: bytes('k'), ...body } }) as never;
    const ops = [
      request('get', {}),
      request('inspect', { key: bytes('h') }),
      request('hashScan', { key: bytes('h'), cursor: Buffer.alloc(0), limit: 0 }),
      request('setScan', { key: bytes('m'), cursor: Buffer.alloc(0), limit: 0 }),
      request('sortedSetRange', {
        key: bytes('z'),
        minScore: null,
        maxScore: null,
        reverse: false,
        offset: 0,
        limit: 0,
      }),
      request('get', { key: bytes('n') }),
    ];
    return JSON.stringify(
      (await bench.fabric.kv.execute(caller, { keyspace: '', ops, mutation: null, asOf: null })).results,
    );
  };
  /** Everything that somebody could see. */
  const view = async () => ({
    figures: await bench.figures(Q),
    totals: await bench.totals(Q),
    jobs: (await bench.queues.listJobs(caller, { queue: Q, state: '', limit: 0, cursor: '' })).jobs,
    records: await records(),
    committed: await committed(),
    keys: await keys(),
  });

  /** Jobs of every kind: the leased ones are returned by payload. */
  async function populate(): Promise<Record<string, Held>> {
    await bench.enqueue(Q, aJob('p1'), aJob('p2'), aJob('k1', { key: 'k' }), aJob('k2', { key: 'k' }));
    await bench.enqueue(Q, aJob('d', { dedupKey: 'seen', delayMs: 50_000 }), aJob('high', { priority: 5 }));
    await commit([
      kv(set('k', 'old'), {
        hashSet: { key: bytes('h'), fields: [{ field: Buffer.from('f'), value: Buffer.from('1') }] },
      }),
      kv({ setAdd: { key: bytes('m'), members: [Buffer.from('one')] } }),
      kv({ sortedSetAdd: { key: bytes('z'), members: [{ member: Buffer.from('one'), score: 1 }] } }),
      publish('r0'),
      commitOffset(0),
    ]);
    return Object.fromEntries((await bench.lease(Q, 9)).map((job) => [job.payload, job]));
  }

  const UNDONE: [string, (held: Record<string, Held>) => Op[]][] = [
    ['set', () => [kv(set('k', 'new'), set('n', 'new'))]],
    [
      'delete',
      () => [
        kv({ delete: { key: bytes('k'), ifRevision: 0 } }, { delete: { key: bytes('h'), ifRevision: 0 } }),
      ],
    ],
    [
      'hash',
      () => [kv({ hashIncrement: { key: bytes('h'), field: Buffer.from('f'), by: 'integer', integer: 4 } })],
    ],
    [
      'collections',
      () => [
        kv(
          { setAdd: { key: bytes('m'), members: [Buffer.from('two')] } },
          { setRemove: { key: bytes('m'), members: [Buffer.from('one')] } },
        ),
        kv({ sortedSetAdd: { key: bytes('z'), members: [{ member: Buffer.from('one'), score: 9 }] } }),
      ],
    ],
    ['plain enqueue', () => [enqueue(aJob('x'), aJob('y')), enqueue(aJob('z'))]],
    [
      'keyed enqueue',
      () => [enqueue(aJob('k3', { key: 'k' }), aJob('l1', { key: 'l' }), aJob('l2', { key: 'l' }))],
    ],
    [
      'delayed, prioritised, deduplicated',
      () => [enqueue(aJob('a', { delayMs: 10 }), aJob('b', { priority: 9 }), aJob('c', { dedupKey: 'new' }))],
    ],
    ['ack', ({ p1 }) => [settle(ackOf(p1 as Held))]],
    ['ack of a lane', ({ k1 }) => [settle(ackOf(k1 as Held))]],
    [
      'nack',
      ({ p1, p2, k1 }) => [
        settle(
          nackOf(p1 as Held),
          nackOf(p2 as Held, { release: true }),
          nackOf(k1 as Held, { unrecoverable: true }),
        ),
      ],
    ],
    ['extension', ({ p1 }) => [settle(extendOf(p1 as Held, 90_000))]],
    ['publish', () => [publish('r1', 'r2'), publish('r3')]],
    ['offset', () => [commitOffset(1)]],
  ];

  test.each(UNDONE)('[TX2] %s is taken back when a later operation is refused', async (_, make) => {
    const held = await populate();
    const before = await view();
    const refused = settle(ackOf({ id: held.high?.id ?? '', leaseEpoch: 999 }));
    await expect(commit([...make(held), refused])).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await view()).toEqual(before);
    await bench.restart();
    expect(await view()).toEqual(before);
  });

  test.each(UNDONE)(
    '[TX3] [TX1] %s that was taken back can be done afterwards, and lasts',
    async (_, make) => {
      const held = await populate();
      const refused = settle(ackOf({ id: held.high?.id ?? '', leaseEpoch: 999 }));
      await commit([...make(held), refused]).catch(() => {});
      const before = await view();
      await commit(make(held));
      const after = await view();
      expect(after).not.toEqual(before);
      await bench.restart();
      expect(await view()).toEqual(after);
      await bench.checkpoint();
      await bench.restart();
      expect(await view()).toEqual(after);
    },
  );

  test('[TX4] after a rollback jobs are given out, timed and retried as if nothing had been', async () => {
    const held = await populate();
    const everything = UNDONE.filter(([name]) => !['nack', 'extension'].includes(name)).flatMap(([, make]) =>
      make(held),
    );
    const full = enqueue(
      aJob('1'),
      aJob('2'),
      aJob('3'),
      aJob('4'),
      aJob('5'),
      aJob('6'),
      aJob('7'),
      aJob('8'),
      aJob('9'),
    );
    await expect(commit([...everything, full])).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    const [job] = await bench.enqueue(Q, aJob('next'));
    expect(job?.id?.endsWith('-6')).toBe(true);
    expect(payloads(await bench.lease(Q, 9))).toEqual(['next']);
    expect(await bench.settle(Q, ...Object.values(held).map(ackOf))).toEqual(['', '', '', '']);
    expect(payloads(await bench.lease(Q, 9))).toEqual(['k2']);
    await bench.advance(50_000);
    expect(payloads(await bench.lease(Q, 9)).sort()).toEqual(['d', 'k2', 'next']);
  });

  test('[TX4] a job that is leased in between is not touched by a rollback', async () => {
    const held = await populate();
    await commit([settle(ackOf(held.p1 as Held)), settle(ackOf(held.p1 as Held))]).catch(() => {});
    await bench.advance(31_000);
    // The ack was rolled back, so the lease ran out, and its epoch is worth nothing any more.
    expect(await bench.settle(Q, ackOf(held.p1 as Held))).toEqual(['LEASE_LOST']);
  });

  test('[TX8] an ack that was given before refuses the transaction', async () => {
    const { p1 } = await populate();
    await commit([settle(ackOf(p1 as Held)), kv(set('k', 'once'))]);
    await expect(commit([settle(ackOf(p1 as Held)), kv(set('k', 'twice'))])).rejects.toMatchObject({
      code: 'LEASE_LOST',
    });
    expect(await keys()).toContain(JSON.stringify(Buffer.from('once')));
  });

  test('[TX9] a repeat gets the replies that were given, also after a restart', async () => {
    const { p1 } = await populate();
    const ops = [
      kv({ increment: { key: bytes('n'), delta: 1 } }),
      enqueue(aJob('x')),
      publish('r1'),
      settle(ackOf(p1 as Held)),
      commitOffset(1),
    ];
    const first = wire(await commit(ops, mutation('p', 1)));
    const after = await view();
    expect(wire(await commit(ops, mutation('p', 1)))).toBe(first);
    await bench.restart();
    expect(wire(await commit(ops, mutation('p', 1)))).toBe(first);
    await bench.restart({ clean: true });
    expect(wire(await commit(ops, mutation('p', 1)))).toBe(first);
    expect(await view()).toEqual(after);
  });

  test('[TX5] later operations see what earlier ones did', async () => {
    const reply = await commit([
      kv({ increment: { key: bytes('n'), delta: 2 } }),
      kv({ increment: { key: bytes('n'), delta: 3 } }),
      enqueue(aJob('x')),
      enqueue(aJob('y')),
    ]);
    expect(reply.results?.map((r) => r.kv?.results?.[0]?.integer ?? r.enqueue?.jobs?.[0]?.id)).toEqual([
      2,
      5,
      expect.stringMatching(/-0$/),
      expect.stringMatching(/-1$/),
    ]);
  });

  test(`[TX6] names on several shards (of ${shards}) are refused, names on one are not`, async () => {
    const other = Array.from({ length: 50 }, (_, i) => `{u${i}}`);
    const codes = new Set<string>();
    for (const tag of other) {
      const op = { enqueue: { queue: `${tag}q`, jobs: [aJob('x')], mutation: null } } as never;
      codes.add(
        await commit([kv(set('k', 'x')), op]).then(
          () => 'done',
          (error) => error.code,
        ),
      );
      if (codes.has('CROSS_SHARD')) break;
    }
    expect(codes.has('CROSS_SHARD')).toBe(shards > 1);
  });

  test('[TX7] an empty transaction is refused', async () => {
    await expect(commit([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
