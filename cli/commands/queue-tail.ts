// flowmesh queue tail: the figures of a queue as they change, a line at a time, so that what was stays on the
// screen.
import { setTimeout as sleep } from 'node:timers/promises';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import type { Action, Context } from '../context.ts';
import { duration, whole } from '../parsing.ts';
import { count, span } from '../text.ts';

export function addQueueTailCommand(queue: Command, action: Action): void {
  queue
    .command('tail <queue>')
    .description('live figures, until Ctrl-C')
    .addOption(
      new Option('--interval <duration>', 'time between lines').argParser(duration).default(1000, '1s'),
    )
    .option('--count <n>', 'end after so many lines', whole(1))
    .action(action(tail));
}

interface TailOptions {
  interval: number;
  count?: number;
}

interface Sample {
  atMs: number;
  figures: pb.QueueFigures;
  paused: boolean;
}

/** Lines between repeated headings: a screenful. */
const headingEvery = 20;

async function tail(context: Context, { interval, count: lines }: TailOptions, name: string): Promise<void> {
  const api = await context.api();
  const { terminal } = context;
  const signal = terminal.interrupted();
  const sample = async (): Promise<Sample | undefined> => {
    const { figures, paused } = await api.getQueue({ name });
    return figures === null ? undefined : { atMs: terminal.nowMs(), figures, paused };
  };
  let before = await sample();
  for (let line = 0; lines === undefined || line < lines; line++) {
    await sleep(interval, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const now = await sample();
    if (before === undefined || now === undefined) return;
    const rates = ratesBetween(before, now);
    if (!context.isJson && line % headingEvery === 0) terminal.out(`${terminal.colors.dim(heading())}\n`);
    const { atMs: timeMs, figures, paused } = now;
    context.showLine({ timeMs, paused, ...figures, perSecond: rates }, () =>
      figuresLine(now, rates, context),
    );
    before = now;
  }
}

interface Rates {
  enqueued: number;
  completed: number;
  failed: number;
}

function ratesBetween(before: Sample, now: Sample): Rates {
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1000);
  const rate = (of: (figures: pb.QueueFigures) => number) =>
    Math.max(0, Math.round((of(now.figures) - of(before.figures)) / seconds));
  return {
    enqueued: rate(({ enqueuedTotal }) => enqueuedTotal),
    completed: rate(({ completedTotal }) => completedTotal),
    failed: rate(({ failedTotal }) => failedTotal),
  };
}

/** All of it in 80 columns; a figure of more digits pushes its line only. */
const widths = [8, 8, 7, 7, 7, 7, 6, 6, 6, 7];
const row = (cells: string[]) => cells.map((cell, index) => cell.padStart(widths[index] ?? 8)).join(' ');

const heading = () =>
  row(['TIME', 'WAITING', 'DELAYED', 'BLOCKED', 'LEASED', 'IN/S', 'DONE/S', 'FAIL/S', 'OLDEST', 'WORKERS']);

function figuresLine({ atMs, figures, paused }: Sample, rates: Rates, { terminal }: Context): string {
  const { colors } = terminal;
  const oldest = figures.oldestReadyAtMs === 0 ? '-' : span(atMs - figures.oldestReadyAtMs).split(' ')[0];
  const cells = [
    new Date(atMs).toTimeString().slice(0, 8),
    ...[figures.waiting, figures.delayed, figures.blocked, figures.leased].map(count),
    ...[rates.enqueued, rates.completed, rates.failed].map(count),
    oldest ?? '-',
    // Paused, it has none that get anything.
    paused ? 'paused' : count(figures.workers),
  ];
  const text = row(cells);
  return `${paused ? colors.yellow(text) : rates.failed > 0 ? colors.red(text) : text}\n`;
}
