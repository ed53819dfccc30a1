// Jobs by the calendar: which ticks come, what becomes of missed and overlapping ones, never two jobs of one.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nextTickMs } from '../../dataplane/queue/cron.ts';
import { ackOf, Bench, caller, type Held } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open({ onDisk: true });
  // A Monday, ten seconds before the full minute.
  bench.time.now = Date.parse('2027-03-01T11:59:50Z');
  await bench.advance(20);
});
afterEach(() => bench.close());

const MINUTE = 60_000;

const schedule = (more: Partial<pb.Schedule> = {}): pb.Schedule => ({
  name: 'tick',
  cron: '* * * * *',
  timeZone: '',
  payload: Buffer.from('{"kind":"digest"}'),
  contentType: 'application/json',
  overlap: '',
  catchUpMs: null,
  ...more,
});

const declare = (more: Partial<pb.Schedule> = {}) => bench.declare('q', { schedules: [schedule(more)] });
const state = async () => {
  const queue = await bench.fabric.admin.getQueue(caller, { name: 'q' });
  return (queue.schedules ?? [])[0] as pb.ScheduleState;
};
const total = async () => (await bench.totals('q')).enqueuedTotal;
/** Whether the job before is finished may have to be read from the disk. */
async function untilTotal(count: number): Promise<void> {
  for (let i = 0; i < 200 && (await total()) < count; i++) await bench.idle();
}
async function leaseAll(): Promise<Held[]> {
  const jobs = await bench.lease('q', 100);
  return jobs;
}
async function ticksOf(jobs: readonly Held[]): Promise<string[]> {
  const all = await Promise.all(jobs.map(({ id }) => bench.job('q', id)));
  return all.map(({ headers }) =>
    Buffer.from(headers?.['flowmesh-scheduled-for'] ?? [])
      .toString()
      .slice(11, 16),
  );
}

test('[Q140] a schedule enqueues its payload at each tick, with its name and the tick', async () => {
  await declare({ overlap: 'allow' });
  await bench.advance(2 * MINUTE + 10_000);
  const jobs = await leaseAll();
  expect(jobs.map(({ payload }) => payload)).toEqual(Array(3).fill('{"kind":"digest"}'));
  expect(await ticksOf(jobs)).toEqual(['12:00', '12:01', '12:02']);
  const job = await bench.job('q', jobs[0]?.id ?? '');
  expect(Buffer.from(job.headers?.['flowmesh-schedule'] ?? []).toString()).toBe('tick');
  expect(job.contentType).toBe('application/json');
  expect(await bench.history('q', job.id ?? '')).toEqual(['enqueued', 'leased']);
});

test('[Q141] a declaration counts from its own time, and the same one again changes nothing', async () => {
  await declare({ cron: '0 12 * * *', overlap: 'allow' });
  await bench.advance(5000);
  await declare({ cron: '0 12 * * *', overlap: 'allow' });
  expect((await state()).nextMs).toBe(Date.parse('2027-03-01T12:00:00Z'));
  await bench.advance(6000);
  expect(await total()).toBe(1);
  await declare({ cron: '0 12 * * *', overlap: 'allow' });
  await bench.advance(MINUTE);
  expect(await total()).toBe(1);
  expect(await state()).toMatchObject({ nextMs: Date.parse('2027-03-02T12:00:00Z') });
  await bench.declare('q');
  await bench.advance(24 * 60 * MINUTE);
  expect(await total(), 'it is no longer declared').toBe(1);
});

test.each(['replayed', 'checkpointed'])('[Q142] a tick makes one job, across restarts (%s)', async (how) => {
  await declare({ overlap: 'allow' });
  for (let i = 0; i < 4; i++) {
    await bench.advance(30_000);
    await bench.restart({ clean: how === 'checkpointed' });
  }
  await bench.advance(1000);
  const jobs = await leaseAll();
  expect(await ticksOf(jobs)).toEqual(['12:00', '12:01']);
});

