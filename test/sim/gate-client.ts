// A queue whose operator pauses, drains and cancels while others enqueue and work.
import { CancelJobResponse } from '@flowmesh/protocol/gen/flowmesh.js';
import { ackOf, aJob, aQueue, nackOf } from '../queue/bench.ts';
import type { GateBook, Switch } from './gate-book.ts';
import { QueueClient } from './queue-client.ts';
import { caller } from './sim.ts';

const QUEUE = 'gated';
const VISIBILITY_MS = 1500;

export class GateProducer extends QueueClient {
  isOver = false;
  #no = 0;

  async declare(): Promise<void> {
    const backoff = { type: 'fixed', initialMs: 100, maxMs: 100, jitter: 'none' };
    const more = { visibilityTimeoutMs: VISIBILITY_MS, maxAttempts: 1000, maxDeliveries: 1000, backoff };
    await this.apply(aQueue(QUEUE, { ...more, retentionMs: 3000 }));
  }

  async run(book: GateBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(20, 300);
      const payloads = Array.from({ length: this.chance.int(1, 3) }, () => `${this.name}.${++this.#no}`);
      const { turn, isOn } = book.draining;
      const jobs = payloads.map((payload) => {
        const delayMs = this.chance.hit(0.2) ? this.chance.int(1, 500) : 0;
        return aJob(payload, { delayMs, key: this.chance.hit(0.3) ? 'k' : '' });
      });
      const made = await this.enqueue(QUEUE, jobs);
      const isSame = book.draining.turn === turn && isOn !== null;
      if (Array.isArray(made)) {
        const how = () => `${payloads} was taken`;
        this.sim.expect(!(isSame && isOn === true), 'a draining queue takes no jobs', how);
        made.forEach((id, i) => {
          book.accepted(payloads[i] ?? '', id);
        });
        continue;
      }
      this.sim.expect(made.code === 'QUEUE_DRAINING', 'a good request is served', () => made.message);
      this.sim.expect(!isSame || isOn === true, 'a queue that does not drain takes jobs', () => made.message);
      this.sim.count('refused as draining');
    }
    this.isOver = true;
  }
}

export class GateWorker extends QueueClient {
  /** Until all of `before` are at their end and nothing is left. */
  async run(book: GateBook, before: readonly { readonly isOver: boolean }[]): Promise<void> {
    while (before.some(({ isOver }) => !isOver) || book.open().length > 0) {
      await this.think(5, 80);
      const { turn, isOn } = book.paused;
      const jobs = await this.lease(QUEUE, this.chance.int(1, 4), this.chance.hit(0.5) ? 0 : 300);
      const isPaused = isOn === true && book.paused.turn === turn;
      const ids = () => jobs.map(({ id }) => id).join();
      this.sim.expect(!isPaused || jobs.length === 0, 'a paused queue gives nothing out', ids);
      const held = jobs.map((each) => {
        const job = book.deliver(each.payload.toString(), each.id, each.deadlineMs - VISIBILITY_MS);
        return { each, job };
      });
      for (const { each, job } of held) {
        if (this.chance.hit(0.7)) await this.pause(0, 250);
        if (!this.sim.isClosing && this.chance.hit(0.05)) continue;
        const isAck = this.sim.isClosing || this.chance.hit(0.85);
        const { isCancelled } = job;
        if (isAck) job.isAckSent = true;
        const settlement = isAck ? ackOf(each) : nackOf(each, { retryAfterMs: this.chance.int(0, 300) });
        const code = await this.settle(QUEUE, settlement, `${isAck ? 'ack' : 'nack'} ${each.id}`);
        book.settled(job, code === '' && isAck, isCancelled);
        const nacked = () => `${each.id} was cancelled`;
        this.sim.expect(isAck || code !== '' || !isCancelled, 'who holds a cancelled job is refused', nacked);
      }
    }
  }
}

export class Operator extends QueueClient {
  isOver = false;

  async run(book: GateBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(20, 250);
      await this.chance.weigh([
        [6, () => this.#cancel(book)],
        [1, () => this.#toggle(book.paused, 'pause', !book.paused.isOn)],
        [1, () => this.#toggle(book.draining, 'drain', !book.draining.isOn)],
      ])();
    }
    await this.#toggle(book.draining, 'drain', false);
    await this.#toggle(book.paused, 'pause', false);
    this.isOver = true;
  }

  async #toggle(which: Switch, what: 'pause' | 'drain', isOn: boolean): Promise<void> {
    const mutation = this.mutation();
    which.turn++;
    which.isOn = null;
    const outcome = await this.until(`${what} ${isOn}`, (fabric) =>
      what === 'pause'
        ? fabric.queues.setPaused(caller, { queue: QUEUE, paused: isOn, mutation })
        : fabric.queues.setDraining(caller, { queue: QUEUE, draining: isOn, mutation }),
    );
    if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
    which.isOn = isOn;
    which.sinceMs = this.sim.shardMs(QUEUE);
    if (isOn) await this.pause(50, 600);
  }

  async #cancel(book: GateBook): Promise<void> {
    const open = book.open().filter(({ isCancelSent }) => !isCancelSent);
    const done = book.jobs.filter(({ isAcked, isCancelSent }) => isAcked && !isCancelSent);
    const from = open.length === 0 || this.chance.hit(0.1) ? done : open;
    if (from.length === 0) return;
    const job = this.chance.pick(from);
    job.isCancelSent = true;
    const { isAcked } = job;
    const request = { queue: QUEUE, id: job.id, reason: 'not needed', mutation: this.mutation() };
    const outcome = await this.until(`cancel ${job.id}`, async (fabric) => {
      const reply = await fabric.queues.cancelJob(caller, request);
      return CancelJobResponse.decode(CancelJobResponse.encode(reply).finish());
    });
    // A finished job leaves when its retention is over.
    const isGone = outcome.kind === 'refused' && outcome.error.code === 'JOB_NOT_FOUND' && job.isAckSent;
    if (outcome.kind === 'refused') {
      const { message } = outcome.error;
      this.sim.expect(isGone, 'a good request is served', () => message);
      return;
    }
    const { cancelled, state } = outcome.value;
    this.sim.count(cancelled ? `cancelled ${state}` : 'cancelled too late');
    book.cancelled(job, cancelled, isAcked, this.sim.shardMs(QUEUE));
  }

  async check(book: GateBook): Promise<void> {
    const { jobs } = book;
    const completedTotal = jobs.filter(({ isAcked }) => isAcked).length;
    const cancelledTotal = jobs.filter(({ isCancelled }) => isCancelled).length;
    await this.checkFigures(QUEUE, { enqueuedTotal: jobs.length, completedTotal, cancelledTotal });
  }
}
