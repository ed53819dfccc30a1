// What waits in a simulation, and who serves it: one line before all workers, as a queue has it, or
// partitions that each belong to one member, as a stream has it. Jobs are served in the order of arrival.
import type { Pod } from './pods.ts';

export interface Started {
  readonly startS: number;
  readonly endS: number;
}

/** Times of arrival, first in, first out; memory goes back as the head moves on. */
class Line {
  #times: number[] = [];
  #head = 0;

  get length(): number {
    return this.#times.length - this.#head;
  }

  get oldest(): number {
    return this.#times[this.#head] ?? Number.POSITIVE_INFINITY;
  }

  push(atS: number): void {
    this.#times.push(atS);
  }

  shift(): void {
    this.#head++;
    if (this.#head < 65_536) return;
    this.#times = this.#times.slice(this.#head);
    this.#head = 0;
  }
}

export interface Backlog {
  arrive(atS: number): void;
  /** From now on the head of a partition is never done. */
  poison(partition: number): void;
  /** Starts what can be started until then. */
  serve(untilS: number, workers: readonly Pod[], workS: () => number, onStart: (job: Started) => void): void;
  /** Of the partitions that move. */
  readonly lag: number;
  /** When the oldest of `lag` has arrived; Infinity: none. */
  readonly oldestS: number;
  readonly partitions: number;
  /** The same of a partition that stands still. */
  readonly stuckLag: number;
  readonly stuckOldestS: number;
}

export class QueueBacklog implements Backlog {
  readonly partitions = 0;
  readonly stuckLag = 0;
  readonly stuckOldestS = Number.POSITIVE_INFINITY;
  readonly #line = new Line();

  get lag(): number {
    return this.#line.length;
  }

  get oldestS(): number {
    return this.#line.oldest;
  }

  arrive(atS: number): void {
    this.#line.push(atS);
  }

  poison(): never {
    throw new Error('a queue has no partitions');
  }

  serve(untilS: number, workers: readonly Pod[], workS: () => number, onStart: (job: Started) => void): void {
    while (this.#line.length > 0) {
      let first: Pod | undefined;
      for (const pod of workers) if (first === undefined || freeS(pod) < freeS(first)) first = pod;
      if (first === undefined) return;
      const atS = Math.max(this.#line.oldest, freeS(first));
      if (atS >= untilS) return;
      this.#line.shift();
      first.busyUntilS = atS + workS();
      onStart({ startS: atS, endS: first.busyUntilS });
    }
  }
}

const freeS = ({ readyS, busyUntilS }: Pod) => Math.max(readyS, busyUntilS);

export class StreamBacklog implements Backlog {
  readonly #lines: readonly Line[];
  readonly #rng: () => number;
  /** The partition whose head is never done. */
  #poisoned = -1;

  constructor(partitions: number, rng: () => number) {
    this.#lines = Array.from({ length: partitions }, () => new Line());
    this.#rng = rng;
  }

  get partitions(): number {
    return this.#lines.length;
  }

  get stuckLag(): number {
    return this.#lines[this.#poisoned]?.length ?? 0;
  }

  get stuckOldestS(): number {
    return this.#lines[this.#poisoned]?.oldest ?? Number.POSITIVE_INFINITY;
  }

  get lag(): number {
    return this.#lines.reduce((sum, { length }) => sum + length, 0) - this.stuckLag;
  }

  get oldestS(): number {
    return Math.min(...this.#lines.map((line, p) => (p === this.#poisoned ? Infinity : line.oldest)));
  }

  poison(partition: number): void {
    this.#poisoned = partition;
  }

  arrive(atS: number): void {
    this.#lines[Math.floor(this.#rng() * this.#lines.length)]?.push(atS);
  }

  serve(untilS: number, workers: readonly Pod[], workS: () => number, onStart: (job: Started) => void): void {
    if (workers.length === 0) return;
    while (true) {
      let next: { line: Line; pod: Pod; atS: number } | undefined;
      for (const [p, line] of this.#lines.entries()) {
        const pod = workers[p % workers.length];
        if (p === this.#poisoned || line.length === 0 || pod === undefined) continue;
        const atS = Math.max(line.oldest, freeS(pod));
        if (next === undefined || atS < next.atS) next = { line, pod, atS };
      }
      if (next === undefined || next.atS >= untilS) return;
      next.line.shift();
      next.pod.busyUntilS = next.atS + workS();
      onStart({ startS: next.atS, endS: next.pod.busyUntilS });
    }
  }
}