test('[Q143] ticks that were missed are made up for within catchUp, and not beyond', async () => {
  await declare({ overlap: 'allow', catchUpMs: 3 * MINUTE });
  await bench.advance(11_000);
  bench.time.now += 60 * MINUTE;
  await bench.restart();
  await bench.advance(1000);
  expect(await ticksOf(await leaseAll())).toEqual(['12:00', '12:58', '12:59', '13:00']);
});

test('[Q143] catchUp 0 makes up for nothing', async () => {
  await declare({ catchUpMs: 0, cron: '0 * * * *' });
  await bench.advance(1000);
  bench.time.now += 30 * MINUTE;
  await bench.restart();
  await bench.advance(1000);
  expect(await total()).toBe(0);
});

test('[Q144] overlap skip: no job while the one before is not finished', async () => {
  await declare();
  await bench.advance(3 * MINUTE);
  expect(await total()).toBe(1);
  expect(await state()).toMatchObject({ skippedTotal: 2, bufferedMs: 0 });
  const [job] = await leaseAll();
  await bench.settle('q', ackOf(job as Held));
  await bench.advance(MINUTE);
  await untilTotal(2);
  expect(await ticksOf(await leaseAll())).toEqual(['12:03']);
});

test('[Q145] overlap buffer_one: the first tick that came meanwhile follows the job', async () => {
  await declare({ overlap: 'buffer_one' });
  await bench.advance(3 * MINUTE);
  expect(await total()).toBe(1);
  expect(await state()).toMatchObject({ bufferedMs: Date.parse('2027-03-01T12:01:00Z'), skippedTotal: 1 });
  await bench.restart();
  const [job] = await bench.lease('q');
  await bench.settle('q', ackOf(job as Held));
  await untilTotal(2);
  expect(await ticksOf(await leaseAll())).toEqual(['12:01']);
});

test('[Q146] ticks are local times: skipped ones come after the gap, double ones once', () => {
  const ticks = (cron: string, from: string, count: number) => {
    const found: string[] = [];
    for (let ms = Date.parse(from); found.length < count; ) {
      ms = nextTickMs(cron, 'Europe/Berlin', ms);
      found.push(new Date(ms).toISOString().slice(5, 16));
    }
    return found;
  };
  expect(ticks('30 2 * * *', '2027-03-27T12:00Z', 2)).toEqual(['03-28T01:00', '03-29T00:30']);
  expect(ticks('30 2 * * *', '2027-10-30T12:00Z', 2)).toEqual(['10-31T00:30', '11-01T01:30']);
  expect(ticks('0 * * * *', '2027-10-30T23:30Z', 3)).toEqual(['10-31T00:00', '10-31T01:00', '10-31T02:00']);
  expect(ticks('0 3 * * *', '2027-03-27T00:00Z', 2)).toEqual(['03-27T02:00', '03-28T01:00']);
});

test('[Q147] a tick years ahead comes when it is due', async () => {
  await declare({ cron: '0 0 29 2 *' });
  const { nextMs } = await state();
  expect(nextMs).toBe(Date.parse('2028-02-29T00:00:00Z'));
  await bench.time.jump(nextMs - bench.time.now - 1000, () => bench.idle());
  expect(await total()).toBe(0);
  await bench.advance(2000);
  expect(await total()).toBe(1);
});

test.each([
  ['a pattern of six fields', { cron: '* * * * * *' }],
  ['a field that is none', { cron: 'x * * * *' }],
  ['a day that never comes', { cron: '0 0 30 2 *' }],
  ['an unknown time zone', { timeZone: 'Mars/Olympus' }],
  ['an unknown policy', { overlap: 'maybe' }],
  ['a name with spaces', { name: 'a b' }],
  ['a catch-up of months', { catchUpMs: 90 * 86_400_000 }],
])('[Q148] %s is refused', async (_, more) => {
  await expect(declare(more)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('[Q148] two schedules of one name are refused, and so is a payload beyond its bound', async () => {
  await expect(bench.declare('q', { schedules: [schedule(), schedule()] })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  await expect(declare({ payload: Buffer.alloc(65_537) })).rejects.toMatchObject({ code: 'VALUE_TOO_LARGE' });
});
