// The law by examples: for each reason what it says, and that it does so in time.
import { expect, test } from 'vitest';
import { LAW } from '../../dataplane/scaling/law.ts';
import { Asked, policyOf } from './signals.ts';

/** Workers of 10 jobs/s each. */
const fast = { throughputPerWorker: 10, processingMs: 100 };
const usual = policyOf(2, 20, ['queue_lag > 1_000', 'message_age > 30s']);
const busy = (arrivals: number, workers: number) => ({
  ...{ ...fast, arrivalsPerSecond: arrivals, completionsPerSecond: arrivals, workers },
  ...{ busyWorkers: Math.min(workers, Math.ceil(arrivals / 10)), inFlight: Math.ceil(arrivals / 10) },
});

test('an idle queue wants the least: scaleFrom, or nobody', () => {
  expect(new Asked(usual).after(600)).toEqual({
    ...{ wanted: 2, active: false, reason: 'Least', why: 'there is nothing to take; scaleFrom asks for 2' },
  });
  expect(new Asked(policyOf(0, 20)).after(600)).toMatchObject({ wanted: 0, active: false, reason: 'Idle' });
});

test('from none: the first job wakes one, before anything is known', () => {
  const asked = new Asked(policyOf(0, 20));
  asked.after(60);
  expect(asked.once({ lag: 1, ageMs: 10 })).toMatchObject({ wanted: 1, active: true, reason: 'ColdStart' });
});

test('the first jobs of programs that have just begun do not call for a crowd', () => {
  const asked = new Asked(policyOf(1, 50));
  const arriving = { arrivalsPerSecond: 40, workers: 1, busyWorkers: 1, inFlight: 1, lag: 30, ageMs: 1000 };
  asked.once({ ...arriving, completionsPerSecond: 1, throughputPerWorker: 1.2 });
  const speeds = [5, 9, 12, 14, 15.5, 16.5, 17.5, 18, 18.5, 19];
  const wanted = speeds.map(
    (throughputPerWorker) =>
      asked.after(1, { ...arriving, completionsPerSecond: 20, throughputPerWorker }).wanted,
  );
  // 40/s at 20/s for each, a tenth more, and what waits is due in 10 s.
  expect(Math.max(...wanted)).toBeLessThanOrEqual(6);
  expect(wanted.at(-1)).toBeGreaterThanOrEqual(3);
});

test('a job in flight keeps its worker when nothing waits', () => {
  const asked = new Asked(policyOf(0, 20));
  expect(asked.after(900, { ...fast, inFlight: 1, workers: 1, busyWorkers: 1 })).toMatchObject({
    ...{ wanted: 1, active: true, reason: 'Busy' },
  });
});

test('keeping up takes what arrives and a tenth more', () => {
  const advice = new Asked(usual).after(60, busy(100, 4));
  expect(advice).toMatchObject({ wanted: 11, reason: 'KeepUp' });
  expect(advice.why).toBe('100/s arrive and a worker does 10/s: that takes 10, with head room 11');
});

test('what waits must be served within a third of the age', () => {
  const advice = new Asked(policyOf(2, 40, ['message_age > 30s'])).after(60, {
    ...busy(100, 10),
    ...{ lag: 3000, ageMs: 20_000 },
  });
  expect(advice).toMatchObject({ wanted: 30, reason: 'Age' });
  expect(advice.why).toBe(
    '100/s arrive and a worker does 10/s; 3,000 wait and are due in 10s: that takes 30',
  );
});

test('lag above its threshold is worked off within a minute, beside what arrives', () => {
  const advice = new Asked(policyOf(2, 40, ['queue_lag > 1_000'])).after(60, { ...busy(100, 10), lag: 4000 });
  expect(advice).toMatchObject({ wanted: 15, reason: 'Lag' });
  expect(advice.why).toContain('4,000 wait, due are at most 1,000 in 1m');
});

