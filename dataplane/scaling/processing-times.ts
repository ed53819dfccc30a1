// How long handling takes, from the moment a worker gets something until it is done: a moving average and
// quantiles.
//   T1. Noting a time costs two additions, whatever was noted before: no object, no list of samples.
//   T2. Old times fade only while there are new ones: what was known before a pause is known after it.
//   T3. A quantile is at most a quarter too high, and never below 1 ms, the grain of shard time.

/** Four for each doubling; 2^31 ms are 24 days, more than any lease lasts. */
const BUCKETS = 31 * 4;
const MS_MAX = 2 ** 31 - 1;
/** Half of what counts is of the last minute in which there was something. */
const HALF_LIFE_MS = 60_000;
const AVERAGE_MS = 30_000;
/** Less than the grain of shard time, and not the 0 that says unknown. */
const AVERAGE_MS_MIN = 0.1;
/** A bucket this empty is noise of fading. */
const LEAST = 1e-6;

export class ProcessingTimes {
  /** Made when there is something to count: most queues of a thousand stand still. */
  #buckets: Float64Array | null = null;
  /** Since the last `fade`. */
  #sumMs = 0;
  #count = 0;
  #averageMs = 0;
  /** Since the average was renewed. */
  #ageMs = 0;

  note(ms: number, count: number): void {
    this.#sumMs += ms * count;
    this.#count += count;
    const bucket = bucketOf(ms);
    const buckets = this.#buckets ?? new Float64Array(BUCKETS);
    this.#buckets = buckets;
    buckets[bucket] = (buckets[bucket] ?? 0) + count;
  }

  /** `elapsedMs` have passed since it was called last. */
  fade(elapsedMs: number): void {
    this.#ageMs += elapsedMs;
    const buckets = this.#buckets;
    if (this.#count === 0 || buckets === null) return;
    const average = this.#sumMs / this.#count;
    // Rare times weigh more: what is known between two of them is as old as the pause.
    const weight = this.#averageMs === 0 ? 1 : 1 - Math.exp(-this.#ageMs / AVERAGE_MS);
    this.#averageMs = Math.max(AVERAGE_MS_MIN, this.#averageMs + weight * (average - this.#averageMs));
    const kept = 0.5 ** (Math.min(this.#ageMs, HALF_LIFE_MS) / HALF_LIFE_MS);
    for (let i = 0; i < BUCKETS; i++) {
      const count = (buckets[i] ?? 0) * kept;
      buckets[i] = count < LEAST ? 0 : count;
    }
    this.#sumMs = 0;
    this.#count = 0;
    this.#ageMs = 0;
  }

  /** 0: nothing is known. */
  get averageMs(): number {
    return this.#averageMs;
  }

  /** For each of `shares`, in ascending order, the time within which that share was done; 0: unknown. */
  quantiles(...shares: readonly number[]): number[] {
    const buckets = this.#buckets;
    if (buckets === null) return shares.map(() => 0);
    const total = buckets.reduce((sum, count) => sum + count, 0);
    let bucket = 0;
    let below = buckets[0] ?? 0;
    return shares.map((share) => {
      while (below < share * total && bucket < BUCKETS - 1) below += buckets[++bucket] ?? 0;
      return endOf(bucket);
    });
  }
}

/** By the highest bit that is set and the two behind it: no logarithm for each job. */
function bucketOf(ms: number): number {
  if (ms <= 1) return 0;
  const whole = Math.min(ms, MS_MAX) | 0;
  const doublings = 31 - Math.clz32(whole);
  const quarter = doublings > 2 ? whole >>> (doublings - 2) : whole << (2 - doublings);
  return doublings * 4 + (quarter & 3);
}

/** Where the next bucket begins. */
const endOf = (bucket: number): number =>
  bucket === 0 ? 1 : 2 ** Math.floor(bucket / 4) * (1 + ((bucket % 4) + 1) / 4);
