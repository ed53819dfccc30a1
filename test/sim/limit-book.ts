// Which jobs of a limited queue were at work when, and whether that was ever too many. Times are those of the
// decisions, on one shard.
import type { Sim } from './sim.ts';

export const LIMITS = {
  concurrencyPerKey: 2,
  concurrency: 5,
  ratePerKey: { count: 4, periodMs: 1000 },
  rate: { count: 20, periodMs: 1000 },
} as const;

export interface Start {
  readonly key: string;
  readonly payload: string;
  readonly grantedMs: number;
  readonly untilMs: number;
  /** Its worker has said something of it: from then on it may be over. */
  isSaid: boolean;
}

export class LimitBook {
  readonly #sim: Sim;
  readonly #starts: Start[] = [];
  #held: Start[] = [];
  readonly open = new Set<string>();
  /** Deliveries of the key that has far too many jobs. */
  flooded = 0;

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  /** What is held now was held when the newest of it was granted, unless its lease was over by then. */
  deliver(key: string, payload: string, grantedMs: number, untilMs: number): Start {
    const start: Start = { key, payload, grantedMs, untilMs, isSaid: false };
    this.#starts.push(start);
    this.#held = this.#held.filter(({ isSaid }) => !isSaid);
    this.#held.push(start);
    this.#atMost(LIMITS.concurrency, this.#held, 'of the queue');
    const ofKey = this.#held.filter((each) => each.key === key);
    if (key !== '') this.#atMost(LIMITS.concurrencyPerKey, ofKey, `of key ${key}`);
    return start;
  }

  #atMost(most: number, held: readonly Start[], whose: string): void {
    const atMs = Math.max(...held.map(({ grantedMs }) => grantedMs));
    const together = held.filter(({ untilMs }) => untilMs > atMs);
    const how = () => `${together.length} ${whose} at ${atMs}: ${together.map(({ payload }) => payload)}`;
    this.#sim.expect(together.length <= most, 'a limit of concurrency is kept', how);
    if (together.length === most) this.#sim.count('limit reached');
  }

  check(): void {
    const keys = [...new Set(this.#starts.map(({ key }) => key))].filter((key) => key !== '');
    this.#checkRate(LIMITS.rate, this.#starts, 'of the queue');
    for (const key of keys) {
      const ofKey = this.#starts.filter((start) => start.key === key);
      this.#checkRate(LIMITS.ratePerKey, ofKey, `of key ${key}`);
    }
    const left = () => [...this.open].join();
    this.#sim.expect(this.open.size === 0, 'what is limited is handled, too', left);
  }

  /** A bucket of `count`: in no stretch of time start more than it holds and gets meanwhile. */
  #checkRate(rate: { count: number; periodMs: number }, starts: readonly Start[], whose: string): void {
    const times = starts.map(({ grantedMs }) => grantedMs).sort((a, b) => a - b);
    for (let from = 0; from < times.length; from++) {
      for (let to = from + rate.count; to < times.length; to++) {
        const ms = (times[to] ?? 0) - (times[from] ?? 0);
        const most = rate.count + ((ms + 1) * rate.count) / rate.periodMs;
        if (to - from + 1 <= most) continue;
        const how = `${to - from + 1} ${whose} within ${ms} ms from ${times[from]}`;
        this.#sim.broken('a limit of the rate is kept', how);
        return;
      }
    }
  }
}
