// What the tests of the cluster controller share: an operator as a process, a kubelet that only says what it
// is told, and words for what they look at.
import assert from 'node:assert';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { vi } from 'vitest';
import type { AuditEvent, ControlPlane } from '../../../e2e/control-plane.ts';
import { listPath } from '../definitions.ts';

export const within = { timeout: 60_000, interval: 100 };

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind, read by who asked for them
export type Any = any;

const root = new URL('../../..', import.meta.url).pathname;

export interface Operator {
  readonly pid: number;
  readonly lines: string[];
  readonly isAlive: boolean;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export function startOperator(plane: ControlPlane, pod: string, ...flags: string[]): Operator {
  return startScript('operator/main.ts', plane, pod, flags);
}

/** Clusters may have several pods. */
export function startAnyEngine(plane: ControlPlane, pod: string, ...flags: string[]): Operator {
  return startScript('test/kube/cluster/any-engine.ts', plane, pod, flags);
}

function startScript(script: string, plane: ControlPlane, pod: string, flags: readonly string[]): Operator {
  const args = ['--conditions=flowmesh-source', script, '--kubeconfig', plane.kubeconfig];
  const quiet = ['--metrics-address', 'off', '--probe-address', 'off', '--lease-namespace', 'default'];
  const env = { ...process.env, POD_NAME: pod };
  const child: ChildProcess = spawn(process.execPath, [...args, ...quiet, ...flags], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  const keep = (chunk: Buffer) => void lines.push(...chunk.toString().split('\n').filter(Boolean));
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = once(child, 'exit');
  return {
    pid: child.pid ?? 0,
    lines,
    get isAlive() {
      return child.exitCode === null && child.signalCode === null;
    },
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

export function clientOf({ api }: ControlPlane, namespace: string) {
  const core = `/api/v1/namespaces/${namespace}`;
  const paths = {
    Service: `${core}/services`,
    ConfigMap: `${core}/configmaps`,
    Secret: `${core}/secrets`,
    ServiceAccount: `${core}/serviceaccounts`,
    Pod: `${core}/pods`,
    PersistentVolumeClaim: `${core}/persistentvolumeclaims`,
    StatefulSet: `/apis/apps/v1/namespaces/${namespace}/statefulsets`,
    NetworkPolicy: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`,
    PodDisruptionBudget: `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`,
    Event: `/apis/events.k8s.io/v1/namespaces/${namespace}/events`,
    ServiceMonitor: `/apis/monitoring.coreos.com/v1/namespaces/${namespace}/servicemonitors`,
    PrometheusRule: `/apis/monitoring.coreos.com/v1/namespaces/${namespace}/prometheusrules`,
    Certificate: `/apis/cert-manager.io/v1/namespaces/${namespace}/certificates`,
    FlowMeshCluster: listPath('FlowMeshCluster', namespace),
  } as const;
  type Kind = keyof typeof paths;
  const must = async (method: string, path: string, body?: unknown, type?: string): Promise<Any> => {
    const answer = await api(method, path, body, type);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.message}`);
    return answer.body;
  };
  const merge = 'application/merge-patch+json';
  return {
    get: async (kind: Kind, name: string): Promise<Any> => {
      const { status, body } = await api('GET', `${paths[kind]}/${name}`);
      return status === 200 ? body : undefined;
    },
    list: async (kind: Kind): Promise<Any[]> => (await must('GET', paths[kind])).items,
    create: (kind: Kind, object: unknown) => must('POST', paths[kind], object),
    remove: (kind: Kind, name: string) => must('DELETE', `${paths[kind]}/${name}`),
    patch: (kind: Kind, name: string, change: unknown) =>
      must('PATCH', `${paths[kind]}/${name}`, change, merge),
    patchStatus: (kind: Kind, name: string, status: unknown) =>
      must('PATCH', `${paths[kind]}/${name}/status`, { status }, merge),
    /** As `kubectl scale` does it. */
    scale: (kind: Kind, name: string, replicas: number) =>
      must('PATCH', `${paths[kind]}/${name}/scale`, { spec: { replicas } }, merge),
    cluster: (name: string, spec: object, annotations = {}) =>
      must('POST', paths.FlowMeshCluster, {
        apiVersion: 'flowmesh.io/v1alpha1',
        kind: 'FlowMeshCluster',
        metadata: { name, annotations },
        spec,
      }),
    condition: async (name: string, type: string): Promise<Any> => {
      const { body } = await api('GET', `${paths.FlowMeshCluster}/${name}`);
      return body.status?.conditions?.find((each: Any) => each.type === type);
    },
    reasons: async (): Promise<string[]> =>
      (await must('GET', paths.Event)).items
        .filter(({ reportingController }: Any) => reportingController === 'flowmesh.io/cluster-controller')
        .map(({ reason }: Any) => reason),
    /** In the place of a kubelet: the pod serves, or does not. */
    becomes: (pod: string, ready: boolean) =>
      must(
        'PATCH',
        `${paths.Pod}/${pod}/status`,
        {
          status: {
            phase: 'Running',
            conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
            containerStatuses: [
              {
                name: 'flowmesh',
                ready,
                started: ready,
                image: 'x',
                imageID: '',
                restartCount: 0,
                state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
              },
            ],
          },
        },
        merge,
      ),
  };
}

export type Client = ReturnType<typeof clientOf>;

/** Everything applied, the pods there and said to be ready. */
export async function served(client: Client, name: string, replicas = 1): Promise<void> {
  for (let at = 0; at < replicas; at++) {
    const pod = `${name}-flowmesh-${at}`;
    await vi.waitFor(async () => assert(await client.get('Pod', pod), `${pod} is there`), within);
    await client.becomes(pod, true);
  }
  for (const type of ['Ready', 'Synced']) {
    const holds = async () => {
      const condition = await client.condition(name, type);
      assert(condition?.status === 'True', `${type} ${condition?.reason}: ${condition?.message}`);
    };
    await vi.waitFor(holds, within);
  }
}

/** The APIs of others, as far as that they take anything. */
export async function installApisOfOthers({ api }: ControlPlane): Promise<void> {
  const kinds = [
    ['monitoring.coreos.com', 'servicemonitors', 'ServiceMonitor'],
    ['monitoring.coreos.com', 'prometheusrules', 'PrometheusRule'],
    ['cert-manager.io', 'certificates', 'Certificate'],
  ] as const;
  const schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  for (const [group, plural, kind] of kinds) {
    await api('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${group}` },
      spec: {
        group,
        scope: 'Namespaced',
        names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
      },
    });
    const isServed = async () => assert((await api('GET', `/apis/${group}/v1/${plural}`)).status === 200);
    await vi.waitFor(isServed, { timeout: 30_000 });
  }
}

/** What the operator has written since then, but for its Lease. */
export function writesOf(plane: ControlPlane, sinceMs: number): string[] {
  const isWrite = ({ verb, userAgent = '', objectRef, stageTimestamp }: AuditEvent) =>
    !['get', 'list', 'watch'].includes(verb) &&
    userAgent.startsWith('flowmesh-operator') &&
    objectRef?.resource !== 'leases' &&
    Date.parse(stageTimestamp) >= sinceMs;
  return plane
    .auditEvents()
    .filter(isWrite)
    .map(
      ({ verb, objectRef }) =>
        `${verb} ${objectRef?.resource}/${objectRef?.subresource ?? ''} ${objectRef?.name}`,
    );
}
