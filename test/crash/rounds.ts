// The rounds of every crash test: a workload, an end of the server at a random moment, a restart; then the
// ledger against what is there.

import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type FlowMesh } from '@flowmesh/client';
import { expect } from 'vitest';
import { seeded } from '../support/seeded.ts';
import type { ServerProcess } from '../support/server-process.ts';
import { Ledger } from './ledger.ts';
import { PARTITIONS, STREAM, startWorkload, type Workload } from './workload.ts';

export interface Ports {
  readonly grpcPort: number;
  readonly httpPort: number;
}

export interface CrashRun {
  readonly rounds: number;
  readonly seed: number;
  /** Starts the server on its data, the first time on any free ports. */
  readonly start: (round: number, ports?: Ports) => Promise<ServerProcess>;
  readonly crash: (server: ServerProcess) => Promise<void>;
  /** Ends a server that is starting. */
  readonly crashWhileStarting: (
    starting: Promise<ServerProcess>,
    chance: () => number,
  ) => Promise<ServerProcess | null>;
}

export async function until(what: string, done: () => Promise<boolean>, forMs = 300_000): Promise<void> {
  const endMs = performance.now() + forMs;
  while (!(await done())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${forMs} ms`);
    await sleep(100);
  }
}

/** What a person would look at first. */
async function condition(server: ServerProcess): Promise<string> {
  const ready = await fetch(`http://127.0.0.1:${server.httpPort}/readyz`, {
    signal: AbortSignal.timeout(5000),
  })
    .then((response) => response.text())
    .catch(String);
  return `readyz: ${ready}, stderr: ${server.stderr()}`;
}

async function readPartition(fm: FlowMesh, stream: string, partition: number) {
  const records: { offset: number; n: number }[] = [];
  for (let offset = 0; ; ) {
    const page = await fm.stream.read(stream, { partition, offset, max: 1000 });
    for (const r of page.records) records.push({ offset: r.offset, n: (r.value as { n: number }).n });
    if (page.records.length === 0) return records;
    offset = page.nextOffset;
  }
}

/** Runs all rounds and holds what is there against what was acknowledged. Throws what was not kept. */
export async function survive(run: CrashRun): Promise<Ledger> {
  const chance = seeded(run.seed);
  const ledger = new Ledger();
  let server = await run.start(0);
  const ports = { grpcPort: server.grpcPort, httpPort: server.httpPort };
  const load = await startWorkload(server.address, ledger);
  let round = 0;
  try {
    for (; round < run.rounds && ledger.violations.length === 0; round++) {
      // The clients are back and something is under way when the next end comes.
      const before = load.answered();
      const { reads, transactions, increments } = ledger;
      const written = ledger.written.size;
      const enqueued = ledger.enqueued.size;
      // Of every kind: clients come back after pauses of their own.
      const isBack = () =>
        load.answered() > before + 30 &&
        ledger.reads > reads + 5 &&
        ledger.transactions > transactions &&
        ledger.increments > increments &&
        ledger.written.size > written + 5 &&
        ledger.enqueued.size > enqueued + 10;
      await until('work goes on', async () => isBack() || ledger.violations.length > 0).catch(
        async (error) => {
          throw new Error(`${error.message}; ${await condition(server)}; ${load.waiting()}`);
        },
      );
      await sleep(chance() * 500);
      await run.crash(server);
      // Now and then a second one during recovery.
      if (chance() < 0.2) {
        const again = run.start(round + 0.5, ports);
        again.catch(() => {});
        server = (await run.crashWhileStarting(again, chance)) ?? server;
      }
      server = await run.start(round + 1, ports);
    }
    expect(ledger.violations, `seed ${run.seed}, round ${round}`).toEqual([]);
    await load.stop();
    await compare(server, load, ledger);
    expect(ledger.violations, `seed ${run.seed}`).toEqual([]);
    // A run that did nothing proves nothing.
    expect(round).toBe(run.rounds);
    expect(ledger.enqueued.size).toBeGreaterThan(run.rounds * 10);
    expect(ledger.written.size).toBeGreaterThan(run.rounds * 5);
    expect(ledger.reads).toBeGreaterThan(run.rounds * 5);
    return ledger;
  } finally {
    await server.kill('SIGKILL');
    void load.close().catch(() => {});
  }
}

async function compare(server: ServerProcess, load: Workload, ledger: Ledger): Promise<void> {
  const fm = await connect({ address: server.address });
  await until('all jobs are handled', async () => {
    const queues = await fm.admin.listQueues();
    return queues.every(
      (q) => (q.figures?.waiting ?? 0) + (q.figures?.delayed ?? 0) + (q.figures?.leased ?? 0) === 0,
    );
  });
  await until('the group has all', async () => {
    const { partitions = [] } = await fm.admin.getStream(STREAM);
    return (partitions ?? []).every(
      ({ partition, end }) => (ledger.groupOffsets.get(partition ?? 0) ?? -1) === Number(end ?? 0) - 1,
    );
  });
  await load.close();
  ledger.checkJobs();
  for (const [key, n] of ledger.keyedAsked)
    if ((ledger.keyed.get(key) ?? -1) < n) ledger.violations.push(`job ${n} of key ${key} was not delivered`);
  for (let p = 0; p < PARTITIONS; p++) ledger.checkPartition(p, await readPartition(fm, STREAM, p));
  for (const [key, { acked }] of ledger.keys) {
    const value = ((await fm.kv.get(key)) as number | undefined) ?? -1;
    if (value !== acked) ledger.violations.push(`key ${key} ends as ${value}, acknowledged was ${acked}`);
  }
  const counts = Number((await fm.kv.hash('crash:counts').get('n')) ?? 0);
  const committed = Number((await fm.kv.hash('{crash}:counts').get('n')) ?? 0);
  const records = await readPartition(fm, '{crash}:records', 0);
  await fm.close();
  const numbers = new Set(records.map((r) => r.n));
  const counted = [
    ['increments', counts, ledger.increments],
    ['transactions in keys', committed, ledger.transactions],
    ['transactions in the stream', records.length, ledger.transactions],
    ['different transactions', numbers.size, ledger.transactions],
  ] as const;
  for (const [what, found, acked] of counted)
    if (found !== acked) ledger.violations.push(`${found} ${what}, acknowledged were ${acked}`);
  for (const n of numbers)
    if (!ledger.delivered.has(n)) ledger.violations.push(`the job of transaction ${n} was not delivered`);
}

/** One line for the log of a run. */
export const summary = (shards: number, rounds: number, ledger: Ledger, seed: number): string =>
  [
    `${shards} shards: ${rounds} rounds`,
    `${ledger.enqueued.size} enqueues`,
    `${ledger.written.size} records`,
    `${ledger.keyed.size} keys in order`,
    `${ledger.reads} keys read back`,
    `${ledger.transactions} transactions`,
    `0 violations (seed ${seed})\n`,
  ].join(', ');
