// What specs need of a cluster, whoever runs it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Driver {
  readonly name: DriverName;
  readonly abilities: Abilities;
  /** Answers the path of a kubeconfig. */
  up(): Promise<string>;
  loadImage(ociTar: string): Promise<void>;
  /** Runs a program that can reach the API server; answers its exit code. */
  run(command: readonly string[], env?: Record<string, string>): Promise<number>;
  /** Leaves nothing. Also after an `up` that failed; any number of times. */
  down(): Promise<void>;
}

export type DriverName = 'local' | 'rootless' | 'kind' | 'none';

/** What a spec needs beyond a control plane; `process-ok`: no pod has to run for it. */
export type Label =
  | 'process-ok'
  | 'needs:kubelet'
  | 'needs:pv'
  | 'needs:expansion'
  | 'needs:keda'
  | 'needs:multinode'
  | 'needs:networkpolicy';

export interface Abilities {
  /** Specs with such a label are skipped, and say why. */
  readonly lacks: Readonly<Partial<Record<Label, string>>>;
  /** Where set, specs without this label are skipped, and say why; without a label, all of them. */
  readonly only?: { readonly label?: Label; readonly reason: string };
}

export interface Observer {
  /** A line for people: progress. */
  log(line: string): void;
  stage(name: string, ms: number): void;
}

const GRACE_MS = 5000;

/** The programs that a driver runs for others: they end before the cluster does. */
export function createRunner() {
  const running = new Set<ChildProcess>();
  return {
    async run(command: readonly string[], env: Record<string, string> = {}): Promise<number> {
      const [file = '', ...args] = command;
      const child = spawn(file, args, { stdio: 'inherit', env: { ...process.env, ...env } });
      running.add(child);
      const end = await once(child, 'close').catch((error: Error) => [error.message]);
      running.delete(child);
      return typeof end[0] === 'number' ? end[0] : 1;
    },
    async stop(): Promise<void> {
      const ends = [...running].map(async (child) => {
        const end = once(child, 'close');
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
        await end;
        clearTimeout(timer);
      });
      await Promise.all(ends);
    },
  };
}

/** Runs a tool to its end; what it had to say is in the error when it fails. */
export async function tool(command: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${errors || output}`);
  return output;
}
