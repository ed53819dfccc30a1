// How many workers a queue or a consumer group wants: the law of autoscaling, a pure function that is asked
// once a second. docs/autoscaling.md tells it in words; bench/autoscaling runs this very code.
//   W1. A whole number from `from` to `to`; of a stream at most one per partition, where `from` allows that.
//   W2. More is asked for at once, fewer only after fewer have done for long: steady input comes to rest.
//   W3. Never fewer than busy workers, within W1.
//   W4. Nothing grows where more workers cannot help: nothing is completed, or half of those there are idle.
//   W5. The same signals, policy and memory give the same advice, and any signals give a finite one.
import { type Estimates, estimated } from './estimates.ts';
import { LAW, type Law } from './law.ts';
import { dueMsOf, figure, type Need, needOf } from './need.ts';
import type { Advice, Reason, ScalingPolicy, Signals } from './signals.ts';
import { slowInWords, type Trial, tried } from './slow.ts';

/** What the law has to remember of one target: a few numbers, however long it runs. */
export interface ScalingMemory {
  /** Advised last; -1: never asked. */
  readonly wanted: number;
  /** The most that was advised so far. */
  readonly most: number;
  /** When it was asked first. */
  readonly sinceMs: number;
  /** Needs of the last while, each above all that came after it: for arrivals, and with the backlog. */
  readonly keepUp: readonly Peak[];
  readonly total: readonly Peak[];
  /** Since when workers have been idle beside waiting work; 0: they are not. */
  readonly idleSinceMs: number;
  readonly estimates?: Estimates;
  readonly trial?: Trial;
}

interface Peak {
  readonly atMs: number;
  readonly workers: number;
}

/** Of a target that nobody has looked at yet. */
export const FRESH: ScalingMemory = {
  wanted: -1,
  most: 0,
  sinceMs: 0,
  keepUp: [],
  total: [],
  idleSinceMs: 0,
};

/** `memory` is what it gave back last. Any interval does; what happens between two calls is not seen. */
export function workersWanted(
  measured: Signals,
  policy: ScalingPolicy,
  memory: ScalingMemory,
  law: Law = LAW,
): { advice: Advice; memory: ScalingMemory } {
  const signals = sane(measured);
  const { atMs, workers } = signals;
  const { arrivalsPerSecond, completionsPerSecond } = signals;
  const now = { atMs, arrivalsPerSecond, completionsPerSecond, perWorker: perWorkerOf(signals) };
  const estimates = estimated(memory.estimates, now, dueMsOf(policy, law));
  const trial = tried(memory.trial, signals, policy, law);
  const idleSinceMs = idleSince(signals, memory);
  const isHeld = idleSinceMs > 0 && atMs - idleSinceMs >= law.idleMs;
  const asked = withTrial(needOf(signals, policy, estimates, law), trial, signals, policy);
  const need = braked(asked, signals, memory.wanted < 0 ? workers : memory.wanted, isHeld);
  // Who begins does not know what there was: whoever is there, or comes back now, counts as needed. Those
  // that come because they were asked for do not.
  const sinceMs = memory.wanted < 0 ? atMs : memory.sinceMs;
  const there = atMs - sinceMs < law.returnMs && workers > memory.most ? workers : 0;
  const keepUp = remembered(memory.keepUp, { atMs, workers: Math.max(need.keepUp, there) }, law.settleMs);
  const total = remembered(memory.total, { atMs, workers: need.total }, law.catchUpSettleMs);
  const settled = Math.max(keepUp[0]?.workers ?? 0, total[0]?.workers ?? 0);
  const advice = bounded(settled, need, signals, policy);
  const most = Math.max(memory.most, advice.wanted);
  const next = { wanted: advice.wanted, most, sinceMs, keepUp, total, idleSinceMs, estimates, trial };
  return { advice, memory: next };
}

/** What no clock and no counter says: it is nothing, or the most there is. */
const LEAST = 1e-9;
const MOST = 1e15;

