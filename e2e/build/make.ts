// `node e2e/build/make.ts PART` builds a part that is not in the cache yet. cache.ts runs it, under a lock.
//   1. No part takes longer than its limit, and nobody waits without a line that says for what.
//   2. However it ends, no compiler and no half of a part is left.
//   3. Exit code 75: this machine lacks what the part needs, with its sources as they are nothing is wrong.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { cacheDir, folderOf } from './cache.ts';
import { catalog, type Part, parts, type Recipe } from './catalog.ts';
import { buildLimitMs, home, MACHINE_LACKS, MachineLacks, missingPrograms, searchPath } from './machine.ts';

const HEARTBEAT_MS = 30_000;

/** What runs now, and since when: for who stops us. */
let current: { what: string; startedMs: number; work: string; child?: ChildProcess } | undefined;

async function make(part: Part): Promise<void> {
  const folder = folderOf(part);
  if (existsSync(folder)) return;
  const recipe = catalog[part];
  const what = `${part} ${recipe.version}`;
  if (buildLimitMs === 0) throw new MachineLacks(`${what} is not built yet (FLOWMESH_E2E_BUILD_MINUTES=0)`);
  const missing = missingPrograms(recipe.how === 'go' ? ['go'] : ['apt-get', 'dpkg']);
  if (missing.length > 0) throw new MachineLacks(`${what} needs ${missing.join(', ')} to be built`);
  const startedMs = performance.now();
  const seconds = () => Math.round((performance.now() - startedMs) / 1000);
  console.log(`build  ${what}`);
  const heartbeat = setInterval(() => console.log(`build  ${what}: ${seconds()} s`), HEARTBEAT_MS);
  mkdirSync(join(cacheDir, 'bin'), { recursive: true });
  const work = mkdtempSync(join(cacheDir, 'bin', `.${part}-`));
  current = { what, startedMs, work };
  try {
    await (recipe.how === 'go' ? compile(recipe, work) : unpack(recipe, work));
    for (const file of recipe.files)
      if (!existsSync(join(work, file))) throw new Error(`${part}: no ${file}`);
    chmodSync(work, 0o755);
    renameSync(work, folder);
    console.log(`built  ${what} (${seconds()} s)`);
  } finally {
    clearInterval(heartbeat);
    rmSync(work, { recursive: true, force: true });
    current = undefined;
  }
}

async function compile(recipe: Recipe & { how: 'go' }, out: string): Promise<void> {
  const options = {
    cwd: join(import.meta.dirname, '..', 'go', recipe.module),
    // Static: runs in an empty image and does not depend on the libraries of who built it.
    env: { CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' },
  };
  const flags = ['-trimpath', '-mod=readonly', '-buildvcs=false'];
  // Downloads what the build will need and compiles nothing: what fails here is Go's version or the network.
  await run('go', ['list', '-deps', ...flags, ...recipe.packages], options).catch(lacking);
  const link = ['-ldflags', recipe.ldflags, '-o', `${out}/`];
  await run('go', ['build', ...flags, ...link, ...recipe.packages], options);
  if (recipe.sources === undefined) return;
  const { of, folder } = recipe.sources;
  const dir = await run('go', ['list', '-m', '-mod=readonly', '-f', '{{.Dir}}', of], options);
  const copy = join(out, folder);
  // Of the module cache, which is read-only.
  cpSync(join(dir.trim(), folder), copy, { recursive: true });
  for (const name of ['', ...readdirSync(copy, { recursive: true, encoding: 'utf8' })]) {
    chmodSync(join(copy, name), statSync(join(copy, name)).isDirectory() ? 0o755 : 0o644);
  }
}

function lacking(error: Error): never {
  throw error instanceof MachineLacks ? error : new MachineLacks(`cannot be fetched: ${error.message}`);
}

/** Nothing is installed: the packages are unpacked, and what is needed is copied out. */
async function unpack(recipe: Recipe & { how: 'debian' }, out: string): Promise<void> {
  const work = join(out, 'unpacked');
  mkdirSync(work);
  const download = ['download', '-qq', recipe.package, ...recipe.libraries];
  await run('apt-get', download, { cwd: work }).catch(async () => {
    // A fresh machine has no lists yet, an old one has old ones.
    await run('apt-get', ['update', '-qq'], { cwd: work }).catch(lacking);
    await run('apt-get', download, { cwd: work }).catch(lacking);
  });
  for (const name of readdirSync(work)) await run('dpkg', ['-x', name, '.'], { cwd: work });
  for (const file of recipe.files) copyFileSync(join(work, recipe.from, file), join(out, file));
  if (recipe.libraries.length > 0) withLibraries(work, out, recipe.files);
  rmSync(work, { recursive: true });
}

/** The programs find the libraries that came along, whatever the machine has. */
function withLibraries(unpacked: string, out: string, programs: readonly string[]): void {
  mkdirSync(join(out, 'lib'));
  for (const path of readdirSync(unpacked, { recursive: true, encoding: 'utf8' })) {
    if (/\.so\.\d+$/.test(path)) copyFileSync(join(unpacked, path), join(out, 'lib', basename(path)));
  }
  for (const program of programs) {
    renameSync(join(out, program), join(out, `${program}.real`));
    const start = `LD_LIBRARY_PATH="$here/lib" exec "$here/${program}.real" "$@"`;
    writeFileSync(join(out, program), `#!/bin/sh\nhere=$(dirname "$0")\n${start}\n`, { mode: 0o755 });
  }
}

/** Answers what it wrote to standard output. */
async function run(
  command: string,
  args: string[],
  { cwd, env = {} }: { cwd: string; env?: Record<string, string> },
): Promise<string> {
  if (current === undefined) throw new Error('only a part runs programs');
  // A group of its own, so that what it started ends with it; and it ends with us.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    cwd,
    env: { ...process.env, HOME: home, PATH: searchPath, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  current.child = child;
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const leftMs = current.startedMs + buildLimitMs - performance.now();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killGroup(child);
  }, leftMs);
  const [code] = await once(child, 'close').finally(() => clearTimeout(timer));
  if (isLate) throw new MachineLacks(`not done within ${buildLimitMs / 60_000} min`);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
  return output;
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended by itself.
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (current !== undefined) {
      const { what, startedMs, work, child } = current;
      if (child !== undefined) killGroup(child);
      rmSync(work, { recursive: true, force: true });
      console.error(
        `stopped while ${what} was built (${Math.round((performance.now() - startedMs) / 1000)} s)`,
      );
    }
    process.exit(130);
  });
}

const [name = ''] = process.argv.slice(2);
if (!parts.includes(name as Part)) throw new Error(`no such part: ${name}; there are ${parts.join(', ')}`);
try {
  await make(name as Part);
} catch (error) {
  if (!(error instanceof MachineLacks)) throw error;
  console.error(`${name}: ${error.message}`);
  process.exitCode = MACHINE_LACKS;
}
