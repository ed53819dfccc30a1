// What holds of the law whatever it is told: bounds, monotony, rest, and that it never says nonsense.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LAW } from '../../dataplane/scaling/law.ts';
import type { ScalingPolicy, Signals } from '../../dataplane/scaling/signals.ts';
import { FRESH, type ScalingMemory, workersWanted } from '../../dataplane/scaling/wanted.ts';
import { START_MS, signalsOf } from './signals.ts';

const count = fc.oneof(fc.nat(5), fc.nat(5000), fc.nat(2 ** 31));
const rate = fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1e6, noNaN: true }));
const millis = fc.oneof(fc.constant(0), fc.double({ min: 0.01, max: 1e8, noNaN: true }));

const policy: fc.Arbitrary<ScalingPolicy> = fc
  .record({
    from: fc.nat(20),
    more: fc.nat(100),
    lagMax: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1e6 })),
    ageMaxMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1e8 })),
    processingMaxMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1e6 })),
    throughputMin: fc.oneof(fc.constant(0), fc.double({ min: 1e-3, max: 1e3, noNaN: true })),
  })
  .map(({ more, ...rest }) => ({ ...rest, to: Math.max(1, rest.from + more) }));

const signals = fc
  .record({
    ...{ lag: count, inFlight: count, arrivalsPerSecond: rate, completionsPerSecond: rate },
    ...{ processingMs: millis, throughputPerWorker: rate, stalled: fc.boolean() },
    ...{ workers: fc.nat(200), busy: fc.nat(200), ageMs: fc.nat(1e7) },
    partitions: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 300 })),
    stalledPartitions: fc.nat(3),
  })
  .map(({ busy, ageMs, ...rest }) => ({
    ...rest,
    busyWorkers: Math.min(busy, rest.workers),
    oldestReadyAtMs: rest.lag > 0 ? START_MS - ageMs : 0,
  }));

/** What comes of some seconds of anything. */
const history = fc.array(fc.tuple(signals, fc.integer({ min: -5000, max: 400_000 })), { maxLength: 8 });

function remembering(past: [Partial<Signals>, number][], asked: ScalingPolicy): [ScalingMemory, number] {
  let atMs = START_MS;
  let memory = FRESH;
  for (const [some, passedMs] of past) {
    atMs += passedMs;
    memory = workersWanted(signalsOf({ ...some, atMs }), asked, memory).memory;
  }
  return [memory, atMs + 1000];
}

test('[W1] [W3] [W5] within the bounds, not below the busy, finite, and in words', () => {
  fc.assert(
    fc.property(history, signals, policy, (past, some, asked) => {
      const [memory, atMs] = remembering(past, asked);
      const now = signalsOf({ ...some, atMs });
      const { advice } = workersWanted(now, asked, memory);
      const { from, to } = asked;
      const most = now.partitions > 0 ? Math.max(from, Math.min(to, now.partitions)) : to;
      expect(Number.isInteger(advice.wanted)).toBe(true);
      expect(advice.wanted).toBeGreaterThanOrEqual(from);
      expect(advice.wanted).toBeLessThanOrEqual(most);
      expect(advice.wanted).toBeGreaterThanOrEqual(Math.min(most, now.busyWorkers));
      expect(advice.active).toBe(now.lag + now.inFlight > 0);
      if (advice.active) expect(advice.wanted).toBeGreaterThanOrEqual(1);
      expect(advice.why).toMatch(/^[^\n]{8,400}$/);
      expect(advice.why).not.toMatch(/NaN|Infinity|undefined|-\d/);
      expect(workersWanted(now, asked, memory).advice).toEqual(advice);
    }),
    { numRuns: 1000, endOnFailure: true },
  );
});

