import { expect, test } from 'vitest';
import { ShardClock, slewed } from '../../dataplane/shard/clock.ts';
import { ManualTime } from '../queue/manual-time.ts';

/** Wall and monotonic clock apart. */
class TwoClocks extends ManualTime {
  wall = 1_000_000;
  mono = 50;
  override wallMs = () => this.wall;
  override monotonicMs = () => this.mono;
  pass(ms: number): void {
    this.wall += ms;
    this.mono += ms;
  }
}

test('the clock starts at the wall clock, or where the journal ended if that is later', () => {
  expect(new ShardClock(new TwoClocks(), 0).nowMs()).toBe(1_000_000);
  expect(new ShardClock(new TwoClocks(), 2_000_000).nowMs()).toBe(2_000_000);
});

test('it runs with the monotonic clock', () => {
  const time = new TwoClocks();
  const clock = new ShardClock(time, 0);
  time.pass(12_345);
  expect(clock.nowMs()).toBe(1_012_345);
});

test.each([-3_600_000, 3_600_000])(
  'a jump of the wall clock by %d ms moves it by a twentieth of what passes',
  (jump) => {
    const time = new TwoClocks();
    const clock = new ShardClock(time, 0);
    time.wall += jump;
    expect(clock.nowMs()).toBe(1_000_000);
    time.pass(1000);
    expect(clock.nowMs()).toBe(1_001_000 + Math.sign(jump) * 50);
  },
);

test('it reaches the wall clock and stays there', () => {
  const time = new TwoClocks();
  const clock = new ShardClock(time, 0);
  time.wall += 500;
  for (let i = 0; i < 100; i++) {
    time.pass(1000);
    clock.nowMs();
  }
  expect(clock.nowMs()).toBe(time.wall);
});

test('it never goes back, whatever the wall clock does', () => {
  const time = new TwoClocks();
  const clock = new ShardClock(time, 0);
  let last = clock.nowMs();
  for (let i = 0; i < 1000; i++) {
    time.mono += i % 7;
    time.wall += ((i * 7919) % 20_001) - 10_000;
    const now = clock.nowMs();
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
  }
});

test('many short steps add up to one long one', () => {
  let now = 1000;
  for (let i = 0; i < 1000; i++) now = slewed(now, 0.5, 1e9);
  expect(now).toBeCloseTo(slewed(1000, 500, 1e9), 6);
});
