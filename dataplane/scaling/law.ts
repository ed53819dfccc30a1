// The figures of the law, in one place. bench/autoscaling found them and shows what they do.

export interface Law {
  /** What arrivals take, times this: 1.1 is a tenth more. */
  readonly headRoom: number;
  /** Within which share of the threshold of the age all that waits must have been served. */
  readonly ageShare: number;
  /** In which time lag above its threshold is worked off. */
  readonly lagWindowMs: number;
  /** How long arrivals must have called for fewer before fewer are advised. */
  readonly settleMs: number;
  /** The same for what only works off what has piled up. */
  readonly catchUpSettleMs: number;
  /** Times the workers there are, where the age is over its threshold and nothing has been measured. */
  readonly coldGrowth: number;
  /** How long workers may take to come back to a data plane that has started. */
  readonly returnMs: number;
  /** How long half the workers must have been idle beside waiting work before that counts. */
  readonly idleMs: number;
  /** How long more workers have to show that jobs are done faster by them. */
  readonly trialMs: number;
}

export const LAW: Law = {
  headRoom: 1.1,
  ageShare: 1 / 3,
  lagWindowMs: 60_000,
  settleMs: 180_000,
  catchUpSettleMs: 30_000,
  coldGrowth: 1.5,
  returnMs: 60_000,
  idleMs: 30_000,
  trialMs: 60_000,
};
