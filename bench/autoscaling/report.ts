// The comparison as tables: seconds over the thresholds, worker-hours, changes. Pure: figures in, text out.

import type { Compared } from './aim.ts';
import type { Outcome } from './run.ts';
import { loadHours } from './shapes.ts';

export type Result = Compared & { readonly tuned: Outcome };

interface Figure {
  readonly title: string;
  readonly of: (outcome: Outcome) => string;
  readonly reference?: { readonly name: string; readonly of: (result: Result) => string };
}

const hours = (value: number) => (value < 100 ? value.toFixed(1) : value.toFixed(0));

export const FIGURES: readonly Figure[] = [
  {
    title: 'Seconds in which a condition was broken, of them by the age',
    of: ({ overS, overAgeS }) => `${overS.toLocaleString('en-US')} (${overAgeS.toLocaleString('en-US')})`,
  },
  {
    title: 'Worker-hours, those that start and drain included',
    of: ({ workerHours }) => hours(workerHours),
    reference: { name: 'the load itself', of: ({ shape }) => hours(loadHours(shape)) },
  },
  { title: 'Changes of the number of replicas', of: ({ changes }) => String(changes) },
];

export function rows(results: readonly Result[], { of, reference }: Figure): string[][] {
  const [first] = results;
  if (first === undefined) return [];
  const each = ({ ours, plain, tuned }: Result) => [ours, ...plain, tuned];
  const head = [
    'shape',
    ...each(first).map(({ trigger }) => trigger),
    ...(reference ? [reference.name] : []),
  ];
  const body = results.map((result) => [
    result.shape.name,
    ...each(result).map(of),
    ...(reference ? [reference.of(result)] : []),
  ]);
  return [head, ...body];
}

export function terminal(results: readonly Result[]): string {
  return FIGURES.map((figure) => {
    const table = rows(results, figure);
    const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
    const line = (row: string[]) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ');
    return [figure.title, ...table.map(line)].join('\n');
  }).join('\n\n');
}

export function markdown(results: readonly Result[]): string[] {
  const shapes = results.map(({ shape }) => `| \`${shape.name}\` | ${shape.title} | ${conditions(shape)} |`);
  const tables = FIGURES.flatMap((figure) => {
    const [head = [], ...body] = rows(results, figure);
    const line = (row: string[]) => `| ${row.join(' | ')} |`;
    return ['', `${figure.title}:`, '', line(head), line(head.map(() => '---')), ...body.map(line)];
  });
  const plots = results.map(({ shape: { name, title } }) => `![${title}](autoscaling/${name}.svg)`);
  return ['| shape | load | asked for |', '| --- | --- | --- |', ...shapes, ...tables, '', ...plots];
}

function conditions({ from, to, lagMax, ageMaxS, partitions }: Compared['shape']): string {
  const lag = partitions > 0 ? 'stream_lag' : 'queue_lag';
  return `${from} to ${to}, ${lag} > ${lagMax}, message_age > ${ageMaxS}s`;
}