test('never more for a backlog than there are jobs to give', () => {
  const slow = { throughputPerWorker: 1 / 600, processingMs: 600_000 };
  expect(
    new Asked(usual).after(60, { ...slow, lag: 3, inFlight: 2, workers: 2, busyWorkers: 2 }),
  ).toMatchObject({
    ...{ wanted: 5, reason: 'Age' },
  });
});

test('scaleTo is the end, and is named', () => {
  const advice = new Asked(usual).after(60, busy(500, 20));
  expect(advice).toMatchObject({ wanted: 20, reason: 'Most' });
  expect(advice.why).toMatch(/; scaleTo allows 20$/);
});

test('cold start: by the share of a worker in the lag, and half as many again while it is too old', () => {
  const asked = new Asked(usual);
  expect(asked.once({ lag: 3000, workers: 2, busyWorkers: 2, inFlight: 2 })).toMatchObject({
    ...{ wanted: 6, reason: 'ColdStart' },
  });
  const aged = new Asked(policyOf(2, 20));
  const late = { lag: 3000, ageMs: 40_000, inFlight: 2 };
  expect(aged.once({ ...late, workers: 2, busyWorkers: 2 }).wanted).toBe(3);
  // While the third starts, nothing is added.
  expect(aged.after(30, { ...late, workers: 2, busyWorkers: 2 }).wanted).toBe(3);
  expect(aged.once({ ...late, workers: 3, busyWorkers: 3 }).wanted).toBe(5);
  expect(aged.once({ ...late, workers: 5, busyWorkers: 5 })).toMatchObject({
    wanted: 8,
    reason: 'ColdStart',
  });
});

test('[W4] nothing completed: it stops to grow and says so', () => {
  const asked = new Asked(usual);
  const late = { lag: 3000, ageMs: 400_000, workers: 6, busyWorkers: 6, inFlight: 6 };
  expect(asked.once(late).wanted).toBe(9);
  const advice = asked.after(600, { ...late, lag: 90_000, stalled: true });
  expect(advice).toMatchObject({ wanted: 9, active: true, reason: 'Stalled' });
  expect(advice.why).toBe('6 workers complete nothing: 20 would do no better than 9'.replace('20', '180'));
  expect(asked.after(10, { ...late, ...fast, stalled: false, arrivalsPerSecond: 90 }).reason).not.toBe(
    'Stalled',
  );
});

test('[W4] half the workers idle beside waiting work: a limit holds it, and more would be idle too', () => {
  const asked = new Asked(usual);
  const limited = { ...busy(100, 10), busyWorkers: 2, inFlight: 2, lag: 20_000 };
  expect(asked.after(LAW.idleMs / 1000, limited).reason).not.toBe('Held');
  const advice = asked.after(300, limited);
  expect(advice).toMatchObject({ wanted: 4, reason: 'Held' });
  expect(advice.why).toContain('8 of 10 workers are idle although 20,000 wait');
  expect(asked.once({ ...limited, busyWorkers: 10, inFlight: 10 })).toMatchObject({
    wanted: 20,
    reason: 'Most',
  });
});

test('[W4] of a stream, partitions that stand still are left out, and named', () => {
  const group = policyOf(1, 40, ['message_age > 30s'], 'Stream');
  const some = { ...busy(50, 2), inFlight: 0, partitions: 12, stalled: true };
  const advice = new Asked(group).after(60, { ...some, stalledPartitions: 1 });
  expect(advice).toMatchObject({ wanted: 6, reason: 'Stalled' });
  expect(advice.why).toMatch(/^1 of 12 partitions stand still; for the others 50\/s arrive/);
  // All of them: nobody helps.
  const all = new Asked(group).after(60, { ...some, lag: 9000, stalledPartitions: 12, workers: 2 });
  expect(all).toMatchObject({ wanted: 2, reason: 'Stalled' });
});

test('[W4] more than half of them at work are no sign of a limit', () => {
  const some = { ...busy(100, 10), busyWorkers: 6, inFlight: 6, lag: 20_000 };
  expect(new Asked(usual).after(300, some)).toMatchObject({ wanted: 20, reason: 'Most' });
});

