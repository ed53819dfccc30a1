// What must hold for every cluster: equal specs give equal bytes, running pods are left alone by what does
// not concern them, and everything is what the API server takes.
import * as models from '@kubernetes/client-node';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readServeConfig } from '../../cli/serve/config.ts';
import { parseManifests } from '../../crds/manifests.ts';
import { canonical } from '../../operator/resources/canonical.ts';
import { type ClusterObject, resolveCluster } from '../../operator/resources/cluster.ts';
import { CONFIG_FILE, configMap, DATA_DIR } from '../../operator/resources/configuration.ts';
import { desiredObjects } from '../../operator/resources/desired.ts';
import { namesOf } from '../../operator/resources/names.ts';
import { podTemplate, podTemplateHash } from '../../operator/resources/pod-template.ts';
import { schemaProblems } from './kubernetes-schema.ts';
import { ALL_APIS, CASES, caseOf, DEFAULTS, objectsOf } from './render-cases.ts';

const anyCase = fc.constantFrom(...CASES);
const templateHash = (cluster: ClusterObject) =>
  podTemplateHash(podTemplate(resolveCluster(cluster, DEFAULTS)).template);

test('the order of fields never changes a byte', () => {
  fc.assert(
    fc.property(anyCase, fc.infiniteStream(fc.nat()), ({ cluster }, chance) => {
      const shuffled = shuffle(cluster, chance) as ClusterObject;
      const [left, right] = [cluster, shuffled].map((each) =>
        JSON.stringify(desiredObjects(resolveCluster(each, DEFAULTS), ALL_APIS)),
      );
      expect(right).toBe(left);
    }),
  );
});

test.each([
  ['more replicas', { replicas: 5 }],
  ['none', { replicas: 0 }],
  ['a larger volume', { storage: { size: '900Gi' } }],
  ['volumes that go with the cluster', { storage: { deletionPolicy: 'Delete' as const } }],
  ['other namespaces', { allowedNamespaces: { from: 'All' as const } }],
  ['a network policy', { networkPolicy: { enabled: true } }],
  ['monitoring', { monitoring: { enabled: false } }],
])('running pods need no restart for %s', (_, change) => {
  for (const { cluster } of CASES) {
    const changed = { ...cluster, spec: { ...cluster.spec, ...change } };
    expect(templateHash(changed), cluster.metadata.name).toBe(templateHash(cluster));
  }
});

test.each([
  ['another port', { listeners: { grpc: { port: 7777 } } }],
  ['another image', { image: { tag: '9.9.9' } }],
  ['another journal', { journal: { engine: 'JetStream' as const, jetStream: { url: 'nats://other' } } }],
  [
    'other credentials',
    {
      journal: {
        engine: 'JetStream' as const,
        jetStream: { url: 'nats://nats', credentialsSecret: 'other' },
      },
    },
  ],
  ['no TLS', { tls: { mode: 'Disabled' as const } }],
  ['more memory', { resources: { limits: { memory: '3Gi' } } }],
  ['a toleration', { podTemplate: { spec: { tolerations: [{ key: 'a', operator: 'Exists' }] } } }],
])('running pods need a restart for %s', (_, change) => {
  const { cluster } = caseOf('default');
  expect(templateHash({ ...cluster, spec: { ...cluster.spec, ...change } })).not.toBe(templateHash(cluster));
});

test.each(CASES)('Kubernetes takes every object of $name', async (renderCase) => {
  for (const object of objectsOf(renderCase)) {
    expect(await schemaProblems(object), `${object.kind} ${object.metadata?.name}`).toEqual([]);
  }
});

test('the specs are what people may write', () => {
  for (const { name, text } of CASES.filter((each) => each.name !== 'name-beyond-the-limit')) {
    expect(parseManifests(text, `${name}.yaml`).problems, name).toEqual([]);
  }
});

test('flowmesh serve takes the file of every cluster that it can serve', () => {
  for (const { name, cluster } of CASES.filter((each) => !each.text.includes('JetStream'))) {
    const resolved = resolveCluster(cluster, DEFAULTS);
    const options = readServeConfig(configMap(resolved).data?.[CONFIG_FILE] ?? '', name);
    expect(options).toMatchObject({ dataDir: DATA_DIR, shards: resolved.shards, insecure: false });
    expect([options.grpcPort, options.httpPort, options.redisPort ?? 0], name).toEqual(
      (['grpc', 'http', 'redis'] as const).map(
        (each) => resolved.listeners.find((listener) => listener.name === each)?.port ?? 0,
      ),
    );
    expect(options.tls === undefined).toBe(resolved.tls.mode === 'Disabled');
  }
});

