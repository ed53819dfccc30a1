// What scaling is decided from: the signals of one target, a queue or a consumer group, at one moment.
// Types and words only: who measures them, who decides and who serves the decision meet here (decision 0014).
export type { ScalingPolicy } from '../../crds/based-on.ts';

/** All figures are of the last seconds, held from the last busy period where nothing happens now. */
export interface Signals {
  /** Unix milliseconds. */
  readonly atMs: number;
  /** Ready jobs, or records that are there and not committed: end - max(committed, log start). */
  readonly lag: number;
  /** Leased jobs; of groups: 0. With `lag` it decides between none and one worker. */
  readonly inFlight: number;
  /** Since when the oldest ready, unleased job or uncommitted record has been waiting; 0: none. */
  readonly oldestReadyAtMs: number;
  /** Jobs that became ready, or records written, per second. */
  readonly arrivalsPerSecond: number;
  /** Jobs completed, or records committed, per second. */
  readonly completionsPerSecond: number;
  /** From lease to acknowledgement, moving average in milliseconds; 0: nothing has been completed yet. */
  readonly processingMs: number;
  /** The same as quantiles; 0: unknown. */
  readonly processingP50Ms: number;
  readonly processingP95Ms: number;
  readonly processingP99Ms: number;
  /** Completed per second by one worker that is busy; 0: unknown. */
  readonly throughputPerWorker: number;
  /** Connected. */
  readonly workers: number;
  /** Of them, those that hold a job or have records on the way. */
  readonly busyWorkers: number;
  /** Nothing is completed although workers have had work for long, or a partition stands still. */
  readonly stalled: boolean;
  /** Of a stream; of a queue 0. */
  readonly partitions: number;
  /** Partitions of which nothing is committed although they are assigned; their lag is not in `lag`. */
  readonly stalledPartitions: number;
}

/** What decided, as one word for programs. docs/autoscaling.md says what each means and what to do. */
export const REASONS = [
  ...(['Idle', 'KeepUp', 'Age', 'Lag', 'ColdStart', 'Slow', 'Busy', 'Settling'] as const),
  ...(['Least', 'Most', 'Partitions', 'Held', 'Stalled'] as const),
] as const;

export type Reason = (typeof REASONS)[number];

/** What is asked for now, and why. */
export interface Advice {
  /** Workers wanted, between `from` and `to`. */
  readonly wanted: number;
  /** Whether one worker at least has something to do: lag or jobs in flight. */
  readonly active: boolean;
  readonly reason: Reason;
  /** One sentence for people, with the figures that decided. */
  readonly why: string;
}
