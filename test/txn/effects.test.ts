// What the handling of a message did is found by the message: on all shards, across restarts, checkpoints and
// pages. The model is a list of what was asked with which cause.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ackOf, aJob, Bench, caller } from '../queue/bench.ts';

const opened: Bench[] = [];
afterEach(async () => {
  for (const bench of opened.splice(0)) await bench.close();
});

async function open(shards: number): Promise<Bench> {
  const bench = await Bench.open({ shards, onDisk: true });
  opened.push(bench);
  for (const name of ['in', 'out', 'more']) await bench.declare(name, {});
  const streams = ['s', 't'].map((name) => pb.StreamSpec.create({ name, partitions: 3 }));
  for (const spec of streams) await bench.fabric.admin.applyStream(caller, spec);
  return bench;
}

const causedBy = (deliveryId: string, ordinal: number, producer = '', seq = 0): pb.Mutation =>
  ({ producerId: producer, seq, cause: { deliveryId, ordinal } }) as pb.Mutation;

const through = <T, I>(type: pb.MessageType<T, I>, message: I): T =>
  type.decode(type.encode(message).finish() as Buffer);

const set = (key: string, value: string) => ({ set: { key: Buffer.from(key), value: Buffer.from(value) } });

async function kv(bench: Bench, ops: pb.KvOpInput[], mutation: pb.MutationInput): Promise<void> {
  await bench.fabric.kv.execute(caller, through(pb.KvRequest, { ops, mutation }));
}

async function publish(bench: Bench, stream: string, values: string[], mutation: pb.MutationInput) {
  const records = values.map((value) => ({ value: Buffer.from(value), partition: 1 }));
  return bench.fabric.streams.publish(caller, through(pb.PublishRequest, { stream, records, mutation }));
}

async function effects(bench: Bench, of: pb.ListEffectsRequestInput, limit = 0): Promise<pb.Effect[]> {
  const all: pb.Effect[] = [];
  let cursor = '';
  do {
    const request = through(pb.ListEffectsRequest, { ...of, limit, cursor });
    const page = await bench.fabric.history.listEffects(caller, request);
    const { effects: found, cursor: next } = through(pb.ListEffectsResponse, page);
    expect(found.length).toBeLessThanOrEqual(limit || 100);
    all.push(...found);
    cursor = next;
  } while (cursor !== '');
  return all;
}

const words = ({ ordinal, kind, change, queue, stream, offset, group, partition }: pb.Effect): string => {
  const target = change ? `${change.key}` : stream ? `${stream}/${partition}/${offset}${group}` : queue;
  return `${ordinal} ${kind} ${target}`;
};

