// Whether the next sync of a file holds the event loop, or goes through the thread pool. A trip through the
// pool wakes two threads; where others run, each of them may wait for a slice of the scheduler, some 3 ms. A
// small sync on a disk that answers at once takes a tenth of a millisecond to a half.
//   S1. On the loop only after a small write: when much is written there is other work to do meanwhile.
//   S2. After a slow one, or while they are slow on the average, the next go through the pool, the more the
//       more often that happens: a disk that is always slow holds up the loop once in PAUSE_MAX.
//   S3. Syncs of a file hold the loop for half of the time at most: a writer that waits for each of its small
//       writes leaves the other half to those who read. Shards have files of their own, and count for
//       themselves.

const BYTES_MAX = 8192;
const SLOW_MS = 4;
const AVERAGE_MS_MAX = 1;
/** What the latest adds to the average. */
const WEIGHT = 1 / 16;
const PAUSE_MIN = 16;
const PAUSE_MAX = 1024;
const SHARE_MAX = 0.5;
/** Time that syncs may take at once after rest. */
const CREDIT_MS_MAX = 10;

export class SyncWay {
  #averageMs = 0;
  #pause = PAUSE_MIN;
  /** Syncs that still go through the pool. */
  #pooled = 0;
  /** Time that syncs may still take of the loop, at `#creditAtMs`. */
  #creditMs = CREDIT_MS_MAX;
  #creditAtMs = 0;

  /** Of the next sync, with so many bytes written since the last one. Asked once for each. */
  holdsLoop(bytes: number, nowMs: number): boolean {
    if (bytes > BYTES_MAX) return false;
    if (this.#pooled > 0) {
      this.#pooled--;
      return false;
    }
    const earnedMs = SHARE_MAX * (nowMs - this.#creditAtMs);
    this.#creditMs = Math.min(CREDIT_MS_MAX, this.#creditMs + earnedMs);
    this.#creditAtMs = nowMs;
    return this.#creditMs > 0;
  }

  /** How long one took that held the loop. One that hangs counts as slow, not as the average of sixteen. */
  took(ms: number): void {
    this.#creditMs -= ms;
    this.#averageMs += WEIGHT * (Math.min(ms, SLOW_MS) - this.#averageMs);
    if (ms <= SLOW_MS && this.#averageMs <= AVERAGE_MS_MAX) {
      this.#pause = PAUSE_MIN;
      return;
    }
    this.#pooled = this.#pause;
    this.#pause = Math.min(PAUSE_MAX, 2 * this.#pause);
  }
}
