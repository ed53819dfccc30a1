// The lives of jobs that die and are brought back: one at a time, each after the death before it.
import type { Sim } from './sim.ts';

interface Job {
  /** Ids of its lives, the present one last. */
  readonly ids: string[];
  readonly epochs: Map<string, number>;
  /** Somebody said that no attempt can succeed, in its present life. */
  mayBeDead: boolean;
  isAcked: boolean;
}

export class RedriveBook {
  readonly #sim: Sim;
  readonly #jobs = new Map<string, Job>();
  /** No more will be begun. */
  isFull = false;

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  begin(payload: string): void {
    const job = { ids: [], epochs: new Map(), mayBeDead: false, isAcked: false };
    this.#jobs.set(payload, job);
  }

  deliver(payload: string, id: string, epoch: number): void {
    const sim = this.#sim;
    const job = this.#jobs.get(payload);
    sim.expect(job !== undefined, 'only what was enqueued is delivered', () => `${id}: ${payload}`);
    if (job === undefined) return;
    const what = () => `${payload} as ${id}, epoch ${epoch}; its lives: ${job.ids}`;
    sim.expect(!job.isAcked, 'no delivery after a confirmed ack, in any life', what);
    if (job.ids.at(-1) !== id) {
      sim.expect(!job.ids.includes(id), 'a job that was brought back has one life', what);
      sim.expect(job.ids.length === 0 || job.mayBeDead, 'a job has a new life after its death', what);
      if (job.ids.length > 0) sim.count('life after death');
      job.ids.push(id);
      job.mayBeDead = false;
    }
    sim.expect(epoch > (job.epochs.get(id) ?? 0), 'epochs only grow', what);
    job.epochs.set(id, epoch);
  }

  buried(payload: string): void {
    const job = this.#jobs.get(payload);
    if (job !== undefined) job.mayBeDead = true;
  }

  acked(payload: string): void {
    const job = this.#jobs.get(payload);
    if (job !== undefined) job.isAcked = true;
  }

  get isOver(): boolean {
    return this.isFull && this.open().length === 0;
  }

  /** Not acked yet, and to come back if they are dead. */
  open(): string[] {
    return [...this.#jobs].filter(([, job]) => !job.isAcked).map(([payload]) => payload);
  }
}
