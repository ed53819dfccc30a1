// Results as they are shown: a table in the terminal, a table and a plot in docs/benchmarks.md, raw data
// beside it. Pure: figures in, text out.
import { escaped, withSection } from '../support/section.ts';
import { median, shown } from '../support/windows.ts';
import type { Column } from './classes.ts';

export interface Row {
  readonly system: string;
  readonly version: string;
  readonly durability: string;
  /** By round, then by column. Empty: it was skipped. */
  readonly rounds: readonly (readonly (number | undefined)[])[];
  /** Why it is not there. */
  readonly skipped?: string;
}

export interface Result {
  readonly name: string;
  readonly title: string;
  readonly how: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
}

const valuesOf = ({ rounds }: Row, column: number): number[] =>
  rounds.map((figures) => figures[column]).filter((figure): figure is number => figure !== undefined);

/** Median and, with several rounds, the spread. */
export function cell(row: Row, column: number, unit: string): string {
  const values = valuesOf(row, column);
  if (values.length === 0) return '';
  const text = (value: number) => (unit === 'ms' ? milliseconds(value) : shown(value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const spread = values.length > 1 ? ` (${text(low)} to ${text(high)})` : '';
  return `${text(median(values))}${spread}`;
}

const milliseconds = (value: number): string =>
  value < 100 ? value.toFixed(2) : Math.round(value).toLocaleString('en-US');

const head = (columns: readonly Column[]) => [
  'system',
  'version',
  'before an answer',
  ...columns.map(({ name, unit }) => `${name}, ${unit}`),
];

const body = ({ rows, columns }: Result): string[][] =>
  rows.map((row) => [
    row.system,
    row.version,
    row.durability,
    ...(row.skipped === undefined
      ? columns.map(({ unit }, i) => cell(row, i, unit))
      : [`skipped: ${row.skipped.slice(0, 80)}`, ...columns.slice(1).map(() => '')]),
  ]);

export function terminalTable(result: Result): string {
  const lines = [head(result.columns), ...body(result)];
  const widths = head(result.columns).map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line.map((text, i) => (i < 3 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join('  '),
    )
    .join('\n');
}

export function markdownTable(result: Result): string {
  const lines = [head(result.columns), head(result.columns).map(() => '---'), ...body(result)];
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n');
}

const LABEL = 250;
const BAR = 420;
const LINE = 22;

const STYLE = [
  'text{font:12px system-ui,sans-serif;fill:#444}.h{font-weight:600;font-size:13px}',
  '.ours{fill:#0a7d5a}.synced{fill:#6b8fb5}.loose{fill:#b9bec6}.spread{stroke:#222;stroke-width:1.5}',
  '@media(prefers-color-scheme:dark){text{fill:#ccc}.spread{stroke:#eee}',
  '.loose{fill:#6a7079}.ours{fill:#21b183}}',
].join('');

/** Bars of one scale for each column; readable on light and dark pages. */
export function plot(result: Result): string {
  const shapes: string[] = [];
  let y = 34;
  result.columns.forEach((column, i) => {
    const heading = `${column.name}, ${column.unit}${column.isCost ? ' (less is better)' : ''}`;
    shapes.push(`<text x="0" y="${y}" class="h">${escaped(heading)}</text>`);
    y += 10;
    const bars = result.rows
      .map((row) => ({ row, values: valuesOf(row, i) }))
      .filter(({ values }) => values.length > 0)
      .map(({ row, values }) => ({
        row,
        value: median(values),
        low: Math.min(...values),
        high: Math.max(...values),
      }));
    const largest = Math.max(...bars.map(({ high }) => high), 0);
    for (const { row, value, low, high } of bars) {
      const x = (amount: number) => LABEL + (amount / largest) * BAR;
      const middle = y + LINE / 2;
      const figure = cell(row, i, column.unit).split(' (')[0] ?? '';
      const box = `x="${LABEL}" y="${y + 4}" width="${(x(value) - LABEL).toFixed(1)}" height="${LINE - 8}"`;
      shapes.push(
        `<text x="${LABEL - 8}" y="${middle + 4}" text-anchor="end">${escaped(row.system)}</text>`,
        `<rect ${box} rx="2" class="${kindOf(row)}"/>`,
        `<path d="M${x(low).toFixed(1)} ${middle}H${x(high).toFixed(1)}" class="spread"/>`,
        `<text x="${(x(high) + 6).toFixed(1)}" y="${middle + 4}">${escaped(figure)}</text>`,
      );
      y += LINE;
    }
    y += 30;
  });
  const width = LABEL + BAR + 90;
  const size = `viewBox="0 0 ${width} ${y}" width="${width}" height="${y}"`;
  const key = `${result.title}. Green: FlowMesh; blue: synced before an answer; grey: not`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">` +
    `<title>${escaped(result.title)}</title><style>${STYLE}</style>` +
    `<text x="0" y="14" class="h">${escaped(key)}</text>${shapes.join('')}</svg>\n`
  );
}

const kindOf = ({ system, durability }: Row): string => {
  if (system === 'FlowMesh') return 'ours';
  return durability === 'synced' ? 'synced' : 'loose';
};

/** Replaces what stands between the marks of the class; appends it where there are none. */
export function written(document: string, result: Result, machine: string): string {
  return withSection(document, `peers ${result.name}`, [
    `### ${result.title}`,
    `${result.how} ${machine}`,
    '',
    markdownTable(result),
    '',
    `![${result.title}](benchmarks/${result.name}.svg) ([raw data](benchmarks/${result.name}.json))`,
  ]);
}
