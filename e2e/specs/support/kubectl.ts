// kubectl as specs use it: everything that they know of a cluster comes through KUBECONFIG.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { stringify } from 'yaml';

const exec = promisify(execFile);
const BUFFER_BYTES = 16 * 1024 * 1024;

// biome-ignore-start lint/suspicious/noExplicitAny: objects of any kind, as the API server has them
export interface Namespace {
  readonly name: string;
  /** Throws with what kubectl says. */
  kubectl(...args: string[]): Promise<string>;
  get(kind: string, name: string): Promise<any>;
  apply(...objects: object[]): Promise<void>;
  /** A port on this machine that leads to one of `target` (`pod/a`, `service/b`); until `close`. */
  forward(target: string, port: number): Promise<Forward>;
  remove(): Promise<void>;
}

export interface Forward {
  readonly port: number;
  close(): Promise<void>;
}

export async function kubectl(...args: string[]): Promise<string> {
  const { stdout } = await exec('kubectl', args, { maxBuffer: BUFFER_BYTES });
  return stdout.trim();
}

/** By standard input, so that nothing is too large; server-side, as operators and GitOps tools do it. */
export async function apply(objects: readonly object[], ...args: string[]): Promise<string> {
  const { code, output } = await piped(objects, 'apply', ...args);
  if (code !== 0) throw new Error(output);
  return output;
}

/** Resolves when the API server serves the definitions. kubectl fails on one that has no conditions yet. */
export async function established(...definitions: string[]): Promise<void> {
  const isServed = () =>
    kubectl('wait', '--for=condition=Established', '--timeout=60s', ...definitions).catch((error: Error) => {
      if (!error.message.includes('accessor error')) throw error;
    });
  while ((await isServed()) === undefined) await sleep(100);
}

/** What an apply would change; empty: nothing. */
export async function diff(objects: readonly object[], ...args: string[]): Promise<string> {
  const { code, output } = await piped(objects, 'diff', ...args);
  // 1: there are differences.
  if (code !== 0 && code !== 1) throw new Error(output);
  return output;
}

async function piped(objects: readonly object[], verb: string, ...args: string[]) {
  const child = spawn('kubectl', [verb, '--server-side', '-f', '-', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  child.stdin.end(objects.map((each) => stringify(each)).join('---\n'));
  const [code] = await once(child, 'close');
  return { code, output };
}

/** A namespace in which only pods of the restricted profile may run. */
export async function createNamespace(prefix: string): Promise<Namespace> {
  const name = `${prefix}-${Date.now().toString(36)}`;
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }]);
  // Pods need it, and it comes a moment later.
  await kubectl('wait', '-n', name, '--for=create', 'serviceaccount/default', '--timeout=60s');
  return namespaceOf(name, () => kubectl('delete', 'namespace', name, '--wait=false', '--ignore-not-found'));
}

/** One that is there already, and stays. */
export function namespaceOf(name: string, afterwards: () => Promise<unknown> = async () => {}): Namespace {
  const forwards = new Set<ChildProcess>();
  const inside = (...args: string[]) => kubectl('-n', name, ...args);
  return {
    name,
    kubectl: inside,
    get: async (kind, object) => JSON.parse(await inside('get', kind, object, '-o', 'json')),
    apply: async (...objects) => {
      await apply(objects, '-n', name);
    },
    async forward(target, port) {
      const args = ['-n', name, 'port-forward', target, `:${port}`, '--address=127.0.0.1'];
      const child = spawn('kubectl', args, { stdio: ['ignore', 'pipe', 'inherit'] });
      forwards.add(child);
      const local = Promise.withResolvers<number>();
      createInterface({ input: child.stdout }).on('line', (line) => {
        const [, found] = /Forwarding from 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
        if (found !== undefined) local.resolve(Number(found));
      });
      child.once('close', (code) => local.reject(new Error(`port-forward to ${target} ended with ${code}`)));
      return { port: await local.promise, close: () => close(child, forwards) };
    },
    async remove() {
      await Promise.all([...forwards].map((child) => close(child, forwards)));
      await afterwards();
    },
  };
}
// biome-ignore-end lint/suspicious/noExplicitAny: see above

async function close(child: ChildProcess, forwards: Set<ChildProcess>): Promise<void> {
  forwards.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return;
  const end = once(child, 'close');
  child.kill();
  await end;
}
