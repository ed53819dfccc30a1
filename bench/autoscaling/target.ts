// A simulated queue or consumer group: what arrives, what is served, and its signals, measured by the meter
// of the data plane.
import { Meter } from '../../dataplane/scaling/meter.ts';
import type { Signals } from '../../dataplane/scaling/signals.ts';
import { type Backlog, QueueBacklog, StreamBacklog } from './backlog.ts';
import { exponential, logNormal } from './chance.ts';
import type { Pod } from './pods.ts';
import type { Shape } from './shapes.ts';

/** What the data plane waits before it takes a partition for one that stands still (meter.ts, at least). */
const STALL_S = 60;

interface Running {
  readonly startS: number;
  readonly endS: number;
}

export class Target {
  readonly #shape: Shape;
  readonly #rng: () => number;
  readonly #backlog: Backlog;
  readonly #meter = new Meter();
  readonly #totals = { arrived: 0, completed: 0, busyMs: 0 };
  #running: Running[] = [];
  #nextS = 0;

  constructor(shape: Shape, rng: () => number) {
    this.#shape = shape;
    this.#rng = rng;
    this.#backlog = shape.partitions > 0 ? new StreamBacklog(shape.partitions, rng) : new QueueBacklog();
  }

  /** A second has passed, in which these pods worked. */
  advance(atS: number, workers: readonly Pod[]): Signals {
    const { work, poisonS } = this.#shape;
    if (poisonS === atS) this.#backlog.poison(0);
    this.#arrive(atS);
    this.#backlog.serve(
      atS,
      workers,
      () => logNormal(this.#rng, work.meanS, work.spread),
      (job) => {
        this.#running.push(job);
      },
    );
    this.#complete(atS);
    this.#meter.look(atS * 1000, { ...this.#totals });
    return this.#signals(atS, workers);
  }

  /** All there is, as a plain trigger sees it: partitions that stand still are no different to it. */
  get lag(): number {
    return this.#backlog.lag + this.#backlog.stuckLag;
  }

  ageS(atS: number): number {
    return ageOf(atS, Math.min(this.#backlog.oldestS, this.#backlog.stuckOldestS));
  }

  /** What workers can do anything about: that is what is judged. */
  get movingLag(): number {
    return this.#backlog.lag;
  }

  movingAgeS(atS: number): number {
    return ageOf(atS, this.#backlog.oldestS);
  }

  #arrive(atS: number): void {
    const rate = this.#shape.rate(atS - 1);
    if (rate <= 0) return;
    if (this.#nextS < atS - 1) this.#nextS = atS - 1 + exponential(this.#rng, 1 / rate);
    for (; this.#nextS < atS; this.#nextS += exponential(this.#rng, 1 / rate)) {
      this.#backlog.arrive(this.#nextS);
      this.#totals.arrived++;
    }
  }

  #complete(atS: number): void {
    const left: Running[] = [];
    for (const job of this.#running) {
      const { startS, endS } = job;
      this.#totals.busyMs += (Math.min(atS, endS) - Math.max(atS - 1, startS)) * 1000;
      if (endS > atS) left.push(job);
      else {
        this.#totals.completed++;
        this.#meter.times.note((endS - startS) * 1000, 1);
      }
    }
    this.#running = left;
  }

  #signals(atS: number, workers: readonly Pod[]): Signals {
    const { poisonS = Number.POSITIVE_INFINITY, partitions } = this.#shape;
    const isStall = atS - poisonS >= STALL_S;
    const lag = isStall ? this.movingLag : this.lag;
    const ageS = isStall ? this.movingAgeS(atS) : this.ageS(atS);
    return {
      ...this.#meter.figures,
      ...{ atMs: atS * 1000, lag, partitions, stalledPartitions: isStall ? 1 : 0 },
      inFlight: partitions > 0 ? 0 : this.#running.length,
      oldestReadyAtMs: lag > 0 ? (atS - ageS) * 1000 : 0,
      workers: workers.length,
      busyWorkers: workers.filter(({ busyUntilS }) => busyUntilS > atS).length,
      stalled: isStall || this.#meter.stuckMs >= this.#meter.stallMs,
    };
  }
}

const ageOf = (atS: number, oldestS: number) => (Number.isFinite(oldestS) ? atS - oldestS : 0);
