// Processes that Kubernetes scales away: SIGTERM under load, against a real server.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect, type FlowMesh } from '@flowmesh/client';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const PROGRAM = fileURLToPath(new URL('./drained-process.ts', import.meta.url));
const PATIENCE = { timeout: 60_000, interval: 20 };

let server: ServerProcess;
let fm: FlowMesh;
const children: Program[] = [];

class Program {
  readonly child: ChildProcess;
  readonly lines: string[] = [];

  constructor(options: object) {
    const args = [
      '--conditions=flowmesh-source',
      PROGRAM,
      JSON.stringify({ ...options, address: server.address }),
    ];
    this.child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, POD_NAME: `pod-${children.length}`, FLOWMESH_BUILD: 'v2' },
    });
    if (this.child.stdout === null) throw new Error('no stdout');
    createInterface(this.child.stdout).on('line', (line) => this.lines.push(line));
    children.push(this);
  }

  static async ready(options: object = {}): Promise<Program> {
    const program = new Program(options);
    await vi.waitFor(() => expect(program.lines[0]).toMatch(/^ready/), PATIENCE);
    return program;
  }

  ids(what: string): string[] {
    return this.lines.flatMap((line) => (line.startsWith(`${what} `) ? [line.slice(what.length + 1)] : []));
  }

  async terminate(): Promise<{ code: number | null; signal: string | null; afterMs: number }> {
    const startedMs = performance.now();
    const ended = once(this.child, 'close');
    this.child.kill('SIGTERM');
    const [code, signal] = await ended;
    return { code, signal, afterMs: performance.now() - startedMs };
  }
}

beforeAll(async () => {
  server = await startServerProcess({ dataDir: null, shards: 1 });
  fm = await connect({ address: server.address });
});
beforeEach(async () => {
  for (const { child } of children.splice(0)) child.kill('SIGKILL');
  await fm.admin.deleteQueue('q').catch(() => {});
  // A lease that nobody gives back is out of sight for as long as the test runs.
  await fm.admin.applyQueue('q', { visibilityTimeout: '10m' });
});
afterAll(async () => {
  for (const { child } of children) child.kill('SIGKILL');
  await fm.close();
  await server.kill('SIGTERM');
});

const figures = async () => (await fm.admin.getQueue('q')).figures;

test('[Q220] SIGTERM under load: what runs is finished, the rest runs elsewhere, nothing twice', async () => {
  const programs = await Promise.all([Program.ready(), Program.ready(), Program.ready()]);
  const jobs = await fm.queue.enqueueMany(
    'q',
    Array.from({ length: 1500 }, (_, i) => 5 + (i % 40)),
  );
  const [victim, ...others] = programs;
  if (victim === undefined) throw new Error('there are three');
  await vi.waitFor(() => expect(victim.ids('end').length).toBeGreaterThan(50), PATIENCE);
  expect(await victim.terminate()).toMatchObject({ code: null, signal: 'SIGTERM' });
  // All that it began it has finished, and the others have work left that it gave back.
  expect(victim.ids('start').sort()).toEqual(victim.ids('end').sort());
  expect((await figures())?.completedTotal).toBeLessThan(1500);
  await vi.waitFor(async () => expect((await figures())?.completedTotal).toBe(1500), PATIENCE);
  const ended = programs.flatMap((program) => program.ids('end'));
  expect(ended.sort()).toEqual(jobs.map(({ id }) => id).sort());
  expect(programs.flatMap((program) => program.ids('start')).sort()).toEqual(ended);
  expect(await figures()).toMatchObject({ failedTotal: 0, deadTotal: 0, leased: 0, waiting: 0 });
  for (const other of others) expect(other.ids('end').length).toBeGreaterThan(0);
}, 120_000);

test('[Q221] a handler that outlasts the bound is told, and its job goes to another, uncounted', async () => {
  const victim = await Program.ready({ drainTimeout: '500ms' });
  await fm.queue.enqueue('q', 600_000);
  await vi.waitFor(() => expect(victim.ids('start')).toHaveLength(1), PATIENCE);
  const other = await Program.ready();
  const { signal, afterMs } = await victim.terminate();
  expect(signal).toBe('SIGTERM');
  expect(afterMs).toBeGreaterThanOrEqual(490);
  await vi.waitFor(() => expect(other.ids('start')).toEqual(victim.ids('start')), PATIENCE);
  expect(await figures()).toMatchObject({ failedTotal: 0, leased: 1 });
}, 120_000);

test('[Q222] a program that listens to SIGTERM itself decides how it ends', async () => {
  const program = await Program.ready({ listens: true });
  await fm.queue.enqueueMany('q', [200, 200, 200]);
  await vi.waitFor(() => expect(program.ids('start')).toHaveLength(3), PATIENCE);
  expect(await program.terminate()).toMatchObject({ code: 7, signal: null });
  expect(program.ids('end')).toHaveLength(3);
  expect(program.lines.at(-1)).toBe('closed by the program');
}, 120_000);

test('[Q223] workers are known by their pod and build', async () => {
  await fm.admin.applyQueue('q', { visibilityTimeout: '10m' });
  await Program.ready();
  await fm.queue.enqueue('q', 600_000);
  await vi.waitFor(async () => expect((await figures())?.leased).toBe(1), PATIENCE);
  const [job] = (await fm.admin.listJobs('q', { state: 'leased' })).jobs;
  expect(job).toMatchObject({ worker: 'pod-0' });
}, 120_000);

test('[ST80] a member that is told to end commits the event in hand, others go on behind it', async () => {
  await fm.admin.applyStream('s', { partitions: 1 });
  const first = await Program.ready({ group: 'g' });
  for (let i = 0; i < 40; i++) await fm.stream.write('s', 100);
  await vi.waitFor(() => expect(first.ids('end').length).toBeGreaterThan(2), PATIENCE);
  const second = await Program.ready({ group: 'g' });
  expect(await first.terminate()).toMatchObject({ code: null, signal: 'SIGTERM' });
  expect(first.ids('end')).toEqual(first.ids('start'));
  expect(first.lines.at(-1)).toBe('over g');
  await vi.waitFor(() => expect(second.ids('end').length + first.ids('end').length).toBe(40), PATIENCE);
  expect(new Set([...first.ids('end'), ...second.ids('end')]).size).toBe(40);
}, 120_000);
