// Streams against arrays: random scripts of publishing, joining, committing, seeking, growing and dying, and
// after each step everything that must be true. Runs on anything that offers a Bed.
//   offsets are dense and records are what was published      no record is seen before it is durable
//   a partition has one owner, an epoch has one owner for ever   a commit counts exactly when owner and epoch
//   are right committed is what was committed or sought, also after a crash
import fc from 'fast-check';
import { expect } from 'vitest';
import type { Streams } from '../../dataplane/stream/service.ts';
import { caller } from './fake.ts';
import { aSpec, batchOf, Member, publishBatch, readFrom, valuesOf } from './support.ts';

export interface Bed {
  readonly streams: Streams;
  /** Everything that can happen without time passing has happened. */
  settle(): Promise<void>;
  advance(ms: number): Promise<void>;
  checkpoint(): Promise<void>;
  restart(): Promise<void>;
  /** From now on this shard's journal takes nothing; absent where that cannot be done. */
  hold?(shard: number): void;
  close(): Promise<void>;
}

export type Step =
  | { readonly do: 'publish'; readonly p: number; readonly count: number }
  | { readonly do: 'repeat'; readonly p: number }
  | { readonly do: 'join' | 'leave' | 'disconnect' | 'revoked'; readonly m: number }
  | { readonly do: 'commit'; readonly m: number; readonly p: number; readonly back: number }
  | { readonly do: 'stale'; readonly m: number; readonly p: number; readonly by: number }
  | { readonly do: 'seek'; readonly p: number | null; readonly to: number }
  | { readonly do: 'grow' | 'silence' | 'checkpoint' | 'restart' }
  | { readonly do: 'crash'; readonly shard: number; readonly during: readonly Step[] };

const p = fc.nat({ max: 9 });
const m = fc.nat({ max: 3 });
const seekTo = fc.nat({ max: 12 });

const quiet: fc.WeightedArbitrary<Step>[] = [
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('publish'), p, count: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('join'), m }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('leave', 'disconnect'), m }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('revoked'), m }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('commit'), m, p, back: fc.nat({ max: 2 }) }) },
];

export const script: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    ...quiet,
    { weight: 1, arbitrary: fc.record({ do: fc.constant('repeat'), p }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('stale'), m, p, by: fc.constantFrom(-1, 1) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('seek'), p: fc.option(p), to: seekTo }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('grow', 'silence', 'checkpoint', 'restart') }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('crash'),
        shard: fc.nat({ max: 2 }),
        during: fc.array(fc.oneof(...quiet), { maxLength: 4 }),
      }),
    },
  ) as fc.Arbitrary<Step>,
  { maxLength: 30, size: 'max' },
);

const group = { stream: 's', group: 'g' };

export class Model {
  readonly #bed: Bed;
  readonly #records: string[][] = [[], []];
  readonly #committed = new Map<number, number>();
  /** Who was given a partition under an epoch: nobody else may be, ever. */
  readonly #owners = new Map<string, string>();
  #members = new Map<string, Member>();
  #published = 0;
  #seq = 0;
  #lastMutation: { p: number; seq: number; firstOffset: number } | null = null;

  constructor(bed: Bed) {
    this.#bed = bed;
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.#bed.streams.admin.applyStream(caller, aSpec('s', 2));
    for (const step of steps) {
      await this.#step(step);
      await this.#bed.settle();
      await this.#check();
    }
    await this.#calm();
  }