test('[W4] where nobody is there yet, nothing stands still', () => {
  expect(new Asked(policyOf(0, 9)).once({ lag: 5, stalled: true })).toMatchObject({
    wanted: 1,
    active: true,
  });
});

test('[W1] a stream: whole partitions for each member, and no member without one', () => {
  const group = policyOf(1, 40, ['message_age > 30s'], 'Stream');
  const of = (arrivals: number, partitions: number) =>
    new Asked(group).after(60, { ...busy(arrivals, 2), inFlight: 0, partitions });
  // Load of 5.5 with head room: of 12 partitions two for each of six.
  expect(of(50, 12)).toMatchObject({ wanted: 6, reason: 'KeepUp' });
  // 7.7: with eight members some still have two, which are too many for one.
  expect(of(70, 12)).toMatchObject({ wanted: 12, reason: 'KeepUp' });
  expect(of(300, 12)).toMatchObject({ wanted: 12, reason: 'Partitions' });
  expect(of(300, 12).why).toContain('beyond the 12 partitions a member would be idle');
  // Who asks for stand-bys has them.
  expect(new Asked(policyOf(3, 9, [], 'Stream')).after(9, { partitions: 2 }).wanted).toBe(3);
});

test('[W2] fewer only after fewer have done for three minutes, and it says what it waits for', () => {
  const asked = new Asked(usual);
  asked.after(300, busy(100, 11));
  expect(asked.after(60, busy(10, 11))).toMatchObject({ wanted: 11, reason: 'Settling' });
  expect(asked.after(60, busy(10, 11)).wanted).toBe(11);
  expect(asked.after(120, busy(10, 11))).toMatchObject({ wanted: 2, reason: 'KeepUp' });
});

test('[W2] what was needed beyond the bounds is over as well: nobody is told to raise them', () => {
  const asked = new Asked(usual);
  expect(asked.after(300, busy(300, 20))).toMatchObject({ wanted: 20, reason: 'Most' });
  const after = asked.after(60, busy(10, 20));
  expect(after).toMatchObject({ wanted: 20, reason: 'Settling' });
  expect(after.why).toMatch(/^33 were needed a short while ago; now 10/);
  const holding = { ...fast, inFlight: 3, workers: 3, busyWorkers: 3 };
  const group = new Asked(policyOf(0, 12, ['message_age > 30s'], 'Stream'));
  // Five are there when it begins, of which one has no partition.
  const some = { ...busy(10, 5), inFlight: 0, partitions: 4 };
  expect(group.after(30, some)).toMatchObject({ wanted: 4, reason: 'Settling' });
  expect(new Asked(policyOf(0, 2)).after(300, holding)).toMatchObject({
    ...{ wanted: 2, reason: 'Busy' },
  });
});

test('[W2] a backlog that has been worked off keeps workers for half a minute only', () => {
  const asked = new Asked(policyOf(2, 40));
  asked.after(300, busy(100, 11));
  expect(asked.after(20, { ...busy(100, 11), lag: 6000, ageMs: 9000 }).wanted).toBe(40);
  expect(asked.after(25, busy(100, 11)).wanted).toBe(40);
  expect(asked.after(10, busy(100, 11)).wanted).toBe(11);
});

test('[W3] never fewer than busy workers, however long nothing arrives', () => {
  const asked = new Asked(usual);
  const long = { throughputPerWorker: 0.001, workers: 9, busyWorkers: 7, inFlight: 7 };
  const advice = asked.after(1200, long);
  expect(advice).toMatchObject({ wanted: 7, reason: 'Busy' });
});

