// What is planned with: measurements of a moment are noise, and a plan that follows noise pays for its peaks.
//   E1. Finite and not negative. What is steady is estimated as what it is, however rare it is.
//   E2. A change that chance does not explain counts at once, for more as for fewer.
//   E3. What is due within minutes is planned over minutes: a batch for the night is no reason to hurry. But
//       what has ended is over.
//   E4. The first jobs take a program longer that has just begun: while that may be so nothing is averaged,
//       and nobody plans with it.

/** What is remembered of the measurements of one target. */
export interface Estimates {
  readonly atMs: number;
  /** Arrivals as they are now, and over the time in which they are due. */
  readonly now: Rate;
  readonly due: Rate;
  /** Arrivals per second that are planned with. */
  readonly arrivals: number;
  /** Seconds of a worker for one job; 0: nothing has been completed yet. */
  readonly workSeconds: number;
  /** From when on it is known; see E4. */
  readonly warmAtMs: number;
}

/** Per second. */
interface Rate {
  readonly recent: number;
  /** Since it has changed, at most over several times of `recent`. */
  readonly mean: number;
  readonly changedAtMs: number;
}

export interface Measured {
  readonly atMs: number;
  readonly arrivalsPerSecond: number;
  readonly completionsPerSecond: number;
  /** Completions per second of one busy worker; 0: unknown. */
  readonly perWorker: number;
}

/** Signals.arrivalsPerSecond fades within this time (meter.ts). */
const FADE_MS = 10_000;
/** Of the rate as it is now. */
const NOW_MS = 15_000;
/** Beyond it nobody waits for a plan. */
const DUE_MS_MAX = 900_000;
/** Standard deviations of a Poisson process that are no chance: more costs workers, fewer only time. */
const MORE = 4;
const FEWER = 2.5;
/** How far a mean goes back: so many times of what is recent, at least and at most. */
const MEAN_TIMES = 8;
const MEAN_MS_MIN = 240_000;
const MEAN_MS_MAX = 3_600_000;
/** Jobs over which the work of one is averaged, and how long that may take. */
const WORK_JOBS = 400;
const WORK_MS_MIN = 15_000;
const WORK_MS_MAX = 300_000;
/** Since the first measurement. */
const WARM_UP_MS = 5000;
/** What was before a longer gap between measurements says nothing. */
const GAP_MS = 600_000;

export function estimated(before: Estimates | undefined, measured: Measured, dueMs: number): Estimates {
  const { atMs, arrivalsPerSecond: arriving, completionsPerSecond, perWorker } = measured;
  const work = perWorker > 0 ? 1 / perWorker : 0;
  const passedMs = before === undefined ? GAP_MS : Math.max(0, atMs - before.atMs);
  if (before === undefined || passedMs >= GAP_MS) {
    const rate = { recent: arriving, mean: arriving, changedAtMs: atMs };
    const workSeconds = work > 0 ? work : (before?.workSeconds ?? 0);
    return { atMs, now: rate, due: rate, arrivals: arriving, workSeconds, warmAtMs: atMs + WARM_UP_MS };
  }
  const now = follow(before.now, arriving, { atMs, passedMs, overMs: NOW_MS });
  const overMs = Math.min(DUE_MS_MAX, Math.max(NOW_MS, dueMs));
  const due = follow(before.due, arriving, { atMs, passedMs, overMs });
  const workMs = Math.min(WORK_MS_MAX, Math.max(WORK_MS_MIN, (WORK_JOBS / completionsPerSecond) * 1000));
  const warmAtMs = before.workSeconds === 0 ? atMs + WARM_UP_MS : before.warmAtMs;
  const followed = atMs < warmAtMs ? work : moved(before.workSeconds, work, passedMs, workMs); // E4
  return {
    ...{ atMs, now, due, warmAtMs },
    arrivals: Math.min(now.mean, due.mean), // E3
    workSeconds: work === 0 ? before.workSeconds : followed,
  };
}

function follow(
  before: Rate,
  measured: number,
  { atMs, passedMs, overMs }: { atMs: number; passedMs: number; overMs: number },
): Rate {
  const recent = moved(before.recent, measured, passedMs, overMs - FADE_MS);
  // A mean cannot be older than the change that it began with.
  const oldMs = Math.max(overMs, atMs - before.changedAtMs);
  const meanMs = Math.min(oldMs, MEAN_MS_MAX, Math.max(MEAN_MS_MIN, MEAN_TIMES * overMs));
  const mean = moved(before.mean, recent, passedMs, meanMs);
  return isChance(recent, mean, overMs)
    ? { recent, mean, changedAtMs: before.changedAtMs }
    : { recent, mean: recent, changedAtMs: atMs }; // E2
}

/** Whether a rate that fades within a time may be `mean`, for all that is known (Poisson). */
function isChance(rate: number, mean: number, fadeMs: number): boolean {
  // Fading over a time counts as much as a plain mean over twice that time.
  const countedSeconds = (2 * fadeMs) / 1000;
  const deviation = Math.sqrt(Math.max(mean, 1 / countedSeconds) / countedSeconds);
  return rate <= mean + MORE * deviation && rate >= mean - FEWER * deviation;
}

function moved(from: number, to: number, passedMs: number, overMs: number): number {
  return from + (to - from) * (1 - Math.exp(-passedMs / overMs));
}
