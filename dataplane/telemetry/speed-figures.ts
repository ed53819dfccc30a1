// How fast queues and consumer groups go, and how many workers that takes: the figures that scaling is
// decided from.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';

type Labels = Record<string, string | number>;
type Figure = (value: number | null | undefined, labels: Labels) => void;
export type MakeFigure = (name: string, help: string, labelNames: string[]) => Figure;

type Speed = pb.QueueFiguresInput | pb.GroupSummaryInput | null | undefined;

/** Names begin with `of`. Who works is called `who`. */
export function createSpeedFigures(figure: MakeFigure, of: string, who: string, names: string[]) {
  const busy = figure(`${of}_busy_${who}s`, 'How many have something to do.', names);
  const wanted = figure(
    `${of}_${who}s_wanted`,
    `How many are needed; absent: not asked for or unknown.`,
    names,
  );
  const arrivals = figure(`${of}_arrivals_per_second`, 'What became ready or was written, lately.', names);
  const completions = figure(
    `${of}_completions_per_second`,
    'What was completed or committed, lately.',
    names,
  );
  const throughput = figure(
    `${of}_throughput_per_${who}`,
    'Completions per second of one that is busy.',
    names,
  );
  const processing = figure(
    `${of}_processing_seconds`,
    'From lease to acknowledgement, lately, by quantile; 0: unknown.',
    [...names, 'quantile'],
  );
  const average = figure(`${of}_processing_average_seconds`, 'The same, moving average; 0: unknown.', names);

  return (speed: Speed, labels: Labels): void => {
    busy(speed?.busyWorkers, labels);
    if (typeof speed?.workersWanted === 'number') wanted(speed.workersWanted, labels);
    arrivals(speed?.arrivalsPerSecond, labels);
    completions(speed?.completionsPerSecond, labels);
    throughput(speed?.throughputPerWorker, labels);
    average((speed?.processingMs ?? 0) / 1000, labels);
    processing((speed?.processingP50Ms ?? 0) / 1000, { ...labels, quantile: '0.5' });
    processing((speed?.processingP95Ms ?? 0) / 1000, { ...labels, quantile: '0.95' });
    processing((speed?.processingP99Ms ?? 0) / 1000, { ...labels, quantile: '0.99' });
  };
}
