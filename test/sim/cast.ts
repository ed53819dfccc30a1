// Who takes part in a run, and what each of them checks in the end.
import { AgeingReader, AgeingWriter, ageingTerms } from './ageing-client.ts';
import { CacheBook } from './cache-book.ts';
import { CacheClient } from './cache-client.ts';
import { Calendar } from './calendar.ts';
import type { Chance } from './chance.ts';
import { FlowBook } from './flow-book.ts';
import { FlowOverseer, FlowProducer, FlowWorker } from './flow-client.ts';
import { GateBook } from './gate-book.ts';
import { GateProducer, GateWorker, Operator } from './gate-client.ts';
import { JobBook } from './job-book.ts';
import { declareQueues, Overseer, Producer, QUEUES, TX_QUEUE, Worker } from './job-client.ts';
import { KvBook } from './kv-book.ts';
import { KvClient } from './kv-client.ts';
import { LimitBook } from './limit-book.ts';
import { LimitProducer, LimitWorker } from './limit-client.ts';
import { Member } from './member.ts';
import { PipePublisher } from './pipe-client.ts';
import { RedriveBook } from './redrive-book.ts';
import { Doctor, Patients, Redriver } from './redrive-client.ts';
import { SessionWorker } from './session-worker.ts';
import type { Sim } from './sim.ts';
import { StreamBook } from './stream-book.ts';
import { Publisher, Reader } from './stream-client.ts';
import { TxClient } from './tx-client.ts';
import { WatchBook } from './watch-book.ts';
import { WATCH_WRITERS, WATCHERS, Watcher, WatchWriter } from './watch-client.ts';

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
  readonly #watch: WatchBook;
  readonly #limits: LimitBook;
  readonly #redrives: RedriveBook;
  readonly #gate: GateBook;
  readonly #cache: CacheBook;
  readonly #redriver: Redriver;
  readonly #operator: Operator;
  readonly #flows: FlowBook;
  readonly #flowOverseer: FlowOverseer;
  readonly #ageing: readonly { readonly writer: AgeingWriter; readonly reader: AgeingReader }[];

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
    this.#watch = new WatchBook(sim);
    this.#limits = new LimitBook(sim);
    this.#redrives = new RedriveBook(sim);
    this.#gate = new GateBook(sim);
    this.#cache = new CacheBook(sim);
    this.#redriver = new Redriver(sim, 'redriver', chance.fork());
    this.#operator = new Operator(sim, 'operator', chance.fork());
    this.#flows = new FlowBook(sim);
    this.#flowOverseer = new FlowOverseer(sim, 'flow-overseer', chance.fork());
    this.#ageing = ageingTerms(chance).map((terms) => ({
      writer: new AgeingWriter(sim, terms, chance.fork()),
      reader: new AgeingReader(sim, terms, chance.fork()),
    }));
  }

  get #books() {
    return { kv: this.#kv, jobs: this.#jobs, streams: this.#streams };
  }

  async declare(): Promise<void> {
    await declareQueues(this.#overseer, this.#sim);
    await this.#publishers[0]?.declare();
    const by = (name: string) => [this.#sim, `${name}-declarer`, this.#chance.fork()] as const;
    await new PipePublisher(...by('pipe')).declare();
    await new LimitProducer(...by('limit')).declare();
    await new Patients(...by('sick')).declare();
    await new GateProducer(...by('gate')).declare();
    await new FlowProducer(...by('flow')).declare();
    const eviction = this.#chance.pick(['lru', 'lfu', 'ttl']);
    await new CacheClient(...by('cache')).declare(eviction);
    for (const { writer } of this.#ageing) await writer.declare();
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
    await Promise.all([...work, ...this.#runOthers()]);
  }

  #runOthers(): Promise<void>[] {
    const sim = this.#sim;
    const fork = () => this.#chance.fork();
    const work = [this.#redriver.run(this.#redrives), this.#operator.run(this.#gate)];
    work.push(new PipePublisher(sim, 'pp', fork()).run(this.#streams));
    for (const name of WATCH_WRITERS) work.push(new WatchWriter(sim, name, fork()).write(this.#watch));
    for (const name of Object.keys(WATCHERS)) work.push(new Watcher(sim, name, fork()).run(this.#watch));
    const limited = { isOver: false };
    const made = new LimitProducer(sim, 'lp', fork()).run(this.#limits).then(() => {
      limited.isOver = true;
    });
    work.push(made);
    for (const name of ['lw0', 'lw1'])
      work.push(new LimitWorker(sim, name, fork()).run(this.#limits, limited));
    work.push(new Patients(sim, 'patient', fork()).run(this.#redrives));
    work.push(new Doctor(sim, 'doctor', fork()).run(this.#redrives));
    const gated = new GateProducer(sim, 'gp', fork());
    work.push(gated.run(this.#gate));
    for (const name of ['gw0', 'gw1'])
      work.push(new GateWorker(sim, name, fork()).run(this.#gate, [gated, this.#operator]));
    for (const name of ['cc0', 'cc1']) work.push(new CacheClient(sim, name, fork()).run(this.#cache));
    for (const { writer, reader } of this.#ageing)
      work.push(writer.run(this.#streams), reader.run(this.#streams));
    return [...work, ...this.#runFlows()];
  }

  #runFlows(): Promise<void>[] {
    const flows = this.#flows;
    const producers = ['fp0', 'fp1'].map((name) => new FlowProducer(this.#sim, name, this.#chance.fork()));
    const workers = ['fw0', 'fw1'].map((name) => new FlowWorker(this.#sim, name, this.#chance.fork()));
    return [
      ...[...producers, ...workers].map((each) => each.run(flows)),
      this.#flowOverseer.run(flows, producers),
    ];
  }

  /** When all else is done: only schedules tick, and the server has its troubles. */
  night(): Promise<void> {
    return new Calendar(this.#sim, 'calendar', this.#chance.fork()).run();
  }

  async check(): Promise<void> {
    await this.#overseer.check(this.#jobs, [...QUEUES, TX_QUEUE]);
    await this.#reader.check(this.#streams);
    for (const each of this.#transactors) await each.check(this.#books);
    this.#kv.check();
    this.#streams.checkCursors();
    this.#watch.check();
    this.#limits.check();
    await this.#redriver.check();
    await this.#operator.check(this.#gate);
    await this.#flowOverseer.check(this.#flows);
    for (const { reader } of this.#ageing) await reader.check(this.#streams);
  }

  /** What nobody has come to the end of. */
  open(): string {
    const open = this.#jobs.jobs.filter((job) => job.isAccepted && !job.isAcked && !job.isBuried);
    const sick = this.#redrives.open().length;
    const gated = this.#gate.open().length;
    const parts = this.#flows.isQuiet ? 0 : this.#flows.open().length;
    const others = `${this.#limits.open.size} limited, ${sick} sick, ${gated} gated, ${parts} in flows`;
    const counts = `${open.length} jobs, ${others}`;
    return `open: ${counts}; ${this.#sim.whereAll()}`;
  }
}
