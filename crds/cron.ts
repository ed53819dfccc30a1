// Cron expressions in a time zone: whether one is right, and its next tick behind a moment. Pure; reads no
// clock.
//   C1. Five fields: minute, hour, day of month, month, day of week. Names, steps, ranges, L, W and # as
//       usual.
//   C2. A local time that a change of the clocks skips is the first moment after the gap; one that comes
//       twice is the first of the two.
import { Cron } from 'croner';

/** The first tick after `afterMs` (wall time); Infinity: there is none. */
export function nextTickMs(cron: string, timeZone: string, afterMs: number): number {
  const next = new Cron(cron, { timezone: timeZone, mode: '5-part', paused: true }).nextRun(
    new Date(afterMs),
  );
  return next === null ? Number.POSITIVE_INFINITY : next.getTime();
}

/** Why there is no tick to come; undefined: there is one. */
export function cronProblem(cron: string, timeZone: string): string | undefined {
  try {
    const next = nextTickMs(cron, timeZone, Date.UTC(2024, 0, 1));
    return next === Number.POSITIVE_INFINITY ? 'that never comes; see minute, day and month' : undefined;
  } catch (error) {
    return error instanceof Error ? error.message.replace(/^Cron\w+: /, '').slice(0, 200) : String(error);
  }
}