test('the schema finds a field that does not exist and a value that does not fit', async () => {
  const [policy] = objectsOf(caseOf('network-policy')).filter(({ kind }) => kind === 'NetworkPolicy');
  const renamed = { ...policy, spec: { podSelector: {}, ingress: [{ _from: [] }] } };
  expect(await schemaProblems(renamed)).toEqual([
    'spec.ingress.0._from is not a field of V1NetworkPolicyIngressRule',
  ]);
  const budget = objectsOf(caseOf('replicas-3')).find(({ kind }) => kind === 'PodDisruptionBudget');
  const wrong = { ...budget, spec: { selector: {}, unhealthyPodEvictionPolicy: 5 } };
  expect(await schemaProblems(wrong)).toHaveLength(1);
});

test('a network policy lets KEDA come to the port where it asks, and to no other', () => {
  interface Policy {
    readonly spec: { readonly ingress: readonly { readonly from: object[]; readonly ports: object[] }[] };
  }
  const found = CASES.flatMap((each) => {
    const [policy] = objectsOf(each).filter(({ kind }) => kind === 'NetworkPolicy') as unknown as Policy[];
    const { listeners } = resolveCluster(each.cluster, DEFAULTS);
    const grpc = listeners.find(({ name }) => name === 'grpc');
    return policy === undefined ? [] : [{ policy, port: grpc?.port }];
  });
  expect(found.length).toBeGreaterThan(0);
  for (const { policy, port } of found) {
    const rules = policy.spec.ingress.filter(({ from }) => JSON.stringify(from).includes('keda'));
    expect(rules.flatMap(({ ports }) => ports)).toEqual([{ port, protocol: 'TCP' }]);
  }
});

test('names fit their places, and two clusters share none', () => {
  const name = fc
    .stringMatching(/^[a-z0-9]([-.a-z0-9]{0,250}[a-z0-9])?$/)
    .filter((text) => !/[.-]{2}|[.]-|-[.]/.test(text));
  fc.assert(
    fc.property(name, name, (left, right) => {
      const names = namesOf(left);
      expect(names.statefulSet).toMatch(/^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$/);
      for (const each of Object.values(names)) expect(each).toMatch(/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/);
      if (left === right) return;
      const shared = new Set(Object.values(names)).intersection(new Set(Object.values(namesOf(right))));
      expect(shared).toEqual(new Set());
    }),
  );
});

test('every object has the owner, the labels and the namespace of its cluster', () => {
  for (const renderCase of CASES) {
    const { metadata: cluster } = renderCase.cluster;
    for (const { metadata } of objectsOf(renderCase)) {
      expect(metadata.namespace).toBe('shop');
      expect(metadata.ownerReferences).toMatchObject([
        { name: cluster.name, uid: cluster.uid, controller: true },
      ]);
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/name': 'flowmesh',
        'app.kubernetes.io/managed-by': 'flowmesh-operator',
        'app.kubernetes.io/instance': namesOf(cluster.name).stem,
      });
    }
  }
});

test('what a spec does not ask for any more is named for deletion', () => {
  const optional = (name: string) => {
    const { objects, absent } = desiredObjects(resolveCluster(caseOf(name).cluster, DEFAULTS), ALL_APIS);
    const kinds = ['NetworkPolicy', 'PodDisruptionBudget', 'Certificate', 'ServiceMonitor', 'PrometheusRule'];
    const there = objects.map(({ kind }) => kind ?? '').filter((kind) => kinds.includes(kind));
    expect([...there, ...absent.map(({ kind }) => kind)].sort()).toEqual(kinds.sort());
    return there;
  };
  expect(optional('everything')).toHaveLength(5);
  expect(optional('monitoring-off')).toEqual([]);
});

test('the models of the client and the table of pod fields agree', async () => {
  const { podSchemaSource } = await import('../../scripts/generate/pod-schema.ts');
  await expect(podSchemaSource()).toMatchFileSnapshot('../../operator/resources/pod-schema.ts');
  expect(models.V1PodTemplateSpec).toBeDefined();
});

function shuffle(value: unknown, chance: Iterator<number>): unknown {
  if (Array.isArray(value)) return value.map((entry) => shuffle(entry, chance));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, field]) => ({
    at: Number(chance.next().value),
    entry: [name, shuffle(field, chance)] as const,
  }));
  return Object.fromEntries(entries.sort((left, right) => left.at - right.at).map(({ entry }) => entry));
}

test('canonical leaves out what is undefined and sorts the rest', () => {
  expect(JSON.stringify(canonical({ b: [{ d: 1, c: undefined }], a: null }))).toBe(
    '{"a":null,"b":[{"d":1}]}',
  );
});
