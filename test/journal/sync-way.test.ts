// When a sync may hold the event loop (dataplane/journal/sync-way.ts).
import { expect, test } from 'vitest';
import { SyncWay } from '../../dataplane/journal/sync-way.ts';

/** A disk that takes `ms(n)` for the n-th sync; a writer that rests `restMs` between two small writes. */
class Disk {
  readonly way = new SyncWay();
  nowMs = 0;
  #count = 0;

  /** How many of so many syncs hold the loop. */
  held(syncs: number, ms: (n: number) => number, restMs = 1): number {
    const before = this.#count;
    for (let i = 0; i < syncs; i++) {
      const holds = this.way.holdsLoop(600, this.nowMs);
      const tookMs = ms(this.#count);
      this.nowMs += tookMs + restMs;
      if (!holds) continue;
      this.way.took(tookMs);
      this.#count++;
    }
    return this.#count - before;
  }
}

test.each([0.12, 0.4])('a disk that answers in %d ms is waited for, but not after much was written', (ms) => {
  const disk = new Disk();
  expect(disk.held(1000, () => ms)).toBe(1000);
  expect(disk.way.holdsLoop(64 * 1024, disk.nowMs)).toBe(false);
  expect(disk.way.holdsLoop(600, disk.nowMs)).toBe(true);
});

test('a slow sync among fast ones costs the next few their turn, no more', () => {
  const slowEach100 = new Disk().held(10_000, (n) => (n % 100 === 99 ? 20 : 0.12));
  expect(slowEach100).toBeGreaterThan(8000);
  expect(slowEach100).toBeLessThan(9000);
});

test.each([1.5, 5])('a disk that always takes %d ms soon holds up next to nothing', (ms) => {
  const disk = new Disk();
  disk.held(10_000, () => ms);
  expect(disk.held(10_000, () => ms)).toBeLessThanOrEqual(11);
});

test('a disk that has become fast again is waited for again', () => {
  const disk = new Disk();
  disk.held(10_000, () => 5);
  disk.held(40_000, () => 0.12);
  expect(disk.held(1000, () => 0.12)).toBe(1000);
});

test('syncs one after the other hold the loop for half of the time', () => {
  const held = new Disk().held(10_000, () => 0.5, 0);
  expect(held).toBeGreaterThan(4900);
  expect(held).toBeLessThan(5100);
});
