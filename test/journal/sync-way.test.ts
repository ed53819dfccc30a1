// When a sync may hold the event loop (dataplane/journal/sync-way.ts).
import { expect, test } from 'vitest';
import { SyncWay } from '../../dataplane/journal/sync-way.ts';

/** How many of so many small syncs hold the loop, on a disk that takes `ms(n)` for the n-th of them. */
function held(way: SyncWay, syncs: number, ms: (n: number) => number): number {
  let count = 0;
  for (let i = 0; i < syncs; i++) if (way.holdsLoop(600)) way.took(ms(count++));
  return count;
}

test('a disk that answers at once is waited for, but not after much was written', () => {
  const way = new SyncWay();
  expect(held(way, 1000, () => 0.12)).toBe(1000);
  expect(way.holdsLoop(64 * 1024)).toBe(false);
  expect(way.holdsLoop(600)).toBe(true);
});

test('a slow sync among fast ones costs the next few their turn, no more', () => {
  const slowEach100 = held(new SyncWay(), 10_000, (n) => (n % 100 === 99 ? 20 : 0.12));
  expect(slowEach100).toBeGreaterThan(8000);
  expect(slowEach100).toBeLessThan(9000);
});

test.each([0.7, 5])('a disk that always takes %d ms soon holds up next to nothing', (ms) => {
  const way = new SyncWay();
  held(way, 10_000, () => ms);
  expect(held(way, 10_000, () => ms)).toBeLessThanOrEqual(11);
});

test('a disk that has become fast again is waited for again', () => {
  const way = new SyncWay();
  held(way, 10_000, () => 5);
  held(way, 40_000, () => 0.12);
  expect(held(way, 1000, () => 0.12)).toBe(1000);
});
