// A cache may forget whenever it likes, but what it shows is what was written last: a value that was written
// over, deleted or missed does not come back, and nothing outlives the process.
import type { Sim } from './sim.ts';

interface Write {
  readonly value: string | null;
  readonly begin: number;
  end: number;
  /** In which life of the server it was answered. */
  life: number;
}

export class CacheBook {
  readonly #sim: Sim;
  readonly #writes = new Map<string, Write[]>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  /** null: a deletion. To be ended with `answered`. */
  begin(key: string, value: string | null): Write {
    const write: Write = { value, begin: this.#sim.order(), end: Number.POSITIVE_INFINITY, life: 0 };
    const writes = this.#writes.get(key);
    if (writes === undefined) this.#writes.set(key, [write]);
    else writes.push(write);
    return write;
  }

  answered(write: Write): void {
    write.end = this.#sim.order();
    write.life = this.#sim.machine.starts;
  }

  /** `begin` and `life` are from before the question. */
  got(key: string, value: string | null, begin: number, life: number): void {
    if (value === null) {
      this.#sim.count('cache miss');
      // Who has missed it once does not find it again unless it is written anew.
      const miss = this.begin(key, null);
      Object.assign(miss, { begin });
      this.answered(miss);
      return;
    }
    this.#sim.count('cache hit');
    const writes = this.#writes.get(key) ?? [];
    const write = writes.find((each) => each.value === value);
    const what = () => `${key} is ${value.slice(0, 20)}`;
    this.#sim.expect(write !== undefined, 'a cache shows only what was written', what);
    if (write === undefined) return;
    const later = writes.find((each) => each.begin > write.end && each.end < begin);
    const how = () => `${what()} after ${later?.value?.slice(0, 20) ?? 'it was gone'}`;
    this.#sim.expect(later === undefined, 'a cache never shows what is no more', how);
    const isOld = write.end < begin && write.life < life;
    this.#sim.expect(!isOld, 'a cache is empty after a restart', () => `${what()} from life ${write.life}`);
  }
}
