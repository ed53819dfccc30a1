// A board that says what the test puts on it.
import type { Reading, ScalingBoard, ScalingTarget } from '../../dataplane/scaling/board.ts';
import type { Advice, Signals } from '../../dataplane/scaling/signals.ts';

export const idle: Signals = {
  atMs: 1_700_000_000_000,
  lag: 0,
  inFlight: 0,
  oldestReadyAtMs: 0,
  arrivalsPerSecond: 0,
  completionsPerSecond: 0,
  processingMs: 0,
  processingP50Ms: 0,
  processingP95Ms: 0,
  processingP99Ms: 0,
  throughputPerWorker: 0,
  workers: 0,
  busyWorkers: 0,
  stalled: false,
  partitions: 0,
  stalledPartitions: 0,
};

interface Changes {
  readonly signals?: Partial<Signals>;
  readonly advice?: Partial<Advice>;
  readonly lagTarget?: number;
}

export const aReading = ({ signals = {}, advice = {}, lagTarget = 5000 }: Changes = {}): Reading => ({
  signals: { ...idle, ...signals },
  advice: { wanted: 2, active: false, reason: 'Least', why: 'there is nothing to do', ...advice },
  lagTarget,
});

type Read = ReturnType<ScalingBoard['read']>;

export class FakeBoard implements ScalingBoard {
  readonly #readings = new Map<string, Read>();
  readonly #listeners = new Set<(reading: Read) => void>();
  readonly #keyOf = (target: ScalingTarget) => JSON.stringify(target);

  get followers(): number {
    return this.#listeners.size;
  }

  put(target: ScalingTarget, reading: Read): void {
    this.#readings.set(this.#keyOf(target), reading);
    for (const listener of [...this.#listeners]) listener(reading);
  }

  read(target: ScalingTarget): Read {
    return this.#readings.get(this.#keyOf(target)) ?? 'not-found';
  }

  /** Tests that change one target follow one target. */
  follow(_target: ScalingTarget, listener: (reading: Read) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
