// What is measured of consumer groups, from the fabric as a whole; on one shard and on three.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Signals } from '../../dataplane/scaling/signals.ts';
import type { ConsumeSession } from '../../dataplane/services.ts';
import { Bench, caller } from '../queue/bench.ts';
import { aHello, aRecord, aSpec } from '../stream/support.ts';

const SCALING: pb.Scaling = { scaleFrom: 0, scaleTo: 20, basedOn: ['stream_lag > 10'] };

/** A member that is sent what its credit allows, and commits what it is told to. */
class Member {
  readonly #messages: pb.ConsumeResponseInput[] = [];
  #session!: ConsumeSession;

  static async join(bench: Bench, memberId: string, more: Partial<pb.ConsumeHello> = {}): Promise<Member> {
    const member = new Member();
    const hello = aHello(memberId, { stream: 's', group: 'g', client: `pod-${memberId}`, ...more });
    const take = (message: pb.ConsumeResponseInput) => {
      member.#messages.push(message);
      const partitions = message.assignment?.revoking ?? [];
      if (partitions?.length) setImmediate(() => member.#tell({ revoked: { partitions } }));
      return true;
    };
    member.#session = await bench.fabric.streams.openConsume(caller, hello, take, () => {});
    await bench.idle();
    return member;
  }

  get assigned() {
    return this.#messages.findLast(({ assignment }) => assignment)?.assignment?.partitions ?? [];
  }

  commit(partition: number, offset: number): void {
    const epoch = this.assigned.find((each) => each.partition === partition)?.epoch ?? 0;
    const offsets = [{ partition, offset, epoch, metadata: '' }];
    this.#tell({ commit: { seq: 1, offsets, mutation: null } });
  }

  heartbeat(): void {
    this.#tell({ heartbeat: {} });
  }

  leave(): void {
    this.#tell({ leave: {} });
  }

  #tell(message: Record<string, unknown>): void {
    this.#session.receive({ message: Object.keys(message)[0], ...message } as never);
  }
}

