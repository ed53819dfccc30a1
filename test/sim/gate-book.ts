// What operators did to a queue and its jobs, and what clients saw of it: nothing is handed out while it is
// paused, nothing taken while it drains, and a cancelled job is over.
import type { Sim } from './sim.ts';

interface Job {
  readonly payload: string;
  id: string;
  isAckSent: boolean;
  isAcked: boolean;
  isCancelSent: boolean;
  isCancelled: boolean;
  /** Shard time when the cancel was confirmed; 0: not known. */
  cancelledMs: number;
}

/** Something that an operator turns on and off. */
export class Switch {
  /** Grows with each request that is sent. */
  turn = 0;
  /** What the last answer said; null while one is awaited. */
  isOn: boolean | null = false;
  /** Shard time when it was confirmed. */
  sinceMs = 0;
}

export class GateBook {
  readonly #sim: Sim;
  readonly paused = new Switch();
  readonly draining = new Switch();
  readonly #jobs = new Map<string, Job>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  accepted(payload: string, id: string): void {
    this.#jobOf(payload, id);
  }

  #jobOf(payload: string, id: string): Job {
    let job = this.#jobs.get(id);
    if (job === undefined) {
      const nothing = { isAckSent: false, isAcked: false, isCancelSent: false, isCancelled: false };
      job = { payload, id, ...nothing, cancelledMs: 0 };
      this.#jobs.set(id, job);
    }
    this.#sim.expect(job.payload === payload, 'an id is one job', () => `${id}: ${job.payload}, ${payload}`);
    return job;
  }

  get jobs(): Job[] {
    return [...this.#jobs.values()];
  }

  open(): Job[] {
    return this.jobs.filter(({ isAcked, isCancelled }) => !isAcked && !isCancelled);
  }

  deliver(payload: string, id: string, grantedMs: number): Job {
    const sim = this.#sim;
    const job = this.#jobOf(payload, id);
    const what = () => `job ${id} (${payload}), granted at ${grantedMs}`;
    sim.expect(!job.isAcked, 'no delivery after a confirmed ack', what);
    const isLate = job.cancelledMs > 0 && grantedMs > job.cancelledMs;
    sim.expect(!isLate, 'a cancelled job is not handed out', () => `${what()}, cancelled ${job.cancelledMs}`);
    const { isOn, sinceMs } = this.paused;
    const isPaused = isOn === true && sinceMs > 0 && grantedMs > sinceMs;
    sim.expect(!isPaused, 'a paused queue gives nothing out', () => `${what()}, paused at ${sinceMs}`);
    return job;
  }

  /** `wasCancelled`: that was confirmed before the settlement was sent. */
  settled(job: Job, isDone: boolean, wasCancelled: boolean): void {
    const what = () => `job ${job.id} (${job.payload})`;
    if (wasCancelled) this.#sim.count(isDone ? 'cancelled and done' : 'cancelled at work');
    this.#sim.expect(!isDone || !wasCancelled, 'who holds a cancelled job is refused', what);
    if (!isDone || !job.isAckSent) return;
    job.isAcked = true;
    this.#sim.expect(!job.isCancelled, 'a job is done or cancelled, not both', what);
  }

  /** `wasAcked`: that was confirmed before the cancel was sent. */
  cancelled(job: Job, isDone: boolean, wasAcked: boolean, nowMs: number): void {
    const what = () => `job ${job.id} (${job.payload})`;
    if (!isDone) {
      this.#sim.expect(job.isAckSent, 'a job that is not finished can be cancelled', what);
      return;
    }
    this.#sim.expect(!wasAcked && !job.isAcked, 'a job is done or cancelled, not both', what);
    job.isCancelled = true;
    job.cancelledMs = nowMs;
  }
}
