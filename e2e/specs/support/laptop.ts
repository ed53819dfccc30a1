// `flowmesh dev` beside the cluster, as on a laptop: the same manifests, without Kubernetes.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { repository } from './installed.ts';

const exec = promisify(execFile);
const program = ['--conditions=flowmesh-source', join(repository, 'cli/main.ts')];

export interface Laptop {
  // biome-ignore lint/suspicious/noExplicitAny: whatever the command answers
  json(...args: string[]): Promise<any>;
  stop(): Promise<void>;
}

/** Resolves when it serves what the manifests declare. */
export async function startLaptop(...manifests: string[]): Promise<Laptop> {
  const anyPorts = ['--grpc-port', '0', '--http-port', '0', '--redis-port', '0'];
  const args = [...program, 'dev', '--ephemeral', ...anyPorts, '-o', 'json', '-f', ...manifests];
  const child = spawn(process.execPath, args, { cwd: repository, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const ready = Promise.withResolvers<number>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { event, grpcPort } = JSON.parse(line);
    if (event === 'ready') ready.resolve(grpcPort);
  });
  ended.then(([code]) => ready.reject(new Error(`flowmesh dev ended with ${code}`)));
  const address = `localhost:${await ready.promise}`;
  return {
    async json(...words) {
      const flags = ['--address', address, '-o', 'json'];
      const { stdout } = await exec(process.execPath, [...program, ...words, ...flags], { cwd: repository });
      return JSON.parse(stdout);
    },
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
