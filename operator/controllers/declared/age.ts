// Since when the oldest thing has been waiting, as a date that kubectl shows as an age that grows without a
// write. Pure.
//   A1. It moves only when the age is otherwise by more than a tenth, and is shown from SHOWN_MS on: what
//       keeps up costs no writes.
export const SHOWN_MS = 30_000;

/** `shown` is the date in status; 0 for `sinceMs`: nothing waits. Undefined: no date. */
export function dateOfOldest(shown: string | undefined, sinceMs: number, nowMs: number): string | undefined {
  const ageMs = nowMs - sinceMs;
  if (sinceMs === 0 || ageMs < SHOWN_MS) return undefined;
  const shownMs = shown === undefined ? Number.NaN : Date.parse(shown);
  if (Math.abs(shownMs - sinceMs) <= ageMs / 10) return shown;
  return new Date(sinceMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** In how long it has been waiting for so long that it is shown; undefined: it is, or nothing waits. */
export function showsAfterMs(sinceMs: number, nowMs: number): number | undefined {
  const leftMs = sinceMs + SHOWN_MS - nowMs;
  return sinceMs === 0 || leftMs <= 0 ? undefined : leftMs;
}
