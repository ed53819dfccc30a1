// Keys with a later time, each at most once; one timer for all of them.
//   D1. A key keeps its earliest time; the label of that time goes with it.
//   D2. The heap holds at most twice as many entries as there are keys: forgotten ones are swept out.
import type { Runtime } from '../runtime.ts';
import type { Key } from './objects.ts';

interface Entry<L> {
  readonly key: Key;
  readonly dueMs: number;
  readonly label: L;
}

export class DueTimes<L> {
  readonly #runtime: Runtime;
  readonly #onDue: (key: Key, label: L) => void;
  readonly #entries = new Map<Key, Entry<L>>();
  #heap: Entry<L>[] = [];
  #timer: { readonly dueMs: number; readonly cancel: () => void } | undefined;
  #closed = false;

  constructor(runtime: Runtime, onDue: (key: Key, label: L) => void) {
    this.#runtime = runtime;
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(key: Key, dueMs: number, label: L): void {
    const known = this.#entries.get(key);
    if (this.#closed || (known !== undefined && known.dueMs <= dueMs)) return;
    const entry = { key, dueMs, label };
    this.#entries.set(key, entry);
    this.#push(entry);
    if (this.#heap.length > 2 * this.#entries.size + 16) this.#sweep();
    this.#arm();
  }

  forget(key: Key): void {
    this.#entries.delete(key);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#entries.clear();
    this.#heap = [];
  }

  #arm(): void {
    const dueMs = this.#heap[0]?.dueMs;
    if (dueMs === undefined || (this.#timer !== undefined && this.#timer.dueMs <= dueMs)) return;
    this.#timer?.cancel();
    const cancel = this.#runtime.after(dueMs - this.#runtime.monotonicMs(), () => this.#fire());
    this.#timer = { dueMs, cancel };
  }

  #fire(): void {
    this.#timer = undefined;
    const nowMs = this.#runtime.monotonicMs();
    for (let top = this.#heap[0]; top !== undefined && top.dueMs <= nowMs; top = this.#heap[0]) {
      this.#pop();
      if (this.#entries.get(top.key) !== top) continue;
      this.#entries.delete(top.key);
      this.#onDue(top.key, top.label);
    }
    if (!this.#closed) this.#arm();
  }

  #sweep(): void {
    const live = this.#heap.filter((entry) => this.#entries.get(entry.key) === entry);
    // A sorted array is a heap.
    this.#heap = live.sort((a, b) => a.dueMs - b.dueMs);
  }

  #push(entry: Entry<L>): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent] as Entry<L>).dueMs <= entry.dueMs) break;
      heap[at] = heap[parent] as Entry<L>;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && right.dueMs < left.dueMs) child++;
      const smaller = heap[child] as Entry<L>;
      if (smaller.dueMs >= last.dueMs) break;
      heap[at] = smaller;
      at = child;
    }
    heap[at] = last;
  }
}
