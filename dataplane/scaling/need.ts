// What one moment calls for, without a past: so many workers for what arrives, so many for what has piled up.
//   N1. Whole numbers from 0, finite; more arrivals or more lag never need fewer.
//   N2. Of a backlog never more than there are jobs to give: a worker without one does not help.
import { formatDuration } from '../../crds/values.ts';
import type { Estimates } from './estimates.ts';
import type { Law } from './law.ts';
import type { Reason, ScalingPolicy, Signals } from './signals.ts';

export interface Need {
  /** For arrivals alone, head room included. */
  readonly keepUp: number;
  /** What is needed now, the backlog included; never below `keepUp`. */
  readonly total: number;
  readonly reason: Reason;
  readonly why: string;
}

const IDLE: Need = { keepUp: 0, total: 0, reason: 'Idle', why: 'there is nothing to take' };

export function needOf(signals: Signals, policy: ScalingPolicy, estimates: Estimates, law: Law): Need {
  return estimates.workSeconds > 0 && estimates.atMs >= estimates.warmAtMs
    ? measuredNeed(signals, policy, estimates, law)
    : coldNeed(signals, policy, law);
}

/** Within which time what waits is due. */
export const dueMsOf = ({ ageMaxMs }: ScalingPolicy, { ageShare, lagWindowMs }: Law): number =>
  ageMaxMs > 0 ? ageMaxMs * ageShare : lagWindowMs;

/** Share of a worker below which arrivals alone keep none: they wake one when they come. */
const TRICKLE = 0.1;

function measuredNeed(
  { lag, inFlight, partitions }: Signals,
  policy: ScalingPolicy,
  { arrivals, workSeconds }: Estimates,
  law: Law,
): Need {
  const { lagMax, ageMaxMs } = policy;
  const jobs = lag + inFlight;
  const load = arrivals * workSeconds;
  if (jobs === 0 && load < TRICKLE) return IDLE;
  const keepUp = spread(load * law.headRoom, partitions);
  // What arrives meanwhile is behind what waits, so the age takes no more than to serve what waits in time;
  // the lag counts both.
  const dueMs = dueMsOf(policy, law);
  const forAge = ageMaxMs > 0 ? (lag * workSeconds) / (dueMs / 1000) : 0;
  const isOver = lagMax > 0 && lag > lagMax;
  const forLag = isOver ? load + ((lag - lagMax) * workSeconds) / (law.lagWindowMs / 1000) : 0;
  const total = Math.max(
    keepUp,
    Math.min(spread(Math.max(forAge, forLag), partitions), whole(jobs)),
    jobs > 0 ? 1 : 0,
  );
  const speed = `${figure(arrivals)}/s arrive and a worker ${speedInWords(workSeconds)}`;
  if (total <= keepUp)
    return {
      keepUp,
      total,
      reason: 'KeepUp',
      why: `${speed}: that takes ${figure(load)}, with head room ${total}`,
    };
  if (lag === 0)
    return { keepUp, total, reason: 'Busy', why: `there is nothing to take, ${inFlight} are being done` };
  const [reason, due] =
    forLag > forAge
      ? ([
          'Lag',
          `${figure(lag)} wait, due are at most ${figure(lagMax)} in ${formatDuration(law.lagWindowMs)}`,
        ] as const)
      : (['Age', `${figure(lag)} wait and are due in ${formatDuration(dueMs)}`] as const);
  return { keepUp, total, reason, why: `${speed}; ${due}: that takes ${total}` };
}

/** Nothing has been completed yet: by the share of one worker in the lag, and carefully by age. */
function coldNeed(signals: Signals, { from, lagMax, ageMaxMs }: ScalingPolicy, law: Law): Need {
  const { lag, inFlight, oldestReadyAtMs, atMs, workers } = signals;
  const jobs = whole(lag + inFlight);
  if (jobs === 0) return IDLE;
  const byLag = lagMax > 0 ? whole((lag * Math.max(from, 1)) / lagMax) : 0;
  const ageMs = oldestReadyAtMs > 0 ? Math.max(0, atMs - oldestReadyAtMs) : 0;
  const isLate = ageMaxMs > 0 && ageMs > ageMaxMs;
  // Of those that are there: while pods start, it does not grow again.
  const byAge = isLate ? whole(workers * law.coldGrowth) : 0;
  const total = Math.max(1, Math.min(Math.max(byLag, byAge), jobs));
  const waiting =
    byAge > byLag ? `the oldest has waited for ${formatDuration(ageMs)}` : `${figure(lag)} wait`;
  const why = `what a job takes is unknown yet, ${workers} are there and ${waiting}: ${total} to begin with`;
  return { keepUp: 0, total, reason: 'ColdStart', why };
}

/** More than anybody may ask for, so that no product of two large figures is too large for a number. */
const WORKERS_MAX = 1_000_000;

/** Whole workers; what a division leaves over by rounding is none. */
const whole = (workers: number) => Math.min(WORKERS_MAX, Math.ceil(workers - 1e-9));

/**
 * Members have whole partitions: of 12, seven members are no better than six, as one still has two. So
 * it takes the number of which each has so few that it keeps up with them.
 */
function spread(workers: number, partitions: number): number {
  if (partitions === 0 || workers <= 0) return whole(workers);
  const each = Math.max(1, Math.floor(partitions / workers + 1e-9));
  return Math.max(whole(workers), Math.ceil(partitions / each));
}

/** Two digits, or whole thousands. */
export const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toFixed(value < 1 ? 3 : 1)));

const speedInWords = (workSeconds: number): string =>
  workSeconds <= 1
    ? `does ${figure(1 / workSeconds)}/s`
    : `takes ${formatDuration(roughly(workSeconds))} for one`;

/** In ms, without digits that nobody reads. */
const roughly = (seconds: number) =>
  seconds < 10 ? Math.round(seconds * 10) * 100 : Math.round(seconds) * 1000;
