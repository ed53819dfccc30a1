// Lag as a trigger: what one worker stands for, and how many workers it may call for. The data plane answers
// KEDA by it, the operator the autoscaler.
import type { ScalingPolicy } from './based-on.ts';

/** Lag that one worker stands for; 0: no condition is about the lag. */
export const lagTargetOf = ({ lagMax, from }: Pick<ScalingPolicy, 'lagMax' | 'from'>): number =>
  lagMax / Math.max(from, 1);

/** Reasons for which the law holds back: lag by itself must not call for more than is wanted. */
const HOLDS_BACK: ReadonlySet<string> = new Set(['Held', 'Stalled']);

/** A group has no use for more members than partitions; where it holds back, for more than are wanted. */
export const lagWorkersMax = (partitions: number, { wanted, reason }: { wanted: number; reason: string }) =>
  HOLDS_BACK.has(reason) ? wanted : partitions || Number.POSITIVE_INFINITY;
