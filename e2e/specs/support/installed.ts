// install.yaml as it is, put into the cluster and taken out again: what people do who follow
// docs/kubernetes.md.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { kubectl } from './kubectl.ts';

export const repository = resolve(import.meta.dirname, '../../..');
const manifest = join(repository, 'install.yaml');

/** The image that it names. */
export const installImage = /^ +image: "(.+)"$/m.exec(readFileSync(manifest, 'utf8'))?.[1] ?? '';

const SYSTEM = 'flowmesh-system';
const OPERATOR = 'deployment/flowmesh-operator';

/** Resolves when the operator is available. It looks after the namespace `default`. */
export async function install(): Promise<void> {
  // Definitions of an earlier release by Helm are there for good; whoever installs again takes them over.
  await kubectl('apply', '--server-side', '--force-conflicts', '-f', manifest);
  await kubectl('-n', SYSTEM, 'rollout', 'status', OPERATOR, '--timeout=120s');
}

/** Objects first, as their finalizers need the operator; then the operator and the definitions. */
export async function uninstall(): Promise<void> {
  await kubectl('-n', 'default', 'delete', 'fmq,fms,fmsch', '--all', '--timeout=90s');
  await kubectl('-n', 'default', 'delete', 'fmc', '--all', '--timeout=90s');
  await kubectl('delete', '-f', manifest, '--ignore-not-found', '--timeout=120s');
}

/** What the operator has logged, for a spec that fails. */
export const operatorLog = () => kubectl('-n', SYSTEM, 'logs', OPERATOR, '--tail=40').catch(() => '');
