// The chart as Helm renders it: for every value that changes something, valid objects that keep the promises.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { chartDir, type Helm, helmOf, install } from '../../scripts/chart.ts';
import { installPath } from '../../scripts/generate/chart.ts';
import { schemaProblems } from '../operator/kubernetes-schema.ts';

let helm: Helm;
beforeAll(async () => {
  helm = await helmOf();
});

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind, looked into by field
type Any = any;
const objectsIn = (text: string): Any[] =>
  parseAllDocuments(text).flatMap((document) => (document.contents === null ? [] : [document.toJS()]));
const render = (...args: string[]) =>
  objectsIn(helm('template', 'fm', chartDir, '--namespace', 'system', ...args));
const set = (...values: string[]) => values.flatMap((value) => ['--set', value]);
const ofKind = (objects: Any[], kind: string) => objects.filter((object) => object.kind === kind);
const known = ['--api-versions', 'flowmesh.io/v1alpha1/FlowMeshCluster'];

const CASES: [name: string, args: string[]][] = [
  ['defaults', []],
  ['a standby', set('replicas=2')],
  ['none', set('replicas=0')],
  ['namespaces', set('namespaces={shop,jobs}')],
  ['all namespaces', set('allNamespaces=true')],
  ['a digest', set(`image.digest=sha256:${'0'.repeat(64)}`, 'image.pullSecrets={corp}')],
  ['the webhook', set('webhook.enabled=true', 'webhook.failurePolicy=Fail')],
  [
    'monitoring',
    set('metrics.serviceMonitor.enabled=true', 'metrics.serviceMonitor.labels.release=prometheus'),
  ],
  ['a network policy', set('networkPolicy.enabled=true', 'webhook.enabled=true')],
  ['placement', set('nodeSelector.disk=ssd', 'priorityClassName=high', 'tolerations[0].operator=Exists')],
  [
    'no definitions, roles, account',
    set('crds.install=false', 'rbac.create=false', 'serviceAccount.create=false'),
  ],
  ['an example', [...set('exampleCluster.enabled=true', 'exampleCluster.spec.replicas=1'), ...known]],
];

test('helm lint finds nothing', () => {
  expect(helm('lint', '--strict', chartDir)).toContain('0 chart(s) failed');
});

test('install.yaml is what the chart renders today', () => {
  // Not toBe: the difference of two texts of thousands of lines helps nobody.
  const lines = (text: string) => text.split('\n');
  expect(lines(readFileSync(installPath, 'utf8'))).toEqual(lines(install(helm)));
});

describe.each(CASES)('with %s', (_, args) => {
  test('every object is valid', async () => {
    for (const object of render(...args)) {
      if (object.kind === 'CustomResourceDefinition' || object.apiVersion.startsWith('flowmesh.io/'))
        continue;
      expect(await schemaProblems(object), `${object.kind} ${object.metadata.name}`).toEqual([]);
    }
  });

  test('no role has a star, and only all namespaces gives secrets of all', () => {
    const roles = render(...args).filter(({ kind }) => /^(?:Cluster)?Role$/.test(kind));
    const reading = roles.filter(({ rules }) =>
      rules.some((rule: Any) => rule.resources.includes('secrets')),
    );
    for (const { rules } of roles) expect(JSON.stringify(rules)).not.toContain('*');
    expect(reading.some(({ kind }) => kind === 'ClusterRole')).toBe(args.includes('allNamespaces=true'));
  });

  test('pods meet the restricted profile and probes find their ports', () => {
    for (const { spec } of ofKind(render(...args), 'Deployment')) {
      const pod = spec.template.spec;
      const [container] = pod.containers;
      expect(pod.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(container.securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
        readOnlyRootFilesystem: true,
      });
      const ports = container.ports.map(({ name }: Any) => name);
      for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
        expect(ports).toContain(container[probe].httpGet.port);
      }
    }
  });
});

test('definitions and the example stay when the release is uninstalled', () => {
  const objects = render(...set('exampleCluster.enabled=true'), ...known);
  const kept = [...ofKind(objects, 'CustomResourceDefinition'), ...ofKind(objects, 'FlowMeshCluster')];
  expect(kept).toHaveLength(5);
  for (const { metadata } of kept) expect(metadata.annotations['helm.sh/resource-policy']).toBe('keep');
});

test('the example waits for the definitions', () => {
  expect(ofKind(render(...set('exampleCluster.enabled=true')), 'FlowMeshCluster')).toEqual([]);
});

test('each namespace that is looked after has its role, and the operator is told', () => {
  const objects = render(...set('namespaces={shop,jobs}'));
  const roles = ofKind(objects, 'Role').filter(({ metadata }) => metadata.name.endsWith('-namespaces'));
  expect(roles.map(({ metadata }) => metadata.namespace)).toEqual(['jobs', 'shop']);
  const [{ spec }] = ofKind(objects, 'Deployment');
  expect(spec.template.spec.containers[0].env).toContainEqual({
    name: 'FLOWMESH_OPERATOR_NAMESPACES',
    value: 'jobs,shop',
  });
});

test.each([
  ['replica=2', 'replica'],
  ['replicas=-1', 'replicas'],
  ['logLevel=loud', 'logLevel'],
  ['image.digest=abc', 'digest'],
  ['exampleCluster.name=Main', 'name'],
])('%s is refused', (value, named) => {
  expect(() => render('--set', value)).toThrow(named);
});

test('the notes say what comes next', () => {
  const notes = helm('install', 'fm', chartDir, '--dry-run=client', '--namespace', 'system');
  expect(notes).toContain('kubectl -n system rollout status deployment/fm-flowmesh-operator');
});
