// A signal that aborts when nothing was heard for a time, or when another signal does: for answers that do
// not come, and connections that are dead without saying so.
import type { Runtime } from '../runtime.ts';

export class Silence {
  readonly #aborter = new AbortController();
  readonly #runtime: Runtime;
  readonly #ms: number;
  readonly #outer: AbortSignal | undefined;
  #heardMs: number;
  #cancel: () => void;

  constructor(runtime: Runtime, ms: number, outer: AbortSignal | undefined) {
    this.#runtime = runtime;
    this.#ms = ms;
    this.#outer = outer;
    this.#heardMs = runtime.monotonicMs();
    this.#cancel = runtime.after(ms, this.#look);
    if (outer?.aborted) this.#stop();
    outer?.addEventListener('abort', this.#stop);
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  broken(): void {
    this.#heardMs = this.#runtime.monotonicMs();
  }

  /** It is over: neither timer nor listener is left. */
  end(): void {
    this.#cancel();
    this.#outer?.removeEventListener('abort', this.#stop);
  }

  readonly #stop = () => {
    this.#cancel();
    this.#aborter.abort();
  };

  readonly #look = () => {
    const leftMs = this.#heardMs + this.#ms - this.#runtime.monotonicMs();
    if (leftMs > 0) this.#cancel = this.#runtime.after(leftMs, this.#look);
    else this.#aborter.abort(new Error(`nothing came for ${this.#ms} ms`));
  };
}
