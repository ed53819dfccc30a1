// Who takes part in a run, and what each of them checks in the end.
import type { Chance } from './chance.ts';
import { JobBook } from './job-book.ts';
import { declareQueues, Overseer, Producer, QUEUES, TX_QUEUE, Worker } from './job-client.ts';
import { KvBook } from './kv-book.ts';
import { KvClient } from './kv-client.ts';
import { Member } from './member.ts';
import { SessionWorker } from './session-worker.ts';
import type { Sim } from './sim.ts';
import { StreamBook } from './stream-book.ts';
import { Publisher, Reader } from './stream-client.ts';
import { TxClient } from './tx-client.ts';

export class Cast {
  readonly #sim: Sim;
  readonly #kv: KvBook;
  readonly #jobs: JobBook;
  readonly #streams: StreamBook;
  readonly #overseer: Overseer;
  readonly #publishers: Publisher[];
  readonly #reader: Reader;
  readonly #transactors: TxClient[];
  readonly #chance: Chance;

  constructor(sim: Sim, chance: Chance) {
    this.#sim = sim;
    this.#chance = chance;
    this.#kv = new KvBook(sim);
    this.#jobs = new JobBook(sim);
    this.#streams = new StreamBook(sim);
    this.#overseer = new Overseer(sim, 'overseer', chance.fork());
    this.#publishers = ['s0', 's1'].map((name) => new Publisher(sim, name, chance.fork()));
    this.#reader = new Reader(sim, 'reader', chance.fork());
    this.#transactors = ['t0', 't1'].map((name) => new TxClient(sim, name, chance.fork()));
  }

  get #books() {
    return { kv: this.#kv, jobs: this.#jobs, streams: this.#streams };
  }

  async declare(): Promise<void> {
    await declareQueues(this.#overseer, this.#sim);
    await this.#publishers[0]?.declare();
  }

  /** Resolves when everybody has come to an end. */
  async run(): Promise<void> {
    const sim = this.#sim;
    const fork = () => this.#chance.fork();
    const work = [this.#overseer.run(this.#jobs), this.#reader.run(this.#streams)];
    for (const name of ['kv0', 'kv1', 'kv2']) work.push(new KvClient(sim, name, fork()).run(this.#kv));
    for (const name of ['p0', 'p1']) work.push(new Producer(sim, name, fork()).run(this.#jobs));
    for (const name of ['w0', 'w1', 'w2']) work.push(new Worker(sim, name, fork()).run(this.#jobs, QUEUES));
    const [plain, keyed] = QUEUES;
    if (plain !== undefined) work.push(new SessionWorker(sim, 'x0', fork()).run(this.#jobs, plain, QUEUES));
    if (keyed !== undefined) work.push(new SessionWorker(sim, 'x1', fork()).run(this.#jobs, keyed, QUEUES));
    for (const publisher of this.#publishers) work.push(publisher.run(this.#streams));
    for (const name of ['m0', 'm1'])
      work.push(new Member(sim, name, fork()).run(this.#streams, this.#reader));
    for (const each of this.#transactors) work.push(each.runAll(this.#books));
    await Promise.all(work);
  }

  async check(): Promise<void> {
    await this.#overseer.check(this.#jobs, [...QUEUES, TX_QUEUE]);
    await this.#reader.check(this.#streams);
    for (const each of this.#transactors) await each.check(this.#books);
    this.#kv.check();
    this.#streams.checkCursors();
  }

  /** What nobody has come to the end of. */
  open(): string {
    const open = this.#jobs.jobs.filter((job) => job.isAccepted && !job.isAcked && !job.isBuried);
    const where = this.#sim.machine.fabric === null ? 'down' : 'up';
    return `the machine is ${where}; open jobs: ${open.map(({ id }) => id)}`;
  }
}
