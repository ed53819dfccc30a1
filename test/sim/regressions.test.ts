// What the simulation has found, each once more by itself.
import type { KvOpInput, KvResultInput } from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import type { KvService } from '../../dataplane/services.ts';
import { aRequest, b } from '../kv/support.ts';
import { ackOf, aJob, aQueue, heldOf, mutation, nackOf } from '../queue/bench.ts';
import { Chance } from './chance.ts';
import { Machine } from './machine.ts';
import { caller } from './sim.ts';
import { World } from './world.ts';

const sizes = {
  segmentBytes: 64 * 1024,
  historyBytes: 0,
  checkpointBytes: 1,
  logSegmentBytes: 8 * 1024,
  cacheBytesMax: 64 * 1024,
  keysBytesMax: 8 * 1024,
};

/** Runs `script` to its end in virtual time; a failure that nobody heard of fails it. */
async function inWorld(script: (machine: Machine) => Promise<void>, shards = 1): Promise<void> {
  const chance = new Chance(1);
  const world = new World(chance.fork());
  const machine = new Machine(world, chance.fork(), { shards, ...sizes });
  const unheard: unknown[] = [];
  const note = (error: unknown) => void unheard.push(error);
  process.on('unhandledRejection', note);
  let isDone = false;
  machine.start();
  const played = script(machine).finally(() => {
    isDone = true;
  });
  await world.run(120_000, () => isDone);
  process.off('unhandledRejection', note);
  expect(isDone, 'it came to its end').toBe(true);
  await played;
  expect(unheard).toEqual([]);
}

const readsFail = (machine: Machine, kind: string, times: number) => {
  let left = times;
  machine.disk.fails = (each) => each === kind && left-- > 0;
};

const restart = async (machine: Machine) => {
  machine.crash(false, 1, 1);
  await machine.up();
};

const lease = async (machine: Machine, waitMs: number) => {
  const request = { queue: 'q', max: 1, waitMs, visibilityMs: 0, worker: 'w' };
  const { queues } = await machine.up();
  const { jobs } = await queues.lease(caller, request, new AbortController().signal);
  return (jobs ?? []).map(heldOf);
};

test('a delayed job comes although the first reads of its rows fail', () =>
  inWorld(async (machine) => {
    const { queues } = await machine.up();
    await queues.enqueue(caller, { queue: 'q', jobs: [aJob('later', { delayMs: 3000 })], mutation: null });
    await machine.world.sleep(500);
    await restart(machine);
    readsFail(machine, 'rows-read', 3);
    const [job] = await lease(machine, 30_000);
    expect(job?.payload).toBe('later');
  }));

test('a dying job is buried although the first reads of it fail', () =>
  inWorld(async (machine) => {
    const { queues } = await machine.up();
    await queues.enqueue(caller, { queue: 'q', jobs: [aJob('bad'), aJob('good')], mutation: null });
    const [job] = await lease(machine, 0);
    readsFail(machine, 'rows-read', 2);
    const nack = nackOf(job as never, { unrecoverable: true });
    await queues.settle(caller, { queue: 'q', settlements: [nack], mutation: null });
    await machine.world.sleep(20_000);
    const { admin } = await machine.up();
    const { figures } = await admin.getQueue(caller, { name: 'q' });
    expect(figures?.deadTotal).toBe(1);
  }));

test('a job comes although the first reads of its bytes fail', () =>
  inWorld(async (machine) => {
    const { admin, queues } = await machine.up();
    await admin.applyQueue(caller, aQueue('q'));
    await queues.enqueue(caller, { queue: 'q', jobs: [aJob('one')], mutation: null });
    await machine.world.sleep(500);
    await restart(machine);
    readsFail(machine, 'read', 3);
    const [job] = await lease(machine, 30_000);
    expect(job?.payload).toBe('one');
    const { queues: again } = await machine.up();
    await again.settle(caller, { queue: 'q', settlements: [ackOf(job as never)], mutation: null });
  }));

test.each(['read', 'rows-read'])('a job with a limit key comes although the first %ss of it fail', (kind) =>
  inWorld(async (machine) => {
    const { admin, queues } = await machine.up();
    const limits = { ratePerKey: null, concurrencyPerKey: 1, rate: null, concurrency: 0 };
    await admin.applyQueue(caller, aQueue('q', { limits }));
    // So many behind it that its bytes are not in memory.
    const others = Array.from({ length: 100 }, () => aJob('x'.repeat(1000), { limitKey: 'm' }));
    const jobs = [aJob('one', { limitKey: 'l' }), ...others];
    for (const job of jobs) await queues.enqueue(caller, { queue: 'q', jobs: [job], mutation: null });
    await machine.world.sleep(500);
    await restart(machine);
    readsFail(machine, kind, 5);
    const come = [...(await lease(machine, 10_000)), ...(await lease(machine, 10_000))];
    expect(come.map(({ payload }) => payload)).toContain('one');
  }),
);