test('[W5] figures that are none change nothing about that', () => {
  const nasty = fc.constantFrom(
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -1,
    1e308,
    5e-324,
  );
  const broken = fc.record(
    Object.fromEntries(
      Object.entries(signalsOf())
        .filter(([, value]) => typeof value === 'number')
        .map(([name]) => [name, fc.oneof(nasty, fc.double(), fc.nat())]),
    ),
  );
  fc.assert(
    fc.property(fc.array(broken, { minLength: 1, maxLength: 6 }), policy, (all, asked) => {
      let memory = FRESH;
      for (const some of all) {
        const decided = workersWanted(signalsOf(some), asked, memory);
        memory = decided.memory;
        expect(decided.advice.wanted).toBeGreaterThanOrEqual(asked.from);
        expect(decided.advice.wanted).toBeLessThanOrEqual(asked.to);
        expect(decided.advice.why).not.toMatch(/NaN|Infinity/);
      }
    }),
    { numRuns: 1000, endOnFailure: true },
  );
});

test('more lag or more arrivals never want fewer', () => {
  const more = fc.record({ lag: count, arrivalsPerSecond: rate });
  fc.assert(
    fc.property(history, signals, more, policy, (past, some, { lag, arrivalsPerSecond }, asked) => {
      const [memory, atMs] = remembering(past, asked);
      // Beside no lag at all, idle workers are no sign of anything.
      const less = signalsOf({ ...some, atMs, lag: Math.max(1, some.lag ?? 0) });
      const wanted = (now: Signals) => workersWanted(now, asked, memory).advice.wanted;
      expect(wanted({ ...less, lag: less.lag + lag })).toBeGreaterThanOrEqual(wanted(less));
      const faster = { ...less, arrivalsPerSecond: less.arrivalsPerSecond + arrivalsPerSecond };
      expect(wanted(faster)).toBeGreaterThanOrEqual(wanted(less));
    }),
    { numRuns: 1000, endOnFailure: true },
  );
});

/** What minutes are enough to see: some jobs each second, a threshold of minutes. */
const ordinary = signals.map((some) => ({
  ...some,
  throughputPerWorker: Math.min(1000, Math.max(0.01, some.throughputPerWorker)),
  arrivalsPerSecond: Math.min(1000, some.arrivalsPerSecond),
  completionsPerSecond: Math.max(10, some.completionsPerSecond),
}));
const inMinutes = policy.map((asked) => ({ ...asked, ageMaxMs: Math.min(120_000, asked.ageMaxMs) }));

test('[W2] steady input comes to rest within minutes, and stays there', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(ordinary, fc.nat(60_000))), ordinary, inMinutes, (past, some, asked) => {
      let [memory, atMs] = remembering(past, asked);
      const seen: number[] = [];
      for (let second = 0; second < 5400; second += 5) {
        atMs += 5000;
        const decided = workersWanted(signalsOf({ ...some, atMs }), asked, memory);
        memory = decided.memory;
        seen.push(decided.advice.wanted);
        expect(memory.keepUp.length + memory.total.length).toBeLessThan(500);
      }
      expect(new Set(seen.slice(-60)).size).toBe(1);
      expect(memory.keepUp.length + memory.total.length).toBeLessThan(10);
    }),
    { numRuns: 60, endOnFailure: true },
  );
});

test('what is asked for rises at once, and falls only behind the settling time', () => {
  fc.assert(
    fc.property(history, signals, signals, policy, (past, some, other, asked) => {
      let [memory, atMs] = remembering(past, asked);
      const before = workersWanted(signalsOf({ ...some, atMs }), asked, memory);
      ({ memory } = before);
      atMs += 1000;
      const { advice } = workersWanted(signalsOf({ ...other, atMs }), asked, memory);
      // What was needed for arrivals is needed still, but for what has just had its time.
      const isDue = ({ atMs: thenMs }: { atMs: number }) => Math.abs(atMs - thenMs) < LAW.settleMs;
      const needed = memory.keepUp.find(isDue)?.workers ?? 0;
      const now = signalsOf(other);
      const most = now.partitions > 0 ? Math.max(asked.from, Math.min(asked.to, now.partitions)) : asked.to;
      expect(advice.wanted).toBeGreaterThanOrEqual(Math.min(needed, most));
    }),
    { numRuns: 1000, endOnFailure: true },
  );
});
