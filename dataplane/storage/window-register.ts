// Which windows of one table look at a key. Ranges are few to a key, but there may be a window for each of
// 10,000 queues.
//   G1. Sorted by `from`; `reach[i]` is the greatest `to` of windows 0..i, so a search backwards knows where
//       to stop.
import type { RowWindow } from './window.ts';

type AnyWindow = RowWindow<unknown>;

export class WindowRegister {
  readonly #windows: AnyWindow[] = [];
  readonly #reach: string[] = [];

  add(window: AnyWindow): void {
    const at = this.#firstBehind(window.from);
    this.#windows.splice(at, 0, window);
    this.#reach.splice(at, 0, '');
    this.#setReach(at);
  }

  remove(window: AnyWindow): void {
    for (let at = this.#firstBehind(window.from) - 1; at >= 0; at--) {
      if (this.#windows[at] !== window) continue;
      this.#windows.splice(at, 1);
      this.#reach.splice(at, 1);
      this.#setReach(at);
      return;
    }
  }

  set(key: string, value: unknown): void {
    for (let at = this.#firstBehind(key) - 1; at >= 0 && (this.#reach[at] ?? '') > key; at--) {
      const window = this.#windows[at];
      if (window !== undefined && window.to > key) window.set(key, value);
    }
  }

  /** Adds to `undo` what takes back a `set` of `key` that follows. */
  noteUndo(key: string, undo: (() => void)[]): void {
    for (let at = this.#firstBehind(key) - 1; at >= 0 && (this.#reach[at] ?? '') > key; at--) {
      const window = this.#windows[at];
      if (window !== undefined && window.to > key) undo.push(window.undoOf(key));
    }
  }

  /** Index behind the last window whose `from` is <= `key`. */
  #firstBehind(key: string): number {
    const windows = this.#windows;
    let low = 0;
    let high = windows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((windows[middle]?.from ?? '') <= key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** From `at` on, until nothing changes. */
  #setReach(at: number): void {
    for (let i = at; i < this.#windows.length; i++) {
      let reach = this.#windows[i]?.to ?? '';
      const before = this.#reach[i - 1];
      if (before !== undefined && before > reach) reach = before;
      if (i > at && this.#reach[i] === reach) return;
      this.#reach[i] = reach;
    }
  }
}
