// Jobs by the calendar, in the night after the run: minutes pass quickly as nothing else happens, the server
// dies and stays away for a while, and each tick has to make its job once.
import type { LeasedJob } from '@flowmesh/protocol/gen/flowmesh.js';
import { ackOf, aQueue, nackOf } from '../queue/bench.ts';
import { QueueClient } from './queue-client.ts';

const QUEUE = 'calendar';
const MINUTE_MS = 60_000;
/** What was missed for no longer is made up for, by default. */
const AWAY_MS_MAX = 150_000;
const VISIBILITY_MS = 30_000;
const POLICIES = ['allow', 'skip', 'buffer_one'];

/** Jobs of one tick of one schedule. */
interface Tick {
  readonly id: string;
  isSaid: boolean;
  isDone: boolean;
}

export class Calendar extends QueueClient {
  readonly #ticks = new Map<string, Map<number, Tick>>();
  /** Surely declared between these. */
  #fromMs = 0;
  #toMs = 0;
  #isMorning = false;
  isOver = false;

  async run(): Promise<void> {
    const { world, machine } = this.sim;
    await machine.up();
    // Ticks are wall time, and a schedule counts from its declaration, in shard time.
    world.wallOffsetMs += this.sim.shardMs(QUEUE) - world.wallMs();
    await this.#declare(true);
    this.#fromMs = Math.max(world.wallMs(), this.sim.shardMs(QUEUE));
    const nightMs = this.chance.int(5, 9) * MINUTE_MS;
    const work = Promise.all([this.#work(), this.#work(), this.#trouble(nightMs)]);
    await world.sleep(nightMs);
    await machine.up();
    this.#toMs = world.wallMs();
    await this.#declare(false);
    this.#isMorning = true;
    await work;
    await this.#check();
    this.isOver = true;
  }

  async #declare(hasSchedules: boolean): Promise<void> {
    const schedules = POLICIES.map((overlap) => ({
      name: overlap.replace('_', '-'),
      cron: '* * * * *',
      timeZone: '',
      payload: Buffer.from(overlap),
      contentType: '',
      overlap,
      catchUpMs: null,
    }));
    const backoff = { type: 'fixed', initialMs: 500, maxMs: 500, jitter: 'none' };
    const more = { visibilityTimeoutMs: VISIBILITY_MS, maxAttempts: 1000, maxDeliveries: 1000, backoff };
    await this.apply(aQueue(QUEUE, { ...more, schedules: hasSchedules ? schedules : [] }));
  }

  /** The process or the power goes, for up to a few minutes. */
  async #trouble(nightMs: number): Promise<void> {
    const { world, machine } = this.sim;
    const endMs = world.nowMs + nightMs - AWAY_MS_MAX;
    for (;;) {
      await this.pause(5000, 70_000);
      if (world.nowMs > endMs) return;
      if (machine.fabric === null) continue;
      this.sim.count('fault at night');
      const awayMs = this.chance.hit(0.6) ? this.chance.int(1, 2000) : this.chance.int(2000, AWAY_MS_MAX);
      machine.crash(this.chance.hit(0.5), this.chance.next(), awayMs);
    }
  }

  async #work(): Promise<void> {
    while (!this.#isMorning || !(await this.#isEmpty())) {
      for (const job of await this.lease(QUEUE, 3, this.#isMorning ? 0 : 5000)) await this.#handle(job);
      await this.pause(200, 5000);
    }
  }

  async #isEmpty(): Promise<boolean> {
    const figures = await this.figuresOf(QUEUE);
    if (figures === null) return false;
    const { waiting, delayed, leased } = figures;
    return waiting + delayed + leased === 0;
  }

  async #handle(job: LeasedJob): Promise<void> {
    const name = job.payload.toString();
    const atMs = Date.parse(job.headers['flowmesh-scheduled-for']?.toString() ?? '');
    const tick = this.#take(name, atMs, job.id);
    // Longer than to the next tick, now and then.
    await this.pause(0, this.#isMorning ? 0 : this.chance.pick([100, 5000, 28_000]));
    const isDone = this.#isMorning || this.chance.hit(0.7);
    if (isDone) tick.isSaid = true;
    const settlement = isDone ? ackOf(job) : nackOf(job);
    const code = await this.settle(QUEUE, settlement, `${isDone ? 'ack' : 'nack'} ${job.id}`);
    if (code === '' && isDone) tick.isDone = true;
  }

  #take(name: string, atMs: number, id: string): Tick {
    const { sim } = this;
    const what = () => `job ${id} of ${name} for ${new Date(atMs || 0).toISOString()}`;
    sim.expect(atMs % MINUTE_MS === 0, 'a schedule ticks when its pattern says', what);
    const ticks = this.#ticks.get(name) ?? new Map<number, Tick>();
    this.#ticks.set(name, ticks);
    const before = ticks.get(atMs);
    const twice = () => `${what()}, that was ${before?.id}`;
    sim.expect(before === undefined || before.id === id, 'a tick makes one job', twice);
    if (before !== undefined) return before;
    const open = [...ticks].find(([, { isSaid }]) => !isSaid);
    const overlapping = () => `${what()} while ${open?.[1].id} is at work`;
    sim.expect(name === 'allow' || open === undefined, 'no overlap where none is allowed', overlapping);
    const tick = { id, isSaid: false, isDone: false };
    ticks.set(atMs, tick);
    sim.count(`tick ${name}`);
    return tick;
  }

  async #check(): Promise<void> {
    const { sim } = this;
    let made = 0;
    for (const name of POLICIES) made += this.#ticks.get(name)?.size ?? 0;
    const first = Math.floor(this.#fromMs / MINUTE_MS) + 1;
    const last = Math.ceil(this.#toMs / MINUTE_MS) - 1;
    for (let minute = first; minute <= last; minute++) {
      const tick = this.#ticks.get('allow')?.get(minute * MINUTE_MS);
      const when = () => `${new Date(minute * MINUTE_MS).toISOString()} made none`;
      sim.expect(tick !== undefined, 'each tick makes a job, also one that was missed for a while', when);
    }
    await this.checkFigures(QUEUE, { enqueuedTotal: made, completedTotal: made });
  }
}
