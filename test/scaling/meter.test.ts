// Rates, quantiles and stand-still, as plain functions of totals and time.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Meter, type Totals } from '../../dataplane/scaling/meter.ts';
import { ProcessingTimes } from '../../dataplane/scaling/processing-times.ts';

/** Looks once a second at totals that grow by this each second. */
class Watched {
  readonly meter = new Meter();
  nowMs = 1_800_000_000_000;
  totals: Totals = { arrived: 0, completed: 0, busyMs: 0 };

  constructor(from: Partial<Totals> = {}) {
    this.totals = { ...this.totals, ...from };
    this.meter.look(this.nowMs, this.totals);
  }

  seconds(count: number, each: Partial<Totals>, processingMs = 0): this {
    for (let i = 0; i < count; i++) {
      this.nowMs += 1000;
      const { arrived = 0, completed = 0, busyMs = 0 } = each;
      if (processingMs > 0 && completed > 0) this.meter.times.note(processingMs, completed);
      this.totals = {
        arrived: this.totals.arrived + arrived,
        completed: this.totals.completed + completed,
        busyMs: this.totals.busyMs + busyMs,
      };
      this.meter.look(this.nowMs, this.totals);
    }
    return this;
  }
}

describe('rates', () => {
  test('[R1] nothing is known before the third look, whatever the totals are', () => {
    const watched = new Watched({ arrived: 1e6, completed: 1e6 });
    expect(watched.meter.isKnown).toBe(false);
    expect(watched.seconds(1, { arrived: 50 }).meter.isKnown).toBe(false);
    const { meter } = watched.seconds(1, { arrived: 50 });
    expect(meter.isKnown).toBe(true);
    expect(meter.arrivalsPerSecond).toBeCloseTo(50);
    expect(meter.completionsPerSecond).toBe(0);
  });

  test('[R2] follow what happens within half a minute, up and down', () => {
    const watched = new Watched().seconds(60, { arrived: 100, completed: 90, busyMs: 500 });
    expect(watched.meter.arrivalsPerSecond).toBeCloseTo(100);
    expect(watched.meter.completionsPerSecond).toBeCloseTo(90);
    watched.seconds(30, { arrived: 1000 });
    expect(watched.meter.arrivalsPerSecond).toBeGreaterThan(940);
    watched.seconds(150, {});
    expect(watched.meter.arrivalsPerSecond).toBe(0);
    expect(watched.meter.completionsPerSecond).toBe(0);
  });

  test('[R2] how fast a busy worker is outlives a pause', () => {
    const watched = new Watched().seconds(60, { arrived: 40, completed: 40, busyMs: 2000 });
    expect(watched.meter.throughputPerWorker).toBeCloseTo(20);
    watched.seconds(3600, {});
    expect(watched.meter.throughputPerWorker).toBeCloseTo(20);
  });

  test('[R2] jobs that take minutes are not taken for slower ones between two of them', () => {
    const watched = new Watched();
    for (let job = 0; job < 20; job++)
      watched.seconds(599, { busyMs: 1000 }).seconds(1, { busyMs: 1000, completed: 1 }, 600_000);
    watched.seconds(300, { busyMs: 1000 });
    expect(watched.meter.throughputPerWorker * 600).toBeGreaterThan(0.7);
    expect(watched.meter.throughputPerWorker * 600).toBeLessThan(1.4);
  });

  test('[R3] a total that falls is no negative rate', () => {
    const watched = new Watched({ arrived: 5000 }).seconds(20, { arrived: 10 });
    watched.seconds(1, { arrived: -4000 }).seconds(1, { arrived: 10 });
    expect(watched.meter.arrivalsPerSecond).toBeCloseTo(10);
  });

  test('look at the same moment twice, or back in time, change nothing', () => {
    const watched = new Watched().seconds(5, { arrived: 10 });
    watched.meter.look(watched.nowMs, { arrived: 1e9, completed: 1e9, busyMs: 1e9 });
    watched.meter.look(watched.nowMs - 5000, { arrived: 1e9, completed: 1e9, busyMs: 1e9 });
    expect(watched.seconds(1, { arrived: 10 }).meter.arrivalsPerSecond).toBeCloseTo(10);
  });

  test('time without completions counts while somebody is busy, and ends with the next one', () => {
    const watched = new Watched().seconds(30, { busyMs: 1000 });
    expect(watched.meter.stuckMs).toBe(30_000);
    expect(watched.seconds(1000, {}).meter.stuckMs).toBe(30_000);
    expect(watched.seconds(1, { busyMs: 10, completed: 1 }, 10).meter.stuckMs).toBe(0);
  });

  test('what is long goes by how long it took before', () => {
    expect(new Watched().meter.stallMs).toBe(300_000);
    expect(new Watched().seconds(5, { completed: 9, busyMs: 1 }, 20).meter.stallMs).toBe(60_000);
    const slow = new Watched().seconds(5, { completed: 9, busyMs: 1 }, 100_000).meter.stallMs;
    expect(slow).toBeGreaterThanOrEqual(500_000);
    expect(slow).toBeLessThanOrEqual(625_000);
  });

  test('any totals at any time give finite figures that are not negative', () => {
    const steps = fc.array(
      fc.record({
        afterMs: fc.integer({ min: 0, max: 1e9 }),
        totals: fc.record({ arrived: fc.nat(), completed: fc.nat(), busyMs: fc.nat() }),
        ms: fc.integer({ min: 0, max: 2 ** 33 }),
      }),
    );
    fc.assert(
      fc.property(steps, (all) => {
        const meter = new Meter();
        let nowMs = 1;
        for (const { afterMs, totals, ms } of all) {
          nowMs += afterMs;
          meter.times.note(ms, 1);
          meter.look(nowMs, totals);
        }
        for (const value of Object.values(meter.figures)) expect(value).toBeGreaterThanOrEqual(0);
        for (const value of Object.values(meter.figures)) expect(Number.isFinite(value)).toBe(true);
      }),
    );
  });
});

describe('processing times', () => {
  test('[T3] a quantile is never too low, and at most a quarter too high', () => {
    const values = fc.array(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(values, fc.constantFrom(0.5, 0.95, 0.99, 1), (all, share) => {
        const times = new ProcessingTimes();
        for (const ms of all) times.note(ms, 1);
        const [found = 0] = times.quantiles(share);
        const sorted = [...all].sort((a, b) => a - b);
        const exact = Math.max(1, sorted[Math.ceil(share * all.length) - 1] ?? 0);
        expect(found).toBeGreaterThanOrEqual(exact);
        expect(found).toBeLessThanOrEqual(exact * 1.25);
      }),
    );
  });

  test('[T2] what was known stays over a pause, and fades when there is something new', () => {
    const times = new ProcessingTimes();
    times.note(1000, 500);
    times.fade(1000);
    times.fade(3_600_000);
    expect(times.averageMs).toBe(1000);
    expect(times.quantiles(0.5)[0]).toBeGreaterThanOrEqual(1000);
    for (let second = 0; second < 600; second++) {
      times.note(10, 5);
      times.fade(1000);
    }
    expect(times.averageMs).toBeCloseTo(10, 0);
    expect(times.quantiles(0.99)[0]).toBeLessThan(13);
  });

  test('nothing is known of nothing', () => {
    expect(new ProcessingTimes().averageMs).toBe(0);
    expect(new ProcessingTimes().quantiles(0.5, 0.99)).toEqual([0, 0]);
  });
});
