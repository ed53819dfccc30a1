// A crowd over an hour of its time: members join, leave, die, hang and come back, the server restarts,
// producers write. What must hold at every moment is checked each second, and in the end all was handled.
import { expect, test } from 'vitest';
import { caller, turns, World } from './fake.ts';
import { aSpec, batchOf, Member, publishBatch } from './support.ts';

const SESSION_MS = 45_000;
/** Sessions are looked at each second, and this test looks after steps of up to six. */
const SLACK_MS = 8000;
const PARTITIONS = 16;
const MEMBERS_MAX = 24;
const ROUNDS = 450;

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 0x7fffffff;
    return state % below;
  };
}

/** A member as an application has it: handles in order, commits now and then, stops when it is told to. */
class App {
  readonly id: string;
  member!: Member;
  /** Heartbeats go on; it handles nothing. */
  isHanging = false;
  /** Next offset to handle, of each partition under its epoch. */
  readonly #next = new Map<number, { epoch: number; offset: number }>();
  readonly #crowd: Crowd;

  constructor(id: string, crowd: Crowd) {
    this.id = id;
    this.#crowd = crowd;
  }

  /** What it handled, committed late, whoever owns the partitions by now. */
  async haunt(): Promise<void> {
    const offsets = [...this.#next].map(([partition, { epoch, offset }]) => {
      return { partition, offset, epoch, metadata: '' };
    });
    const request = { stream: 's', group: 'g', memberId: this.id, offsets, mutation: null };
    const { results } = await this.#crowd.world.streams.service.commit(caller, request);
    for (const result of results ?? []) expect(['', 'MEMBER_FENCED']).toContain(result.code ?? '');
  }

  async connect(): Promise<void> {
    this.member = await Member.join(this.#crowd.world.streams, this.id, { creditBytes: 50_000_000 });
  }

  work(random: (below: number) => number): void {
    this.member.heartbeat();
    for (const [partition, { epoch, offset }] of this.member.assigned) {
      const before = this.#next.get(partition);
      const next = before?.epoch === epoch ? before : { epoch, offset };
      this.#next.set(partition, next);
      if (this.isHanging) continue;
      const records = this.member.records.get(partition) ?? [];
      let left = 1 + random(40);
      for (const [at, value] of records.slice(next.offset - offset)) {
        if (left-- === 0) break;
        this.#crowd.handled(this.id, { partition, epoch, offset: at, value, expected: next.offset });
        next.offset = at + 1;
      }
      if (random(3) === 0 && next.offset > offset) this.member.commit(partition, next.offset, epoch);
    }
    if (this.member.revoking.length > 0 && !this.isHanging) {
      for (const partition of this.member.revoking) {
        const next = this.#next.get(partition);
        if (next !== undefined) this.member.commit(partition, next.offset, next.epoch);
      }
      this.member.revoked();
    }
  }
}

interface Handled {
  readonly partition: number;
  readonly epoch: number;
  readonly offset: number;
  readonly value: string;
  readonly expected: number;
}

class Crowd {
  readonly world: World;
  readonly apps = new Map<string, App>();
  readonly written: string[][] = Array.from({ length: PARTITIONS }, () => []);
  readonly #handled: Set<number>[] = Array.from({ length: PARTITIONS }, () => new Set());
  readonly #owners = new Map<string, string>();
  /** Members that died without a word, and when. */
  readonly #deadAtMs = new Map<string, number>();
  readonly counts = { joined: 0, left: 0, died: 0, returned: 0, restarts: 0, handled: 0 };
  /** Those that died, as they were: what they still send may arrive at any time. */
  readonly #ghosts: App[] = [];
  readonly #committed: number[] = [];
  #ids = 0;

  constructor(world: World) {
    this.world = world;
  }