  async #step(step: Step): Promise<void> {
    switch (step.do) {
      case 'publish':
        return this.#publish(step.p % this.#records.length, step.count);
      case 'repeat':
        return this.#repeat();
      case 'join':
        return this.#join(`m${step.m}`);
      case 'leave':
        this.#members.get(`m${step.m}`)?.leave();
        this.#members.delete(`m${step.m}`);
        return;
      case 'disconnect':
        this.#members.get(`m${step.m}`)?.session.disconnect();
        this.#members.delete(`m${step.m}`);
        return;
      case 'revoked':
        this.#members.get(`m${step.m}`)?.revoked();
        return;
      case 'commit':
        return this.#commit(step.m, step.p, step.back);
      case 'stale':
        return this.#stale(step.m, step.p, step.by);
      case 'seek':
        return this.#seek(step.p === null ? null : step.p % this.#records.length, step.to);
      case 'grow':
        if (this.#records.length >= 5) return;
        await this.#bed.streams.admin.applyStream(caller, aSpec('s', this.#records.length + 1));
        this.#records.push([]);
        await this.#bed.advance(1000);
        return;
      case 'silence':
        return this.#silence();
      case 'checkpoint':
        return this.#bed.checkpoint();
      case 'restart':
        return this.#restart();
      case 'crash':
        return this.#crash(step.shard, step.during);
    }
  }

  async #publish(partition: number, count: number): Promise<void> {
    const values = Array.from({ length: count }, () => `r${this.#published++}`);
    const mutation = { producerId: 'p', seq: ++this.#seq, cause: null };
    const reply = await publishBatch(this.#bed.streams, 's', partition, batchOf(...values), mutation);
    const records = this.#records[partition] ?? [];
    expect(reply).toMatchObject({ firstOffset: records.length, count });
    this.#lastMutation = { p: partition, seq: this.#seq, firstOffset: records.length };
    records.push(...values);
  }

  async #repeat(): Promise<void> {
    if (this.#lastMutation === null) return;
    const { p: partition, seq, firstOffset } = this.#lastMutation;
    const mutation = { producerId: 'p', seq, cause: null };
    const reply = await publishBatch(this.#bed.streams, 's', partition, batchOf('again'), mutation);
    expect(reply.firstOffset).toBe(firstOffset);
  }

  async #join(id: string): Promise<void> {
    const member = await Member.join(this.#bed.streams, id, { creditBytes: 100_000_000 });
    this.#members.set(id, member);
  }

  async #commit(m: number, p: number, back: number): Promise<void> {
    const member = this.#members.get(`m${m}`);
    const partition = member?.partitions[p % member.partitions.length];
    if (member === undefined || partition === undefined) return;
    const offset = Math.max(member.next(partition) - back, member.assigned.get(partition)?.offset ?? 0);
    const seq = member.commit(partition, offset);
    await this.#bed.settle();
    const [result] = member.results(seq) ?? [];
    if (result === undefined) return; // Its shard is held: not durable.
    expect(result.code ?? '').toBe('');
    this.#committed.set(partition, offset);
  }

  /** A commit under an epoch that is not the partition's, or by somebody who is not the owner. */
  async #stale(m: number, p: number, by: number): Promise<void> {
    const partition = p % this.#records.length;
    const figures = await this.#groupPartition(partition);
    const memberId = `m${m}`;
    const epoch = Math.max(0, (figures?.epoch ?? 0) + by);
    const offsets = [{ partition, offset: 0, epoch, metadata: '' }];
    const request = { ...group, memberId, offsets, mutation: null };
    const { results } = await this.#bed.streams.service.commit(caller, request);
    expect(results?.[0]?.code).toBe('MEMBER_FENCED');
  }

  async #seek(partition: number | null, to: number): Promise<void> {
    const base = { ...group, partition, mutation: null, timestampMs: null };
    const request =
      to > 10
        ? ({ ...base, to: 'position', offset: null, position: to === 11 ? 'earliest' : 'latest' } as const)
        : ({ ...base, to: 'offset', offset: to, position: null } as const);
    const asked = partition === null ? this.#records.keys() : [partition];
    const seek = this.#bed.streams.service.seek(caller, request);
    if (partition !== null && to <= 10 && to > (this.#records[partition]?.length ?? 0)) {
      await expect(seek).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
      return;
    }
    await seek;
    for (const each of asked) {
      const end = this.#records[each]?.length ?? 0;
      const ends: Record<number, number> = { 11: 0, 12: end };
      this.#committed.set(each, ends[to] ?? Math.min(to, end));
    }
  }

