// Servers of others as child processes on loopback: started on a fresh directory, watched, ended by pid.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Running {
  readonly port: number;
  readonly pid: number;
  /** From the start of the process until it answered, ms. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

const started = new Set<ChildProcess>();
const dirs = new Set<string>();
// Also when somebody presses Ctrl-C.
process.on('exit', () => {
  for (const child of started) if (child.pid !== undefined) killGroup(child.pid);
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

/** A fresh directory on the disk under test, gone at the end of the process at the latest. */
export function newDir(): string {
  const dir = mkdtempSync(join(process.env.FLOWMESH_BENCH_DIR ?? tmpdir(), 'flowmesh-peer-'));
  dirs.add(dir);
  return dir;
}

export function removeDir(dir: string): void {
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  dirs.delete(dir);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** What a server says first, or answers to `send`. */
export function greeted(port: number, send: string | Buffer, expected: RegExp): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (isReady: boolean) => {
      socket.destroy();
      resolve(isReady);
    };
    socket.setTimeout(500, () => end(false));
    socket.on('connect', () => socket.write(send));
    socket.on('data', (data) => end(expected.test(data.toString('latin1'))));
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
  });
}

/** A program that a server needs beside it, or one that puts load on it: it ends with this process. */
export function startHelper(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcess {
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  const child = spawn(command, args, { detached: true, env: { ...process.env, ...env }, stdio });
  started.add(child);
  child.once('close', () => started.delete(child));
  child.once('error', () => started.delete(child));
  return child;
}

export function stopHelper({ pid }: ChildProcess): void {
  if (pid !== undefined) killGroup(pid);
}

const READY_MS = 60_000;

export async function startPeer(
  [command, ...args]: readonly [string, ...string[]],
  o: { port: number; isReady: () => Promise<boolean>; env?: Record<string, string>; cwd?: string },
): Promise<Running> {
  const startMs = performance.now();
  // A group of its own, so that its children end with it.
  const child = spawn(command, args, {
    ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
    detached: true,
    env: { ...process.env, ...o.env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  started.add(child);
  let errors = '';
  child.stderr?.on('data', (text) => {
    errors = `${errors}${text}`.slice(-2000);
  });
  const pid = child.pid ?? 0;
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      killGroup(pid);
      await ended;
    }
    started.delete(child);
  };
  while (!(await o.isReady())) {
    if (child.exitCode !== null || performance.now() - startMs > READY_MS) {
      await stop();
      throw new Error(`${command} does not serve: ${errors.trim().split('\n').at(-1) ?? ''}`);
    }
    await sleep(5);
  }
  return { port: o.port, pid, readyMs: performance.now() - startMs, stop };
}

/** Resident memory of the process and its children, MiB. Linux. */
export function residentMib(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const own = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return (
    own +
    (children === '' ? 0 : children.split(' ').reduce((sum, child) => sum + residentMib(Number(child)), 0))
  );
}