describe.each([1, 3])('%i shards', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
    const consumerGroups = [{ name: 'g', scaling: SCALING }];
    await bench.fabric.admin.applyStream(caller, aSpec('s', 2, { consumerGroups }));
  });
  afterEach(() => bench.close());

  const ask = () => bench.fabric.admin.getScaling(caller, { queue: '', stream: 's', group: 'g' });
  const publish = async (partition: number, count: number) => {
    const records = Array.from({ length: count }, () => aRecord('value', { partition }));
    await bench.fabric.streams.publish(caller, { stream: 's', records, mutation: null });
    await bench.idle();
  };
  /** Ages are read from files, in real time. */
  const signals = async (seconds = 1, each: () => void | Promise<void> = () => {}): Promise<Signals> => {
    for (let i = 0; i < seconds; i++) {
      await each();
      await bench.advance(1000);
    }
    return vi.waitFor(async () => {
      const seen = (await ask()).signals as unknown as Signals;
      expect(bench.time.now - seen.atMs).toBeLessThan(1000);
      return seen;
    }, 20_000);
  };

  test('[ST71] a group that is declared and has had no member lags by all that is there', async () => {
    await publish(0, 3);
    const atMs = bench.time.now;
    await bench.advance(500);
    await publish(1, 4);
    const seen = await signals(4);
    expect(seen).toMatchObject({ lag: 7, workers: 0, busyWorkers: 0, partitions: 2, stalled: false });
    expect(seen.oldestReadyAtMs).toBe(atMs);
    expect((await ask()).workers).toEqual([]);
    const { advice } = await ask();
    expect(advice).toMatchObject({ active: true });
    // Whoever looks for what is behind finds it, wherever groups are shown.
    const { arrivalsPerSecond } = seen;
    const figures = {
      ...{ group: 'g', lag: 7, members: 0, oldestUncommittedAtMs: atMs, arrivalsPerSecond },
      workersWanted: advice?.workersWanted,
    };
    const request = { kind: 'stream', cursor: '', limit: 0, bucketed: false };
    const { streams = [] } = await bench.fabric.admin.listFigures(caller, request);
    expect(streams?.[0]?.groups).toMatchObject([figures]);
    const shown = { group: 'g', state: 'empty', members: [], lag: 7, figures };
    const { groups } = await bench.fabric.streams.listGroups(caller, { stream: 's' });
    expect(groups).toMatchObject([shown]);
    expect(await bench.fabric.streams.getGroup(caller, { stream: 's', group: 'g' })).toMatchObject(shown);
    await Member.join(bench, 'a', { creditBytes: 0 });
    const after = await bench.fabric.streams.listGroups(caller, { stream: 's' });
    expect(after.groups).toMatchObject([{ group: 'g', members: [{ client: 'pod-a' }] }]);
  });

  test('[ST72] [ST75] records on the way make a member busy, until they are committed', async () => {
    const [a, b] = [await Member.join(bench, 'a'), await Member.join(bench, 'b')];
    await vi.waitFor(() => expect([a.assigned.length, b.assigned.length]).toEqual([1, 1]), 20_000);
    const mine = a.assigned[0]?.partition ?? -1;
    let written = 0;
    const seen = await signals(30, async () => {
      await publish(mine, 5);
      written += 5;
      await bench.advance(200);
      a.commit(mine, written - 2);
      await bench.idle();
      a.heartbeat();
      b.heartbeat();
    });
    expect(seen).toMatchObject({ lag: 2, inFlight: 0, workers: 2, busyWorkers: 1 });
    expect(seen.arrivalsPerSecond).toBeGreaterThan(3.5);
    expect(seen.arrivalsPerSecond).toBeLessThan(5);
    expect(seen.completionsPerSecond).toBeCloseTo(seen.arrivalsPerSecond, 0);
    expect(seen.processingMs).toBeGreaterThanOrEqual(200);
    expect(seen.processingMs).toBeLessThan(1300);
    expect(seen.throughputPerWorker).toBeGreaterThan(3);
    expect((await ask()).workers).toEqual([
      { name: 'pod-a', busy: true, leased: 1, build: '' },
      { name: 'pod-b', busy: false, leased: 0, build: '' },
    ]);
    a.commit(mine, written);
    expect(await signals()).toMatchObject({ lag: 0, busyWorkers: 0, oldestReadyAtMs: 0 });
  });

  test('[ST75] members of one pod are one worker, and told alike everywhere', async () => {
    const more = { client: 'pod-a' };
    const members = [await Member.join(bench, 'a', more), await Member.join(bench, 'b', more)];
    await vi.waitFor(() => expect(members.map(({ assigned }) => assigned.length)).toEqual([1, 1]), 20_000);
    const seen = await signals(4, async () => {
      await publish(0, 1);
      await publish(1, 1);
    });
    expect(seen).toMatchObject({ workers: 1, busyWorkers: 1, lag: 8 });
    expect(await ask()).toMatchObject({
      workers: [{ name: 'pod-a', busy: true, leased: 2, build: '' }],
      advice: { workersWanted: 1 },
    });
    const { groups } = await bench.fabric.streams.listGroups(caller, { stream: 's' });
    expect(groups?.[0]?.figures).toMatchObject({ members: 2, busyWorkers: 1 });
  });

  test('[ST70] [ST74] a partition that stands still is told apart from the others', async () => {
    const member = await Member.join(bench, 'a');
    await publish(0, 9);
    let written = 0;
    const seen = await signals(330, async () => {
      await publish(1, 1);
      written++;
      if (written > 2) member.commit(1, written - 2);
      member.heartbeat();
      await bench.idle();
    });
    expect(seen).toMatchObject({ stalled: true, stalledPartitions: 1, partitions: 2, lag: 2 });
    expect(bench.time.now - seen.oldestReadyAtMs).toBeLessThan(5000);
    const { groups = [] } = await bench.fabric.streams.listGroups(caller, { stream: 's' });
    expect(groups?.[0]?.figures).toMatchObject({ lag: 11, busyWorkers: 1 });
    member.commit(0, 9);
    await bench.idle();
    expect(await signals(1, () => member.heartbeat())).toMatchObject({ stalledPartitions: 0 });
  }, 120_000);

  test('[ST72] rates of a group that is not scaled fade when its last member has left', async () => {
    const figures = async () => {
      const { groups } = await bench.fabric.streams.listGroups(caller, { stream: 's' });
      return groups?.find(({ group }) => group === 'plain')?.figures;
    };
    const work = async (member: Member | undefined, from: number, seconds: number) => {
      for (let end = from + 1; end <= from + seconds; end++) {
        await publish(0, 1);
        member?.commit(0, end);
        member?.heartbeat();
        await bench.advance(1000);
      }
    };
    const member = await Member.join(bench, 'a', { group: 'plain' });
    await vi.waitFor(() => expect(member.assigned.length).toBe(2), 20_000);
    await work(member, 0, 20);
    expect((await figures())?.completionsPerSecond).toBeGreaterThan(0.5);
    member.leave();
    await work(undefined, 20, 60);
    expect(await figures()).toMatchObject({ members: 0 });
    expect((await figures())?.completionsPerSecond).toBeLessThan(0.01);
    expect((await figures())?.arrivalsPerSecond).toBeGreaterThan(0.5);
    await bench.advance(90_000);
    expect((await figures())?.arrivalsPerSecond).toBe(0);
    await work(undefined, 80, 20);
    expect((await figures())?.arrivalsPerSecond).toBeGreaterThan(0.5);
  }, 60_000);

  test('[ST71] figures of groups say the same as GetScaling', async () => {
    await Member.join(bench, 'a', { creditBytes: 0 });
    await publish(0, 30);
    const seen = await signals(4);
    const request = { kind: 'stream', cursor: '', limit: 0, bucketed: false };
    const { streams = [] } = await bench.fabric.admin.listFigures(caller, request);
    const { lag, workers: members, busyWorkers, oldestReadyAtMs, arrivalsPerSecond } = seen;
    const expected = { lag, members, busyWorkers, arrivalsPerSecond };
    const { advice } = await ask();
    expect(streams?.[0]?.groups?.[0]).toMatchObject({
      ...{ ...expected, oldestUncommittedAtMs: oldestReadyAtMs, workersWanted: advice?.workersWanted },
    });
    expect(lag).toBe(30);
  });
});
