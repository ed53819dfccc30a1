// `podTemplate` is anything that somebody may write. Whatever it is, the pods stay safe and keep their
// data, and nothing is dropped without a word.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Json } from '../../crds/types.ts';
import { resolveCluster } from '../../operator/resources/cluster.ts';
import { type Mapping, merge } from '../../operator/resources/merge.ts';
import { POD_SCHEMA } from '../../operator/resources/pod-schema.ts';
import { podTemplate } from '../../operator/resources/pod-template.ts';
import { schemaProblems } from './kubernetes-schema.ts';
import { caseOf, DEFAULTS } from './render-cases.ts';

const cluster = (given: Json) => {
  const { metadata } = caseOf('default').cluster;
  return resolveCluster({ metadata, spec: { podTemplate: given as Mapping } }, DEFAULTS);
};
const withSpec = (spec: Json) => podTemplate(cluster({ spec }));
type PodTemplate = ReturnType<typeof podTemplate>['template'];
const plain = podTemplate(cluster({})).template;

/** Templates that look right at every level, with values that break rules more often than not. */
const scalar = fc.oneof(
  fc.constantFrom<Json>(
    null,
    true,
    false,
    0,
    1,
    65532,
    'flowmesh',
    'data',
    'tls',
    'Unconfined',
    'RuntimeDefault',
  ),
  fc.constantFrom<Json>('ALL', '/var/lib', '/tmp', '/', 'hostPath', '64Mi', [], {}),
);
function valuesOf(type: string, depth: number): fc.Arbitrary<Json> {
  if (depth === 0) return scalar;
  const inner = type.slice(1, -1);
  if (type.startsWith('[')) return fc.array(valuesOf(inner, depth), { maxLength: 2 });
  if (type.startsWith('{')) return fc.dictionary(fc.string({ maxLength: 5 }), valuesOf(inner, depth - 1));
  const fields = POD_SCHEMA[type];
  if (fields === undefined) return scalar;
  const names = Object.keys(fields);
  return fc
    .uniqueArray(fc.constantFrom(...names), { maxLength: 6 })
    .chain((chosen) =>
      fc.record(Object.fromEntries(chosen.map((name) => [name, valuesOf(fields[name] ?? '', depth - 1)]))),
    )
    .chain((value) =>
      fc.oneof({ weight: 9, arbitrary: fc.constant<Json>(value) }, { weight: 1, arbitrary: scalar }),
    );
}
const anyTemplate = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ metadata: valuesOf('V1ObjectMeta', 2), spec: valuesOf('V1PodSpec', 5) }),
  },
  { weight: 1, arbitrary: fc.jsonValue() as fc.Arbitrary<Json> },
);

test('pods stay restricted, whole and valid, whatever is merged in', async () => {
  await fc.assert(
    fc.asyncProperty(anyTemplate, async (given) => {
      const { template } = podTemplate(cluster(given));
      expectRestricted(template);
      expectOurs(template);
      const object = { apiVersion: 'v1', kind: 'PodTemplate', metadata: { name: 'x' }, template };
      expect((await schemaProblems(object)).filter((problem) => problem.includes('is not a field'))).toEqual(
        [],
      );
    }),
    { numRuns: 300 },
  );
});

/** The rules of the profile as its page lists them, written down apart from the code. */
function expectRestricted({ spec }: PodTemplate): void {
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
    expect(spec?.[field] ?? false).toBe(false);
  const pod = spec?.securityContext;
  expect(pod?.runAsNonRoot).toBe(true);
  expect(pod?.runAsUser).not.toBe(0);
  expect(['RuntimeDefault', 'Localhost']).toContain(pod?.seccompProfile?.type);
  for (const volume of spec?.volumes ?? []) expect(volume).not.toHaveProperty('hostPath');
  for (const { securityContext, ports } of [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]) {
    expect(securityContext?.privileged ?? false).toBe(false);
    expect(securityContext?.allowPrivilegeEscalation).toBe(false);
    expect(securityContext?.capabilities?.drop).toEqual(['ALL']);
    for (const added of securityContext?.capabilities?.add ?? []) expect(added).toBe('NET_BIND_SERVICE');
    expect(securityContext?.runAsNonRoot ?? true).toBe(true);
    expect(securityContext?.runAsUser).not.toBe(0);
    expect(['RuntimeDefault', 'Localhost', undefined]).toContain(securityContext?.seccompProfile?.type);
    expect(['Default', undefined]).toContain(securityContext?.procMount);
    for (const port of ports ?? []) expect(port.hostPort ?? 0).toBe(0);
  }
}

