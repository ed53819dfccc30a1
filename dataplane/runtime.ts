// The world as the data plane sees it: clock, chance, timers. Handed in everywhere, so that tests, the
// simulation and replays can put their own in place. Only this file and main.ts touch the real ones.

export interface Runtime {
  /** Wall clock, ms since the epoch. May jump; see ShardClock. */
  wallMs(): number;
  /** Monotonic clock, ms with fractions. */
  monotonicMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Calls `run` once, `ms` from now; any length (no 2^31 trap). Returns its cancellation. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` after the IO that is ready now has been handled. */
  soon(run: () => void): void;
}

/** setTimeout fires at once above 2^31-1 ms (Node documentation, timers). */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const realRuntime: Runtime = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  after(ms, run) {
    let timer: NodeJS.Timeout;
    const arm = (left: number) => {
      timer = setTimeout(
        () => (left > TIMER_MS_MAX ? arm(left - TIMER_MS_MAX) : run()),
        Math.min(left, TIMER_MS_MAX),
      );
    };
    arm(Math.max(0, ms));
    return () => clearTimeout(timer);
  },
  soon: (run) => void setImmediate(run),
};
