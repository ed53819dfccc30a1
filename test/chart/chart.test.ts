// The chart as Helm renders it: for every value that changes something, valid objects that keep the promises.
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { readOptions } from '../../operator/options.ts';
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
  ['metrics for autoscalers', set('metricsApi.enabled=true')],
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

describe('the webhook', () => {
  const on = set('webhook.enabled=true', 'webhook.port=9999', 'networkPolicy.enabled=true');
  const NAME = 'fm-flowmesh-operator-webhook';
  const rulesFor = (objects: Any[], resource: string) =>
    [...ofKind(objects, 'Role'), ...ofKind(objects, 'ClusterRole')]
      .flatMap(({ rules }) => rules)
      .filter((rule: Any) => rule.resources.includes(resource) && rule.resourceNames !== undefined);

  test('is not there unless it is asked for', () => {
    const text = JSON.stringify(render().filter(({ kind }) => kind !== 'CustomResourceDefinition'));
    expect(text.toLowerCase()).not.toContain('webhook');
  });

  test('has one name in the Service, the configuration, the roles and what the operator is told', () => {
    const objects = render(...on);
    const [service] = ofKind(objects, 'Service').filter(({ metadata }) => metadata.name === NAME);
    const [configuration] = ofKind(objects, 'ValidatingWebhookConfiguration');
    const [container] = ofKind(objects, 'Deployment')[0].spec.template.spec.containers;
    expect(configuration.metadata.name).toBe(NAME);
    expect(configuration.webhooks[0].clientConfig).toEqual({
      service: { name: NAME, namespace: 'system', path: '/validate', port: 443 },
    });
    expect(optionsOf(container.env)).toMatchObject({
      webhookService: NAME,
      webhook: { host: '0.0.0.0', port: 9999 },
    });
    expect(rulesFor(objects, 'secrets').map(({ resourceNames }) => resourceNames)).toEqual([[`${NAME}-tls`]]);
    const [rule] = rulesFor(objects, 'validatingwebhookconfigurations');
    expect(rule).toMatchObject({ resourceNames: [NAME], verbs: ['list', 'watch', 'patch'] });
    expect(container.ports).toContainEqual({ name: 'webhook', containerPort: 9999, protocol: 'TCP' });
    expect(service.spec.ports).toEqual([
      { name: 'webhook', port: 443, targetPort: 'webhook', protocol: 'TCP' },
    ]);
    const [policy] = ofKind(objects, 'NetworkPolicy');
    expect(policy.spec.ingress[0].ports).toContainEqual({ port: 9999, protocol: 'TCP' });
  });

  test('is asked about the namespaces that are looked after, and fails as the values say', () => {
    const webhookOf = (...values: string[]) =>
      ofKind(render(...on, ...set(...values)), 'ValidatingWebhookConfiguration')[0].webhooks[0];
    expect(webhookOf().failurePolicy).toBe('Ignore');
    expect(webhookOf('webhook.failurePolicy=Fail').failurePolicy).toBe('Fail');
    expect(webhookOf('namespaces={shop,jobs}').namespaceSelector.matchExpressions[0].values).toEqual([
      'jobs',
      'shop',
    ]);
    expect(webhookOf('allNamespaces=true').namespaceSelector).toBeUndefined();
  });
});

describe('metrics for autoscalers', () => {
  const on = set('metricsApi.enabled=true', 'metricsApi.port=9998', 'networkPolicy.enabled=true');
  const NAME = 'fm-flowmesh-operator-metrics-api';

  test('are not there unless they are asked for', () => {
    const text = JSON.stringify(render().filter(({ kind }) => kind !== 'CustomResourceDefinition'));
    expect(text.toLowerCase()).not.toContain('metrics-api');
  });

  test('have one name in the Service, the roles and what the operator is told', () => {
    const objects = render(...on);
    const named = (kind: string) => ofKind(objects, kind).filter(({ metadata }) => metadata.name === NAME);
    const [container] = ofKind(objects, 'Deployment')[0].spec.template.spec.containers;
    expect(optionsOf(container.env)).toMatchObject({
      metricsApiService: NAME,
      metricsApi: { host: '0.0.0.0', port: 9998 },
    });
    expect(container.ports).toContainEqual({ name: 'metrics-api', containerPort: 9998, protocol: 'TCP' });
    expect(named('Service')[0].spec.ports[0]).toMatchObject({ port: 443, targetPort: 'metrics-api' });
    expect(named('ClusterRole')[0].rules[0].resources).toEqual(['flowmesh-demand', 'flowmesh-lag']);
    expect(named('RoleBinding')[0]).toMatchObject({
      metadata: { namespace: 'kube-system' },
      roleRef: { kind: 'Role', name: 'extension-apiserver-authentication-reader' },
    });
    const [policy] = ofKind(objects, 'NetworkPolicy');
    expect(policy.spec.ingress[0].ports).toContainEqual({ port: 9998, protocol: 'TCP' });
    const rules = [...ofKind(objects, 'ClusterRole'), ...ofKind(objects, 'Role')].flatMap(
      ({ rules }) => rules,
    );
    const about = (resource: string) => rules.filter((rule: Any) => rule.resources.includes(resource));
    expect(about('clusterroles')).toMatchObject([{ resourceNames: [NAME], verbs: ['get'] }]);
    expect(
      about('apiservices')
        .flatMap(({ verbs }: Any) => verbs)
        .sort(),
    ).toEqual(['create', 'list', 'patch', 'watch']);
    expect(about('secrets').flatMap(({ resourceNames }: Any) => resourceNames ?? [])).toEqual([
      `${NAME}-tls`,
    ]);
  });
});

const optionsOf = (env: Any[]) =>
  readOptions([], Object.fromEntries(env.map(({ name, value }) => [name, value])), 'host');

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
