// How many jobs a worker asks for. A credit is a job that the server may have in flight to this worker:
// unused, waiting here, or in a handler.

/** At most this many jobs wait here if the application does not say. */
const PREFETCH_MAX = 1000;
/** How fast the prefetch falls when jobs become slower. */
const DECAY = 0.8;

export class Credits {
  readonly #concurrency: number;
  readonly #isFixed: boolean;
  #prefetch: number;
  /** Given to the server and not finished yet. */
  #open = 0;
  #finishedLately = 0;

  constructor(concurrency: number, prefetch: number | undefined) {
    this.#concurrency = concurrency;
    this.#isFixed = prefetch !== undefined;
    this.#prefetch = prefetch ?? 0;
  }

  get target(): number {
    return this.#concurrency + Math.round(this.#prefetch);
  }

  /** A new stream begins while `held` jobs are here; returns the credits of its hello. */
  restart(held: number): number {
    this.#open = Math.max(held, this.target);
    return this.#open - held;
  }

  finished(): void {
    this.#open--;
    this.#finishedLately++;
  }

  /** Credits to send now. With jobs still `waiting` there is no hurry: they go in bulk. */
  take(waiting: number): number {
    const { target } = this;
    const missing = target - this.#open;
    if (missing <= 0 || (waiting > 0 && missing < target / 4)) return 0;
    this.#open = target;
    return missing;
  }

  /** Called every 100 ms. */
  adapt(isBusy: boolean): void {
    const finished = this.#finishedLately;
    this.#finishedLately = 0;
    if (this.#isFixed || (!isBusy && finished === 0)) return;
    this.#prefetch = Math.min(PREFETCH_MAX, Math.max(finished, this.#prefetch * DECAY));
  }
}
