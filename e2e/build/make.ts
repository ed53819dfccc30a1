// `node e2e/build/make.ts [PART...]` builds the parts that are not in the cache yet; without names, all.
// cache.ts runs it under a lock, one part at a time.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { cacheDir, folderOf } from './cache.ts';
import { catalog, type Part, parts, type Recipe } from './catalog.ts';

const HEARTBEAT_MS = 30_000;

async function make(part: Part): Promise<void> {
  const folder = folderOf(part);
  if (existsSync(folder)) return;
  const recipe = catalog[part];
  const what = `${part} ${recipe.version}`;
  const startedMs = performance.now();
  const seconds = () => Math.round((performance.now() - startedMs) / 1000);
  console.log(`build  ${what}`);
  const heartbeat = setInterval(() => console.log(`build  ${what}: ${seconds()} s`), HEARTBEAT_MS);
  mkdirSync(join(cacheDir, 'bin'), { recursive: true });
  const work = mkdtempSync(join(cacheDir, 'bin', `.${part}-`));
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
  }
}

async function compile(recipe: Recipe & { how: 'go' }, out: string): Promise<void> {
  const flags = ['-trimpath', '-mod=readonly', '-buildvcs=false', '-ldflags', recipe.ldflags];
  await run('go', ['build', ...flags, '-o', `${out}/`, ...recipe.packages], {
    cwd: join(import.meta.dirname, '..', 'go', recipe.module),
    // Static: runs in an empty image and does not depend on the libraries of who built it.
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' },
  });
}

/** Nothing is installed: the packages are unpacked, and what is needed is copied out. */
async function unpack(recipe: Recipe & { how: 'debian' }, out: string): Promise<void> {
  const work = join(out, 'unpacked');
  mkdirSync(work);
  await run('apt-get', ['download', '-qq', recipe.package, ...recipe.libraries], { cwd: work });
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

async function run(command: string, args: string[], options: { cwd: string; env?: NodeJS.ProcessEnv }) {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
}

const names = process.argv.slice(2);
for (const name of names.length > 0 ? names : parts) {
  if (!parts.includes(name as Part)) throw new Error(`no such part: ${name}; there are ${parts.join(', ')}`);
  await make(name as Part);
}
