// How long to wait before the next try. Full jitter: clients that lost the same server do not come back
// together.

const FIRST_MS = 50;
const LONGEST_MS = 5000;

/** `attempt` counts from 0. */
export const backoffMs = (attempt: number): number =>
  Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));

/** setTimeout fires at once above 2^31-1 ms (Node documentation, timers). */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/** Resolves after `ms`, or at once when `signal` aborts. Keeps the process alive meanwhile. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, TIMER_MS_MAX));
    signal?.addEventListener('abort', done, { once: true });
    if (signal?.aborted) done();
  });
}
