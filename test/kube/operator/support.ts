// The operator's modules against a real API server: a kind of our own, and the client as the process makes
// it.
import type { ControlPlane } from '../../../e2e/control-plane.ts';
import { until } from '../../../e2e/parts/process.ts';
import { type Client, createClient } from '../../../operator/kube/client.ts';
import { loadCredentials } from '../../../operator/kube/credentials.ts';
import type { KubeObject, Resource } from '../../../operator/kube/objects.ts';
import { createTransport, type Transport } from '../../../operator/kube/transport.ts';
import { realRuntime } from '../../../operator/runtime.ts';

export interface Widget extends KubeObject {
  spec?: { size?: number; note?: string };
  status?: { ready?: boolean; seen?: number; conditions?: object[] };
}

export const WIDGETS: Resource<Widget> = {
  group: 'test.flowmesh.io',
  version: 'v1',
  plural: 'widgets',
  kind: 'Widget',
  namespaced: true,
};

export interface Connection {
  readonly client: Client;
  readonly transport: Transport;
}

export async function connect(kubeconfig: string): Promise<Connection> {
  const credentials = await loadCredentials({ kubeconfig }, realRuntime);
  const transport = createTransport({ credentials, runtime: realRuntime, userAgent: 'operator-test' });
  return { client: createClient(transport), transport };
}

export async function defineWidgets(plane: ControlPlane): Promise<void> {
  const condition = {
    type: 'object',
    required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
    properties: {
      ...Object.fromEntries(
        ['type', 'status', 'reason', 'message'].map((name) => [name, { type: 'string' }]),
      ),
      lastTransitionTime: { type: 'string', format: 'date-time' },
      observedGeneration: { type: 'integer', format: 'int64' },
    },
  };
  const pending = { type: 'Ready', status: 'Unknown', reason: 'Pending', message: '' };
  const conditions = {
    type: 'array',
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
    items: condition,
    default: [{ ...pending, lastTransitionTime: '1970-01-01T00:00:00Z' }],
  };
  const schema = {
    type: 'object',
    properties: {
      spec: { type: 'object', properties: { size: { type: 'integer' }, note: { type: 'string' } } },
      status: {
        type: 'object',
        properties: { ready: { type: 'boolean' }, seen: { type: 'integer' }, conditions },
        default: {},
      },
    },
  };
  const versions = [
    {
      name: 'v1',
      served: true,
      storage: true,
      subresources: { status: {} },
      schema: { openAPIV3Schema: schema },
    },
  ];
  const { status, body } = await plane.api(
    'POST',
    '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'widgets.test.flowmesh.io' },
      spec: {
        group: WIDGETS.group,
        scope: 'Namespaced',
        names: { plural: 'widgets', kind: 'Widget' },
        versions,
      },
    },
  );
  if (status !== 201) throw new Error(JSON.stringify(body));
  const path = '/apis/test.flowmesh.io/v1/widgets';
  await until('the kind', async () => (await plane.api('GET', path)).status === 200);
}

export const holds = (what: string, check: () => boolean, timeoutMs = 30_000) =>
  until(what, async () => check(), { timeoutMs, everyMs: 10 });

/** What somebody wrote: verb, path and code, without reads. */
export function writesOf(plane: ControlPlane, agent: string, from = 0): string[] {
  return plane
    .auditEvents()
    .slice(from)
    .filter(({ stage, userAgent }) => stage === 'ResponseComplete' && userAgent?.startsWith(agent))
    .filter(({ verb }) => !['get', 'list', 'watch'].includes(verb))
    .map(({ verb, requestURI, responseStatus }) => `${verb} ${requestURI} ${responseStatus?.code}`);
}
