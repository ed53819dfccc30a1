// What is measured of queues for scaling. Ready jobs are those that a worker would get now: of a paused queue
// there are none.
import type { Totals } from '../scaling/meter.ts';
import type { Signals } from '../scaling/signals.ts';
import { byName, orUnknown, type ScalingSource } from '../scaling/source.ts';
import type { QueueCell } from './cell.ts';
import { oldestReadyAt } from './oldest.ts';
import type { QueueView } from './view.ts';

export interface QueueTarget {
  readonly tenant: number;
  readonly queue: string;
}

interface Place {
  readonly view: QueueView;
  readonly nowMs: () => number;
}

/** `viewOf` finds the shard of a queue, whether it is there or not. */
export function queueScaling(
  places: readonly Place[],
  viewOf: (queue: string) => QueueView,
): ScalingSource<QueueTarget> {
  const find = ({ tenant, queue }: QueueTarget) => {
    return viewOf(queue).cell(tenant, queue);
  };
  return {
    kind: 'Queue',
    specOf: (target) => find(target).spec.scaling ?? null,
    look() {
      for (const { view, nowMs } of places) {
        const now = nowMs();
        for (const cell of view.state.byNumber.values()) cell.meter.look(now, totalsOf(cell, now));
      }
    },
    *scaled() {
      for (const { view, nowMs } of places) {
        for (const cell of view.state.byNumber.values()) {
          const { spec, tenant, name: queue } = cell;
          if (spec.scaling === undefined) continue;
          const measure = () => orUnknown(queueSignals(view, cell, nowMs));
          yield { target: { tenant, queue }, spec: spec.scaling, measure };
        }
      }
    },
    workers(target) {
      const { holders, sessions } = find(target);
      const builds = new Map(Array.from(sessions.values(), ({ worker, build }) => [worker, build]));
      return byName(
        Array.from(holders.all, ({ worker, leased }) => ({
          ...{ name: worker, leased, build: builds.get(worker) ?? '' },
        })),
      );
    },
  };
}

/**
 * What became ready is what went, or is there still: done, failed, being handled, or waiting. So due delays,
 * retries and redrives count when they are due, and nothing is counted on the way in.
 */
const totalsOf = ({ waiting, leases, state, holders }: QueueCell, nowMs: number): Totals => ({
  arrived: waiting + leases.size + state.completedTotal + state.failedTotal,
  completed: state.completedTotal,
  busyMs: holders.busyMs(nowMs),
});

async function queueSignals(view: QueueView, cell: QueueCell, nowMs: () => number): Promise<Signals | null> {
  const { meter, holders, state } = cell;
  if (!meter.isKnown) return null;
  const oldestReadyAtMs = state.paused ? 0 : await oldestReadyAt(view, cell);
  return {
    atMs: nowMs(),
    lag: state.paused ? 0 : cell.waiting,
    inFlight: cell.leases.size,
    oldestReadyAtMs,
    ...meter.figures,
    workers: holders.size,
    busyWorkers: holders.busy,
    stalled: meter.stuckMs >= meter.stallMs,
    partitions: 0,
    stalledPartitions: 0,
  };
}

/** As figures and summaries have them: the same numbers as in Signals. */
export const workerFigures = (
  { tenant, name: queue, holders, meter }: QueueCell,
  wanted: (target: QueueTarget) => number | null,
) => ({
  workers: holders.size,
  busyWorkers: holders.busy,
  arrivalsPerSecond: meter.arrivalsPerSecond,
  completionsPerSecond: meter.completionsPerSecond,
  processingMs: meter.times.averageMs,
  workersWanted: wanted({ tenant, queue }),
});

/** What GetQueue tells beyond a summary. */
export const speedFigures = ({ meter }: QueueCell) => {
  const { processingP50Ms, processingP95Ms, processingP99Ms, throughputPerWorker } = meter.figures;
  return { processingP50Ms, processingP95Ms, processingP99Ms, throughputPerWorker };
};
