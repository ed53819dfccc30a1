// KEDA's own definitions, from its Go module, and what its operator would say: to see how ours behaves beside
// it without a build of KEDA, which e2e/specs has.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { searchPath } from '../../e2e/build/machine.ts';
import type { ControlPlane } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';

const MODULE = 'github.com/kedacore/keda/v2@v2.21.0';
const KINDS = ['scaledobjects', 'triggerauthentications'];
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** Needs Go, and the network the first time. */
export async function installKedaDefinitions({ api }: Pick<ControlPlane, 'api'>): Promise<void> {
  const env = { ...process.env, PATH: searchPath, GOFLAGS: '' };
  const { stdout } = await promisify(execFile)('go', ['mod', 'download', '-json', MODULE], { env, cwd: '/' });
  const { Dir } = JSON.parse(stdout) as { Dir: string };
  for (const plural of KINDS) {
    const text = readFileSync(join(Dir, 'config/crd/bases', `keda.sh_${plural}.yaml`), 'utf8');
    const { status, body } = await api('POST', DEFINITIONS, parse(text));
    if (status !== 201) throw new Error(`${plural}: ${body.message}`);
  }
  const isServed = async () => {
    const answers = await Promise.all(KINDS.map((plural) => api('GET', `/apis/keda.sh/v1alpha1/${plural}`)));
    return answers.every(({ status }) => status === 200);
  };
  await until('the API of KEDA is served', isServed);
}

export async function removeKedaDefinitions({ api }: Pick<ControlPlane, 'api'>): Promise<void> {
  for (const plural of KINDS) await api('DELETE', `${DEFINITIONS}/${plural}.keda.sh`);
}
