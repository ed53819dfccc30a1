// A worker that keeps a session, as the SDK does: credits and settlements up, deliveries down. After a crash
// it comes back under the same name with what it still holds, and repeats what was not answered.
import { decodeBatch } from '@flowmesh/protocol';
import {
  WorkHello,
  WorkRequest,
  WorkResponse,
  type WorkResponseInput,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { WorkSession } from '../../dataplane/services.ts';
import { type Delivery, type Job, type JobBook, lastEpochOf } from './job-book.ts';
import { isDrained, type QueueKind, VISIBILITY_MS } from './job-client.ts';
import { Client, caller } from './sim.ts';

const CREDITS = 6;

interface Held {
  readonly offset: number;
  readonly job: Job;
  readonly delivery: Delivery;
}

interface Link {
  port: WorkSession | null;
  /** Nothing that is sent arrives any more. */
  isOver: boolean;
}

interface Settling {
  readonly message: object;
  readonly jobs: readonly (Held & { readonly lastEpoch: number })[];
}

export class SessionWorker extends Client {
  #held: Held[] = [];
  #settling: Settling | null = null;
  #seq = 0;
  #prefix = '';
  #onSettled: (() => void) | null = null;

  async run(book: JobBook, { name: queue }: QueueKind, queues: readonly QueueKind[]): Promise<void> {
    while (!this.sim.isClosing || !isDrained(book, queues)) {
      await this.pause(5, 100);
      const link = await this.#connect(book, queue);
      await this.#work(link, book, queues);
    }
    await this.until(`end-session ${queue}`, (fabric) =>
      fabric.queues.endSession(caller, { queue, sessionId: this.name }),
    );
  }

  async #connect(book: JobBook, queue: string): Promise<Link> {
    // Some are forgotten on the way, as after a crash of the worker: the server gives them to others.
    if (this.#settling === null && this.chance.hit(0.3)) {
      for (const { delivery } of this.#held) delivery.said = 'release';
      this.sim.world.note(`${this.name} forgets ${this.#held.map(({ job }) => job.id)}`);
      this.#held = [];
    }
    // What was said of them may not have arrived: until it is answered they are held.
    const held = [...this.#held, ...(this.#settling?.jobs ?? [])].map(({ offset, delivery }) => ({
      offset,
      epoch: delivery.epoch,
      count: 1,
    }));
    const credits = Math.max(0, CREDITS - held.length);
    const hello = WorkHello.decode(WorkHello.encode({ queue, sessionId: this.name, credits, held }).finish());
    const link: Link = { port: null, isOver: false };
    const over = () => {
      link.isOver = true;
      this.#onSettled?.();
    };
    const outcome = await this.once(`work ${queue}`, async (fabric) => {
      this.sim.machine.onGone(over);
      const send = (message: WorkResponseInput) => {
        if (!link.isOver)
          this.#receive(WorkResponse.decode(WorkResponse.encode(message).finish()), book, queue);
        return true;
      };
      return fabric.queues.openWork(caller, hello, send);
    });
    if (outcome.kind === 'done') link.port = outcome.value;
    // The answer was lost, not the session: what it is given until the next one comes is lost on the way.
    else link.isOver = true;
    return link;
  }

  #receive(message: WorkResponse, book: JobBook, queue: string): void {
    if (message.message === 'welcome') this.#prefix = message.welcome.idPrefix;
    else if (message.message === 'delivery') this.#take(message.delivery, book, queue);
    else if (message.message === 'settled') this.#settled(message.settled, book);
    else if (message.message === 'lost') {
      const { offsets, epochs } = message.lost;
      const isLost = (held: Held) =>
        offsets.some((offset, i) => offset === held.offset && epochs[i] === held.delivery.epoch);
      this.#held = this.#held.filter((held) => !isLost(held));
    }
  }

  #take(
    delivery: {
      batch: Buffer;
      offsets: readonly number[];
      firstEpoch: number;
      attempts: readonly number[];
      deadlineMs: number;
    },
    book: JobBook,
    queue: string,
  ): void {
    decodeBatch(delivery.batch).forEach((record, i) => {
      const offset = delivery.offsets[i] ?? record.offset;
      const id = this.#prefix + offset.toString(36);
      const payload = Buffer.from(record.value ?? []).toString();
      const key = Buffer.from(record.key ?? []).toString();
      const given = { id, payload, key, epoch: delivery.firstEpoch + i, attempt: delivery.attempts[i] ?? 1 };
      this.sim.world.note(`${this.name} is sent ${id} ${given.epoch} ${payload.slice(0, 16)}`);
      this.sim.count('delivery in session');
      const taken = book.deliver(queue, { ...given, deadlineMs: delivery.deadlineMs }, VISIBILITY_MS);
      // Given again: the lease before it has ended.
      this.#held = this.#held.filter((held) => held.offset !== offset);
      if (taken !== null) this.#held.push({ offset, ...taken });
    });
  }

  async #work(link: Link, book: JobBook, queues: readonly QueueKind[]): Promise<void> {
    while (!link.isOver) {
      if (this.#settling !== null) await this.#settle(link);
      await this.think(1, 80);
      if (link.isOver || (this.sim.isClosing && isDrained(book, queues))) return;
      if (this.#settling === null && this.#held.length > 0) this.#decide();
      if (!this.sim.isClosing && this.chance.hit(0.03)) {
        this.sim.count('session cut');
        link.isOver = true;
        link.port?.disconnect();
      }
    }
  }

  /** What to say of the first few jobs that are held. */
  #decide(): void {
    const count = this.chance.int(1, Math.min(4, this.#held.length));
    const jobs = this.#held.splice(0, count).map((held) => ({ ...held, lastEpoch: lastEpochOf(held.job) }));
    const acks: { offset: number; epoch: number; count: number }[] = [];
    const nacks: object[] = [];
    for (const { offset, delivery } of jobs) {
      const { epoch } = delivery;
      const last = acks.at(-1);
      delivery.said = !this.sim.isClosing && this.chance.hit(0.1) ? 'nack' : 'ack';
      if (delivery.said === 'nack')
        nacks.push({ offset, epoch, nack: { retryAfterMs: this.chance.int(0, 200) } });
      else if (
        last !== undefined &&
        last.offset + last.count === offset &&
        last.epoch + last.count === epoch
      ) {
        last.count++;
      } else acks.push({ offset, epoch, count: 1 });
    }
    const settle = { seq: ++this.#seq, acks, nacks, extends: [] };
    const told = jobs.map(({ job, delivery }) => `${delivery.said} ${job.id} ${delivery.epoch}`);
    this.sim.world.note(`${this.name} says ${this.#seq}: ${told}`);
    this.#settling = { message: { settle }, jobs };
  }

  /** Until it is answered, or the session ends. */
  #settle(link: Link): Promise<void> {
    const { message } = this.#settling as Settling;
    return new Promise((resolve) => {
      this.#onSettled = () => {
        this.#onSettled = null;
        resolve();
      };
      link.port?.receive(WorkRequest.decode(WorkRequest.encode(message).finish()));
    });
  }

  #settled(
    answer: { seq: number; error: { code: string } | null; lostOffsets: readonly number[] },
    book: JobBook,
  ) {
    const settling = this.#settling;
    this.sim.world.note(
      `${this.name} hears of ${answer.seq}: ${answer.error?.code ?? ''} ${answer.lostOffsets}`,
    );
    if (settling === null || answer.seq !== this.#seq) return;
    // Unknown: it is said again in the next session.
    if (answer.error === null || answer.error.code === '') {
      this.#settling = null;
      for (const { offset, job, delivery, lastEpoch } of settling.jobs) {
        const isDone = !answer.lostOffsets.includes(offset);
        this.sim.count(isDone ? 'settled in session' : 'settlement refused');
        book.settled(job, delivery, isDone, lastEpoch);
      }
    }
    this.#onSettled?.();
  }
}
