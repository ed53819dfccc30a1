// A child process with a log file, that does not outlive us.
//   1. It is killed by the kernel when the thread that started it ends, however that happens.
//   2. An early end is an error that shows the last lines of its log.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';

export interface Running {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Unset while it runs. */
  ended(): string | undefined;
  /** SIGKILL after `graceMs`; 0 at once. */
  stop(graceMs?: number): Promise<void>;
  /** The last lines of the log. */
  tail(): string;
}

export interface Program {
  readonly name: string;
  readonly command: readonly string[];
  readonly logFile: string;
  readonly env?: Record<string, string>;
}

const TAIL_BYTES = 3000;

export function start({ name, command, logFile, env = {} }: Program): Running {
  const log = openSync(logFile, 'a');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  let failure: Error | undefined;
  child.on('error', (error) => {
    failure = error;
  });
  const ended = () => failure?.message ?? endOf(child);
  return {
    name,
    pid: child.pid ?? -1,
    logFile,
    ended,
    tail: () => readFileSync(logFile, 'utf8').slice(-TAIL_BYTES),
    async stop(graceMs = 0) {
      if (ended() !== undefined) return;
      const exit = once(child, 'exit');
      child.kill(graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await exit;
      clearTimeout(timer);
    },
  };
}

function endOf({ exitCode, signalCode }: ChildProcess): string | undefined {
  const end = exitCode ?? signalCode;
  return end === null ? undefined : `ended with ${end}`;
}

export class ProcessEnded extends Error {
  readonly log: string;
  constructor(running: Running) {
    super(`${running.name} ${running.ended()}; the end of ${running.logFile}:\n${running.tail()}`);
    this.name = 'ProcessEnded';
    this.log = running.tail();
  }
}

/** Asks until `check` says true; fails when one of the processes ends or after `timeoutMs`. */
export async function until(
  what: string,
  check: () => Promise<boolean>,
  { processes = [], timeoutMs = 90_000, everyMs = 50 }: Wait = {},
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  let last: unknown;
  while (true) {
    for (const running of processes) if (running.ended() !== undefined) throw new ProcessEnded(running);
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadlineMs) {
      const logs = processes.map((running) => `${running.logFile}:\n${running.tail()}`).join('\n');
      throw new Error(`gave up waiting for ${what} after ${timeoutMs} ms\n${logs}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

export interface Wait {
  readonly processes?: readonly Running[];
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}
