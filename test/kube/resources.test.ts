// What operator/resources builds, before a real API server: every object is taken as it is, none is changed
// on a second apply, and the pods pass an admission that enforces the `restricted` Pod Security profile.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { resolveCluster } from '../../operator/resources/cluster.ts';
import type { KubernetesObject } from '../../operator/resources/objects.ts';
import { podTemplate } from '../../operator/resources/pod-template.ts';
import { CASES, caseOf, DEFAULTS, objectsOf } from '../operator/render-cases.ts';

let plane: ControlPlane;

beforeAll(async () => {
  plane = await startControlPlane();
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels } };
  expect((await plane.api('POST', '/api/v1/namespaces', namespace)).status).toBe(201);
});
afterAll(() => plane?.stop());

const PLURALS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
};
const CUSTOM = /^(?:monitoring\.coreos\.com|cert-manager\.io)\//;

function pathOf({ apiVersion, kind, metadata }: KubernetesObject): string {
  const root = apiVersion.includes('/') ? '/apis' : '/api';
  const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
  return `${root}/${apiVersion}/namespaces/shop/${plural}/${metadata?.name}`;
}

async function apply(object: KubernetesObject, query = '') {
  const path = `${pathOf(object)}?fieldManager=flowmesh&fieldValidation=Strict${query}`;
  const { status, body } = await plane.api('PATCH', path, object, 'application/apply-patch+yaml');
  return { status, message: status < 300 ? '' : body.message, version: body.metadata?.resourceVersion };
}

test.each(CASES)('the API server takes every object of $name', async (renderCase) => {
  for (const object of objectsOf(renderCase).filter(({ apiVersion }) => !CUSTOM.test(apiVersion))) {
    const { status, message } = await apply(object, '&dryRun=All');
    expect(`${status} ${message}`, `${object.kind} ${object.metadata?.name}`).toMatch(/^20[01] $/);
  }
});

test.each(CASES)(
  'the pods of $name are admitted where the restricted profile is enforced',
  async (renderCase) => {
    const { template } = podTemplate(resolveCluster(renderCase.cluster, DEFAULTS));
    const { spec, metadata } = template;
    const data = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, name: 'pod' },
      // The class of its own is not there; everything else is judged as it is.
      spec: { ...spec, volumes: [...(spec?.volumes ?? []), data], priorityClassName: undefined },
    };
    const path = '/api/v1/namespaces/shop/pods?dryRun=All&fieldValidation=Strict';
    await plane.api('POST', '/api/v1/namespaces/shop/serviceaccounts', {
      metadata: { name: spec?.serviceAccountName },
    });
    const { status, body } = await plane.api('POST', path, pod);
    expect(`${status} ${status < 300 ? '' : body.message}`).toMatch(/^20[01] $/);
  },
);

test('a second apply writes nothing', async () => {
  for (const name of ['default', 'everything', 'pod-sidecar']) {
    for (const object of objectsOf(caseOf(name)).filter(({ apiVersion }) => !CUSTOM.test(apiVersion))) {
      const first = await apply(object, '&force=true');
      expect(first.message).toBe('');
      expect((await apply(object)).version, `${object.kind} of ${name}`).toBe(first.version);
    }
    const path = '/apis/apps/v1/namespaces/shop/statefulsets/main-flowmesh';
    expect((await plane.api('DELETE', path)).status).toBe(200);
  }
});
