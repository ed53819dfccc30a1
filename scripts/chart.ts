// `npm run chart -- --write` renders install.yaml from the chart. Without it the rendering of any values
// goes to standard output: `npm run -s chart -- --set allNamespaces=true | kubectl apply --server-side -f
// -`. Needs Helm, which e2e/build makes from its Go module where it is not there yet.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ensureBinaries } from '../e2e/build/cache.ts';
import { installPath, withDefinitions } from './generate/chart.ts';

const repository = resolve(import.meta.dirname, '..');
export const chartDir = join(repository, 'charts/flowmesh');
const NAMESPACE = 'flowmesh-system';
/** What a first try needs, and no more: clusters in `default`. */
const INSTALL_VALUES = ['--set', 'namespaces={default}'];

export type Helm = (...args: string[]) => string;

export async function helmOf(): Promise<Helm> {
  const binary = (await ensureBinaries(['helm'], (line) => process.stderr.write(`${line}\n`)))('helm');
  // Nothing of the person's own settings, repositories or plugins.
  const nowhere = join(repository, 'node_modules/.cache/helm');
  const env = {
    ...process.env,
    HELM_CONFIG_HOME: nowhere,
    HELM_CACHE_HOME: nowhere,
    HELM_DATA_HOME: nowhere,
  };
  return (...args) =>
    execFileSync(binary, args, {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 2 ** 26,
    });
}

/** With the namespace, which Helm leaves to whoever installs. */
export function install(helm: Helm, values: readonly string[] = INSTALL_VALUES): string {
  const where = ['--namespace', NAMESPACE, '--set', 'crds.install=false'];
  const manifests = helm('template', 'flowmesh', chartDir, ...where, ...values);
  const parts = [
    '# The FlowMesh operator, its definitions and its roles: kubectl apply --server-side -f install.yaml',
    '# Rendered from charts/flowmesh by scripts/chart.ts. It looks after clusters in the namespace default;',
    '# the chart takes others (namespaces, allNamespaces).',
    'apiVersion: v1',
    'kind: Namespace',
    'metadata:',
    `  name: ${NAMESPACE}`,
    '  labels:',
    '    pod-security.kubernetes.io/enforce: restricted',
    manifests
      .trimEnd()
      .replaceAll(/\n\n+(?=---\n)/g, '\n')
      .replaceAll(/[ \t]+$/gm, ''),
    '',
  ];
  return withDefinitions(parts.join('\n'));
}

if (import.meta.main) {
  const args = process.argv.slice(2);
  const helm = await helmOf();
  if (args.includes('--write')) writeFileSync(installPath, install(helm));
  else process.stdout.write(install(helm, args));
}