test('a burst for the night is planned over its time, not over the seconds it came in', () => {
  const asked = new Asked(policyOf(1, 1000, ['message_age > 30m']));
  const work = { throughputPerWorker: 1, processingMs: 1000, workers: 1, busyWorkers: 1, inFlight: 1 };
  asked.after(600, { ...work, arrivalsPerSecond: 0.5 });
  let most = 0;
  for (let i = 0; i < 30; i++) {
    const { wanted } = asked.once({ ...work, arrivalsPerSecond: 600, lag: 600 * i, ageMs: i * 1000 });
    most = Math.max(most, wanted);
  }
  // 18,000 jobs of a second within ten minutes are 30 workers, not 660.
  expect(most).toBeGreaterThanOrEqual(28);
  expect(most).toBeLessThan(45);
  // And when it is done, nobody waits for the next one.
  expect(asked.after(400, { ...work, inFlight: 0, workers: 25, busyWorkers: 0 }).wanted).toBe(1);
});

test('a step counts within seconds, noise does not', () => {
  const asked = new Asked(policyOf(1, 100));
  asked.after(600, busy(45, 5));
  // By chance 40 in ten seconds more or less; 46/s for ever would be one more.
  for (const arrivals of [49, 41, 49, 42, 49, 41]) {
    expect(asked.after(10, busy(arrivals, 5)).wanted).toBe(5);
  }
  expect(asked.after(5, busy(120, 5)).wanted).toBeGreaterThan(9);
  expect(asked.after(120, busy(120, 5)).wanted).toBe(14);
});

test('who begins, after a restart for one, takes nobody away before it knows', () => {
  const asked = new Asked(usual);
  asked.after(20);
  // They come back one after the other.
  expect(asked.once({ workers: 5, busyWorkers: 1, inFlight: 1 }).wanted).toBe(5);
  expect(asked.once({ workers: 12, busyWorkers: 1, inFlight: 1 }).wanted).toBe(12);
  expect(asked.after(170, { workers: 12 }).wanted).toBe(12);
  expect(asked.after(30, { workers: 12 }).wanted).toBe(2);
});

test('workers that come because they were asked for are not kept for it', () => {
  const asked = new Asked(policyOf(0, 20, ['queue_lag > 20']));
  expect(asked.once({ lag: 200 }).wanted).toBe(10);
  asked.after(20, { lag: 150, workers: 10, busyWorkers: 10, inFlight: 10 });
  // Done, and nothing arrives: half a minute of what worked it off.
  expect(asked.after(40, { ...fast, workers: 10 }).wanted).toBe(0);
});

test('[S1] slow jobs: half as many workers again, taken back where that changes nothing', () => {
  const asked = new Asked(policyOf(2, 20, ['processing_time > 2s']));
  const slow = { throughputPerWorker: 0.25, processingMs: 4000, inFlight: 4, completionsPerSecond: 1 };
  const advice = asked.once({ ...slow, workers: 4, busyWorkers: 4 });
  expect(advice).toMatchObject({ wanted: 6, reason: 'Slow' });
  expect(advice.why).toBe('a job takes 4s, at most 2s is asked for: 6 are tried');
  // The trial begins when they are there.
  expect(asked.after(400, { ...slow, workers: 4, busyWorkers: 4 }).wanted).toBe(6);
  asked.after(70, { ...slow, workers: 6, busyWorkers: 4 });
  expect(asked.after(200, { ...slow, workers: 6, busyWorkers: 4 })).toMatchObject({
    wanted: 4,
    reason: 'Busy',
  });
});

test('[S1] [S2] what helps goes on, and is kept once it is enough', () => {
  const asked = new Asked(policyOf(2, 20, ['throughput < 10/s']));
  const of = (perWorker: number, workers: number) => ({
    ...{ throughputPerWorker: perWorker, workers, busyWorkers: workers, inFlight: workers },
  });
  expect(asked.once(of(6, 4)).wanted).toBe(6);
  asked.after(61, of(8, 6));
  expect(asked.once(of(8, 6))).toMatchObject({ wanted: 8, reason: 'Slow' });
  expect(asked.after(600, { ...of(11, 8), busyWorkers: 3 })).toMatchObject({ wanted: 8, reason: 'Slow' });
  expect(asked.after(600, { ...of(20, 8), busyWorkers: 3 })).toMatchObject({ wanted: 3, reason: 'Busy' });
});
