// The operator as a process beside the cluster, with the definitions that it needs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { established, kubectl } from './kubectl.ts';

const repository = resolve(import.meta.dirname, '../../..');
const KINDS = ['flowmeshclusters', 'queues', 'schemas', 'streams'];

export interface OperatorProcess {
  /** The last lines that it wrote, for a spec that fails. */
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

/** For the objects of one namespace. */
export async function startOperator(namespace: string, image: string): Promise<OperatorProcess> {
  await kubectl('apply', '--server-side', '-f', join(repository, 'crds'));
  await established(...KINDS.map((kind) => `crd/${kind}.flowmesh.io`));
  const program = ['--conditions=flowmesh-source', join(repository, 'operator/main.ts')];
  const flags = {
    '--namespaces': namespace,
    '--lease-namespace': namespace,
    '--image': image,
    '--metrics-address': 'off',
    '--probe-address': 'off',
  };
  const child = spawn(process.execPath, [...program, ...Object.entries(flags).flat()], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').slice(-50)));
  }
  const ended = once(child, 'exit');
  return {
    lines,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
