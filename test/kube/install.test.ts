// install.yaml before a real API server: it is taken as it is, and the operator may do what the table says
// and nothing beyond.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { PERMISSIONS, type Permission, type Verb } from '../../operator/permissions.ts';
import { applyInstall } from './install.ts';

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane();
});
afterAll(() => plane?.stop());

test('the API server takes all of it, without a warning', async () => {
  await applyInstall(plane);
});

const OPERATOR = 'system:serviceaccount:flowmesh-system:flowmesh-operator';

async function may(verb: string, { group, resource: full, namespace, name }: Target): Promise<boolean> {
  const [resource = '', subresource] = full.split('/');
  const { body } = await plane.api('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: OPERATOR,
      groups: ['system:serviceaccounts', 'system:serviceaccounts:flowmesh-system', 'system:authenticated'],
      resourceAttributes: {
        verb,
        group,
        resource,
        ...(subresource && { subresource }),
        namespace,
        ...(name && { name }),
      },
    },
  });
  return body.status.allowed;
}

interface Target {
  group: string;
  resource: string;
  namespace: string;
  name?: string | undefined;
}

const VERBS: Verb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'];
const homeOf = { watched: 'default', own: 'flowmesh-system', cluster: '' };
const granted = PERMISSIONS.filter(({ when }) => when === undefined);

test('the operator may do exactly what the table says', async () => {
  for (const { group, resources, scope, names: [name] = [] } of granted) {
    for (const resource of resources) {
      const namespace = homeOf[scope];
      // What is granted of one object is not of others.
      if (name !== undefined) expect(await may('list', { group, resource, namespace })).toBe(false);
      for (const verb of [...VERBS, 'deletecollection', '*']) {
        const isGranted = granted.some(
          (each: Permission) =>
            each.group === group &&
            each.scope === scope &&
            each.resources.includes(resource) &&
            (each.verbs as readonly string[]).includes(verb),
        );
        expect(
          await may(verb, { group, resource, namespace, name }),
          `${verb} ${resource} in ${namespace}`,
        ).toBe(isGranted);
      }
    }
  }
});

test('elsewhere it may do nothing, least of all read secrets', async () => {
  for (const { group, resources } of granted.filter(({ scope }) => scope === 'watched')) {
    for (const resource of resources) {
      for (const namespace of ['kube-system', '']) {
        for (const verb of VERBS) expect(await may(verb, { group, resource, namespace })).toBe(false);
      }
    }
  }
  for (const resource of ['clusterroles', 'clusterrolebindings']) {
    for (const verb of [...VERBS, 'bind', 'escalate']) {
      expect(await may(verb, { group: 'rbac.authorization.k8s.io', resource, namespace: '' })).toBe(false);
    }
  }
  expect(await may('create', { group: '', resource: 'pods/exec', namespace: 'default' })).toBe(false);
});
