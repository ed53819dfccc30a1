// Progress of a group, partition by partition.
import { beforeEach, describe, expect, test } from 'vitest';
import { GroupMeter } from '../../dataplane/stream/group-meter.ts';

interface At {
  committed: number;
  end: number;
  epoch?: number;
  memberId?: string;
}

let meter: GroupMeter;
let nowMs = 0;
beforeEach(() => {
  meter = new GroupMeter();
  nowMs = 1_800_000_000_000;
});

function look(busy: number, ...partitions: At[]): void {
  nowMs += 1000;
  const figures = partitions.map(({ committed, end, epoch = 1, memberId = 'm' }, partition) => ({
    ...{ partition, committed, end, epoch, memberId, logStart: 0, metadata: '', committedAtMs: 0 },
    lag: Math.max(0, end - committed),
  }));
  meter.look(nowMs, figures, busy);
}

test('[ST72] records written and committed are the rates, over all partitions', () => {
  for (let i = 0; i <= 60; i++) look(2, { committed: i * 10, end: i * 20 }, { committed: i * 5, end: i * 5 });
  expect(meter.meter.arrivalsPerSecond).toBeCloseTo(25);
  expect(meter.meter.completionsPerSecond).toBeCloseTo(15);
  expect(meter.meter.throughputPerWorker).toBeCloseTo(7.5);
});

test('[ST73] what a seek skips or brings back is no progress', () => {
  for (let i = 0; i < 30; i++) look(1, { committed: i, end: 1e6 });
  look(1, { committed: 900_000, end: 1e6, epoch: 2 });
  look(1, { committed: 5, end: 1e6, epoch: 3 });
  for (let i = 0; i < 30; i++) look(1, { committed: 5 + i, end: 1e6, epoch: 3 });
  expect(meter.meter.completionsPerSecond).toBeLessThan(1.01);
});

test('a partition that is new is no traffic of its own', () => {
  for (let i = 0; i < 5; i++) look(1, { committed: 0, end: 0 });
  for (let i = 0; i < 5; i++) look(1, { committed: 0, end: 0 }, { committed: 0, end: 1e6 });
  expect(meter.meter.arrivalsPerSecond).toBe(0);
});

test('[ST72] who comes after a rest has not been busy all that time', () => {
  for (let i = 0; i <= 60; i++) look(1, { committed: i * 10, end: i * 10 });
  nowMs += 3_600_000;
  for (let i = 61; i <= 63; i++) look(1, { committed: i * 10, end: i * 10 });
  expect(meter.meter.throughputPerWorker).toBeCloseTo(10, 0);
  nowMs += 3_600_000;
  look(1, { committed: 630, end: 640 });
  expect(meter.meter.stuckMs).toBe(0);
});

describe('[ST74] a partition stands still', () => {
  const stuck = { committed: 7, end: 9 };
  const others = (i: number) => ({ committed: i, end: i + 3 });

  test('when nothing of it is committed for long, and only that one', () => {
    for (let i = 0; i < 290; i++) look(1, stuck, others(i));
    expect(meter.isStalled(0, nowMs)).toBe(false);
    for (let i = 290; i < 310; i++) look(1, stuck, others(i));
    expect(meter.isStalled(0, nowMs)).toBe(true);
    expect(meter.isStalled(1, nowMs)).toBe(false);
    look(1, { committed: 8, end: 9 }, others(310));
    expect(meter.isStalled(0, nowMs)).toBe(false);
  });

  test('not while nobody owns it, or there is nothing to read', () => {
    for (let i = 0; i < 400; i++) look(1, { ...stuck, memberId: '' }, { committed: 9, end: 9 });
    expect(meter.isStalled(0, nowMs)).toBe(false);
    expect(meter.isStalled(1, nowMs)).toBe(false);
    for (let i = 0; i < 200; i++) look(1, stuck);
    expect(meter.isStalled(0, nowMs)).toBe(false);
  });
});