  handled(member: string, { partition, epoch, offset, value, expected }: Handled): void {
    this.counts.handled++;
    expect(offset).toBe(expected); // In order, without a gap, from where the epoch began.
    expect(value).toBe(this.written[partition]?.[offset]);
    const id = `${partition} ${epoch}`;
    expect(this.#owners.get(id) ?? member).toBe(member);
    this.#owners.set(id, member);
    this.#handled[partition]?.add(offset);
  }

  async write(random: (below: number) => number): Promise<void> {
    const writes = Array.from({ length: random(4) }, () => {
      const partition = random(PARTITIONS);
      const own = this.written[partition] ?? [];
      const values = Array.from({ length: 1 + random(5) }, (_, i) => `${partition}.${own.length + i}`);
      own.push(...values);
      return publishBatch(this.world.streams, 's', partition, batchOf(...values));
    });
    for (const reply of await Promise.all(writes)) expect(reply.error ?? null).toBeNull();
  }

  async change(random: (below: number) => number): Promise<void> {
    const all = [...this.apps.values()];
    const one = all[random(Math.max(1, all.length))];
    switch (random(8)) {
      case 0:
      case 1: {
        if (all.length >= MEMBERS_MAX) return;
        const app = new App(`m${this.#ids++}`, this);
        await app.connect();
        this.apps.set(app.id, app);
        this.counts.joined++;
        return;
      }
      case 2:
        if (one === undefined || all.length < 3) return;
        this.apps.delete(one.id);
        one.member.leave();
        this.counts.left++;
        return;
      case 3:
        if (one === undefined || all.length < 3) return;
        this.apps.delete(one.id); // Without a word: the session has to end by itself.
        one.member.session.disconnect();
        this.#deadAtMs.set(one.id, this.world.time.now);
        this.#ghosts.push(one);
        this.counts.died++;
        return;
      case 4:
        if (one === undefined) return;
        one.member.session.disconnect();
        await one.connect();
        this.counts.returned++;
        return;
      case 5:
        if (one !== undefined) one.isHanging = !one.isHanging;
        return;
      case 6:
        return this.world.checkpoint();
      case 7: {
        if (random(8) > 0) return;
        await turns();
        await this.world.restart();
        for (const app of all) await app.connect();
        // A server that was away could not hear anybody: all have a session's time again.
        for (const id of this.#deadAtMs.keys()) this.#deadAtMs.set(id, this.world.time.now);
        this.counts.restarts++;
      }
    }
  }

  async haunt(random: (below: number) => number): Promise<void> {
    await this.#ghosts[random(Math.max(1, this.#ghosts.length))]?.haunt();
  }

  async check(): Promise<void> {
    const { groups } = await this.world.service.listGroups(caller, { stream: 's' });
    const nowMs = this.world.time.now;
    const group = groups?.[0];
    for (const figures of group?.partitions ?? []) {
      const partition = figures.partition ?? 0;
      const seen = this.#handled[partition] ?? new Set();
      // Nothing that comes late takes a group back.
      expect(figures.committed).toBeGreaterThanOrEqual(this.#committed[partition] ?? 0);
      this.#committed[partition] = figures.committed ?? 0;
      // A commit never passes what was handled, and so was delivered.
      for (let at = (figures.committed ?? 0) - 1; at >= 0 && at >= (figures.committed ?? 0) - 50; at--)
        expect(seen.has(at)).toBe(true);
      expect(figures.lag).toBe((figures.end ?? 0) - (figures.committed ?? 0));
      // It belongs to somebody who is there, or to one whose session has not ended yet.
      const owner = figures.memberId ?? '';
      if (this.apps.has(owner) || group?.members?.length === 0) continue;
      const deadMs = nowMs - (this.#deadAtMs.get(owner) ?? Number.NEGATIVE_INFINITY);
      expect(deadMs).toBeLessThanOrEqual(SESSION_MS + SLACK_MS);
    }
    for (const { member } of this.apps.values()) expect(member.error).toBeNull();
  }

  get isAllHandled(): boolean {
    return this.written.every((records, p) => this.#handled[p]?.size === records.length);
  }
}

for (const shards of [1, 3]) {
  test(`[ST44] a crowd that comes, goes and dies handles everything (${shards} shards)`, {
    timeout: 60_000,
  }, async () => {
    const world = await World.open(shards);
    await world.admin.applyStream(caller, aSpec('s', PARTITIONS));
    const crowd = new Crowd(world);
    const random = randomOf(20_261_125 + shards);
    for (let round = 0; round < ROUNDS; round++) {
      await crowd.write(random);
      if (random(3) === 0) await crowd.change(random);
      await world.time.advance(1000 * (1 + random(6)));
      for (const app of crowd.apps.values()) app.work(random);
      await crowd.haunt(random);
      await turns(4);
      await crowd.check();
    }
    for (const app of crowd.apps.values()) app.isHanging = false;
    for (let i = 0; i < 400 && !crowd.isAllHandled; i++) {
      await world.time.advance(1000);
      for (const app of crowd.apps.values()) app.work(random);
      await turns(4);
      await crowd.check();
    }
    expect(crowd.isAllHandled).toBe(true);
    for (const count of Object.values(crowd.counts)) expect(count).toBeGreaterThan(0);
  });
}
