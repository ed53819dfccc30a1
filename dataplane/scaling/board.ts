// Where the advice on workers is read: by the admin API, metrics and the scaler of KEDA alike.
//   B1. Reading costs a look-up in memory. What is read is at most a few seconds old; else it is `unknown`.
import type { Advice, Signals } from './signals.ts';

/** A queue, or a consumer group of a stream. */
export type ScalingTarget =
  | { readonly tenant: number; readonly queue: string }
  | { readonly tenant: number; readonly stream: string; readonly group: string };

export interface Reading {
  readonly signals: Signals;
  readonly advice: Advice;
  /** Lag that one worker stands for: the threshold / max(scaleFrom, 1); 0: no condition names the lag. */
  readonly lagTarget: number;
}

/** Workers wanted; null: nothing asks for it, or it is not known. */
export function wantedOf(board: Pick<ScalingBoard, 'read'>, target: ScalingTarget): number | null {
  const reading = board.read(target);
  return typeof reading === 'string' ? null : reading.advice.wanted;
}

export interface ScalingBoard {
  /**
   * `not-found`: there is no such target, or its declaration asks for no scaling. `unknown`: it is not known
   * now, because the server starts or drains, or a shard of it does not serve; whoever scales keeps what is.
   */
  read(target: ScalingTarget): Reading | 'unknown' | 'not-found';
  /**
   * Calls the listener when the reading of the target is made anew, about once a second, and when it becomes
   * unknown or goes away. Not for what is there already: read it. Returns what ends that.
   */
  follow(target: ScalingTarget, listener: (reading: ReturnType<ScalingBoard['read']>) => void): () => void;
}