function sane(signals: Signals): Signals {
  const cleaned = Object.entries(signals).map(([name, value]) => [
    name,
    typeof value === 'number' ? (value >= LEAST && value < Infinity ? Math.min(value, MOST) : 0) : value,
  ]);
  return Object.fromEntries(cleaned) as Signals;
}

/** Completions per second of one busy worker; 0: nothing has been completed yet. */
function perWorkerOf({ throughputPerWorker, processingMs }: Signals): number {
  if (throughputPerWorker > 0) return throughputPerWorker;
  return processingMs > 0 ? 1000 / processingMs : 0;
}

function idleSince({ atMs, lag, workers, busyWorkers }: Signals, { idleSinceMs }: ScalingMemory): number {
  const isIdle = lag > 0 && workers > 1 && busyWorkers * 2 < workers;
  if (!isIdle) return 0;
  return idleSinceMs > 0 && idleSinceMs <= atMs ? idleSinceMs : atMs;
}

function withTrial(need: Need, trial: Trial | undefined, signals: Signals, policy: ScalingPolicy): Need {
  const asked = trial?.asked ?? 0;
  if (asked <= need.total) return need;
  return { keepUp: asked, total: asked, reason: 'Slow', why: slowInWords(signals, policy, asked) };
}

/** W4. `there`: what was asked for so far. */
function braked(need: Need, signals: Signals, there: number, isHeld: boolean): Need {
  const { workers, busyWorkers, lag } = signals;
  if (standsStill(signals) && need.total > there) {
    const why = `${workers} workers complete nothing: ${need.total} would do no better than ${there}`;
    return { keepUp: Math.min(need.keepUp, there), total: there, reason: 'Stalled', why };
  }
  const most = Math.max(1, busyWorkers * 2);
  if (isHeld && need.total > most) {
    const why =
      `${workers - busyWorkers} of ${workers} workers are idle although ${figure(lag)} wait: ` +
      'a limit, a pause or the order of keys or partitions holds them, and more would be idle as well';
    return { keepUp: Math.min(need.keepUp, most), total: most, reason: 'Held', why };
  }
  return need;
}

/** As a whole: where some partitions still move, what they need is not in doubt. */
const standsStill = ({ stalled, partitions, stalledPartitions }: Signals): boolean =>
  stalled && (stalledPartitions === 0 || stalledPartitions >= partitions);

/** W2: what is left of the last while, and the newest. What is not above it says nothing any more. */
function remembered(peaks: readonly Peak[], newest: Peak, windowMs: number): Peak[] {
  const isLeft = ({ atMs, workers }: Peak) =>
    workers > newest.workers && Math.abs(newest.atMs - atMs) < windowMs;
  return [...peaks.filter(isLeft), newest];
}

function bounded(settled: number, need: Need, signals: Signals, { from, to }: ScalingPolicy): Advice {
  const { lag, inFlight, busyWorkers, partitions, stalledPartitions } = signals;
  const active = lag + inFlight > 0;
  const most = partitions > 0 ? Math.max(from, Math.min(to, partitions)) : to;
  const asked = Math.max(settled, busyWorkers, active ? 1 : 0);
  const wanted = Math.min(most, Math.max(from, asked)); // W1
  const say = (reason: Reason, why: string): Advice => ({ wanted, active, reason, why });
  if (need.reason === 'Stalled' || need.reason === 'Held') return say(need.reason, need.why);
  if (stalledPartitions > 0)
    return say(
      'Stalled',
      `${stalledPartitions} of ${partitions} partitions stand still; for the others ${need.why}`,
    );
  if (need.total > most && most < to)
    return say('Partitions', `${need.why}; beyond the ${partitions} partitions a member would be idle`);
  if (need.total > most) return say('Most', `${need.why}; scaleTo allows ${to}`);
  if (asked < from) return say('Least', `${need.why}; scaleFrom asks for ${from}`);
  if (need.total >= asked) return say(need.reason, need.why);
  if (busyWorkers > settled) return say('Busy', `${busyWorkers} workers hold jobs; else ${need.why}`);
  return say('Settling', `${settled} were needed a short while ago; now ${need.why}`);
}
