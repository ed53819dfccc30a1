// One timer for the deadlines of all calls of a client. It runs only while something waits, and keeps the
// process alive meanwhile. A deadline is noticed at most TICK_MS late.

const TICK_MS = 25;

export interface Watched {
  /**
   * Rejects what is past its deadline at `nowMs` (`performance.now()`). Returns whether anything still waits.
   */
  sweep(nowMs: number): boolean;
}

export class DeadlineTimer {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  watch(watched: Watched): void {
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const watched of this.#watched) if (!watched.sweep(nowMs)) this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
