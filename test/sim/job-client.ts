// Clients of queues: producers, workers that lease and settle one call at a time, and a look at the figures.
import {
  EnqueueResponse,
  LeaseResponse,
  ListJobsResponse,
  Queue,
  SettleResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { ackOf, aJob, aQueue, extendOf, nackOf } from '../queue/bench.ts';
import { type Delivery, type Job, type JobBook, lastEpochOf } from './job-book.ts';
import { type Ask, Client, caller, type Sim } from './sim.ts';

export const VISIBILITY_MS = 1500;
const DEDUP_MS = 2000;

export interface QueueKind {
  readonly name: string;
  readonly keys: readonly string[];
  readonly dedupKeys: readonly string[];
  readonly delays: boolean;
  readonly priorities: boolean;
}

const queue = (name: string, more: Partial<QueueKind> = {}): QueueKind => ({
  name,
  keys: [],
  dedupKeys: [],
  delays: false,
  priorities: false,
  ...more,
});

export const QUEUES: readonly QueueKind[] = [
  queue('plain'),
  queue('keyed', { keys: ['ka', 'kb', 'kc'], delays: true }),
  queue('once', { dedupKeys: ['d0', 'd1', 'd2', 'd3'] }),
  queue('mixed', { keys: ['', '', 'kx'], delays: true, priorities: true }),
];
/** Its jobs come from transactions. */
export const TX_QUEUE = queue('{t0}jobs');

export const declaration = (name: string) =>
  aQueue(name, {
    visibilityTimeoutMs: VISIBILITY_MS,
    maxAttempts: 1000,
    maxDeliveries: 1000,
    deduplicationWindowMs: DEDUP_MS,
    backoff: { type: 'exponential', initialMs: 50, maxMs: 400, jitter: 'full' },
    retentionMs: 3000,
  });

export class Producer extends Client {
  #made = 0;

  async run(book: JobBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(1, 120);
      await this.#enqueue(book, this.chance.pick(QUEUES));
    }
  }

  async #enqueue(book: JobBook, kind: QueueKind): Promise<void> {
    const { sim, chance } = this;
    const count = chance.hit(0.2) ? chance.int(2, 6) : 1;
    const made = Array.from({ length: count }, () => {
      const payload = `${this.name}.${++this.#made}${'y'.repeat(chance.hit(0.05) ? 2000 : 0)}`;
      const key = kind.keys.length > 0 ? chance.pick(kind.keys) : '';
      const dedupKey = kind.dedupKeys.length > 0 ? chance.pick(kind.dedupKeys) : '';
      const delayMs = kind.delays && chance.hit(0.3) ? chance.int(1, 800) : 0;
      const priority = kind.priorities && chance.hit(0.3) ? chance.int(1, 3) : 0;
      const message = aJob(payload, { key, dedupKey, delayMs, priority });
      return { message, job: book.begin(kind.name, payload, key, dedupKey) };
    });
    const request = { queue: kind.name, jobs: made.map(({ message }) => message), mutation: this.mutation() };
    const fromMs = sim.isCalm ? sim.shardMs(kind.name) : 0;
    const outcome = await this.until(`enqueue ${kind.name} ${count}`, async (fabric) => {
      const reply = await fabric.queues.enqueue(caller, request);
      return EnqueueResponse.decode(EnqueueResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return sim.broken('a good request is served', outcome.error.message);
    const toMs = sim.shardMs(kind.name);
    made.forEach(({ job }, i) => {
      const { id = '', deduplicated = false } = outcome.value.jobs[i] ?? {};
      sim.expect(id !== '', 'each job has an answer', () => job.payload);
      job.isAnswered = true;
      if (!deduplicated) book.accepted(job, id);
      else sim.count('deduplicated');
      if (job.dedupKey !== '') book.deduplicated(job, id, deduplicated, DEDUP_MS, { fromMs, toMs });
    });
  }
}

type Action = 'ack' | 'nack' | 'release' | 'bury' | 'extend' | 'forget' | 'late ack';

export class Worker extends Client {
  async run(book: JobBook, queues: readonly QueueKind[]): Promise<void> {
    while (!this.sim.isClosing || !isDrained(book, queues)) {
      await this.think(1, 40);
      await this.#lease(book, this.chance.pick(queues).name);
    }
  }

  async #lease(book: JobBook, queueName: string): Promise<void> {
    const { chance, sim } = this;
    const max = chance.int(1, 4);
    const waitMs = chance.hit(0.5) ? 0 : chance.int(10, 500);
    const request = { queue: queueName, max, waitMs, visibilityMs: 0, worker: this.name };
    const outcome = await this.once(`lease ${queueName}`, async (fabric) => {
      const reply = await fabric.queues.lease(caller, request, new AbortController().signal);
      return LeaseResponse.decode(LeaseResponse.encode(reply).finish());
    });
    if (outcome.kind !== 'done') return;
    const held = outcome.value.jobs.flatMap((each) => {
      const payload = each.payload.toString();
      const given = { id: each.id, epoch: each.leaseEpoch, attempt: each.attempt, payload };
      sim.world.note(`${this.name} is given ${each.id} ${each.leaseEpoch} ${payload.slice(0, 16)}`);
      sim.count('delivery');
      const key = each.key.toString();
      return book.deliver(queueName, { ...given, key, deadlineMs: each.deadlineMs }, VISIBILITY_MS) ?? [];
    });
    for (const { job, delivery } of held) await this.#handle(book, job, delivery);
  }

  async #handle(book: JobBook, job: Job, delivery: Delivery): Promise<void> {
    const { chance, sim } = this;
    if (chance.hit(0.6)) await this.pause(0, 120);
    const action: Action = sim.isClosing
      ? 'ack'
      : chance.weigh<Action>([
          [70, 'ack'],
          [8, 'nack'],
          [4, 'release'],
          [job.queue === '{t0}jobs' ? 0 : 3, 'bury'],
          [6, 'extend'],
          [4, 'forget'],
          [5, 'late ack'],
        ]);
    sim.count(`action ${action}`);
    if (action === 'forget') return;
    if (action === 'extend') await this.#extend(job, delivery);
    if (action === 'late ack') await this.pause(VISIBILITY_MS * 0.9, VISIBILITY_MS * 1.5);
    if (action === 'bury') job.mayBeDead = true;
    delivery.said =
      action === 'nack' || action === 'bury' ? 'nack' : action === 'release' ? 'release' : 'ack';
    const nack = {
      retryAfterMs: chance.hit(0.5) ? chance.int(0, 300) : null,
      unrecoverable: action === 'bury',
    };
    const settlement =
      delivery.said === 'ack'
        ? ackOf({ id: job.id, leaseEpoch: delivery.epoch })
        : nackOf({ id: job.id, leaseEpoch: delivery.epoch }, { ...nack, release: action === 'release' });
    const lastEpoch = lastEpochOf(job);
    const code = await this.#settle(job, settlement, `${action} ${job.id} ${delivery.epoch}`);
    sim.count(code === '' ? `settled ${delivery.said}` : 'settlement refused');
    book.settled(job, delivery, code === '', lastEpoch);
    if (code === '' && action === 'bury') job.isBuried = true;
    // Somebody sends it again, by itself, not as a repeat: it is done already, or lost.
    if (code === '' && delivery.said === 'ack' && chance.hit(0.1))
      await this.#settle(job, settlement, 'ack-again');
  }

  /** Empty: done. */
  async #settle(job: Job, settlement: ReturnType<typeof ackOf>, what: string): Promise<string> {
    const request = { queue: job.queue, settlements: [settlement], mutation: this.mutation() };
    const outcome = await this.until(what, async (fabric) => {
      const reply = await fabric.queues.settle(caller, request);
      return SettleResponse.decode(SettleResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') {
      this.sim.broken('a good request is served', `${what}: ${outcome.error.message}`);
      return outcome.error.code;
    }
    return outcome.value.results[0]?.code ?? '';
  }

  async #extend(job: Job, delivery: Delivery): Promise<void> {
    const visibilityMs = this.chance.int(500, 3000);
    const fromMs = this.sim.isCalm ? this.sim.shardMs(job.queue) : 0;
    delivery.heldUntilMs = 0;
    const settlement = extendOf({ id: job.id, leaseEpoch: delivery.epoch }, visibilityMs);
    const code = await this.#settle(job, settlement, `extend ${job.id} ${delivery.epoch}`);
    // The batch that holds it may have been begun a little before.
    if (code === '' && fromMs > 0 && this.sim.isCalm) delivery.heldUntilMs = fromMs + visibilityMs - 200;
  }
}

