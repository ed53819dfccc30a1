// Starts, watches and kills a server process (serve.ts). Only ever kills what it started, by pid.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ServerOptions } from '../../dataplane/main.ts';

const SERVE = fileURLToPath(new URL('./serve.ts', import.meta.url));
/** Where `cli/bin.js` keeps what is compiled: a start takes half the time. */
const NODE_COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/flowmesh', import.meta.url));

export interface ServerProcess {
  readonly child: ChildProcess;
  readonly grpcPort: number;
  readonly httpPort: number;
  /** Where it was asked for. */
  readonly redisPort: number;
  readonly address: string;
  /** What it wrote to standard error so far. */
  stderr(): string;
  /** Collects garbage first. Bytes. */
  memory(): Promise<NodeJS.MemoryUsage>;
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
}

interface Ports {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly redisPort?: number;
}

export async function startServerProcess(
  options: Partial<ServerOptions>,
  { env = {}, nodeArgs = [] }: { env?: Record<string, string>; nodeArgs?: readonly string[] } = {},
): Promise<ServerProcess> {
  const args = ['--conditions=flowmesh-source', '--expose-gc', ...nodeArgs, SERVE, JSON.stringify(options)];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { NODE_COMPILE_CACHE, ...process.env, ...env },
  });
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const {
    grpcPort,
    httpPort,
    redisPort = 0,
  } = await new Promise<Ports>((resolve, reject) => {
    child.once('exit', (code, signal) =>
      reject(new Error(`the server ended before it served (${code ?? signal}): ${errors}`)),
    );
    if (child.stdout === null) return reject(new Error('no stdout'));
    createInterface(child.stdout).on('line', (line) => {
      if (line.startsWith('{"grpcPort"')) resolve(JSON.parse(line) as Ports);
      else errors += `${line}\n`;
    });
  });
  return {
    child,
    grpcPort,
    httpPort,
    redisPort,
    address: `127.0.0.1:${grpcPort}`,
    stderr: () => errors,
    async memory() {
      child.send('memory');
      const [usage] = await once(child, 'message');
      return usage as NodeJS.MemoryUsage;
    },
    async kill(signal) {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}
