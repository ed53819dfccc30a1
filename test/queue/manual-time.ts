// A clock that only moves when a test says so; timers fire in order on the way.
import type { Runtime } from '../../dataplane/runtime.ts';

export class ManualTime implements Runtime {
  now = 1_800_000_000_000;
  /** What `random` answers. */
  chance = 0.5;
  #timers = new Set<{ atMs: number; run: () => void }>();

  wallMs = () => this.now;
  monotonicMs = () => this.now;
  random = () => this.chance;
  soon = (run: () => void) => void setImmediate(run);

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.now + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Fires all timers up to `ms` from now; `between` runs after each moment at which some fired. */
  async advance(ms: number, between: () => Promise<void>): Promise<void> {
    const endMs = this.now + ms;
    for (;;) {
      let nextMs = endMs;
      for (const { atMs } of this.#timers) nextMs = Math.min(nextMs, atMs);
      this.now = Math.max(this.now, nextMs);
      const due = [...this.#timers].filter(({ atMs }) => atMs <= this.now);
      for (const timer of due) {
        if (this.#timers.delete(timer)) timer.run();
      }
      if (due.length > 0) await between();
      if (this.now >= endMs) return;
    }
  }

  /** A jump: timers that became due fire once, as after a pause of the process. */
  async jump(ms: number, between: () => Promise<void>): Promise<void> {
    this.now += ms;
    await this.advance(0, between);
  }

  clear(): void {
    this.#timers.clear();
  }
}