test('a repeat is a repeat, however long the server was down', () =>
  inWorld(async (machine) => {
    const request = { queue: 'q', jobs: [aJob('once')], mutation: mutation('p', 1) };
    const first = await (await machine.up()).queues.enqueue(caller, request);
    machine.world.wallOffsetMs += 3_600_000;
    await restart(machine);
    await machine.world.sleep(5000);
    const again = await (await machine.up()).queues.enqueue(caller, request);
    expect(again.jobs?.[0]?.id).toBe(first.jobs?.[0]?.id);
  }));

test('what cannot be read is an error with a code', () =>
  inWorld(async (machine) => {
    const { queues } = await machine.up();
    const { jobs } = await queues.enqueue(caller, { queue: 'q', jobs: [aJob('one')], mutation: null });
    await machine.world.sleep(500);
    await restart(machine);
    readsFail(machine, 'read', 1);
    const { queues: again } = await machine.up();
    const asked = again.getJob(caller, { queue: 'q', id: jobs?.[0]?.id ?? '' });
    await expect(asked).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  }));

/** Asks all the time until the key `k` is seen expired, cuts the power in that moment, and asks again. */
const seenExpired = async (machine: Machine, ask: (kv: KvService) => Promise<boolean>) => {
  const { kv } = await machine.up();
  await kv.execute(caller, aRequest([{ set: { key: b('k'), value: b('v'), ttlMs: 100 } }]));
  await machine.world.sleep(95);
  await new Promise<void>((resolve) => {
    let isSeen = false;
    const look = () => {
      if (isSeen) return resolve();
      machine.world.after(0.02, look);
      void ask(kv).then((isThere) => {
        if (isThere || isSeen) return;
        isSeen = true;
        machine.world.wallOffsetMs -= 60_000;
        machine.crash(true, 0, 1);
      });
    };
    look();
  });
  return ask((await machine.up()).kv);
};

const execute = async (kv: KvService, op: KvOpInput) => {
  const { results } = await kv.execute(caller, aRequest([op]));
  return results?.[0] as KvResultInput;
};

test.each<[string, (kv: KvService) => Promise<boolean>]>([
  ['get', async (kv) => (await execute(kv, { get: { key: b('k') } })).found === true],
  ['scan', async (kv) => (await execute(kv, { scan: {} })).entries?.length === 1],
  [
    'a plain get',
    async (kv) => {
      const value = kv.getNow(caller, '', b('k'));
      if (value !== undefined) return value !== null;
      return new Promise((resolve) =>
        kv.plain(caller, '', [{ key: b('k'), value: null }], ([result]) => resolve(result?.found === true)),
      );
    },
  ],
])('[KV9] [KV13] what %s has shown as expired stays so, whatever power and clock do', (_way, ask) =>
  inWorld(async (machine) => expect(await seenExpired(machine, ask)).toBe(false)),
);

const redriven = async (machine: Machine, afterMs: number) => {
  const task = { queue: 'sick.dead', max: 0, perSecond: 0, parkAfter: 0, mutation: null };
  const first = await machine.up();
  await first.admin.applyQueue(caller, aQueue('ward'));
  const names = Array.from({ length: 8 }, (_, i) => `j${i}`);
  await first.queues.enqueue(caller, {
    queue: 'sick',
    jobs: names.map((name) => aJob(name)),
    mutation: null,
  });
  const request = { queue: 'sick', max: 8, waitMs: 0, visibilityMs: 0, worker: 'w' };
  const { jobs } = await first.queues.lease(caller, request, new AbortController().signal);
  const settlements = (jobs ?? []).map((job) => nackOf(heldOf(job), { unrecoverable: true }));
  await first.queues.settle(caller, { queue: 'sick', settlements, mutation: null });
  await machine.world.sleep(500);
  // Cut short on its way to another shard, cancelled at once, and sent back to the source.
  first.queues.startRedrive(caller, { ...task, targetQueue: 'ward' }).catch(() => {});
  await machine.world.sleep(afterMs);
  await restart(machine);
  const { queues, admin } = await machine.up();
  await queues.cancelRedrive(caller, { queue: 'sick.dead', mutation: null }).catch(() => {});
  await queues.startRedrive(caller, { ...task, targetQueue: '' });
  await machine.world.sleep(90_000);
  const waiting = async (name: string) => (await admin.getQueue(caller, { name })).figures?.waiting ?? 0;
  return (await waiting('sick')) + (await waiting('ward')) + (await waiting('sick.dead'));
};

test('[Q28] a redrive that is cut short, cancelled and sent elsewhere doubles nothing', async () => {
  for (let afterMs = 0.1; afterMs < 6; afterMs += 0.2) {
    const script = async (machine: Machine) =>
      expect(await redriven(machine, afterMs), `cut after ${afterMs} ms`).toBe(8);
    await inWorld(script, 3);
  }
});
