// The pod of examples/kubernetes/client.yaml: an application with the binding Secret.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './installed.ts';
import type { Namespace } from './kubectl.ts';

export interface ClientPod {
  /** The command line in the pod; `-o json` where a spec reads the answer. */
  flowmesh(...args: string[]): Promise<string>;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the command answers
  json(...args: string[]): Promise<any>;
  /** Runs a file of e2e/specs/clients; answers what it printed. */
  run(file: string): Promise<string>;
}

export async function startClientPod(space: Namespace): Promise<ClientPod> {
  await space.kubectl('apply', '-f', join(repository, 'examples/kubernetes/client.yaml'));
  await space.kubectl('wait', 'pod/flowmesh-client', '--for=condition=Ready', '--timeout=60s');
  const exec = (...command: string[]) => space.kubectl('exec', 'flowmesh-client', '--', ...command);
  const flowmesh = (...args: string[]) => exec('flowmesh', ...args);
  return {
    flowmesh,
    json: async (...args) => JSON.parse(await flowmesh(...args, '-o', 'json')),
    run(file) {
      const text = readFileSync(join(repository, 'e2e/specs/clients', file), 'utf8');
      const flags = ['--conditions=flowmesh-source', '--input-type=module-typescript', '--no-warnings'];
      return exec('node', ...flags, '-e', text);
    },
  };
}

/** Cells of a table of kubectl by their heading. */
export function tableOf(text: string): Record<string, string>[] {
  const [head = '', ...rows] = text.split('\n');
  const headings = [...head.matchAll(/\S+(?: \S+)*/g)].map(({ 0: name, index }) => ({ name, index }));
  return rows.map((row) =>
    Object.fromEntries(
      headings.map(({ name, index }, i) => [name, row.slice(index, headings[i + 1]?.index).trim()]),
    ),
  );
}
