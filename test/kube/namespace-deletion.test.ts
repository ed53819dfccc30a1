// A namespace that is deleted takes the operator's roles in it along with everything else, in any order. What
// holds a finalizer of ours must go all the same, or the namespace stays Terminating for good.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';
import { FINALIZER } from '../../operator/controllers/declared/decide.ts';
import { type Any, type Operator, startOperator } from './cluster/support.ts';
import { listPath } from './definitions.ts';
import { applyInstall } from './install.ts';

const OPERATOR = 'system:serviceaccount:flowmesh-system:flowmesh-operator';
const GROUPS = ['system:serviceaccounts', 'system:serviceaccounts:flowmesh-system', 'system:authenticated'];
const TEAM = 'team';
const ROUNDS = 4;
const QUEUES = 8;

let plane: ControlPlane;
let operator: Operator;

/** What the chart makes in a namespace that the operator looks after. */
const roles: Any[] = parseAllDocuments(readFileSync(join(import.meta.dirname, '../../install.yaml'), 'utf8'))
  .map((document) => document.toJS())
  .filter(({ kind, metadata }: Any) => kind.startsWith('Role') && metadata.namespace === 'default')
  .map((role: Any) => ({ ...role, metadata: { ...role.metadata, namespace: TEAM } }));

const must = async (method: string, path: string, body?: unknown): Promise<Any> => {
  const answer = await plane.api(method, path, body);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.message}`);
  return answer.body;
};

const hold = (what: string, check: () => Promise<boolean>) =>
  until(what, check, { timeoutMs: 90_000 }).catch(async (error) => {
    const { body } = await plane.api('GET', `/api/v1/namespaces/${TEAM}`);
    const log = operator.lines.slice(-8).join('\n');
    throw new Error(`${error.message}: ${JSON.stringify(body['status'], null, 1)}\n${log}`);
  });

async function makeTeam(): Promise<void> {
  await must('POST', '/api/v1/namespaces', { metadata: { name: TEAM } });
  for (const role of roles) {
    const plural = `${role.kind.toLowerCase()}s`;
    await must('POST', `/apis/rbac.authorization.k8s.io/v1/namespaces/${TEAM}/${plural}`, role);
  }
}

beforeAll(async () => {
  plane = await startControlPlane({ controllers: true });
  await applyInstall(plane);
  const kubeconfig = await plane.kubeconfigFor(OPERATOR, GROUPS);
  const flags = ['--kubeconfig', kubeconfig, '--leader-elect', 'false'];
  operator = await startOperator(plane, 'operator', ...flags, '--namespaces', `default,${TEAM}`);
});
afterAll(async () => {
  await operator?.kill('SIGKILL');
  await plane?.stop();
});

test('a namespace with our finalizers goes, every time, and is seen when it is made again', async () => {
  expect(roles.map(({ kind }) => kind)).toEqual(['Role', 'RoleBinding']);
  for (let round = 0; round < ROUNDS; round++) {
    await makeTeam();
    const objects = [
      ...Array.from({ length: QUEUES }, (_, i) => ['Queue', `queue-${i}`] as const),
      ...Array.from({ length: QUEUES }, (_, i) => ['Stream', `stream-${i}`] as const),
    ];
    for (const [kind, name] of objects) {
      const metadata = { name, finalizers: [FINALIZER] };
      await must('POST', listPath(kind, TEAM), {
        apiVersion: 'flowmesh.io/v1alpha1',
        kind,
        metadata,
        spec: {},
      });
    }
    const isSeen = async () => {
      const lists = await Promise.all(
        (['Queue', 'Stream'] as const).map((kind) => must('GET', listPath(kind, TEAM))),
      );
      return lists
        .flatMap(({ items }) => items)
        .every(({ status }: Any) =>
          status.conditions.some(
            (each: Any) => each.type === 'Accepted' && each.reason === 'ClusterNotFound',
          ),
        );
    };
    await hold(`round ${round}: the operator sees them`, isSeen);
    await must('DELETE', `/api/v1/namespaces/${TEAM}`);
    const isGone = async () => (await plane.api('GET', `/api/v1/namespaces/${TEAM}`)).status === 404;
    await hold(`round ${round}: the namespace is gone`, isGone);
  }
  expect(operator.isAlive).toBe(true);
}, 600_000);
