// Puts install.yaml into an API server, as `kubectl apply --server-side` does.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { ControlPlane } from '../../e2e/control-plane.ts';

const text = readFileSync(join(import.meta.dirname, '../../install.yaml'), 'utf8');
const CLUSTER_SCOPED = /^(?:Namespace|ClusterRole|ClusterRoleBinding|CustomResourceDefinition)$/;

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind
function pathOf({ apiVersion, kind, metadata }: any): string {
  const root = apiVersion.includes('/') ? '/apis' : '/api';
  const scope = CLUSTER_SCOPED.test(kind) ? '' : `/namespaces/${metadata.namespace}`;
  return `${root}/${apiVersion}${scope}/${kind.toLowerCase()}s/${metadata.name}`;
}

/** Throws with what the API server says of the first object that it does not take as it is. */
export async function applyInstall({ api }: Pick<ControlPlane, 'api'>): Promise<void> {
  for (const object of parseAllDocuments(text).map((document) => document.toJS())) {
    const path = `${pathOf(object)}?fieldManager=install&fieldValidation=Strict`;
    const { status, body } = await api('PATCH', path, object, 'application/apply-patch+yaml');
    if (status >= 300) throw new Error(`${object.kind} ${object.metadata.name}: ${status} ${body.message}`);
  }
}
