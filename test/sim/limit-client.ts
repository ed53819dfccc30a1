// A queue with limits: of the whole and of each key, concurrent and per second. In the end one key has many
// more jobs than it may start, and others must not wait for them.
import { ackOf, aJob, aQueue, nackOf } from '../queue/bench.ts';
import { LIMITS, type LimitBook } from './limit-book.ts';
import { QueueClient } from './queue-client.ts';

const QUEUE = 'limited';
const VISIBILITY_MS = 1200;
const KEYS = ['', 'l0', 'l1', 'l2'];
const FLOOD = 24;
/** Of the flood, while others wait. */
const AHEAD_MAX = 14;

export class LimitProducer extends QueueClient {
  #no = 0;

  async declare(): Promise<void> {
    const more = { visibilityTimeoutMs: VISIBILITY_MS, maxAttempts: 1000, maxDeliveries: 1000 };
    const backoff = { type: 'fixed', initialMs: 50, maxMs: 50, jitter: 'none' };
    await this.apply(aQueue(QUEUE, { ...more, backoff, limits: { ...LIMITS } }));
  }

  async run(book: LimitBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(50, 900);
      await this.#make(
        book,
        Array.from({ length: this.chance.int(1, 4) }, () => this.chance.pick(KEYS)),
      );
    }
    const late = ['', 'late0', 'late1'];
    await this.#make(book, [...Array.from({ length: FLOOD }, () => 'flood'), ...late]);
  }

  async #make(book: LimitBook, keys: readonly string[]): Promise<void> {
    const named = keys.map((key) => ({ key, payload: `${key}/${this.name}.${++this.#no}` }));
    for (const { payload } of named) book.open.add(payload);
    const jobs = named.map(({ key, payload }) => aJob(payload, { limitKey: key }));
    const made = await this.enqueue(QUEUE, jobs);
    if (!Array.isArray(made)) this.sim.broken('a good request is served', made.message);
  }
}

export class LimitWorker extends QueueClient {
  async run(book: LimitBook, producer: { readonly isOver: boolean }): Promise<void> {
    while (!producer.isOver || book.open.size > 0) {
      await this.think(5, 60);
      await this.#work(book);
    }
  }

  async #work(book: LimitBook): Promise<void> {
    const jobs = await this.lease(QUEUE, this.chance.int(1, 6), this.chance.hit(0.5) ? 0 : 400);
    const taken = jobs.map((job) => {
      const payload = job.payload.toString();
      const [key = ''] = payload.split('/');
      this.sim.count('limited delivery');
      this.#checkTurn(book, key);
      return {
        job,
        payload,
        start: book.deliver(key, payload, job.deadlineMs - VISIBILITY_MS, job.deadlineMs),
      };
    });
    for (const { job, payload, start } of taken) {
      if (this.chance.hit(0.5)) await this.pause(0, 200);
      // Its lease ends by itself.
      if (!this.sim.isClosing && this.chance.hit(0.1)) continue;
      const isDone = this.sim.isClosing || this.chance.hit(0.8);
      start.isSaid = true;
      const settlement = isDone ? ackOf(job) : nackOf(job, { release: this.chance.hit(0.3) });
      const code = await this.settle(QUEUE, settlement, `${isDone ? 'ack' : 'nack'} ${job.id}`);
      if (code === '' && isDone) book.open.delete(payload);
    }
  }

  /** No job of another key waits for many of the key that has too many. */
  #checkTurn(book: LimitBook, key: string): void {
    if (key === 'flood') book.flooded++;
    if (!key.startsWith('late')) return;
    const how = () => `${book.flooded} jobs of another key came before one of ${key}`;
    this.sim.expect(book.flooded <= AHEAD_MAX, 'a limited key does not hold up others', how);
  }
}