function expectOurs({ metadata, spec }: PodTemplate): void {
  const isOurs = ({ name }: { name: string }) => name === 'flowmesh';
  const [ours, ...more] = spec?.containers.filter(isOurs) ?? [];
  const [wanted] = plain.spec?.containers ?? [];
  expect(more).toEqual([]);
  for (const field of ['image', 'args', 'command'] as const) expect(ours?.[field]).toEqual(wanted?.[field]);
  for (const field of ['volumeMounts', 'ports', 'env'] as const) {
    const own: readonly unknown[] = wanted?.[field] ?? [];
    expect(ours?.[field]).toEqual(expect.arrayContaining([...own]));
  }
  for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const) {
    expect(ours?.[probe]?.httpGet).toEqual(wanted?.[probe]?.httpGet);
  }
  expect(ours?.lifecycle?.preStop).toEqual(wanted?.lifecycle?.preStop);
  expect(spec?.automountServiceAccountToken).toBe(false);
  expect(spec?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(60);
  expect(metadata?.labels).toMatchObject(plain.metadata?.labels ?? {});
}

test('nothing is dropped without a word', () => {
  const { warnings, problems } = withSpec({ hostNetwork: true, toleration: [] });
  expect(warnings).toEqual([
    'podTemplate.spec.hostNetwork is not taken over: pods must meet the restricted Pod Security profile',
  ]);
  expect(problems).toEqual(['podTemplate.spec.toleration is not a field of a pod template']);
});

test.each([
  '/var',
  '/var/lib/flowmesh',
  '/var/lib/flowmesh/journal',
  '/var/lib/../lib/flowmesh/x',
  '/',
  '/etc',
])('a volume over our data or configuration at %s is not mounted', (mountPath) => {
  const { template, warnings } = withSpec({
    volumes: [{ name: 'mine', emptyDir: {} }],
    containers: [{ name: 'flowmesh', volumeMounts: [{ name: 'mine', mountPath }] }],
  });
  const mounts = template.spec?.containers[0]?.volumeMounts ?? [];
  expect(mounts.some(({ name }) => name === 'mine')).toBe(false);
  expect(warnings).toHaveLength(1);
});

test('a volume elsewhere is mounted', () => {
  const { template, warnings } = withSpec({
    volumes: [{ name: 'mine', emptyDir: {} }],
    containers: [{ name: 'flowmesh', volumeMounts: [{ name: 'mine', mountPath: '/var/libflowmesh' }] }],
  });
  expect(template.spec?.containers[0]?.volumeMounts).toContainEqual({
    name: 'mine',
    mountPath: '/var/libflowmesh',
  });
  expect(warnings).toEqual([]);
});

test('resources of the template replace those of the spec as a whole: no request is above its limit', () => {
  const { template } = withSpec({
    containers: [{ name: 'flowmesh', resources: { limits: { memory: '512Mi' } } }],
  });
  expect(template.spec?.containers[0]?.resources).toEqual({ limits: { memory: '512Mi' } });
  expect(withSpec({}).template.spec?.containers[0]?.resources?.requests).toEqual({
    cpu: '100m',
    memory: '1Gi',
  });
});

test('merging changes neither side and reaches no prototype', () => {
  const base: Mapping = { a: { b: 1 }, volumes: [{ name: 'x', emptyDir: {} }] };
  const patch: Mapping = JSON.parse(
    '{"__proto__":{"polluted":1},"a":{"c":2},"volumes":[{"name":"x","q":null},{"name":"y"}]}',
  );
  const before = JSON.stringify([base, patch]);
  const merged = merge(base, patch);
  expect(merged).toMatchObject({ a: { b: 1, c: 2 }, volumes: [{ name: 'x', emptyDir: {} }, { name: 'y' }] });
  expect(JSON.stringify([base, patch])).toBe(before);
  expect(({} as Mapping)['polluted']).toBeUndefined();
});

test('a deep or hostile template is answered, not followed', () => {
  const deep = JSON.parse(`${'{"spec":'.repeat(20_000)}1${'}'.repeat(20_000)}`) as Json;
  expect(podTemplate(cluster(deep)).problems).toEqual([
    'podTemplate.spec.spec is not a field of a pod template',
  ]);
  const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`field${index}`, 1]));
  expect(withSpec(many).problems).toHaveLength(20);
});
