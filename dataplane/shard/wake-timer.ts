// One timer for all views of a shard: it goes off when the first of them wants its tick.
import type { Runtime } from '../runtime.ts';

export class WakeTimer {
  readonly #runtime: Pick<Runtime, 'after'>;
  readonly #wake: () => void;
  #cancel: (() => void) | null = null;
  #atMs = Number.POSITIVE_INFINITY;

  constructor(runtime: Pick<Runtime, 'after'>, wake: () => void) {
    this.#runtime = runtime;
    this.#wake = wake;
  }

  /** Shard time; Infinity: not at all. */
  arm(atMs: number, nowMs: () => number): void {
    if (atMs === this.#atMs && this.#cancel !== null) return;
    this.cancel();
    this.#atMs = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#cancel = this.#runtime.after(Math.max(1, atMs - nowMs()), () => {
      this.#cancel = null;
      this.#atMs = Number.POSITIVE_INFINITY;
      this.#wake();
    });
  }

  cancel(): void {
    this.#cancel?.();
    this.#cancel = null;
  }
}
