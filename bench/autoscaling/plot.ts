// Plots of one shape: workers and age over time, for FlowMesh and two plain triggers. Pure: figures in, SVG
// out; readable on light and dark pages.
import { formatDuration } from '../../crds/values.ts';
import { escaped } from '../support/section.ts';
import type { Outcome, Point } from './run.ts';
import type { Shape } from './shapes.ts';

export interface Line {
  readonly name: string;
  readonly kind: 'ours' | 'first' | 'second';
  readonly outcome: Outcome;
}

const [LEFT, WIDTH, RIGHT] = [56, 640, 16];
const [WORKERS_HEIGHT, AGE_HEIGHT, GAP] = [150, 150, 44];
const TOP = 62;

const STYLE = [
  'text{font:12px system-ui,sans-serif;fill:#444}.h{font-weight:600;font-size:13px}',
  '.n{fill:#666;font-size:11px}',
  'path{fill:none;stroke-width:1.6;stroke-linejoin:round}.ours{stroke:#0a7d5a;stroke-width:2.2}',
  '.first{stroke:#8a8f98}.second{stroke:#3b73b9}.load{fill:#f0c36d;fill-opacity:.35;stroke:none}',
  '.grid{stroke:#999;stroke-opacity:.3;stroke-width:1}',
  '.limit{stroke:#c0392b;stroke-dasharray:5 4;stroke-width:1.2}',
  '.loadbox{fill:#f0c36d;fill-opacity:.5}',
  '@media(prefers-color-scheme:dark){text{fill:#ccc}.n{fill:#aaa}.ours{stroke:#21b183}.first{stroke:#9aa0a8}',
  '.second{stroke:#6ea3e0}.limit{stroke:#e57368}}',
].join('');

export function plot(shape: Shape, lines: readonly Line[]): string {
  const { durationS, work, ageMaxS, to } = shape;
  const x = (atS: number) => LEFT + (atS / durationS) * WIDTH;
  const loads = lines[0]?.outcome.points.map(({ atS, rate }) => ({ atS, value: rate * work.meanS })) ?? [];
  const mostWorkers = Math.max(to, ...loads.map(({ value }) => value));
  const ages = lines.flatMap(({ outcome }) => outcome.points.map(({ ageS }) => ageS));
  // What is far beyond the threshold is cut: how far does not matter, how long does.
  const mostAge = Math.min(ageMaxS * 5, Math.max(ageMaxS * 1.3, ...ages));
  const workersAt = scale(TOP + 20, WORKERS_HEIGHT, mostWorkers);
  const ageTop = TOP + 20 + WORKERS_HEIGHT + GAP;
  const ageAt = scale(ageTop, AGE_HEIGHT, mostAge);
  const width = LEFT + WIDTH + RIGHT;
  const height = ageTop + AGE_HEIGHT + 34;
  const bottom = TOP + 20 + WORKERS_HEIGHT;
  const area = loads.map(({ atS, value }) => `L${at(x(atS), workersAt(value))}`).join('');
  const last = x(loads.at(-1)?.atS ?? 0);
  const parts = [
    `<text x="0" y="14" class="h">${escaped(shape.title)}</text>`,
    ...legend(lines),
    heading('workers', TOP + 12),
    ...grid(workersAt, ticks(mostWorkers)),
    `<path class="load" d="M${at(x(0), bottom)}${area}L${at(last, bottom)}Z"/>`,
    ...lines.map(({ kind, outcome }) =>
      steps(kind, outcome.points, ({ replicas }) => workersAt(replicas), x),
    ),
    heading(`age of the oldest; dashed: message_age > ${formatDuration(ageMaxS * 1000)}`, ageTop - 8),
    ...grid(ageAt, ticks(mostAge), (value) => formatDuration(value * 1000)),
    ...lines.map(({ kind, outcome }) =>
      trace(kind, outcome.points, ({ ageS }) => ageAt(Math.min(mostAge, ageS)), x),
    ),
    `<path class="limit" d="M${at(LEFT, ageAt(ageMaxS))}H${LEFT + WIDTH}"/>`,
    ...times(durationS, x, ageTop + AGE_HEIGHT + 16),
  ];
  const size = `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img"><title>${escaped(shape.title)}</title>` +
    `<style>${STYLE}</style>${parts.join('')}</svg>\n`
  );
}

const at = (x: number, y: number) => `${x.toFixed(1)} ${y.toFixed(1)}`;

const scale = (top: number, height: number, most: number) => (value: number) =>
  top + height - (value / most) * height;

const heading = (text: string, y: number) => `<text x="0" y="${y}" class="h">${escaped(text)}</text>`;

const note = (x: number, y: number, anchor: string, text: string) =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="n" text-anchor="${anchor}">${text}</text>`;

function ticks(most: number): number[] {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((each) => most / each <= 5) ?? most;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

function grid(
  y: (value: number) => number,
  values: readonly number[],
  label = String as (v: number) => string,
) {
  return values.flatMap((value) => [
    `<path class="grid" d="M${at(LEFT, y(value))}H${LEFT + WIDTH}"/>`,
    note(LEFT - 6, y(value) + 4, 'end', label(value)),
  ]);
}

function times(durationS: number, x: (atS: number) => number, y: number): string[] {
  const step = durationS / 6;
  return Array.from({ length: 7 }, (_, i) => i * step).map((atS) => {
    const anchor = atS === 0 ? 'start' : atS === durationS ? 'end' : 'middle';
    return note(x(atS), y, anchor, formatDuration(atS * 1000));
  });
}

function legend(lines: readonly Line[]): string[] {
  const all = [
    ...lines.map(({ name, kind }) => ({ name, kind: kind as string })),
    { name: 'load', kind: 'load' },
  ];
  let x = 0;
  return all.flatMap(({ name, kind }) => {
    const from = x;
    x += 46 + name.length * 7;
    const sample =
      kind === 'load'
        ? `<rect x="${from}" y="29" width="22" height="10" class="loadbox"/>`
        : `<path class="${kind}" d="M${at(from, 34)}h22"/>`;
    return [sample, `<text x="${from + 28}" y="38">${escaped(name)}</text>`];
  });
}

type Of = (point: Point) => number;

function trace(kind: string, points: readonly Point[], y: Of, x: (atS: number) => number): string {
  const path = points.map((point, i) => `${i === 0 ? 'M' : 'L'}${at(x(point.atS), y(point))}`).join('');
  return `<path class="${kind}" d="${path}"/>`;
}

/** A number of pods holds until it is changed. */
function steps(kind: string, points: readonly Point[], y: Of, x: (atS: number) => number): string {
  let before: number | undefined;
  const path = points.map((point, i) => {
    const now = y(point);
    const isSame = before !== undefined && Math.abs(now - before) < 0.05;
    before = now;
    if (i === 0) return `M${at(x(point.atS), now)}`;
    return isSame && i < points.length - 1 ? '' : `H${x(point.atS).toFixed(1)}V${now.toFixed(1)}`;
  });
  return `<path class="${kind}" d="${path.join('')}"/>`;
}
