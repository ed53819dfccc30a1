// A disk that forgets or fails, around a server process: builds shim.c, which says what it plays, and writes
// the environment it reads.
//
//   FAULTS_ROOT     directory whose files it plays with    FAULTS_GRAVE   what was removed, same file system
//   FAULTS_TRIGGER  a cut comes when this file appears      FAULTS_SEED    of torn cuts
//   FAULTS_MODE     torn, sync-does-nothing, cut-at-exit    FAULTS_SYNC_US  how long a sync takes
//   FAULTS_FAIL     sync|write|name:<n-th call>:<errno>     FAULTS_HIT     made at that call, names its file
//                   errno 0: the process is killed there
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServerProcess } from '../support/server-process.ts';

const SOURCE = fileURLToPath(new URL('./shim.c', import.meta.url));

/** Why there is no shim on this machine; undefined: there is. For titles of tests that are skipped. */
export function shimIsMissing(): string | undefined {
  if (process.platform !== 'linux') return `needs Linux, this is ${process.platform}`;
  const glibc = (process.report.getReport() as { header?: { glibcVersionRuntime?: string } }).header;
  if (glibc?.glibcVersionRuntime === undefined) return 'needs glibc';
  return spawnSync('gcc', ['--version']).status === 0 ? undefined : 'needs gcc';
}

export type Mode = 'torn' | 'sync-does-nothing' | 'cut-at-exit';

export interface Failure {
  readonly call: 'sync' | 'write' | 'name';
  readonly nth: number;
  readonly error: 'EIO' | 'ENOSPC' | 'KILL';
}

export class FaultyDisk {
  readonly #dir = mkdtempSync(join(tmpdir(), 'flowmesh-faults-'));
  readonly dataDir = join(this.#dir, 'data');
  readonly #grave = join(this.#dir, 'grave');
  readonly #trigger = join(this.#dir, 'trigger');
  readonly #hit = join(this.#dir, 'hit');
  readonly #shim = join(this.#dir, 'shim.so');

  constructor() {
    mkdirSync(this.dataDir);
    mkdirSync(this.#grave);
    const built = spawnSync('gcc', [
      '-O1',
      '-shared',
      '-fPIC',
      '-o',
      this.#shim,
      SOURCE,
      '-ldl',
      '-lpthread',
    ]);
    if (built.status !== 0) throw new Error(`gcc: ${built.stderr}`);
  }

  env(o: {
    seed?: number;
    modes?: readonly Mode[];
    fail?: Failure;
    syncUs?: number;
  }): Record<string, string> {
    rmSync(this.#trigger, { force: true });
    rmSync(this.#hit, { force: true });
    const fail =
      o.fail && `${o.fail.call}:${o.fail.nth}:${o.fail.error === 'KILL' ? 0 : constants.errno[o.fail.error]}`;
    return {
      LD_PRELOAD: this.#shim,
      // Calls that never pass through the C library cannot be played with.
      UV_USE_IO_URING: '0',
      FAULTS_ROOT: this.dataDir,
      FAULTS_GRAVE: this.#grave,
      FAULTS_TRIGGER: this.#trigger,
      FAULTS_HIT: this.#hit,
      FAULTS_SEED: String(o.seed ?? 0),
      FAULTS_MODE: (o.modes ?? []).join(','),
      FAULTS_SYNC_US: String(o.syncUs ?? 200),
      ...(fail === undefined ? {} : { FAULTS_FAIL: fail }),
    };
  }

  /** The power goes: what is not synced goes with it. Resolves when the process is gone. */
  async cut(server: ServerProcess): Promise<void> {
    const { child } = server;
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    this.pull();
    await ended;
  }

  /** The same for a process that may still be starting. */
  pull(): void {
    writeFileSync(this.#trigger, '');
  }

  /** The file whose call failed, once it has. */
  failed(): string | undefined {
    return existsSync(this.#hit) ? readFileSync(this.#hit, 'utf8').slice(this.dataDir.length + 1) : undefined;
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