describe.each([1, 3])('%i shards', (shards) => {
  test('[TX10] [TX13] what a delivery did is listed, whatever it is and wherever it lies', async () => {
    const bench = await open(shards);
    await bench.enqueue('in', aJob('x'));
    const [job] = await bench.lease('in', 1);
    if (job === undefined) throw new Error('no job');
    const delivery = `${job.id}@${job.leaseEpoch}`;
    const { queues } = bench.fabric;
    await kv(
      bench,
      [set('a', '1'), { get: { key: Buffer.from('a') } }, set('b', '2')],
      causedBy(delivery, 1),
    );
    const jobs = [aJob('one', { key: 'k' }), aJob('two')];
    await queues.enqueue(caller, { queue: 'out', jobs, mutation: causedBy(delivery, 4) });
    await publish(bench, 's', ['r'], causedBy(delivery, 6));
    await kv(bench, [{ delete: { key: Buffer.from('a') } }], causedBy(delivery, 7));
    const settlements = [ackOf(job)];
    await queues.settle(caller, { queue: 'in', settlements, mutation: causedBy(delivery, 8) });
    // Of others, of nobody, and of what changed nothing.
    await kv(bench, [set('c', '3')], causedBy(`${job.id}1@1`, 1));
    await kv(bench, [set('d', '4')], { producerId: '', seq: 0 });
    await kv(bench, [{ delete: { key: Buffer.from('none') } }], causedBy(delivery, 9));
    const expected = [
      '1 set a',
      '3 set b',
      '4 enqueued out',
      '5 enqueued out',
      '6 written s/1/0',
      '7 delete a',
      '8 acked in',
    ];
    for (const again of [false, true]) {
      if (again) await bench.restart();
      const found = await effects(bench, { jobId: job.id });
      expect(found.map(words).sort()).toEqual(expected);
      expect(new Set(found.map(({ deliveryId }) => deliveryId))).toEqual(new Set([delivery]));
      expect((await effects(bench, { deliveryId: delivery }, 2)).map(words)).toEqual(found.map(words));
      expect(await effects(bench, { deliveryId: `${job.id}@999` })).toEqual([]);
    }
  });

  test('[TX10] a batch names a cause for each record, a transaction one for all its operations', async () => {
    const bench = await open(shards);
    const of = 's/0/7';
    const first = { ...set('{t}a', '1') };
    const ops = [
      { kv: { ops: [first] } },
      { enqueue: { queue: '{t}q', jobs: [{ payload: Buffer.from('j') }] } },
      { publish: { stream: '{t}s', records: [{ value: Buffer.from('r'), partition: 0 }] } },
    ];
    await bench.declare('{t}q', {});
    await bench.fabric.admin.applyStream(caller, pb.StreamSpec.create({ name: '{t}s', partitions: 1 }));
    const request = through(pb.TransactionRequest, { ops, mutation: causedBy(`${of}@3`, 11, 'p', 1) });
    await bench.fabric.transactions.commit(caller, request);
    // A repeat is not done again, and is no second effect; what is refused is none.
    await bench.fabric.transactions.commit(caller, request);
    const refused = [
      { kv: { ops: [first] } },
      { kv: { ops: [{ check: { key: Buffer.from('{t}a'), revision: 99 } }] } },
    ];
    const failing = through(pb.TransactionRequest, { ops: refused, mutation: causedBy(`${of}@3`, 14) });
    await expect(bench.fabric.transactions.commit(caller, failing)).rejects.toMatchObject({
      code: 'REVISION_MISMATCH',
    });
    const found = await effects(bench, { record: { stream: 's', partition: 0, offset: 7 } });
    expect(found.map(words)).toEqual(['11 set {t}a', '12 enqueued {t}q', '13 written {t}s/0/0']);
    expect(new Set(found.map(({ position }) => position)).size).toBe(1);
  });

  test('[TX11] pages go on where they ended, whatever is done meanwhile, for every message', async () => {
    const messages = ['0-1-1', '0-1-2', 's/0/1'];
    const act = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ of: fc.nat(2), n: fc.nat(7), kind: fc.constantFrom('kv', 'job', 'record') }),
      },
      { weight: 1, arbitrary: fc.constantFrom('restart' as const, 'checkpoint' as const) },
    );
    const run = async (acts: readonly (typeof act extends fc.Arbitrary<infer A> ? A : never)[]) => {
      const bench = await open(shards);
      const model = messages.map((): string[] => []);
      const does = async (of: number, n: number, kind: string) => {
        const list = model[of] as string[];
        const mutation = causedBy(`${messages[of]}@1`, list.length + 1);
        if (kind === 'kv') await kv(bench, [set(`k${n}`, `${list.length}`)], mutation);
        else if (kind === 'job') {
          const jobs = [aJob('j')];
          await bench.fabric.queues.enqueue(caller, { queue: n % 2 ? 'out' : 'more', jobs, mutation });
        } else await publish(bench, n % 2 ? 's' : 't', ['r'], mutation);
        const what = kind === 'kv' ? `set k${n}` : kind === 'job' ? 'enqueued' : 'written';
        list.push(`${list.length + 1} ${what}`);
        await bench.advance(n % 3);
      };
      for (const each of acts) {
        if (each === 'restart') await bench.restart();
        else if (each === 'checkpoint') await bench.checkpoint();
        else await does(each.of, each.n, each.kind);
      }
      for (const [of, message] of messages.entries()) {
        const expected = [...(model[of] as string[])];
        const asked = message.includes('/')
          ? { record: { stream: 's', partition: 0, offset: 1 } }
          : { jobId: message };
        const found = await effects(bench, asked, 3);
        const shown = found.map(({ ordinal, kind, change }) =>
          change ? `${ordinal} set ${change.key}` : `${ordinal} ${kind}`,
        );
        expect(shown.sort()).toEqual(expected.sort());
      }
      opened.splice(opened.indexOf(bench), 1);
      await bench.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(act, { maxLength: 30 }), run), {
      numRuns: shards === 1 ? 6 : 4,
    });
  });

  test('[TX10] more effects than a run of the index holds are all found, also behind a restart', async () => {
    const bench = await open(shards);
    for (let round = 0; round < 3; round++) {
      const jobs = Array.from({ length: 600 }, (_, i) => aJob(`${i}`));
      const builder = Array.from({ length: 600 }, (_, i) =>
        bench.fabric.queues.enqueue(caller, {
          queue: 'out',
          jobs: [jobs[i] as pb.NewJob],
          mutation: causedBy(`0-1-${i % 2}@1`, 1 + round * 600 + i),
        }),
      );
      await Promise.all(builder);
      if (round === 1) await bench.restart();
    }
    const found = await effects(bench, { jobId: '0-1-1' }, 1000);
    const ordinals = found.map(({ ordinal }) => ordinal).sort((a, b) => a - b);
    expect(ordinals).toEqual(Array.from({ length: 900 }, (_, i) => 2 + 2 * i));
  });
});

test('[TX12] bad questions are refused, and a cause that is too long', async () => {
  const bench = await open(1);
  const ask = (request: pb.ListEffectsRequestInput) =>
    bench.fabric.history.listEffects(caller, through(pb.ListEffectsRequest, request));
  await expect(ask({})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(ask({ jobId: 'nonsense' })).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  await expect(ask({ deliveryId: '' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(ask({ jobId: '0-1-1', limit: 1001 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(ask({ jobId: '0-1-1', cursor: 'x' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const jobs = [aJob('x')];
  const enqueue = (deliveryId: string) =>
    bench.fabric.queues.enqueue(caller, { queue: 'out', jobs, mutation: causedBy(deliveryId, 1) });
  await expect(enqueue('d'.repeat(1100))).rejects.toMatchObject({ code: 'KEY_TOO_LARGE' });
  const write = (deliveryId: string) => kv(bench, [set('a', '1')], causedBy(deliveryId, 1));
  await write('d'.repeat(1024));
  const other = { ...caller, tenant: 2 };
  const request = through(pb.ListEffectsRequest, { deliveryId: 'd'.repeat(1024) });
  expect((await bench.fabric.history.listEffects(other, request)).effects).toEqual([]);
  expect((await bench.fabric.history.listEffects(caller, request)).effects).toHaveLength(1);
});
