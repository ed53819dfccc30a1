// KEDA as its own manifests install it, without webhooks: operator and metrics adapter.
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { apply, established, kubectl } from './kubectl.ts';

export const KEDA_IMAGE = 'e2e.local/keda:test';
const NAMESPACE = 'keda';
const WORKLOADS = ['deployment/keda-operator', 'deployment/keda-metrics-apiserver'];
const API = 'apiservice/v1beta1.external.metrics.k8s.io';

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind
type KubeObject = any;

/** Resolves when it scales: the operator runs and its metrics are served through the API server. */
export async function installKeda(): Promise<void> {
  const objects = await manifests();
  const isDefinition = ({ kind }: KubeObject) => kind === 'CustomResourceDefinition' || kind === 'Namespace';
  await apply(objects.filter(isDefinition));
  await established('crd/scaledobjects.keda.sh');
  await apply(objects.filter((each) => !isDefinition(each)));
  for (const each of WORKLOADS) await kubectl('-n', NAMESPACE, 'rollout', 'status', each, '--timeout=150s');
  await kubectl('wait', API, '--for=condition=Available', '--timeout=90s');
}

/** Objects that it scales by have to be gone before: their finalizers need it. */
export async function uninstallKeda(): Promise<void> {
  const objects = await manifests();
  const names = (kind: string) =>
    objects.filter((each) => each.kind === kind).map(({ metadata }) => metadata.name);
  await kubectl('delete', API, '--ignore-not-found');
  for (const kind of ['CustomResourceDefinition', 'ClusterRole', 'ClusterRoleBinding', 'Namespace']) {
    await kubectl('delete', kind, ...names(kind), '--ignore-not-found', '--timeout=120s');
  }
  const inSystem = objects.filter(({ metadata }) => metadata.namespace === 'kube-system');
  for (const { kind, metadata } of inSystem) {
    await kubectl('-n', 'kube-system', 'delete', kind, metadata.name, '--ignore-not-found');
  }
}

/** What it has logged, for a spec that fails. */
export const kedaLog = () =>
  kubectl('-n', NAMESPACE, 'logs', 'deployment/keda-operator', '--tail=40').catch(() => '');

async function manifests(): Promise<KubeObject[]> {
  const config = process.env['FLOWMESH_E2E_KEDA'];
  if (config === undefined)
    throw new Error("FLOWMESH_E2E_KEDA has to name the folder `config` of KEDA's sources");
  const text = await kubectl('kustomize', join(config, 'minimal'));
  return parseAllDocuments(text).map((document) => local(document.toJS()));
}

/** Of our image, and ready as soon as it is: its manifests wait 20 s before they look. */
function local(object: KubeObject): KubeObject {
  if (object.kind !== 'Deployment') return object;
  for (const container of object.spec.template.spec.containers) {
    Object.assign(container, { image: KEDA_IMAGE, imagePullPolicy: 'IfNotPresent' });
    container.resources.requests = { cpu: '50m', memory: '100Mi' };
    container.readinessProbe.initialDelaySeconds = 1;
    container.readinessProbe.periodSeconds = 1;
  }
  return object;
}
