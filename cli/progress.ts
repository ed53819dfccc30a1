// A progress bar for long work, on standard error and only if a person looks at it.
import { Presets, SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.ts';
import { clip, count, printable, width } from './text.ts';

export interface Progress {
  /** `position` in the unit of the total; `done` is what the bar counts in words. */
  update(position: number, done: number): void;
  stop(): void;
}

const silent: Progress = { update: () => {}, stop: () => {} };

export interface ProgressOptions {
  title: string;
  /** Undefined: unknown, so only the count is shown. */
  total: number | undefined;
  /** What is counted: `records`. */
  unit: string;
}

export function startProgress(terminal: Terminal, { title, total, unit }: ProgressOptions): Progress {
  if (!terminal.isErrTty) return silent;
  const { cyan, dim } = terminal.errColors;
  // The line has to fit: one that wraps is drawn again below itself.
  const counts = countsColumns + width(unit);
  const shown = clip(printable(title), Math.max(8, Math.min(titleColumns, terminal.columns() - counts)));
  const room = terminal.columns() - width(shown) - counts - percentColumns;
  const barsize = Math.max(1, Math.min(30, room));
  const shape = total === undefined || room < 10 ? '' : `${cyan('{bar}')} {percentage}%  `;
  const bar = new SingleBar(
    {
      format: `{title}  ${shape}{done} ${unit}  ${dim('{rate}/s')}`,
      stream: terminal.stderr,
      // Ctrl-C ends the process as it is; a cursor that is not hidden is not lost then.
      hideCursor: false,
      linewrap: true,
      clearOnComplete: true,
      barsize,
      fps: 12,
    },
    Presets.shades_classic,
  );
  const startedMs = terminal.nowMs();
  bar.start(total ?? 1, 0, { title: shown, done: '0', rate: '0' });
  return {
    update(position, done) {
      const seconds = Math.max(0.001, (terminal.nowMs() - startedMs) / 1000);
      bar.update(position, { done: count(done), rate: count(Math.round(done / seconds)) });
    },
    stop: () => bar.stop(),
  };
}

const titleColumns = 32;
/** `  10,000,000 ` and `  1,000,000/s`. */
const countsColumns = 26;
/** `  ` and ` 100%`. */
const percentColumns = 7;
