// Jobs that die by the dozen, and somebody who has them brought back by tasks: at a rate, to their source or
// to another shard, cancelled half way. Whatever dies on the way, each is acked once in the end.
import { FlowError } from '@flowmesh/protocol';
import { RedriveTask } from '@flowmesh/protocol/gen/flowmesh.js';
import { ackOf, aJob, aQueue, nackOf } from '../queue/bench.ts';
import { QueueClient } from './queue-client.ts';
import type { RedriveBook } from './redrive-book.ts';
import { type Ask, caller } from './sim.ts';

const SICK = 'sick';
const DEAD = 'sick.dead';
/** With three shards it lives on another one. */
const WARD = 'ward';
const PARK_AFTER = 1000;

const queue = (name: string) => {
  const backoff = { type: 'fixed', initialMs: 50, maxMs: 50, jitter: 'none' };
  return aQueue(name, { visibilityTimeoutMs: 1500, maxAttempts: 1000, maxDeliveries: 1000, backoff });
};

export class Patients extends QueueClient {
  #no = 0;

  async declare(): Promise<void> {
    await this.apply(queue(SICK));
    await this.apply(queue(WARD));
  }

  async run(book: RedriveBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(50, 800);
      const payloads = Array.from({ length: this.chance.int(1, 6) }, () => `${this.name}.${++this.#no}`);
      for (const payload of payloads) book.begin(payload);
      const made = await this.enqueue(
        SICK,
        payloads.map((payload) => aJob(payload)),
      );
      if (!Array.isArray(made)) this.sim.broken('a good request is served', made.message);
    }
    book.isFull = true;
  }
}

export class Doctor extends QueueClient {
  async run(book: RedriveBook): Promise<void> {
    while (!book.isOver) {
      await this.think(5, 80);
      const name = this.chance.hit(0.7) ? SICK : WARD;
      for (const job of await this.lease(name, this.chance.int(1, 8), this.chance.hit(0.5) ? 0 : 200)) {
        const payload = job.payload.toString();
        book.deliver(payload, job.id, job.leaseEpoch);
        if (!this.sim.isClosing && this.chance.hit(0.05)) continue;
        const dies = !this.sim.isClosing && name === SICK && this.chance.hit(0.6);
        if (dies) book.buried(payload);
        const settlement = dies ? nackOf(job, { unrecoverable: true }) : ackOf(job);
        const code = await this.settle(name, settlement, `${dies ? 'bury' : 'ack'} ${job.id}`);
        if (code === '' && dies) this.sim.count('died');
        if (code === '' && !dies) book.acked(payload);
      }
    }
  }
}

export class Redriver extends QueueClient {
  /** How often the server had been started when the present task was. */
  #starts = 0;
  #number = 0;

  async run(book: RedriveBook): Promise<void> {
    while (!book.isOver || !(await this.#isEmpty())) {
      await this.think(50, 600);
      const task = await this.#look();
      if (task === null || task.state !== 'running') await this.#start();
      else if (!this.sim.isClosing && this.chance.hit(0.15)) await this.#cancel();
    }
  }

  /** What arrived on another shard is still there for a moment. */
  async #isEmpty(): Promise<boolean> {
    const figures = await this.figuresOf(DEAD);
    if (figures === null) return true;
    const { waiting, delayed, leased } = figures;
    return waiting + delayed + leased === 0;
  }

  #ask(what: string, call: (fabric: Parameters<Ask<unknown>>[0]) => Promise<object>) {
    return this.until(what, async (fabric) =>
      RedriveTask.decode(RedriveTask.encode(await call(fabric)).finish()),
    );
  }

  async #start(): Promise<void> {
    const perSecond = this.sim.isClosing ? 0 : this.chance.pick([0, 5, 5, 40]);
    const targetQueue = this.chance.hit(0.4) ? WARD : '';
    const part = { queue: DEAD, targetQueue, max: 0, perSecond, parkAfter: PARK_AFTER };
    const request = { ...part, mutation: this.mutation() };
    this.#starts = this.sim.machine.starts;
    const outcome = await this.#ask(`redrive ${perSecond} ${targetQueue}`, (fabric) =>
      fabric.queues.startRedrive(caller, request),
    );
    if (outcome.kind === 'done') {
      this.#number = outcome.value.number;
      // Between the arrival of a job on the other shard and its leaving of this one.
      if (targetQueue !== '' && !this.sim.isClosing && this.chance.hit(0.3)) this.crashSoon('a redrive');
    }
    // Before the first death there is no such queue.
    else this.#expectCode(outcome.error, ['QUEUE_NOT_FOUND', 'ALREADY_EXISTS']);
  }

  async #cancel(): Promise<void> {
    const request = { queue: DEAD, mutation: this.mutation() };
    const outcome = await this.#ask('redrive-cancel', (fabric) =>
      fabric.queues.cancelRedrive(caller, request),
    );
    if (outcome.kind === 'refused') this.#expectCode(outcome.error, ['NOT_FOUND', 'CONFLICT']);
    else this.sim.count(`redrive is ${outcome.value.state}`);
  }

  async #look(): Promise<RedriveTask | null> {
    const outcome = await this.#ask('redrive-look', (fabric) =>
      fabric.queues.getRedrive(caller, { queue: DEAD }),
    );
    const nowMs = this.sim.shardMs(DEAD);
    if (outcome.kind === 'refused') {
      this.#expectCode(outcome.error, ['NOT_FOUND', 'QUEUE_NOT_FOUND']);
      return null;
    }
    const task = outcome.value;
    if (task.state === 'done') this.sim.count('redrive done');
    if (task.state === 'running' && task.number === this.#number && this.sim.machine.starts > this.#starts)
      this.sim.count('redrive resumed');
    this.#checkRate(task, nowMs);
    return task;
  }

  /** A step is a fifth of a second's jobs; each start begins with one. Shard time may run 5 % slow. */
  #checkRate({ number, moved, parked, perSecond, startedAtMs }: RedriveTask, nowMs: number): void {
    this.sim.expect(parked === 0, 'nothing is parked early', () => `${parked} by task ${number}`);
    if (perSecond === 0 || nowMs === 0 || number !== this.#number) return;
    const steps = 1 + this.sim.machine.starts - this.#starts;
    const paced = ((nowMs - startedAtMs + 100) * 1.06 * perSecond) / 1000;
    const most = paced + steps * Math.max(1, perSecond / 5);
    const how = () => `${moved} in ${nowMs - startedAtMs} ms at ${perSecond} a second`;
    this.sim.expect(moved <= most, 'a redrive task keeps to its rate', how);
  }

  #expectCode(error: FlowError, codes: readonly string[]): void {
    const what = () => `${this.name}: ${error.code} ${error.message}`;
    this.sim.expect(
      error instanceof FlowError && codes.includes(error.code),
      'a good request is served',
      what,
    );
  }

  async check(): Promise<void> {
    for (const name of [SICK, WARD]) await this.checkFigures(name, {});
    const made = await this.figuresOf(DEAD);
    if (made !== null && made !== undefined) await this.checkFigures(DEAD, {});
  }
}
