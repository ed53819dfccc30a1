// Signals and policies by what matters in a test; the rest is of a queue at rest.
import { readPolicy, type Scaled } from '../../crds/based-on.ts';
import type { Law } from '../../dataplane/scaling/law.ts';
import type { Advice, ScalingPolicy, Signals } from '../../dataplane/scaling/signals.ts';
import { FRESH, type ScalingMemory, workersWanted } from '../../dataplane/scaling/wanted.ts';

export const START_MS = 1_764_158_400_000;

export const signalsOf = (some: Partial<Signals> = {}): Signals => ({
  ...{
    atMs: START_MS,
    lag: 0,
    inFlight: 0,
    oldestReadyAtMs: 0,
    arrivalsPerSecond: 0,
    completionsPerSecond: 0,
  },
  ...{ processingMs: 0, processingP50Ms: 0, processingP95Ms: 0, processingP99Ms: 0, throughputPerWorker: 0 },
  ...{ workers: 0, busyWorkers: 0, stalled: false, partitions: 0, stalledPartitions: 0 },
  ...some,
});

export function policyOf(
  from: number,
  to: number,
  basedOn: string[] = [],
  scaled: Scaled = 'Queue',
): ScalingPolicy {
  const { policy, problems } = readPolicy(scaled, { scaleFrom: from, scaleTo: to, basedOn });
  if (policy === undefined) throw new Error(problems.map(({ message }) => message).join());
  return policy;
}

/** The law asked once a second, as the board does. */
export class Asked {
  memory: ScalingMemory = FRESH;
  #atMs = START_MS;
  readonly #policy: ScalingPolicy;
  readonly #law: Law | undefined;

  constructor(policy: ScalingPolicy, law?: Law) {
    this.#policy = policy;
    this.#law = law;
  }

  /** The advice after so many seconds of these signals; ages are given by how long they have lasted. */
  after(seconds: number, some: Partial<Signals> & { ageMs?: number } = {}): Advice {
    let last: Advice | undefined;
    for (let i = 0; i < seconds; i++) last = this.once(some);
    if (last === undefined) throw new Error('asked for no time');
    return last;
  }

  once({ ageMs = 0, ...some }: Partial<Signals> & { ageMs?: number }): Advice {
    this.#atMs += 1000;
    const signals = signalsOf({
      atMs: this.#atMs,
      oldestReadyAtMs: ageMs > 0 ? this.#atMs - ageMs : 0,
      ...some,
    });
    const { advice, memory } = workersWanted(signals, this.#policy, this.memory, this.#law);
    this.memory = memory;
    return advice;
  }
}
