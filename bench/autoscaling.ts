// npm run bench:autoscaling [-- --only step,ramp] [--seeds 3] [--write]: the law of autoscaling in a closed
// loop with the arithmetic of the HPA and of KEDA, against plain triggers. No clock: the same figures
// everywhere. `--write` puts them into docs/autoscaling.md. It fails where the aims are missed.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { misses } from './autoscaling/aim.ts';
import { compare } from './autoscaling/compare.ts';
import { plot } from './autoscaling/plot.ts';
import { markdown, type Result, terminal } from './autoscaling/report.ts';
import { SHAPES } from './autoscaling/shapes.ts';
import { withSection } from './support/section.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seeds: { type: 'string', default: '3' },
    write: { type: 'boolean', default: false },
  },
});
const names = values.only?.split(',') ?? SHAPES.map(({ name }) => name);
const unknown = names.find((each) => !SHAPES.some(({ name }) => name === each));
const count = Number(values.seeds);
if (unknown !== undefined) refused(`"${unknown}" is no shape: ${SHAPES.map(({ name }) => name).join(', ')}`);
if (!Number.isInteger(count) || count < 1 || count > 100) refused('seeds is a whole number from 1 to 100');
if (values.write && names.length < SHAPES.length) refused('--write takes all shapes');
const seeds = Array.from({ length: count }, (_, i) => i + 1);

const results: Result[] = [];
for (const shape of SHAPES.filter(({ name }) => names.includes(name))) {
  process.stderr.write(`${shape.name}: ${shape.title}\n`);
  results.push(compare(shape, { seeds }));
}
console.log(`\n${terminal(results)}`);
const missed = results.flatMap(misses);
for (const each of missed) console.error(`missed: ${each}`);
if (missed.length > 0) process.exitCode = 1;
if (values.write) write(results);

function write(all: readonly Result[]): void {
  const docs = join(import.meta.dirname, '../docs');
  mkdirSync(join(docs, 'autoscaling'), { recursive: true });
  for (const { shape, ours, plain } of all) {
    const named = (name: string) => plain.find(({ trigger }) => trigger === name) ?? ours;
    const svg = plot(shape, [
      { name: 'lag', kind: 'first', outcome: named('lag') },
      { name: 'lag + age (Value)', kind: 'second', outcome: named('lag + age (Value)') },
      { name: 'FlowMesh', kind: 'ours', outcome: ours },
    ]);
    writeFileSync(join(docs, 'autoscaling', `${shape.name}.svg`), svg);
  }
  const page = join(docs, 'autoscaling.md');
  writeFileSync(page, withSection(readFileSync(page, 'utf8'), 'simulation', markdown(all)));
}

function refused(what: string): never {
  console.error(`error: ${what}`);
  process.exit(2);
}
