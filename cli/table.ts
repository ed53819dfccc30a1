// Tables for people: aligned, as narrow as their content, cut to the terminal where one column says it may
// be.
import type { Terminal } from './terminal.ts';
import { clip, width } from './text.ts';

export interface Column<Row> {
  title: string;
  value(row: Row): string;
  align?: 'right';
  /** Colours the padded cell. Never changes its width. */
  paint?(text: string, row: Row): string;
  /** May be cut when the table is wider than the terminal. */
  flexible?: boolean;
}

const gap = '  ';
/** Below this a cut cell says nothing. */
const flexibleMin = 8;

export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  terminal: Terminal,
): string {
  const cells = rows.map((row) => columns.map((column) => column.value(row)));
  const widths = columns.map((column, index) =>
    Math.max(width(column.title), ...cells.map((line) => width(line[index] ?? ''))),
  );
  if (terminal.isTty) shrink(widths, columns, terminal.columns());
  const line = (texts: readonly string[], row?: Row) =>
    columns
      .map((column, index) => {
        const room = widths[index] ?? 0;
        const text = clip(texts[index] ?? '', room);
        const blank = ' '.repeat(Math.max(0, room - width(text)));
        const isLast = index === columns.length - 1;
        const painted = row !== undefined && column.paint ? column.paint(text, row) : text;
        if (column.align === 'right') return blank + painted;
        return isLast ? painted : painted + blank;
      })
      .join(gap)
      .trimEnd();
  const head = terminal.colors.dim(line(columns.map(({ title }) => title)));
  return [head, ...rows.map((row, index) => line(cells[index] ?? [], row))]
    .map((text) => `${text}\n`)
    .join('');
}

/** Takes what is too much from the flexible columns, the widest first. */
function shrink<Row>(widths: number[], columns: readonly Column<Row>[], available: number): void {
  let excess = widths.reduce((sum, each) => sum + each, 0) + gap.length * (columns.length - 1) - available;
  while (excess > 0) {
    let widest = -1;
    for (const [index, column] of columns.entries()) {
      if (!column.flexible || (widths[index] ?? 0) <= flexibleMin) continue;
      if (widest === -1 || (widths[index] ?? 0) > (widths[widest] ?? 0)) widest = index;
    }
    if (widest === -1) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess--;
  }
}

/** `name  value` lines, aligned; entries without a value are left out. */
export function details(
  entries: readonly (readonly [name: string, value: string | undefined])[],
  terminal: Terminal,
) {
  const shown = entries.filter(([, value]) => value !== undefined && value !== '');
  const room = Math.max(0, ...shown.map(([name]) => width(name)));
  return shown.map(([name, value]) => `${terminal.colors.dim(name.padEnd(room))}${gap}${value}\n`).join('');
}
