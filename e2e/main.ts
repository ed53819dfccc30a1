// `npm run e2e [-- FILTER...]` brings a cluster up, runs the specs on it, and takes it down again.
//   --driver local|rootless|kind   instead of the one that fits the machine
//   --run 'COMMAND'                instead of the specs: KUBECONFIG is set and kubectl is there
//   1. However it ends, nothing of the cluster is left; if something is, it says what and fails.

import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { flowmeshImage } from '../scripts/image/contents.ts';
import { writeImage } from '../scripts/image/oci.ts';
import { cacheDir, ensureBinaries } from './build/cache.ts';
import { chooseDriver, drivers } from './drivers/choose.ts';
import type { Driver, DriverName } from './drivers/driver.ts';

const repository = resolve(import.meta.dirname, '..');
const IMAGE = 'e2e.local/flowmesh:test';
const startedMs = performance.now();
const stages: [string, number][] = [];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { driver: { type: 'string' }, run: { type: 'string' } },
});

const observer = {
  log: (line: string) => console.log(`  ${line}`),
  stage(name: string, ms: number) {
    stages.push([name, ms]);
    console.log(`  ${name}: ${seconds(ms)}`);
  },
};

async function timed<T>(name: string, work: () => Promise<T> | T): Promise<T> {
  const beganMs = performance.now();
  try {
    return await work();
  } finally {
    observer.stage(name, performance.now() - beganMs);
  }
}

async function chosen(): Promise<Driver> {
  if (values.driver !== undefined && !(values.driver in drivers)) {
    throw new Error(`no such driver: ${values.driver}; there are ${Object.keys(drivers).join(', ')}`);
  }
  const { name, because } = values.driver
    ? { name: values.driver as DriverName, because: 'as asked for' }
    : await chooseDriver();
  console.log(`e2e on ${name} (${because})`);
  return drivers[name](observer);
}

async function main(driver: Driver): Promise<number> {
  const kubectl = await timed('binaries', () => ensureBinaries(['kubectl'], observer.log));
  const kubeconfig = await driver.up();
  await timed('image', () => loadImage(driver));
  const env = {
    KUBECONFIG: kubeconfig,
    PATH: `${dirname(kubectl('kubectl'))}:${process.env['PATH']}`,
    FLOWMESH_E2E_ABILITIES: JSON.stringify(driver.abilities),
  };
  if (values.run !== undefined) return driver.run(['sh', '-c', values.run], env);
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  const flags = [
    'run',
    '--config',
    'e2e/vitest.config.ts',
    '--project',
    'e2e',
    '--no-color',
    '--reporter=verbose',
  ];
  return timed('specs', () => driver.run([process.execPath, vitest, ...flags, ...positionals], env));
}

async function loadImage(driver: Driver): Promise<void> {
  mkdirSync(cacheDir, { recursive: true });
  const tar = join(cacheDir, `flowmesh-${process.pid}.tar`);
  try {
    writeImage(tar, flowmeshImage(repository, IMAGE));
    await driver.loadImage(tar);
  } finally {
    rmSync(tar, { force: true });
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

function summary(code: number): void {
  const parts = stages.map(([name, ms]) => `${name} ${seconds(ms)}`);
  const total = seconds(performance.now() - startedMs);
  console.log(`e2e ${code === 0 ? 'passed' : 'failed'} in ${total}: ${parts.join(', ')}`);
}

const driver = await chosen();
let ending: Promise<void> | undefined;
const end = (code: number) => {
  ending ??= timed('down', () => driver.down()).then(
    () => {
      summary(code);
      process.exit(code);
    },
    (error: Error) => {
      console.error(error.message);
      process.exit(1);
    },
  );
  return ending;
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(130));
try {
  await end(await main(driver));
} catch (error) {
  if (ending === undefined) console.error(error instanceof Error ? error.message : error);
  await end(1);
}
