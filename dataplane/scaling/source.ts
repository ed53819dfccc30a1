// What views bring for scaling: which of their queues or groups ask for it, and what is measured of them.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Scaled } from '../../crds/based-on.ts';
import type { ScalingTarget } from './board.ts';
import type { Signals } from './signals.ts';
import type { ScalingSpec } from './spec.ts';

/** One that asks for scaling. */
export interface ScaledTarget {
  readonly target: ScalingTarget;
  readonly spec: ScalingSpec;
  /** Null: not known yet. A FlowError: something cannot be read. */
  measure(): Promise<Signals | null>;
}

export interface ScalingSource<Target extends ScalingTarget> {
  /** How conditions are read. */
  readonly kind: Scaled;
  /** What the declaration asks; null: nothing. Throws if there is no such queue, stream or group. */
  specOf(target: Target): ScalingSpec | null;
  /** Called once a second, in one turn of the loop: looks at all totals. */
  look(): void;
  scaled(): Iterable<ScaledTarget>;
  /** Who is connected or holds something. */
  workers(target: Target): pb.WorkerFiguresInput[];
}

/** By name; what has several sessions is one. The busiest first, at most WORKERS_MAX. */
export function byName(workers: Iterable<{ name: string; leased: number; build: string }>) {
  const all = new Map<string, { name: string; busy: boolean; leased: number; build: string }>();
  for (const { name, leased, build } of workers) {
    const known = all.get(name);
    if (known === undefined) all.set(name, { name, busy: leased > 0, leased, build });
    else {
      known.leased += leased;
      known.busy ||= leased > 0;
      known.build ||= build;
    }
  }
  const sorted = [...all.values()].sort((a, b) => b.leased - a.leased || (a.name < b.name ? -1 : 1));
  return sorted.slice(0, WORKERS_MAX);
}

const WORKERS_MAX = 1000;

/** What cannot be read now has no figures; anything else is a mistake of ours. */
export async function orUnknown<T>(read: Promise<T>): Promise<T | null> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof FlowError) return null;
    throw error;
  }
}
