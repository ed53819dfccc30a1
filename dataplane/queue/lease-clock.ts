// When leases end. Owns one heap of grants by deadline for all queues of a shard, so that a lease costs no
// timer.
//   L1. A grant is looked at when its deadline passes; renewed sessions push it on.
//   L2. Grants whose leases are all settled are skipped, and thrown out when they are the majority.
import type { Rows } from '../storage/contract.ts';
import type { Grant, QueueCell } from './cell.ts';
import { LEASE } from './tables.ts';

interface Watched {
  readonly cell: QueueCell;
  readonly grant: Grant;
  readonly atMs: number;
}

/** Below this many the heap is not worth cleaning. */
const CLEAN_MIN = 4096;

export class LeaseClock {
  #heap: Watched[] = [];
  #settled = 0;

  add(cell: QueueCell, grant: Grant, atMs = grant.deadlineMs): void {
    const heap = this.#heap;
    const item = { cell, grant, atMs };
    let i = heap.length;
    heap.push(item);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || parent.atMs <= atMs) break;
      heap[i] = parent;
      heap[up] = item;
      i = up;
    }
  }

  /** A lease was settled: from time to time the heap is cleaned of grants with none left. */
  released(): void {
    if (++this.#settled < CLEAN_MIN || this.#settled < this.#heap.length) return;
    this.#settled = 0;
    const kept = this.#heap.filter((w) => w.grant.left > 0);
    if (kept.length * 2 > this.#heap.length) return;
    // A sorted array is a heap.
    this.#heap = kept.sort((a, b) => a.atMs - b.atMs);
  }

  nextAtMs(): number {
    while (this.#heap.length > 0 && this.#heap[0]?.grant.left === 0) this.#pop();
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  /** Takes out grants with held leases whose time is over, one at a time while `goesOn`. */
  *due(nowMs: number, goesOn: () => boolean): Generator<Watched> {
    while (this.nextAtMs() <= nowMs && goesOn()) {
      const item = this.#pop();
      if (item === undefined) return;
      const untilMs = item.cell.deadlineOf(item.grant);
      if (untilMs > nowMs) this.add(item.cell, item.grant, untilMs);
      else yield item;
    }
  }

  /** Checkpoint: rows for leases that are held, none for the others. */
  flush(rows: Rows, cell: QueueCell): void {
    for (const offset of cell.persistedLeases.keys()) {
      if (cell.leases.has(offset)) continue;
      rows.del(LEASE, cell.keys.leaseKey(offset));
      cell.persistedLeases.delete(offset);
    }
    for (const [offset, g] of cell.leases) {
      if (cell.persistedLeases.get(offset) === g) continue;
      const epoch = g.firstEpoch + offset - g.firstOffset;
      const { deadlineMs, sessionId, worker, leasedAtMs, meta } = g;
      rows.put(LEASE, cell.keys.leaseKey(offset), { epoch, deadlineMs, sessionId, worker, leasedAtMs, meta });
      cell.persistedLeases.set(offset, g);
    }
  }

  #pop(): Watched | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      const left = heap[down];
      if (left === undefined) break;
      const right = heap[down + 1];
      if (right !== undefined && right.atMs < left.atMs) down++;
      const child = heap[down];
      if (child === undefined || child.atMs >= last.atMs) break;
      heap[i] = child;
      i = down;
    }
    heap[i] = last;
    return top;
  }
}
