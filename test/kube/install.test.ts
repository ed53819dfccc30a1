// install.yaml before a real API server: it is taken as it is, and the operator may do what the table says
// and nothing beyond.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { PERMISSIONS, type Permission, type Verb } from '../../operator/permissions.ts';

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane();
});
afterAll(() => plane?.stop());

const text = readFileSync(join(import.meta.dirname, '../../install.yaml'), 'utf8');
const objects = parseAllDocuments(text).map((document) => document.toJS());
const CLUSTER_SCOPED = /^(?:Namespace|ClusterRole|ClusterRoleBinding|CustomResourceDefinition)$/;

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind
function pathOf({ apiVersion, kind, metadata }: any): string {
  const root = apiVersion.includes('/') ? '/apis' : '/api';
  const scope = CLUSTER_SCOPED.test(kind) ? '' : `/namespaces/${metadata.namespace}`;
  return `${root}/${apiVersion}${scope}/${kind.toLowerCase()}s/${metadata.name}`;
}

test('the API server takes all of it, without a warning', async () => {
  for (const object of objects) {
    const query = 'fieldManager=install&fieldValidation=Strict';
    const { status, body } = await plane.api(
      'PATCH',
      `${pathOf(object)}?${query}`,
      object,
      'application/apply-patch+yaml',
    );
    expect(`${status} ${status < 300 ? '' : body.message}`, `${object.kind} ${object.metadata.name}`).toMatch(
      /^20[01] $/,
    );
  }
});

const OPERATOR = 'system:serviceaccount:flowmesh-system:flowmesh-operator';

async function may(verb: string, { group, resource: full, namespace }: Target): Promise<boolean> {
  const [resource = '', subresource] = full.split('/');
  const { body } = await plane.api('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: OPERATOR,
      groups: ['system:serviceaccounts', 'system:serviceaccounts:flowmesh-system', 'system:authenticated'],
      resourceAttributes: { verb, group, resource, ...(subresource && { subresource }), namespace },
    },
  });
  return body.status.allowed;
}

interface Target {
  group: string;
  resource: string;
  namespace: string;
}

const VERBS: Verb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'];
const homeOf = { watched: 'default', own: 'flowmesh-system', cluster: '' };
const granted = PERMISSIONS.filter(({ when }) => when === undefined);

test('the operator may do exactly what the table says', async () => {
  for (const { group, resources, scope } of granted) {
    for (const resource of resources) {
      const namespace = homeOf[scope];
      for (const verb of [...VERBS, 'deletecollection', '*']) {
        const isGranted = granted.some(
          (each: Permission) =>
            each.group === group &&
            each.scope === scope &&
            each.resources.includes(resource) &&
            (each.verbs as readonly string[]).includes(verb),
        );
        expect(await may(verb, { group, resource, namespace }), `${verb} ${resource} in ${namespace}`).toBe(
          isGranted,
        );
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
