// Rates of one queue or consumer group, from totals that exist anyway, looked at once a second.
//   R1. Nothing is known before the third look: after a restart a rate that was not measured is no zero.
//   R2. What arrives and what is completed fades within a minute; how fast a busy worker is stays what it was
//       when workers were busy last.
//   R3. A total that falls (a purge, a seek) is not a negative rate: that look says nothing.
import { ProcessingTimes } from './processing-times.ts';

/** What has happened since some beginning. */
export interface Totals {
  /** Jobs that became ready, or records written. */
  readonly arrived: number;
  /** Jobs completed, or records committed. */
  readonly completed: number;
  /** Sum over all workers of how long they had something to do. */
  readonly busyMs: number;
}

/** Looks before anything is known. */
const LOOKS_MIN = 3;
const RATE_MS = 10_000;
const THROUGHPUT_MS = 30_000;
/** Of a window, so that slow jobs are seen to complete at all. */
const JOBS_PER_WINDOW = 3;
/** Rates below are the end of fading. */
const RATE_MIN = 1e-3;
/** How long nothing may be completed: at least, and if nobody knows how long it takes. */
const STALL_MS_MIN = 60_000;
const STALL_MS_UNKNOWN = 300_000;
const STALL_TIMES = 5;

export class Meter {
  readonly times = new ProcessingTimes();
  #looks = 0;
  #atMs = 0;
  #last: Totals = { arrived: 0, completed: 0, busyMs: 0 };
  #arrivals = 0;
  #completions = 0;
  /** Completions and the busy seconds that they took, fading while workers are busy. */
  #done = 0;
  #busySeconds = 0;
  #stuckMs = 0;

  /** Figures mean something. */
  get isKnown(): boolean {
    return this.#looks >= LOOKS_MIN;
  }

  get arrivalsPerSecond(): number {
    return this.#arrivals;
  }

  get completionsPerSecond(): number {
    return this.#completions;
  }

  /** Of one worker that is busy; 0: unknown. */
  get throughputPerWorker(): number {
    return this.#busySeconds > 0 ? this.#done / this.#busySeconds : 0;
  }

  /** How long nothing has been completed, counting only time in which somebody was busy. */
  get stuckMs(): number {
    return this.#stuckMs;
  }

  /** From which on nothing that was not completed will be, as far as anybody can tell. */
  get stallMs(): number {
    const [p99 = 0] = this.times.quantiles(0.99);
    return p99 === 0 ? STALL_MS_UNKNOWN : Math.max(STALL_MS_MIN, STALL_TIMES * p99);
  }

  /** As Signals have them. */
  get figures() {
    const [p50 = 0, p95 = 0, p99 = 0] = this.times.quantiles(0.5, 0.95, 0.99);
    return {
      arrivalsPerSecond: this.#arrivals,
      completionsPerSecond: this.#completions,
      processingMs: this.times.averageMs,
      ...{ processingP50Ms: p50, processingP95Ms: p95, processingP99Ms: p99 },
      throughputPerWorker: this.throughputPerWorker,
    };
  }

  look(nowMs: number, totals: Totals): void {
    const elapsedMs = nowMs - this.#atMs;
    const last = this.#last;
    const isFirst = this.#looks === 0;
    if (!isFirst && elapsedMs <= 0) return;
    this.#atMs = nowMs;
    this.#last = totals;
    this.#looks++;
    if (isFirst) return;
    const completed = Math.max(0, totals.completed - last.completed);
    const busyMs = Math.max(0, totals.busyMs - last.busyMs);
    // The first rate is that of its look; later ones count the more the more time they stand for.
    const weight = Math.max(1 - Math.exp(-elapsedMs / RATE_MS), 1 / (this.#looks - 1));
    const arrived = totals.arrived - last.arrived;
    if (arrived >= 0) this.#arrivals = faded(this.#arrivals, (arrived * 1000) / elapsedMs, weight);
    this.#completions = faded(this.#completions, (completed * 1000) / elapsedMs, weight);
    this.times.fade(elapsedMs);
    if (completed > 0) this.#stuckMs = 0;
    if (busyMs === 0) return;
    if (completed === 0) this.#stuckMs += elapsedMs;
    const windowMs = Math.max(THROUGHPUT_MS, JOBS_PER_WINDOW * this.times.averageMs);
    const kept = Math.exp(-elapsedMs / windowMs);
    this.#done = this.#done * kept + completed;
    this.#busySeconds = this.#busySeconds * kept + busyMs / 1000;
  }
}

function faded(rate: number, now: number, weight: number): number {
  const next = rate + weight * (now - rate);
  return next < RATE_MIN ? 0 : next;
}