/** As far as clients know: what they enqueued is acked or dead, and nothing is on its way. */
export const isDrained = (book: JobBook, queues: readonly QueueKind[]): boolean => {
  const names = new Set(queues.map(({ name }) => name));
  return book.jobs.every(
    (job) => !names.has(job.queue) || job.isAcked || job.isBuried || (job.isAnswered && !job.isAccepted),
  );
};

export class Overseer extends Client {
  async run(book: JobBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.pause(100, 600);
      const { name } = this.chance.pick(QUEUES);
      const seen = await this.figures(name);
      if (seen === null) continue;
      const { enqueuedTotal, completedTotal, failedTotal, deadTotal } = seen;
      book.sawTotals(name, { enqueuedTotal, completedTotal, failedTotal, deadTotal });
    }
  }

  async figures(name: string, isNeeded = false) {
    const ask: Ask<Queue> = async (fabric) => {
      const reply = await fabric.admin.getQueue(caller, { name });
      return Queue.decode(Queue.encode(reply).finish());
    };
    const outcome = await (isNeeded ? this.until(`figures ${name}`, ask) : this.once(`figures ${name}`, ask));
    return outcome.kind === 'done' ? (outcome.value.figures ?? null) : null;
  }

  /** Everything must be quiet: figures are what the history implies, and nothing is left or lost. */
  async check(book: JobBook, queues: readonly QueueKind[]): Promise<void> {
    for (const { name } of queues) {
      const figures = await this.figures(name, true);
      const jobs = book.jobs.filter((job) => job.queue === name && job.isAccepted);
      const told = {
        enqueuedTotal: jobs.length,
        completedTotal: jobs.filter(({ isAcked }) => isAcked).length,
        deadTotal: jobs.filter(({ isBuried }) => isBuried).length,
        waiting: 0,
        delayed: 0,
        blocked: 0,
        leased: 0,
      };
      const shown =
        figures === null ? null : Object.fromEntries(Object.keys(told).map((k) => [k, figures[k as never]]));
      const how = () =>
        `queue ${name} shows ${JSON.stringify(shown)}, the history says ${JSON.stringify(told)}`;
      this.sim.expect(JSON.stringify(shown) === JSON.stringify(told), 'figures are what happened', how);
      await this.#checkDead(
        name,
        jobs.filter(({ isBuried }) => isBuried),
      );
    }
  }

  async #checkDead(name: string, buried: readonly Job[]): Promise<void> {
    if (buried.length === 0) return;
    const found: string[] = [];
    for (let cursor = ''; ; ) {
      const request = { queue: `${name}.dead`, state: '', limit: 100, cursor };
      const outcome = await this.until(`list ${name}.dead`, async (fabric) => {
        const reply = await fabric.queues.listJobs(caller, request);
        return ListJobsResponse.decode(ListJobsResponse.encode(reply).finish());
      });
      if (outcome.kind === 'refused') return this.sim.broken('dead jobs are kept', outcome.error.message);
      found.push(...outcome.value.jobs.map(({ sourceId }) => sourceId));
      cursor = outcome.value.cursor;
      if (cursor === '') break;
    }
    const wanted = buried.map(({ id }) => id).sort();
    const how = () => `${name}.dead has ${found.sort().join()}, not ${wanted.join()}`;
    this.sim.expect(found.sort().join() === wanted.join(), 'dead jobs are kept', how);
  }
}

export const declareQueues = async (client: Client, sim: Sim): Promise<void> => {
  for (const { name } of [...QUEUES, TX_QUEUE]) {
    const outcome = await client.until(`declare ${name}`, (fabric) =>
      fabric.admin.applyQueue(caller, declaration(name)),
    );
    if (outcome.kind === 'refused') sim.broken('a good request is served', outcome.error.message);
  }
};
