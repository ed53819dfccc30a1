// Where built binaries are, by name, version and content; building what is not there.
//   1. A folder appears whole or not at all: it is made beside its place and renamed.
//   2. Who finds a folder needs no compiler, no network and no lock.
//   3. Two who miss the same part build it once: the second waits at the lock, as long as a part may take.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { arch, homedir } from 'node:os';
import { join } from 'node:path';
import { catalog, type Part } from './catalog.ts';
import { buildLimitMs, MACHINE_LACKS, MachineLacks, searchPath } from './machine.ts';

export const cacheDir =
  process.env['FLOWMESH_E2E_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'flowmesh-e2e');

/** Longer than any part may take: then who holds the lock hangs. */
const LOCK_WAIT_S = Math.round(buildLimitMs / 1000) + 60;
const LOCKED = 76;
const WAIT_SHOWN_MS = 30_000;

const modules = join(import.meta.dirname, '..', 'go');

/** The folder of a part, there or not. */
export function folderOf(part: Part): string {
  const recipe = catalog[part];
  const hash = createHash('sha256').update(JSON.stringify(recipe));
  if (recipe.how === 'go') {
    const dir = join(modules, recipe.module);
    const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.(go|mod|sum)$/.test(name),
    );
    for (const name of names.sort()) hash.update(`\0${name}\0`).update(readFileSync(join(dir, name)));
  }
  return join(cacheDir, 'bin', `${part}-${recipe.version}-${arch()}-${hash.digest('hex').slice(0, 12)}`);
}

export type Binaries = (part: Part, file?: string) => string;

/** Builds what is missing; then says where each binary is. Throws `MachineLacks` where it cannot. */
export async function ensureBinaries(
  wanted: readonly Part[],
  log: (line: string) => void = () => {},
): Promise<Binaries> {
  for (const part of wanted) if (!existsSync(folderOf(part))) await build(part, log);
  return (part, file = catalog[part].files[0] ?? '') => join(folderOf(part), file);
}

async function build(part: Part, log: (line: string) => void): Promise<void> {
  mkdirSync(cacheDir, { recursive: true });
  const lock = join(cacheDir, `${part}.lock`);
  const make = [process.execPath, join(import.meta.dirname, 'make.ts'), part];
  const patience = ['--close', '--timeout', `${LOCK_WAIT_S}`, '--conflict-exit-code', `${LOCKED}`];
  const child = spawn('flock', [...patience, lock, ...make], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: searchPath },
  });
  // Who builds says so every half a minute; who only waits for the lock is silent.
  let isSilent = true;
  const waiting = setInterval(() => {
    if (isSilent) log(`wait   ${part}: another process builds it`);
  }, WAIT_SHOWN_MS);
  let tail = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    isSilent = false;
    for (const line of text.split('\n')) if (line !== '') log(line);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-4000);
  });
  const [code, signal] = await once(child, 'close').finally(() => clearInterval(waiting));
  if (code === MACHINE_LACKS) throw new MachineLacks(tail.trim());
  if (code === LOCKED) throw new MachineLacks(`another process holds ${lock} for ${LOCK_WAIT_S} s`);
  if (code !== 0) throw new Error(`building ${part} failed (${code ?? signal}):\n${tail}`);
}
