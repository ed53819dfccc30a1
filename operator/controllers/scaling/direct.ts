// How the operator itself sets a number of replicas: the arithmetic of autoscaling/v2 with the policies of
// behavior.ts. Pure.
//   P1. Steps are measured from what there was when their period began, so that looking more often is no way
//       around them.
//   P2. There is no window in which to settle: the advice has settled before it is given.
import { DOWN, UP } from '../../resources/scaling/behavior.ts';

/** What was done lately; positive: added. */
export type Steps = readonly { readonly atMs: number; readonly by: number }[];

export interface DirectInput {
  /** In spec. */
  readonly current: number;
  readonly wanted: number;
  readonly from: number;
  readonly to: number;
  readonly nowMs: number;
}

const LONGEST_MS = 1000 * Math.max(UP.periodSeconds, DOWN.periodSeconds);

export function nextReplicas(
  { current, wanted, from, to, nowMs }: DirectInput,
  before: Steps,
): { readonly replicas: number; readonly steps: Steps } {
  const past = before.filter(({ atMs }) => atMs > nowMs - LONGEST_MS);
  const aim = Math.min(Math.max(wanted, from), to);
  const replicas = aim > current ? up(current, aim, past, nowMs) : down(current, aim, past, nowMs);
  const steps = replicas === current ? past : [...past, { atMs: nowMs, by: replicas - current }];
  return { replicas, steps };
}

/** P1. */
function atBegin(current: number, steps: Steps, sinceMs: number): number {
  return steps.reduce((at, { atMs, by }) => (atMs > sinceMs ? at - by : at), current);
}

function up(current: number, aim: number, steps: Steps, nowMs: number): number {
  const start = atBegin(current, steps, nowMs - UP.periodSeconds * 1000);
  const most = Math.max(Math.ceil(start * (1 + UP.percent / 100)), start + UP.pods);
  return Math.max(current, Math.min(aim, most));
}

function down(current: number, aim: number, steps: Steps, nowMs: number): number {
  const start = atBegin(current, steps, nowMs - DOWN.periodSeconds * 1000);
  const least = Math.floor(start * (1 - DOWN.percent / 100));
  return Math.min(current, Math.max(aim, least));
}
