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
  /** Left out before anything is cut, the last of them first. `-o json` has all. */
  optional?: boolean;
}

const gap = '  ';
/** Below this a cut cell says nothing. */
const flexibleMin = 8;

export function table<Row>(
  rows: readonly Row[],
  allColumns: readonly Column<Row>[],
  terminal: Terminal,
): string {
  const available = terminal.isTty ? terminal.columns() : Number.POSITIVE_INFINITY;
  const widthOf = (column: Column<Row>) =>
    Math.max(width(column.title), ...rows.map((row) => width(column.value(row))));
  const columns = fitting(allColumns, widthOf, available);
  const widths = columns.map(widthOf);
  shrink(widths, columns, available);
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
  const body = rows.map((row) =>
    line(
      columns.map((column) => column.value(row)),
      row,
    ),
  );
  return [head, ...body].map((text) => `${text}\n`).join('');
}

const tableWidth = (widths: readonly number[]) =>
  widths.reduce((sum, each) => sum + each, 0) + gap.length * (widths.length - 1);

/** Without the optional columns that there is no room for. */
function fitting<Row>(
  columns: readonly Column<Row>[],
  widthOf: (column: Column<Row>) => number,
  available: number,
): readonly Column<Row>[] {
  if (tableWidth(columns.map(widthOf)) <= available) return columns;
  const last = columns.findLast(({ optional }) => optional);
  if (last === undefined) return columns;
  return fitting(
    columns.filter((column) => column !== last),
    widthOf,
    available,
  );
}

/** Takes what is too much from the flexible columns, the widest first. */
function shrink<Row>(widths: number[], columns: readonly Column<Row>[], available: number): void {
  let excess = tableWidth(widths) - available;
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
