// Keys that wait to be worked on: what is due, in which order, and what is under way.
//   W1. A key is never worked on twice at once; added meanwhile, it is due again right after.
//   W2. A key waits at most once, however often it is added, and in its most urgent lane.
//   W3. A key has at most one later time: the earliest that was asked for. Starting it forgets that time, and
//       its run asks for the next one.
//   W4. Deletions go first and always have a free worker: a storm of retries that hang on a dead data plane
//       cannot keep them from running. Lower lanes are not starved: every FAIR_EVERY-th turn goes to the
//       lowest.
//   W5. One timer in all.
import type { Runtime } from '../runtime.ts';
import { type BackoffTerms, backoffMs } from './backoff.ts';
import { DueTimes } from './due-times.ts';
import type { Key } from './objects.ts';

/** Most urgent first. `resync` is also for what is there at the start. */
export const LANES = ['deletion', 'change', 'resync'] as const;
export type Lane = (typeof LANES)[number];

export interface WorkQueueOptions {
  readonly runtime: Runtime;
  readonly workersMax: number;
  readonly backoff?: BackoffTerms;
  readonly meter?: QueueMeter;
  /** Something can be taken. */
  readonly onReady: () => void;
}

/** For workqueue_*. */
export interface QueueMeter {
  added(): void;
  retried(): void;
  waited(ms: number): void;
  worked(ms: number): void;
}

export interface Work {
  readonly key: Key;
  readonly lane: Lane;
  /** Failures in a row before this run. */
  readonly failures: number;
}

/** Retries of an object reach the time of a resync (60 s) after ten of them. */
export const BACKOFF: BackoffTerms = { baseMs: 200, maxMs: 60_000 };
const FAIR_EVERY = 8;

export class WorkQueue {
  readonly #o: WorkQueueOptions;
  readonly #waiting: Readonly<Record<Lane, Map<Key, number>>> = {
    deletion: new Map(),
    change: new Map(),
    resync: new Map(),
  };
  /** Since when, and the lane in which it was added again meanwhile. */
  readonly #active = new Map<Key, { sinceMs: number; lane: Lane; again: Lane | undefined }>();
  readonly #failures = new Map<Key, number>();
  readonly #later: DueTimes<Lane>;
  #turns = 0;
  #closed = false;

  constructor(options: WorkQueueOptions) {
    this.#o = options;
    this.#later = new DueTimes(options.runtime, (key, lane) => this.add(key, lane));
  }

  /** Keys that wait now. */
  get depth(): number {
    return LANES.reduce((sum, lane) => sum + this.#waiting[lane].size, 0);
  }

  get laterCount(): number {
    return this.#later.size;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /** How long each key under way has been so. */
  activeMs(): number[] {
    const nowMs = this.#o.runtime.monotonicMs();
    return [...this.#active.values()].map(({ sinceMs }) => nowMs - sinceMs);
  }

  add(key: Key, lane: Lane): void {
    if (this.#closed) return;
    const active = this.#active.get(key);
    if (active !== undefined) {
      active.again = active.again === undefined ? lane : moreUrgent(active.again, lane);
      return;
    }
    const known = LANES.find((each) => this.#waiting[each].has(key));
    if (known === undefined) {
      this.#waiting[lane].set(key, this.#o.runtime.monotonicMs());
      this.#o.meter?.added();
    } else if (known !== moreUrgent(known, lane)) {
      this.#waiting[lane].set(key, this.#waiting[known].get(key) ?? 0);
      this.#waiting[known].delete(key);
    } else return;
    this.#o.onReady();
  }

  addAfter(key: Key, ms: number, lane: Lane): void {
    if (this.#closed) return;
    if (ms <= 0) this.add(key, lane);
    else this.#later.add(key, this.#o.runtime.monotonicMs() + ms, lane);
  }

  /** The next key, if there is one for which a worker is free. The caller must `done` or `failed` it. */
  take(): Work | undefined {
    const lane = this.#nextLane();
    if (lane === undefined) return undefined;
    const [entry] = this.#waiting[lane];
    if (entry === undefined) return undefined;
    const [key, addedMs] = entry;
    const nowMs = this.#o.runtime.monotonicMs();
    this.#waiting[lane].delete(key);
    this.#later.forget(key);
    this.#active.set(key, { sinceMs: nowMs, lane, again: undefined });
    this.#o.meter?.waited(nowMs - addedMs);
    return { key, lane, failures: this.#failures.get(key) ?? 0 };
  }

  /** It went well; the next time is then at the latest, if at all. */
  done(key: Key, next?: { afterMs: number; lane: Lane }): void {
    this.#failures.delete(key);
    this.#finish(key);
    if (next !== undefined) this.addAfter(key, next.afterMs, next.lane);
  }

  /** It did not; it comes back by itself, as urgent as it was. Answers when. */
  failed(key: Key): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    const lane = this.#active.get(key)?.lane ?? 'change';
    this.#failures.set(key, failures);
    const waitMs = backoffMs(failures, this.#o.backoff ?? BACKOFF, this.#o.runtime.random());
    this.#o.meter?.retried();
    this.addAfter(key, waitMs, lane);
    this.#finish(key);
    return waitMs;
  }

  /** No more work: what waits is dropped, what is under way goes on. */
  close(): void {
    this.#closed = true;
    this.#later.close();
    for (const lane of LANES) this.#waiting[lane].clear();
  }

  #finish(key: Key): void {
    const active = this.#active.get(key);
    if (active === undefined) throw new Error(`${key} is not under way`);
    this.#active.delete(key);
    this.#o.meter?.worked(this.#o.runtime.monotonicMs() - active.sinceMs);
    if (active.again !== undefined) this.add(key, active.again);
    else this.#o.onReady();
  }

  #nextLane(): Lane | undefined {
    const free = this.#o.workersMax - this.#active.size;
    if (free <= 0) return undefined;
    // W4: the last free worker is for deletions, if there are two or more.
    const others = this.#o.workersMax === 1 || free > 1 || this.#deletionsActive() > 0;
    const lanes = LANES.filter((lane) => this.#waiting[lane].size > 0 && (lane === 'deletion' || others));
    if (lanes.length > 1 && ++this.#turns % FAIR_EVERY === 0) return lanes.at(-1);
    return lanes[0];
  }

  #deletionsActive(): number {
    let count = 0;
    for (const { lane } of this.#active.values()) if (lane === 'deletion') count++;
    return count;
  }
}

function moreUrgent(a: Lane, b: Lane): Lane {
  return LANES.indexOf(a) <= LANES.indexOf(b) ? a : b;
}
