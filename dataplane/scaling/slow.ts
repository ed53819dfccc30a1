// Jobs that take too long, or workers that do too few: more workers, if these make it better.
//   S1. Each growth is a trial. Where it changed nothing, it is taken back and not tried again until all has
//       been well.
//   S2. What has helped is kept until there is room to spare, so that it does not go up and down.
import { formatDuration } from '../../crds/values.ts';
import type { Law } from './law.ts';
import { figure } from './need.ts';
import type { ScalingPolicy, Signals } from './signals.ts';

/** What is remembered of the trial of one target. */
export interface Trial {
  /** Since when all that were asked for have been there. */
  readonly sinceMs: number;
  readonly asked: number;
  /** How many times too slow it was when they were asked for. */
  readonly slowness: number;
  readonly isFutile: boolean;
}

/** Growth of one trial at most. */
const GROWTH = 1.5;
/** What counts as better, and from where on there is room to spare. */
const BETTER = 0.95;
const SPARE = 0.7;

export function tried(
  before: Trial | undefined,
  signals: Signals,
  policy: ScalingPolicy,
  law: Law,
): Trial | undefined {
  const { atMs, workers } = signals;
  const slowness = slownessOf(signals, policy);
  if (slowness === 0 || slowness < SPARE) return undefined;
  const begin = (): Trial => {
    const asked = Math.min(policy.to, Math.max(workers + 1, Math.ceil(workers * Math.min(slowness, GROWTH))));
    return { sinceMs: atMs, asked, slowness, isFutile: false };
  };
  if (before === undefined) return slowness > 1 ? begin() : undefined;
  if (slowness <= 1) return before.isFutile ? undefined : before; // S2
  if (before.isFutile) return before;
  if (workers < before.asked) return { ...before, sinceMs: atMs };
  if (atMs - before.sinceMs < law.trialMs) return before;
  return slowness < before.slowness * BETTER ? begin() : { ...before, asked: 0, isFutile: true }; // S1
}

/** How many times a threshold is missed; 0: there is none, or nothing to tell. */
function slownessOf(signals: Signals, policy: ScalingPolicy): number {
  return signals.busyWorkers === 0 ? 0 : Math.max(byTime(signals, policy), byCount(signals, policy));
}

const byTime = ({ processingMs }: Signals, { processingMaxMs }: ScalingPolicy) =>
  processingMaxMs > 0 ? processingMs / processingMaxMs : 0;

const byCount = ({ throughputPerWorker }: Signals, { throughputMin }: ScalingPolicy) =>
  throughputMin > 0 && throughputPerWorker > 0 ? throughputMin / throughputPerWorker : 0;

export function slowInWords(signals: Signals, policy: ScalingPolicy, asked: number): string {
  const { processingMs, throughputPerWorker } = signals;
  const { processingMaxMs, throughputMin } = policy;
  const what =
    byTime(signals, policy) >= byCount(signals, policy)
      ? `a job takes ${formatDuration(processingMs)}, at most ${formatDuration(processingMaxMs)} is asked for`
      : `a worker does ${figure(throughputPerWorker)}/s, at least ${figure(throughputMin)}/s is asked for`;
  return `${what}: ${asked} are tried`;
}
