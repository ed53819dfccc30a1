// npm run bench:peers -- jobs|streams|kv|latency|footprint|all [--rounds 3] [--seconds 3] [--only name,name]
// [--write]: FlowMesh and its peers on this machine, in turns, each on a fresh directory. `--write` puts the
// results into docs/benchmarks.md. A peer that cannot be had is named with the reason.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { type BenchClass, classes } from './peers/classes.ts';
import { newDir, removeDir } from './peers/process.ts';
import { plot, type Result, type Row, terminalTable, written } from './peers/report.ts';
import type { System } from './peers/systems.ts';

const { values, positionals } = understood({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    write: { type: 'boolean', default: false },
  },
});
const asked = positionals[0] === 'all' ? Object.keys(classes) : positionals;
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const isWhole = (n: number) => Number.isInteger(n) && n >= 1 && n <= 100;
const unknown = asked.find((name) => !(name in classes));
if (asked.length === 0 || unknown !== undefined) refused(`"${unknown ?? ''}" is no class of work`);
if (!isWhole(rounds) || !isWhole(seconds)) refused('rounds and seconds are whole numbers from 1 to 100');
const wanted = values.only.toLowerCase().split(',');
const everybody = [...new Set(Object.values(classes).flatMap(({ systems }) => systems.map((s) => s.name)))];
const stranger = wanted.find((each) => !everybody.some((name) => name.toLowerCase().includes(each)));
if (stranger !== undefined) refused(`"${stranger}" is part of no name; there are ${everybody.join('; ')}`);
const docs = join(import.meta.dirname, '../docs');
const cores = `${availableParallelism()} x ${cpus()[0]?.model.trim()}`;
const machine = `${cores}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}.`;
const note = (text: string) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  else if (text !== '') process.stderr.write(`${text}\n`);
};

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
    written(
      readFileSync(document, 'utf8'),
      result,
      `${rounds} ${rounds === 1 ? 'round' : 'rounds'} in turns; ${machine}`,
    ),
  );
}

function understood<C extends ParseArgsConfig>(config: C): ReturnType<typeof parseArgs<C>> {
  try {
    return parseArgs(config);
  } catch (error) {
    return refused(error instanceof Error ? error.message : String(error));
  }
}

function refused(why: string): never {
  const names = Object.keys(classes).join('|');
  process.stderr.write(
    `error: ${why}\n  npm run bench:peers -- ${names}|all [--rounds 1-100] [--seconds 1-100]\n` +
      '  [--only name,name] [--write]\n',
  );
  process.exit(2);
}

async function measure(name: string, { systems, measure, ...about }: BenchClass): Promise<Result> {
  const chosen = systems.filter((system) => wanted.some((each) => system.name.toLowerCase().includes(each)));
  const rows = new Map<System, Row>();
  for (let round = 1; round <= rounds; round++) {
    // Another one begins in each round, so that nobody always follows the same neighbour.
    const by = (round - 1) % Math.max(1, chosen.length);
    for (const system of [...chosen.slice(by), ...chosen.slice(0, by)]) {
      const before = rows.get(system);
      if (before?.skipped !== undefined) continue;
      note(`${name}, round ${round} of ${rounds}: ${system.name}`);
      rows.set(system, await one(system, before, measure));
    }
  }
  const inOrder = chosen.flatMap((system) => rows.get(system) ?? []);
  return { name, title: about.title, how: about.how, columns: about.columns, rows: inOrder };
}

async function one(system: System, before: Row | undefined, measure: BenchClass['measure']): Promise<Row> {
  const dir = newDir();
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
    removeDir(dir);
  }
}
