// Shard time: starts at the later of the wall clock and the journal's last entry, runs with the monotonic
// clock and is slewed towards the wall clock. It never jumps and never goes back, so leases and delays
// survive clock changes.
import type { Runtime } from '../runtime.ts';

/** How much faster or slower than real time the clock may run while it catches up. */
const SLEW = 0.05;

export class ShardClock {
  #runtime: Runtime;
  #nowMs: number;
  #lastMonotonicMs: number;

  constructor(runtime: Runtime, lastEntryMs: number) {
    this.#runtime = runtime;
    this.#nowMs = Math.max(runtime.wallMs(), lastEntryMs);
    this.#lastMonotonicMs = runtime.monotonicMs();
  }

  /** Whole ms since the epoch. */
  nowMs(): number {
    const monotonicMs = this.#runtime.monotonicMs();
    const elapsed = monotonicMs - this.#lastMonotonicMs;
    this.#lastMonotonicMs = monotonicMs;
    this.#nowMs = slewed(this.#nowMs, elapsed, this.#runtime.wallMs());
    return Math.floor(this.#nowMs);
  }
}

/** Where the clock stands `elapsed` ms later, leaning towards the wall clock. */
export function slewed(nowMs: number, elapsed: number, wallMs: number): number {
  const next = nowMs + elapsed;
  const error = wallMs - next;
  return next + Math.max(-elapsed * SLEW, Math.min(elapsed * SLEW, error));
}
