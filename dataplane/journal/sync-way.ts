// Whether the next sync of a file holds the event loop, or goes through the thread pool. A trip through the
// pool wakes two threads; where others run, each of them may wait for a slice of the scheduler, some 3 ms. A
// small sync on a disk that answers at once takes a tenth of a millisecond.
//   S1. On the loop only after a small write: when much is written there is other work to do meanwhile.
//   S2. After a slow one, or while they are slow on the average, the next go through the pool, the more the
//       more often that happens: a disk that is always slow holds up the loop once in PAUSE_MAX.

const BYTES_MAX = 8192;
const SLOW_MS = 1;
/** A local disk takes 0.1 to 0.2 ms, one behind a network at least 0.5. */
const AVERAGE_MS_MAX = 0.3;
/** What the latest adds to the average. */
const WEIGHT = 1 / 16;
const PAUSE_MIN = 16;
const PAUSE_MAX = 1024;

export class SyncWay {
  #averageMs = 0;
  #pause = PAUSE_MIN;
  /** Syncs that still go through the pool. */
  #pooled = 0;

  /** Of the next sync, with so many bytes written since the last one. Asked once for each. */
  holdsLoop(bytes: number): boolean {
    if (bytes > BYTES_MAX) return false;
    if (this.#pooled === 0) return true;
    this.#pooled--;
    return false;
  }

  /** How long one took that held the loop. One that hangs counts as slow, not as the average of sixteen. */
  took(ms: number): void {
    this.#averageMs += WEIGHT * (Math.min(ms, SLOW_MS) - this.#averageMs);
    if (ms <= SLOW_MS && this.#averageMs <= AVERAGE_MS_MAX) {
      this.#pause = PAUSE_MIN;
      return;
    }
    this.#pooled = this.#pause;
    this.#pause = Math.min(PAUSE_MAX, 2 * this.#pause);
  }
}
