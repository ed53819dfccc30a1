// Puts the definitions of crds/ into an API server, and calls kubectl.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { definitionFile, KINDS, type Kind } from '../../crds/definitions.ts';
import { ensureBinaries } from '../../e2e/build/cache.ts';
import type { ControlPlane } from '../../e2e/control-plane.ts';

const definitionsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
export const PLURALS: Readonly<Record<Kind, string>> = {
  FlowMeshCluster: 'flowmeshclusters',
  Queue: 'queues',
  Schema: 'schemas',
  Stream: 'streams',
};

export const listPath = (kind: Kind, namespace = 'default') =>
  `/apis/flowmesh.io/v1alpha1/namespaces/${namespace}/${PLURALS[kind]}`;

/** Resolves when all four kinds are served. */
export async function installDefinitions({ api }: Pick<ControlPlane, 'api'>): Promise<void> {
  for (const kind of KINDS) {
    const { status, body } = await api(
      'POST',
      definitionsPath,
      parse(readFileSync(definitionFile(kind), 'utf8')),
    );
    if (status !== 201) throw new Error(`the definition of ${kind} is refused: ${body.message}`);
  }
  for (const kind of KINDS) {
    for (let tries = 0; ; tries++) {
      const { status } = await api('GET', listPath(kind));
      if (status === 200) break;
      if (tries === 300) throw new Error(`${kind} is not served`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

export interface Called {
  code: number;
  out: string;
  err: string;
}

/** That of the harness: the same version as the server, on any machine. */
export async function kubectl(
  plane: Pick<ControlPlane, 'kubeconfig' | 'dir'>,
  ...args: string[]
): Promise<Called> {
  const binary = (await ensureBinaries(['kubectl']))('kubectl');
  const all = ['--kubeconfig', plane.kubeconfig, '--cache-dir', `${plane.dir}/kubectl`, ...args];
  return new Promise((resolve) => {
    execFile(binary, all, { timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, out, err });
    });
  });
}
