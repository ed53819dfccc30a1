// The world as the operator sees it: clocks, chance, timers. Handed in everywhere, so that tests put their
// own in place. Only this file and main.ts touch the real ones.

export interface Runtime {
  /** Wall clock, ms since the epoch: for what is written into objects, never for measuring. */
  wallMs(): number;
  /** Monotonic clock, ms with fractions. */
  monotonicMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Calls `run` once, `ms` (below 2^31) from now. Returns its cancellation. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` after the IO that is ready now has been handled. */
  soon(run: () => void): void;
}

export const realRuntime: Runtime = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  after(ms, run) {
    const timer = setTimeout(run, Math.max(0, ms));
    return () => clearTimeout(timer);
  },
  soon: (run) => void setImmediate(run),
};

/** Resolves after `ms`, or at once when `signal` aborts: the caller looks at the signal. */
export function sleep(runtime: Runtime, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = runtime.after(ms, end);
    signal?.addEventListener('abort', end);
  });
}
