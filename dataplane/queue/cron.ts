// Cron expressions in a time zone: the next tick behind a moment. Pure; reads no clock.
//   C1. Five fields: minute, hour, day of month, month, day of week. Names, steps, ranges, L, W and # as
//       usual.
//   C2. A local time that a change of the clocks skips is the first moment after the gap; one that comes
//       twice is the first of the two.
import { FlowError } from '@flowmesh/protocol';
import { Cron } from 'croner';

/** The first tick after `afterMs` (wall time); Infinity: there is none. */
export function nextTickMs(cron: string, timeZone: string, afterMs: number): number {
  const next = new Cron(cron, { timezone: timeZone, mode: '5-part', paused: true }).nextRun(
    new Date(afterMs),
  );
  return next === null ? Number.POSITIVE_INFINITY : next.getTime();
}

/** Throws INVALID_ARGUMENT unless there is a tick to come. */
export function checkCron(cron: string, timeZone: string): void {
  const what = `cron ${JSON.stringify(cron.slice(0, 128))} in ${JSON.stringify(timeZone.slice(0, 64))}`;
  let next: number;
  try {
    next = nextTickMs(cron, timeZone, Date.UTC(2024, 0, 1));
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^Cron\w+: /, '').slice(0, 200) : '';
    throw new FlowError('INVALID_ARGUMENT', `${what}: ${why}`);
  }
  if (next === Number.POSITIVE_INFINITY)
    throw new FlowError('INVALID_ARGUMENT', `${what}: that never comes; see minute, day and month`);
}
