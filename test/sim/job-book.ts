// What clients saw of jobs: who enqueued them, who was given them under which lease, what became of them.
import type { Sim } from './sim.ts';

export interface Delivery {
  readonly epoch: number;
  readonly grantedMs: number;
  /** The lease does not end before, unless the worker says so; 0: it may end at any time. */
  heldUntilMs: number;
  /** What the worker said, perhaps in vain. */
  said: 'nothing' | 'ack' | 'nack' | 'release';
  /** The server confirmed it, or refused it. */
  isSettled: boolean;
  isRefused: boolean;
}

export interface Job {
  readonly queue: string;
  readonly payload: string;
  readonly key: string;
  readonly dedupKey: string;
  id: string;
  /** Whoever enqueued it knows what became of that. */
  isAnswered: boolean;
  isAccepted: boolean;
  readonly deliveries: Delivery[];
  isAcked: boolean;
  /** An unrecoverable nack was sent, or many attempts: the job may be in the dead-letter queue. */
  mayBeDead: boolean;
  isBuried: boolean;
}

/** An id is <shard>-<queue number>-<offset>, in base 36. */
const offsetOf = (id: string): number => Number.parseInt(id.split('-')[2] ?? '', 36);
const shardOfId = (id: string): string => id.split('-')[0] ?? '';

/** A decision carries the time at which its entry was opened: in calm times a write of the disk ago. */
const STALE_MS = 100;

