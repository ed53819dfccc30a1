// What the data planes say of the workers that are wanted, asked when somebody wants to know.
//   A1. One call for a subject at a time, and one in FRESH_MS: whoever asks meanwhile gets the same answer.
//   A2. What is not known is an error, never a number: nobody scales by it.
//   A3. Bounded: the subjects that were asked about last.
//   A4. Of a group no more lag than calls for one member per partition, and none beyond what is wanted where
//       the data plane holds back: an autoscaler knows nothing of either.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { lagWorkersMax } from '../../../crds/lag-trigger.ts';
import { keyOf } from '../../kube/objects.ts';
import type { Subject } from '../../resources/scaling/target.ts';
import type { Planes } from '../declared/planes.ts';
import type { ClusterObject } from '../declared/reference.ts';

export interface Advice {
  readonly lag: number;
  readonly wanted: number;
  readonly reason: string;
  readonly why: string;
  readonly workers: readonly pb.WorkerFigures[];
}

const FRESH_MS = 2_000;
const KEPT_MAX = 10_000;

interface Kept {
  readonly atMs: number;
  readonly answer: Promise<Advice>;
}

export class AdviceDesk {
  readonly #planes: Pick<Planes, 'of'>;
  readonly #monotonicMs: () => number;
  readonly #kept = new Map<string, Kept>();

  constructor(planes: Pick<Planes, 'of'>, monotonicMs: () => number) {
    this.#planes = planes;
    this.#monotonicMs = monotonicMs;
  }

  /** Fails with a FlowError: A2. */
  of(cluster: ClusterObject, subject: Subject): Promise<Advice> {
    const { queue = '', stream = '', group = '' } = subject;
    const id = [keyOf(cluster.metadata), queue, stream, group].join(' ');
    const nowMs = this.#monotonicMs();
    const known = this.#kept.get(id);
    if (known !== undefined && nowMs - known.atMs < FRESH_MS) return known.answer;
    const answer = this.#ask(cluster, { queue, stream, group });
    // Whoever asked hears of it.
    answer.catch(() => {});
    this.#kept.delete(id);
    this.#kept.set(id, { atMs: nowMs, answer });
    const [oldest] = this.#kept.size > KEPT_MAX ? this.#kept.keys() : [];
    if (oldest !== undefined) this.#kept.delete(oldest);
    return answer;
  }

  async #ask(cluster: ClusterObject, request: pb.GetScalingRequest): Promise<Advice> {
    const { connection } = this.#planes.of(cluster);
    if (connection === undefined)
      throw new FlowError('UNAVAILABLE', `the data plane of ${keyOf(cluster.metadata)} cannot be reached`);
    const { signals, advice, workers, lagTarget } = await connection.getScaling(request, NEVER);
    if (signals === null || advice === null)
      throw new FlowError('UNAVAILABLE', 'the data plane has answered without figures');
    const { workersWanted, reason, why } = advice;
    return { lag: usefulLag(signals, advice, lagTarget), wanted: workersWanted, reason, why, workers };
  }
}

/** A4, in the thousandths of the target that the autoscaler divides by. */
function usefulLag(
  { lag, partitions }: pb.ScalingSignals,
  { workersWanted, reason }: pb.ScalingAdvice,
  lagTarget: number,
): number {
  if (lagTarget === 0) return lag;
  const workers = lagWorkersMax(partitions, { wanted: workersWanted, reason });
  return Math.min(lag, (Math.round(lagTarget * 1000) * workers) / 1000);
}

/** Others may wait for the same answer; a call has its own bound. */
const NEVER = new AbortController().signal;
