// What the harness needs of the machine it runs on: programs, and where they are looked for. A session of a
// CI system may have a bare PATH and no HOME at all.

import { accessSync, constants, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where systems and Go's own installer put programs; after those of PATH. */
const USUAL = [
  '/usr/local/go/bin',
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
];

const given = (process.env['PATH'] ?? '').split(':').filter((folder) => folder !== '');

/** PATH for every program that the harness starts. */
export const searchPath = [...new Set([...given, ...USUAL])].join(':');

/** Go keeps its own caches below HOME, and does nothing without it. */
export const home = process.env['HOME'] || homedir();

/** For one part; the longest takes 6 min on two idle cores. 0: nothing is built. */
export const buildLimitMs = 60_000 * Number(process.env['FLOWMESH_E2E_BUILD_MINUTES'] ?? 25);

/** Those of `names` that are nowhere. */
export function missingPrograms(names: readonly string[], path = searchPath): string[] {
  const folders = path.split(':');
  return names.filter((name) => !folders.some((folder) => isProgram(join(folder, name))));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** This machine cannot build or run it, whatever the sources are: no compiler, no network, no time. */
export class MachineLacks extends Error {
  override readonly name = 'MachineLacks';
}

/** How make.ts says so to who started it (EX_TEMPFAIL of sysexits.h). */
export const MACHINE_LACKS = 75;
