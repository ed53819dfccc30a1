// The board of a running data plane: which queues and groups ask for scaling, and the newest reading of each.
//   L1. A reading that is older than FRESH_MS is `unknown`: what does not move any more must not be believed.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller } from '../shard/state-machine.ts';
import type { Reading, ScalingBoard, ScalingTarget } from './board.ts';
import { type ScalingSpec, scalingMessage } from './spec.ts';

export interface ScalingView {
  /** What its declaration asks; null: nothing. Throws if there is no such queue, stream or group. */
  specOf(target: ScalingTarget): ScalingSpec | null;
}

export interface LiveBoardParts {
  readonly views: ScalingView;
  /** Figures mean something: the fabric serves. */
  readonly isServing: () => boolean;
  readonly nowMs: () => number;
}

const FRESH_MS = 10_000;

type Listener = Parameters<ScalingBoard['follow']>[1];

export class LiveBoard implements ScalingBoard {
  readonly #parts: LiveBoardParts;
  readonly #readings = new Map<string, Reading>();
  readonly #followers = new Map<string, Set<Listener>>();

  constructor(parts: LiveBoardParts) {
    this.#parts = parts;
  }

  read(target: ScalingTarget): Reading | 'unknown' | 'not-found' {
    const { views, isServing, nowMs } = this.#parts;
    if (!isServing()) return 'unknown';
    if (declared(views, target) === null) return 'not-found';
    const reading = this.#readings.get(keyOf(target));
    return reading !== undefined && nowMs() - reading.signals.atMs <= FRESH_MS ? reading : 'unknown';
  }

  follow(target: ScalingTarget, listener: Listener): () => void {
    const key = keyOf(target);
    const followers = this.#followers.get(key) ?? new Set();
    this.#followers.set(key, followers.add(listener));
    return () => {
      followers.delete(listener);
      if (followers.size === 0) this.#followers.delete(key);
    };
  }
}

function declared(views: ScalingView, target: ScalingTarget): ScalingSpec | null {
  try {
    return views.specOf(target);
  } catch (error) {
    if (error instanceof FlowError) return null;
    throw error;
  }
}

/** Names hold no control characters. */
const keyOf = (target: ScalingTarget): string =>
  'queue' in target
    ? `${target.tenant}\0${target.queue}`
    : `${target.tenant}\0${target.stream}\0${target.group}`;

/** GetScaling: what the board says, or which error. */
export function getScaling(
  board: ScalingBoard,
  views: ScalingView,
  { tenant }: Caller,
  { queue, stream, group }: pb.GetScalingRequest,
): pb.GetScalingResponseInput {
  const isQueue = queue !== '' && stream === '' && group === '';
  if (!isQueue && (queue !== '' || stream === '' || group === ''))
    throw new FlowError('INVALID_ARGUMENT', 'name either a queue, or a stream and a consumer group of it');
  const target: ScalingTarget = isQueue ? { tenant, queue } : { tenant, stream, group };
  const what = isQueue ? `queue ${queue}` : `consumer group ${group} of stream ${stream}`;
  const spec = views.specOf(target);
  const reading = board.read(target);
  if (spec === null || reading === 'not-found')
    throw new FlowError('SCALING_NOT_DECLARED', `the declaration of ${what} asks for no scaling`);
  if (reading === 'unknown')
    throw new FlowError('SCALING_UNKNOWN', `the signals of ${what} are not known yet`, {
      retryAfterMs: 1000,
    });
  const { signals, advice, lagTarget } = reading;
  const { wanted, active, reason, why } = advice;
  return {
    signals: { ...signals },
    advice: { workersWanted: wanted, active, reason, why },
    lagTarget,
    workers: [],
    scaling: scalingMessage(spec),
  };
}