export class JobBook {
  readonly #sim: Sim;
  readonly byPayload = new Map<string, Job>();
  readonly #byId = new Map<string, Job>();
  readonly #byKey = new Map<string, Job[]>();
  readonly #epochs = new Map<string, string>();
  readonly #newest = new Map<string, number>();
  readonly #dedup = new Map<string, { id: string; fromMs: number; toMs: number }>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  begin(queue: string, payload: string, key: string, dedupKey = ''): Job {
    const job: Job = {
      queue,
      payload,
      key,
      dedupKey,
      id: '',
      isAnswered: false,
      isAccepted: false,
      deliveries: [],
      isAcked: false,
      mayBeDead: false,
      isBuried: false,
    };
    this.byPayload.set(`${queue} ${payload}`, job);
    return job;
  }

  get jobs(): Job[] {
    return [...this.byPayload.values()];
  }

  accepted(job: Job, id: string): void {
    job.isAccepted = true;
    job.isAnswered = true;
    this.#identify(job, id);
  }

  /** Within the window a dedup key is one job. Times are before and after the decision. */
  deduplicated(
    job: Job,
    id: string,
    isRepeat: boolean,
    windowMs: number,
    between: { fromMs: number; toMs: number },
  ) {
    const name = `${job.queue} ${job.dedupKey}`;
    const before = this.#dedup.get(name);
    const known = between.fromMs > 0 && between.toMs > 0;
    if (before === undefined) {
      // The first was told to somebody whose answer is still on its way.
      if (!isRepeat) this.#dedup.set(name, { id, ...between });
      return;
    }
    const endMs = before.fromMs - STALE_MS + windowMs;
    const isWithin = known && before.fromMs > 0 && between.toMs < endMs;
    if (isRepeat || isWithin) {
      const how = () => `queue ${job.queue}, key ${job.dedupKey}: ${before.id} and ${id}`;
      const isOlder = known && between.fromMs > before.toMs + windowMs + STALE_MS;
      if (isWithin && this.#sim.isCalm)
        this.#sim.expect(before.id === id, 'a dedup key is one job in its window', how);
      if (isRepeat) this.#sim.expect(!isOlder || id !== before.id, 'a dedup key ends with its window', how);
    }
    if (!isRepeat) this.#dedup.set(name, { id, ...between });
  }

  #identify(job: Job, id: string): void {
    const what = () => `job ${job.payload} of ${job.queue} is ${job.id} and ${id}`;
    this.#sim.expect(job.id === '' || job.id === id, 'a job has one id', what);
    const other = this.#byId.get(id);
    const both = () => `${id} of ${job.queue} is ${other?.payload} and ${job.payload}`;
    this.#sim.expect(other === undefined || other === job, 'an id is one job', both);
    if (job.id !== '') return;
    job.id = id;
    this.#byId.set(id, job);
    if (job.key === '') return;
    const lane = `${job.queue} ${job.key}`;
    const jobs = this.#byKey.get(lane);
    if (jobs === undefined) this.#byKey.set(lane, [job]);
    else jobs.push(job);
  }

  /** Somebody was given a job. */
  deliver(
    queue: string,
    given: { id: string; epoch: number; attempt: number; payload: string; key: string; deadlineMs: number },
    visibilityMs: number,
  ): { job: Job; delivery: Delivery } | null {
    const sim = this.#sim;
    const job = this.byPayload.get(`${queue} ${given.payload}`);
    if (job === undefined) {
      sim.broken('only what was enqueued is delivered', `${given.id} of ${queue} with ${given.payload}`);
      return null;
    }
    this.#identify(job, given.id);
    const at = () => `job ${given.id} of ${queue} (${given.payload}), epoch ${given.epoch}`;
    sim.expect(job.key === given.key, 'a job keeps its key', at);
    const grantedMs = given.deadlineMs - visibilityMs;
    this.#checkLease(job, given.epoch, grantedMs, at);
    sim.expect(!job.isAcked, 'no delivery after a confirmed ack', at);
    const counted = job.deliveries.filter(({ said }) => said !== 'release').length;
    const attempts = () => `${at()}: attempt ${given.attempt} after ${counted} deliveries`;
    sim.expect(given.attempt > counted, 'attempts are counted', attempts);
    if (job.key !== '') this.#checkLane(job, at);
    const delivery: Delivery = {
      epoch: given.epoch,
      grantedMs,
      heldUntilMs: given.deadlineMs,
      said: 'nothing',
      isSettled: false,
      isRefused: false,
    };
    job.deliveries.push(delivery);
    return { job, delivery };
  }

  #checkLease(job: Job, epoch: number, grantedMs: number, at: () => string): void {
    const sim = this.#sim;
    const name = `${shardOfId(job.id)} ${epoch}`;
    const other = this.#epochs.get(name);
    sim.expect(other === undefined, 'an epoch is one lease', () => `${at()} was that of job ${other}`);
    this.#epochs.set(name, job.id);
    for (const before of job.deliveries) {
      sim.expect(epoch > before.epoch, 'epochs only grow', () => `${at()} follows ${before.epoch}`);
      const isHeld = before.said === 'nothing' || before.isRefused;
      const until = () =>
        `${at()}, granted at ${grantedMs}: ${before.epoch} was held until ${before.heldUntilMs}`;
      sim.expect(!isHeld || grantedMs >= before.heldUntilMs, 'one holder at a time', until);
    }
  }

  /** Jobs of one key in the order they were enqueued, one at a time. */
  #checkLane(job: Job, at: () => string): void {
    const mine = offsetOf(job.id);
    for (const other of this.#byKey.get(`${job.queue} ${job.key}`) ?? []) {
      if (other === job || other.queue !== job.queue) continue;
      const theirs = offsetOf(other.id);
      const how = () => `${at()} before ${other.id} (${other.payload}) was done`;
      if (theirs < mine) this.#sim.expect(isOver(other), 'jobs of a key run in order', how);
      else {
        const late = () => `${at()} after ${other.id} (${other.payload}) had been delivered`;
        this.#sim.expect(other.deliveries.length === 0, 'jobs of a key run in order', late);
      }
    }
  }

  /** What the server said to an ack, a nack or a release. */
  settled(job: Job, delivery: Delivery, isDone: boolean, lastEpoch: number): void {
    const at = () => `job ${job.id} of ${job.queue}: ${delivery.said} with epoch ${delivery.epoch}`;
    delivery.isSettled = isDone;
    delivery.isRefused = !isDone;
    if (!isDone) return;
    const how = () => `${at()}, but ${lastEpoch} had been given out`;
    this.#sim.expect(delivery.epoch >= lastEpoch, 'a stale epoch changes nothing', how);
    if (delivery.said === 'ack') job.isAcked = true;
  }

  /** Figures of a queue never go back: what they show is durable. */
  sawTotals(queue: string, totals: Record<string, number>): void {
    for (const [name, value] of Object.entries(totals)) {
      const before = this.#newest.get(`${queue} ${name}`) ?? 0;
      const how = () => `${queue} ${name}: ${before}, then ${value}`;
      this.#sim.expect(value >= before, 'totals never go back', how);
      this.#newest.set(`${queue} ${name}`, value);
    }
  }
}

/** An ack is on its way or confirmed, or the job may have died. */
const isOver = (job: Job): boolean =>
  job.mayBeDead || job.deliveries.some(({ said, isRefused }) => said === 'ack' && !isRefused);

/** Epoch of the last delivery that anybody saw. */
export const lastEpochOf = (job: Job): number => job.deliveries.at(-1)?.epoch ?? 0;
