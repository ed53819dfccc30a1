// The control plane that tests of this folder stand on, and what each of them may take for granted.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { apiOf } from '../../e2e/parts/api.ts';

let plane: ControlPlane;

beforeAll(async () => {
  plane = await startControlPlane({ log: (line) => process.stderr.write(`${line}\n`) });
});
afterAll(() => plane?.stop());

const configMaps = '/api/v1/namespaces/default/configmaps';

async function createConfigMap(name: string) {
  const metadata = { name };
  const { status, body } = await plane.api('POST', configMaps, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata,
  });
  expect(status).toBe(201);
  return body.metadata.resourceVersion as string;
}

describe('a control plane without a node', () => {
  test('tells its version, not a placeholder', async () => {
    const { body } = await plane.api('GET', '/version');
    expect(body.gitVersion).toMatch(/^v1\.\d+\.\d+$/);
  });

  test('refuses and takes objects of a new kind by its CEL rules', async () => {
    const group = 'cel.example.org';
    const range = {
      type: 'object',
      properties: { min: { type: 'integer' }, max: { type: 'integer' } },
      'x-kubernetes-validations': [{ rule: 'self.min <= self.max', message: 'min must not exceed max' }],
    };
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec: range } } };
    const created = await plane.api('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `ranges.${group}` },
      spec: {
        group,
        scope: 'Namespaced',
        names: { plural: 'ranges', singular: 'range', kind: 'Range', listKind: 'RangeList' },
        versions: [{ name: 'v1', served: true, storage: true, schema }],
      },
    });
    expect(created.status).toBe(201);
    const ranges = `/apis/${group}/v1/namespaces/default/ranges`;
    await expect.poll(async () => (await plane.api('GET', ranges)).status, { timeout: 20_000 }).toBe(200);
    const create = (name: string, min: number, max: number) =>
      plane.api('POST', ranges, {
        apiVersion: `${group}/v1`,
        kind: 'Range',
        metadata: { name },
        spec: { min, max },
      });
    expect((await create('good', 1, 2)).status).toBe(201);
    const bad = await create('bad', 2, 1);
    expect([bad.status, bad.body.message]).toEqual([422, expect.stringContaining('min must not exceed max')]);
  });

  test('lets others do what RBAC allows, and no more', async () => {
    const api = apiOf(await plane.kubeconfigFor('reader', ['readers']));
    expect((await api('GET', configMaps)).status).toBe(403);
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    // Not `view`: without controllers nobody fills the roles that are put together from others.
    await plane.api('POST', `${rbac}/clusterroles`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'config-reader' },
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'] }],
    });
    await plane.api('POST', `${rbac}/clusterrolebindings`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'readers' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'config-reader' },
      subjects: [{ kind: 'Group', name: 'readers', apiGroup: 'rbac.authorization.k8s.io' }],
    });
    await expect.poll(async () => (await api('GET', configMaps)).status, { timeout: 20_000 }).toBe(200);
    expect((await api('DELETE', `${configMaps}/nothing`)).status).toBe(403);
    api.close();
  });

  test('its audit log tells who wrote what', async () => {
    await createConfigMap('audited');
    expect(plane.auditEvents()).toContainEqual(
      expect.objectContaining({
        verb: 'create',
        user: expect.objectContaining({ username: 'admin' }),
        objectRef: expect.objectContaining({ resource: 'configmaps', name: 'audited' }),
        responseStatus: expect.objectContaining({ code: 201 }),
      }),
    );
  });

  test.for(['SIGTERM', 'SIGKILL'] as const)(
    'keeps address and data when it is restarted by %s',
    async (signal) => {
      const name = `kept-over-${signal.toLowerCase()}`;
      await createConfigMap(name);
      await plane.stopApiServer(signal);
      await expect(plane.api('GET', '/readyz')).rejects.toThrow();
      await plane.startApiServer();
      expect((await plane.api('GET', `${configMaps}/${name}`)).status).toBe(200);
    },
  );

  test('answers 410 to a page or a watch from before it forgot its history', async () => {
    const before = await createConfigMap('compacted-1');
    await createConfigMap('compacted-2');
    const { body } = await plane.api('GET', `${configMaps}?limit=1`);
    await plane.forgetHistory();
    const next = await plane.api('GET', `${configMaps}?limit=1&continue=${body.metadata.continue}`);
    expect([next.status, next.body.reason]).toEqual([410, 'Expired']);
    const watch = await plane.api('GET', `${configMaps}?watch=1&timeoutSeconds=5&resourceVersion=${before}`);
    const answer = watch.status === 200 ? watch.body.object.code : watch.status;
    expect(answer).toBe(410);
  });

  test('leaves no process and no file behind', async () => {
    const other = await startControlPlane({ scheduler: true });
    const pids = other.processes.map(({ pid }) => pid);
    expect(pids).toHaveLength(3);
    await other.stop();
    const alive = pids.filter((pid) => existsSync(`/proc/${pid}`) && !isZombie(pid));
    expect([alive, existsSync(other.dir)]).toEqual([[], false]);
  });
});

test('with controllers, namespaces have their service account and go away', async () => {
  const full = await startControlPlane({ controllers: true });
  try {
    const path = '/api/v1/namespaces/short-lived';
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'short-lived' } };
    expect((await full.api('POST', '/api/v1/namespaces', namespace)).status).toBe(201);
    const account = async () => (await full.api('GET', `${path}/serviceaccounts/default`)).status;
    await expect.poll(account, { timeout: 20_000 }).toBe(200);
    expect((await full.api('DELETE', path)).status).toBe(200);
    await expect.poll(async () => (await full.api('GET', path)).status, { timeout: 30_000 }).toBe(404);
  } finally {
    await full.stop();
  }
});

test('nothing is left of one whose owner is killed', async () => {
  const path = new URL('../../e2e/control-plane.ts', import.meta.url).href;
  const script = `import { startControlPlane } from ${JSON.stringify(path)};
    const { dir, processes } = await startControlPlane();
    console.log(JSON.stringify({ dir, pids: processes.map(({ pid }) => pid) }));`;
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: owner.stdout }), 'line');
  const { dir, pids } = JSON.parse(line) as { dir: string; pids: number[] };
  expect([existsSync(dir), pids.length]).toEqual([true, 2]);
  owner.kill('SIGKILL');
  const left = () => [existsSync(dir), pids.filter((pid) => existsSync(`/proc/${pid}`) && !isZombie(pid))];
  await expect.poll(left, { timeout: 20_000 }).toEqual([false, []]);
});

function isZombie(pid: number): boolean {
  return readFileSync(join('/proc', String(pid), 'status'), 'utf8').includes('State:\tZ');
}
