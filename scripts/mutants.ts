// Plants one bug after the other (test/mutants/list.ts) in a copy of the sources and sees that it is caught:
// `npm run test:mutants [-- --only NAME] [--seeds 60] [--processes 2]`. Fails if one is not, if its text no
// longer occurs, or if the sources as they are do not pass.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Mutant, mutants } from '../test/mutants/list.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '100' },
    processes: { type: 'string', default: String(availableParallelism()) },
  },
});
/** A bug that makes everything stand still is caught, too. */
const TIMEOUT_MS = 300_000;
const repository = resolve(import.meta.dirname, '..');

const wanted = mutants.filter(({ name }) => name.includes(values.only));
const missing = wanted.filter((mutant) => occurrences(mutant) !== 1);
for (const mutant of missing) {
  console.log(`${mutant.name}: its text occurs ${occurrences(mutant)} times in ${mutant.file}, not once`);
}
const escaped: string[] = [];
const queue = wanted.filter((mutant) => !missing.includes(mutant));
let done = 0;

await inCopy(async (copy) => {
  // The sources as they are pass what is run below, or it would catch everything.
  const tests = [...new Set(wanted.flatMap(({ test }) => test?.split(' ') ?? []))];
  for (const command of [simulation(10), ...(tests.length > 0 ? [vitest(tests.join(' '))] : [])]) {
    const { code, text } = await execute(copy, command);
    if (code !== 0) throw new Error(`${command} fails without a planted bug:\n${text}`);
  }
});
await Promise.all(Array.from({ length: Number(values.processes) }, () => inCopy(work)));
for (const name of escaped) console.log(`not caught: ${name}`);
console.log(`${done - escaped.length} of ${wanted.length} planted bugs caught`);
process.exitCode = escaped.length + missing.length > 0 ? 1 : 0;

async function work(copy: string): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const file = join(copy, mutant.file);
    const original = readFileSync(file, 'utf8');
    writeFileSync(
      file,
      original.replace(mutant.find, () => mutant.replace),
    );
    const began = performance.now();
    const { code, text } = await execute(copy, commandOf(mutant));
    writeFileSync(file, original);
    done++;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const by =
      mutant.test === undefined
        ? (text.match(/failed: (seed [^\n]{0,140})/)?.[1] ?? 'the simulation')
        : 'its test';
    if (code === 0) escaped.push(mutant.name);
    const outcome = code === 0 ? 'NOT CAUGHT' : `caught by ${by}`;
    console.log(`${done}/${wanted.length} ${mutant.name} (${seconds} s): ${outcome}`);
  }
}

function occurrences({ file, find }: Mutant): number {
  return readFileSync(join(repository, file), 'utf8').split(find).length - 1;
}

function simulation(seeds: number): string {
  return `node --conditions=flowmesh-source scripts/sim.ts --from 1 --seeds ${seeds} --processes 1 --bail`;
}

function commandOf(mutant: Mutant): string {
  if (mutant.test === undefined) return simulation(Number(values.seeds));
  return vitest(mutant.test);
}

function vitest(tests: string): string {
  return `node node_modules/vitest/vitest.mjs run --bail 1 ${tests}`;
}

function execute(cwd: string, command: string): Promise<{ code: number; text: string }> {
  const [program = '', ...args] = command.split(' ');
  return new Promise((done) => {
    const node = program === 'node' ? process.execPath : program;
    const child = spawn(node, args, { cwd, stdio: 'pipe', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (bytes) => {
        text += bytes;
      });
    }
    child.on('close', (code) => done({ code: code ?? 1, text }));
  });
}

/** A copy of what git knows or would add, with the packages of this one. */
async function inCopy(use: (copy: string) => Promise<void>): Promise<void> {
  const copy = mkdtempSync(join(tmpdir(), 'flowmesh-mutant-'));
  try {
    const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
    const options = { cwd: repository, encoding: 'utf8', maxBuffer: 2 ** 26 } as const;
    for (const path of execFileSync('git', list, options).split('\0')) {
      if (path === '') continue;
      mkdirSync(dirname(join(copy, path)), { recursive: true });
      cpSync(join(repository, path), join(copy, path), { force: true });
    }
    symlinkSync(join(repository, 'node_modules'), join(copy, 'node_modules'));
    await use(copy);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
