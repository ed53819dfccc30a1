// What could not be read is left out for a while, so that the others go on, and then tried again: the disk
// may have had a bad moment, and damage stays what it is.

const RETRY_MS = 1000;
/** Beyond it all are tried again at once. */
const ITEMS_MAX = 1000;

export class Unreadable<T> {
  readonly #items = new Set<T>();
  /** Shard time at which they are tried again; 0: it has not been looked at the clock since. */
  #retryAtMs = 0;

  add(item: T): void {
    if (this.#items.size >= ITEMS_MAX) this.#items.clear();
    this.#items.add(item);
  }

  has(item: T): boolean {
    return this.#items.has(item);
  }

  /** Called with each look at the clock. */
  forgive(nowMs: number): void {
    if (this.#items.size === 0) return;
    if (this.#retryAtMs === 0) this.#retryAtMs = nowMs + RETRY_MS;
    if (nowMs < this.#retryAtMs) return;
    this.#items.clear();
    this.#retryAtMs = 0;
  }
}
