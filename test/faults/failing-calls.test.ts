// The n-th sync, write or change of a name fails, for every n of a scripted run: after an error in the
// journal the process ends at once and says why, nothing is acknowledged any more, and the next start has
// everything that was. The same when the process is killed there (kill -9 at every fsync point). A disk that
// is full while space is asked for, or fails a checkpoint, ends nothing.
// FLOWMESH_FAIL_EVERY=1 tries every n (npm run test:syncfail); by default each STRIDE-th.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { type Failure, FaultyDisk, shimIsMissing } from './disk.ts';

const STRIDE = Number(process.env.FLOWMESH_FAIL_EVERY ?? 61);
const SEED = Number(process.env.FLOWMESH_FAIL_SEED ?? Date.now() % 1_000_000);
const STEPS = 40;
/** Each n takes some seconds, and there are a few hundred of them: beside other work that is an hour. */
const SECONDS_MAX = STRIDE === 1 ? 5400 : 1200;
const FROM = Number(process.env.FLOWMESH_FAIL_FROM ?? 1 + (SEED % STRIDE));
const missing = shimIsMissing();
const skipped = missing === undefined ? '' : `SKIPPED: ${missing}: `;
const storage = { segmentBytes: 128 * 1024, checkpointBytes: 100 * 1024 };
const VALUE = 'v'.repeat(8 * 1024);

let disk: FaultyDisk;
afterEach(() => disk?.remove());

interface Acked {
  readonly keys: number[];
  records: number;
  jobs: number;
}

async function send(server: ServerProcess, path: string, method: string, body: unknown): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/v1/${path}`, {
    method,
    headers: { 'content-type': typeof body === 'string' ? 'text/plain' : 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    signal: AbortSignal.timeout(3000),
  }).catch(() => undefined);
  await response?.text().catch(() => '');
  return response?.ok === true;
}

/** Entries are written there; others that are being prepared have another name, and fail beside a write. */
const isActiveSegment = (file: string) => file.endsWith('.segment');
const isJournal = (file: string) => /^shard-0\/journal(\/|$)/.test(file);

/** Until the script ends or the server does. What was sent after the failure must not be acknowledged. */
async function runScript(server: ServerProcess, acked: Acked): Promise<void> {
  for (let n = 0; n < STEPS && server.child.exitCode === null && server.child.signalCode === null; n++) {
    const failed = disk.failed();
    const isOk = await send(server, `kv/default/key-${n}`, 'PUT', `${n} ${VALUE}`);
    if (isOk) acked.keys.push(n);
    if (failed !== undefined && isActiveSegment(failed))
      expect(isOk, `key ${n} was acknowledged after ${failed} failed`).toBe(false);
    if (n % 4 === 0 && (await send(server, 'queues/q/jobs', 'POST', { payload: n }))) acked.jobs++;
    if (n % 5 === 0 && (await send(server, 'streams/s/records', 'POST', { records: [{ value: n }] })))
      acked.records++;
  }
}

/** What must be there is there. */
async function compare(server: ServerProcess, acked: Acked): Promise<void> {
  const get = (path: string) => fetch(`http://127.0.0.1:${server.httpPort}/v1/${path}`);
  for (const n of acked.keys) {
    const response = await get(`kv/default/key-${n}`);
    expect(await response.text(), `key ${n}`).toBe(`${n} ${VALUE}`);
  }
  const queue = acked.jobs === 0 ? undefined : ((await (await get('queues/q')).json()) as Queue);
  const count = Number(queue?.figures.waiting ?? 0);
  expect(count, 'jobs').toBeGreaterThanOrEqual(acked.jobs);
  expect(count, 'jobs').toBeLessThanOrEqual(STEPS);
}

interface Queue {
  readonly figures: { readonly waiting: number };
}

/** One run with one failure; false: there is no n-th call. */
async function tryOnce(fail: Failure): Promise<boolean> {
  disk = new FaultyDisk();
  const acked: Acked = { keys: [], records: 0, jobs: 0 };
  const options = { dataDir: disk.dataDir, shards: 1, storage };
  const what = () => `${fail.error} at ${fail.call} ${fail.nth}, ${disk.failed()}`;
  const started = await startServerProcess(options, { env: disk.env({ fail, syncUs: 0 }) }).catch(
    (error: Error) => error,
  );
  if (started instanceof Error) {
    expect(disk.failed(), started.message).toBeDefined();
    // Node says ENOENT when it cannot make a directory with those above it.
    expect(started.message, what()).toMatch(
      /EIO|ENOSPC|SIGKILL|i\/o error|no space|Input\/output|full|ENOENT.*mkdir/i,
    );
  } else {
    await runScript(started, acked);
    const failed = disk.failed();
    if (fail.error === 'EIO' && failed !== undefined && isJournal(failed)) {
      await Promise.race([once(started.child, 'exit'), sleep(started.child.exitCode === null ? 1000 : 0)]);
      expect(started.child.exitCode, `${what()}: ended within a second`).toBe(70);
      expect(started.stderr().trim().split('\n').at(-1), what()).toMatch(/journal.failed.*EIO/);
    }
    if (failed === undefined) expect(acked.keys.length, 'without a failure').toBe(STEPS);
    if (fail.error === 'KILL' && failed !== undefined) {
      if (started.child.signalCode === null) await once(started.child, 'exit');
      expect(started.child.signalCode, what()).toBe('SIGKILL');
    }
    // What a failed sync left is gone with the power, whatever the cache shows.
    else await disk.cut(started);
  }
  const isHit = disk.failed() !== undefined;
  const message = what();
  const again = await startServerProcess(options, { env: disk.env({}) }).catch((error: Error) => {
    throw new Error(`${message}: ${error.message}`);
  });
  await compare(again, acked).catch((error: Error) => {
    throw new Error(`${message}: ${error.message}`);
  });
  await again.kill('SIGKILL');
  disk.remove();
  return isHit;
}

describe.skipIf(missing !== undefined)(`${skipped}failing calls`, () => {
  test.each([
    { call: 'sync', error: 'EIO' },
    { call: 'write', error: 'EIO' },
    { call: 'name', error: 'EIO' },
    { call: 'sync', error: 'ENOSPC' },
    { call: 'write', error: 'ENOSPC' },
    { call: 'name', error: 'ENOSPC' },
    { call: 'sync', error: 'KILL' },
    { call: 'write', error: 'KILL' },
    { call: 'name', error: 'KILL' },
  ] as const)(
    `$error at any $call (each ${STRIDE}. from ${FROM})`,
    async (failure) => {
      let tries = 0;
      for (let nth = FROM; await tryOnce({ ...failure, nth }); nth += STRIDE) tries++;
      process.stdout.write(`${failure.error} at ${failure.call}: ${tries} failures\n`);
      expect(tries).toBeGreaterThan(0);
    },
    SECONDS_MAX * 1000,
  );
});
