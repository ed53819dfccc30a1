// npm run bench:peers -- jobs|streams|kv|latency|footprint|all [--rounds 3] [--seconds 4] [--only name,name]
// [--write]: FlowMesh and its peers on this machine, in turns, each on a fresh directory. `--write` puts the
// results into docs/benchmarks.md. A peer that cannot be had is named with the reason.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type BenchClass, classes } from './peers/classes.ts';
import { plot, type Result, type Row, terminalTable, written } from './peers/report.ts';
import type { System } from './peers/systems.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', default: '' },
    write: { type: 'boolean', default: false },
  },
});
const asked = positionals[0] === 'all' ? Object.keys(classes) : positionals;
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const isWhole = (n: number) => Number.isInteger(n) && n >= 1 && n <= 100;
if (asked.length === 0 || asked.some((name) => !(name in classes)) || !isWhole(rounds) || !isWhole(seconds)) {
  const names = Object.keys(classes).join('|');
  process.stderr.write(
    `error: npm run bench:peers -- ${names}|all [--rounds 1-100] [--seconds 1-100]\n` +
      '  [--only name,name] [--write]\n',
  );
  process.exit(2);
}
const docs = join(import.meta.dirname, '../docs');
const cores = `${availableParallelism()} x ${cpus()[0]?.model.trim()}`;
const machine = `${cores}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}.`;
const note = (text: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);

for (const name of asked) {
  const result = await measure(name, classes[name] as BenchClass);
  note('');
  process.stdout.write(`\n${result.title}. ${machine} ${rounds} rounds\n${terminalTable(result)}\n`);
  if (!values.write) continue;
  mkdirSync(join(docs, 'benchmarks'), { recursive: true });
  writeFileSync(
    join(docs, 'benchmarks', `${name}.json`),
    `${JSON.stringify({ machine, ...result }, null, 2)}\n`,
  );
  writeFileSync(join(docs, 'benchmarks', `${name}.svg`), plot(result));
  const document = join(docs, 'benchmarks.md');
  writeFileSync(
    document,
    written(readFileSync(document, 'utf8'), result, `${rounds} rounds in turns; ${machine}`),
  );
}

async function measure(name: string, { systems, measure, ...about }: BenchClass): Promise<Result> {
  const wanted = values.only.toLowerCase().split(',');
  const chosen = systems.filter((system) => wanted.some((each) => system.name.toLowerCase().includes(each)));
  const rows = new Map<System, Row>();
  for (let round = 1; round <= rounds; round++) {
    for (const system of chosen) {
      const before = rows.get(system);
      if (before?.skipped !== undefined) continue;
      note(`${name}, round ${round} of ${rounds}: ${system.name}`);
      rows.set(system, await one(system, before, measure));
    }
  }
  return { name, title: about.title, how: about.how, columns: about.columns, rows: [...rows.values()] };
}

async function one(system: System, before: Row | undefined, measure: BenchClass['measure']): Promise<Row> {
  const dir = mkdtempSync(join(process.env.FLOWMESH_BENCH_DIR ?? tmpdir(), 'flowmesh-peer-'));
  const about = { system: system.name, durability: system.durability };
  const done = before?.rounds ?? [];
  try {
    const running = await system.start(dir);
    try {
      const figures = await measure(system, running, seconds);
      return { ...about, version: system.version(), rounds: [...done, figures] };
    } finally {
      await running.stop();
    }
  } catch (error) {
    const skipped = error instanceof Error ? error.message : String(error);
    process.stderr.write(`\n${system.name}: ${skipped}\n`);
    return done.length > 0
      ? { ...about, version: system.version(), rounds: done }
      : { ...about, version: '', rounds: [], skipped };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
