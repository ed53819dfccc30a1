// `npm run e2e [-- FILTER...]` brings a cluster up, runs the specs on it, and takes it down again.
//   --driver local|rootless|kind   instead of the one that fits the machine
//   --run 'COMMAND'                instead of the specs: KUBECONFIG is set and kubectl is there
//   --results FILE                 what became of each spec, as JSON of vitest, beside the report
//   1. However it ends, nothing of the cluster is left; if something is, it says what and fails.
//   2. The specs end within their limit, or are ended.

import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { flowmeshImage } from '../scripts/image/contents.ts';
import { type Image, writeImage } from '../scripts/image/oci.ts';
import { type Binaries, cacheDir, ensureBinaries } from './build/cache.ts';
import { home, MachineLacks, searchPath } from './build/machine.ts';
import { candidates, drivers, firstThatFits, partsOf } from './drivers/choose.ts';
import type { Abilities, Driver, DriverName } from './drivers/driver.ts';
import { kedaImage } from './local/keda-image.ts';
import { installImage } from './specs/support/installed.ts';

const repository = resolve(import.meta.dirname, '..');
const IMAGE = 'e2e.local/flowmesh:test';
const KEDA_SPECS = 'e2e/specs/keda.e2e.ts';
const SPECS_MAX_MS = 30 * 60_000;
const startedMs = performance.now();
const stages: [string, number][] = [];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { driver: { type: 'string' }, run: { type: 'string' }, results: { type: 'string' } },
});
Object.assign(process.env, { PATH: searchPath, HOME: home });

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
  const asked = values.driver as DriverName | undefined;
  if (asked !== undefined && !(asked in drivers)) {
    throw new Error(`no such driver: ${asked}; there are ${Object.keys(drivers).join(', ')}`);
  }
  const { name, because } = await timed('binaries', async () => {
    if (asked === undefined) return firstThatFits(candidates(observer.log));
    await ensureBinaries(partsOf[asked], observer.log);
    return { name: asked, because: 'asked for' };
  });
  console.log(`e2e on ${name}${because && ` (${because})`}`);
  return drivers[name](observer, because);
}

async function main(driver: Driver): Promise<number> {
  const kubeconfig = await driver.up();
  const { keda, lacks } = await withKeda(driver.abilities);
  await timed('image', () => loadImages(driver, keda));
  const kubectl = partsOf[driver.name].includes('kubectl')
    ? (await ensureBinaries(['kubectl']))('kubectl')
    : undefined;
  const env = {
    KUBECONFIG: kubeconfig,
    PATH: [...(kubectl === undefined ? [] : [dirname(kubectl)]), searchPath].join(':'),
    FLOWMESH_E2E_ABILITIES: JSON.stringify({ ...driver.abilities, lacks }),
    ...(keda === undefined ? {} : { FLOWMESH_E2E_KEDA: keda('keda', 'config') }),
  };
  if (values.run !== undefined) return driver.run(['sh', '-c', values.run], env);
  const timer = setTimeout(() => {
    console.error(`the specs did not end within ${SPECS_MAX_MS / 60_000} min and are stopped`);
    void end(1);
  }, SPECS_MAX_MS);
  return timed('specs', () => driver.run([process.execPath, ...vitest()], env)).finally(() =>
    clearTimeout(timer),
  );
}

function vitest(): string[] {
  const reporters = ['--no-color', '--reporter=verbose'];
  if (values.results !== undefined) reporters.push('--reporter=json', `--outputFile.json=${values.results}`);
  const program = join(repository, 'node_modules/vitest/vitest.mjs');
  return [
    program,
    'run',
    '--config',
    'e2e/vitest.config.ts',
    '--project',
    'e2e',
    ...reporters,
    ...positionals,
  ];
}

/** KEDA is built and loaded only for specs that are run. */
async function withKeda({ lacks, only }: Abilities): Promise<{ keda?: Binaries; lacks: Abilities['lacks'] }> {
  const isAsked = positionals.length === 0 || positionals.some((filter) => KEDA_SPECS.includes(filter));
  if (!isAsked || only !== undefined || values.run !== undefined) return { lacks };
  try {
    return { keda: await timed('KEDA', () => ensureBinaries(['keda'], observer.log)), lacks };
  } catch (error) {
    if (!(error instanceof MachineLacks)) throw error;
    console.log(`  without KEDA: ${error.message}`);
    return { lacks: { ...lacks, 'needs:keda': error.message } };
  }
}

async function loadImages(driver: Driver, keda?: Binaries): Promise<void> {
  mkdirSync(cacheDir, { recursive: true });
  // Also by the name that install.yaml has, so that it can be applied as it is.
  const images: Image[] = [{ ...flowmeshImage(repository, IMAGE), alsoNamed: [installImage] }];
  if (keda !== undefined) images.push(kedaImage(keda('keda', 'operator'), keda('keda', 'adapter')));
  for (const image of images) {
    const tar = join(cacheDir, `image-${process.pid}.tar`);
    try {
      writeImage(tar, image);
      await driver.loadImage(tar);
    } finally {
      rmSync(tar, { force: true });
    }
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

function summary(code: number): void {
  const parts = stages.map(([name, ms]) => `${name} ${seconds(ms)}`);
  const total = seconds(performance.now() - startedMs);
  const verdict = code !== 0 ? 'failed' : driver.name === 'none' ? 'skipped' : 'passed';
  console.log(`e2e ${verdict} in ${total}: ${parts.join(', ')}`);
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