  /** Long enough for everybody who is not heard of. */
  async #silence(): Promise<void> {
    for (let i = 0; i < 12; i++) {
      await this.#bed.advance(5000);
      for (const member of this.#members.values()) member.heartbeat();
    }
  }

  async #restart(): Promise<void> {
    await this.#bed.settle();
    const before = await this.#describe();
    await this.#bed.restart();
    this.#members = new Map();
    expect(await this.#describe()).toEqual(before);
  }

  /**
   * Things happen while a shard's journal hangs, then the process dies: what was answered counts, nothing
   * else.
   */
  async #crash(shard: number, during: readonly Step[]): Promise<void> {
    if (this.#bed.hold === undefined) return this.#restart();
    this.#bed.hold(shard);
    for (const step of during) {
      // What waits for the held shard never comes back, and nothing may wait for it.
      void this.#step(step);
      await this.#bed.settle();
      this.#checkMembers();
      this.#checkSeen();
    }
    await this.#bed.restart();
    this.#members = new Map();
    this.#lastMutation = null;
  }

  async #describe(): Promise<unknown> {
    const { service, admin } = this.#bed.streams;
    const { groups = [] } = await service.listGroups(caller, { stream: 's' });
    // What the last seconds were like is of this life only.
    return [await admin.listStreams(caller), (groups ?? []).map(({ figures: _, ...group }) => group)];
  }

  async #groupPartition(partition: number) {
    const { groups } = await this.#bed.streams.service.listGroups(caller, { stream: 's' });
    return groups?.[0]?.partitions?.[partition];
  }

  async #check(): Promise<void> {
    for (const [partition, records] of this.#records.entries()) {
      const read = await readFrom(this.#bed.streams, 's', partition, 0, 10_000);
      expect(valuesOf(read)).toEqual(records);
      const figures = await this.#groupPartition(partition);
      if (figures === undefined) continue;
      const committed = this.#committed.get(partition) ?? 0;
      expect(figures).toMatchObject({ committed, end: records.length, lag: records.length - committed });
    }
    this.#checkMembers();
    for (const member of this.#members.values()) {
      for (const partition of member.partitions) {
        const from = member.assigned.get(partition)?.offset ?? 0;
        expect(member.values(partition)).toEqual(this.#records[partition]?.slice(from));
      }
    }
  }

  /** Nobody has seen what was not answered. */
  #checkSeen(): void {
    for (const member of this.#members.values()) {
      for (const partition of member.partitions) {
        const from = member.assigned.get(partition)?.offset ?? 0;
        const seen = member.values(partition);
        expect(seen).toEqual(this.#records[partition]?.slice(from, from + seen.length));
      }
    }
  }

  #checkMembers(): void {
    const owned = new Map<number, string>();
    for (const member of this.#members.values()) {
      expect(member.error).toBeNull();
      for (const [partition, { epoch }] of member.assigned) {
        expect(owned.get(partition)).toBeUndefined();
        owned.set(partition, member.id);
        const id = `${partition} ${epoch}`;
        expect(this.#owners.get(id) ?? member.id).toBe(member.id);
        this.#owners.set(id, member.id);
      }
    }
  }

  /** When nothing happens any more, everything is given out, evenly, and everybody has seen everything. */
  async #calm(): Promise<void> {
    await this.#join('last');
    await this.#silence();
    for (let i = 0; i < 6; i++) {
      for (const member of this.#members.values()) if (member.revoking.length > 0) member.revoked();
      await this.#bed.settle();
    }
    await this.#check();
    const counts = [...this.#members.values()].map(({ partitions }) => partitions.length);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(this.#records.length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    expect((await this.#bed.streams.service.getGroup(caller, group)).state).toBe('stable');
  }
}
