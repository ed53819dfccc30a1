// What external metrics are answered, who is answered, and where they are registered.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ApiService } from '../../../operator/controllers/scaling/kinds.ts';
import { answer, type FindFigures, readSelector } from '../../../operator/metrics-api/answer.ts';
import { frontProxyIn, isAllowed } from '../../../operator/metrics-api/front-proxy.ts';
import { inApiService } from '../../../operator/metrics-api/registration.ts';

const NOW = Date.parse('2026-11-26T12:00:00Z');
const ROOT = '/apis/external.metrics.k8s.io/v1beta1';
// biome-ignore lint/suspicious/noExplicitAny: documents of several kinds
type Any = any;

/** Of one queue in `shop`. */
const find: FindFigures = (namespace, { queue }) => {
  if (namespace !== 'shop') return undefined;
  if (queue === 'emails') return Promise.resolve({ lag: 12_345, wanted: 3 });
  return queue === 'starting' ? Promise.reject(new Error('SCALING_UNKNOWN')) : undefined;
};

const get = async (url: string, method = 'GET'): Promise<{ code: number; body: Any }> =>
  answer({ method, url }, find, NOW);
const metric = (name: string, selector: string, namespace = 'shop') =>
  get(`${ROOT}/namespaces/${namespace}/${name}?labelSelector=${encodeURIComponent(selector)}`);

describe('a metric', () => {
  test('is one value, with its labels', async () => {
    const { code, body } = await metric('flowmesh-lag', 'queue=emails,cluster=main');
    expect([code, body]).toEqual([
      200,
      {
        ...{ kind: 'ExternalMetricValueList', apiVersion: 'external.metrics.k8s.io/v1beta1', metadata: {} },
        items: [
          {
            ...{ metricName: 'flowmesh-lag', metricLabels: { queue: 'emails', cluster: 'main' } },
            ...{ timestamp: '2026-11-26T12:00:00Z', value: '12345' },
          },
        ],
      },
    ]);
    expect((await metric('flowmesh-demand', 'queue=emails')).body.items[0].value).toBe('3');
  });

  test('A1 that is not known is an error, never 0', async () => {
    const { code, body } = await metric('flowmesh-demand', 'queue=starting');
    expect([code, body.kind, body.reason]).toEqual([503, 'Status', 'ServiceUnavailable']);
    expect(body.message).toContain('SCALING_UNKNOWN');
  });

  test('A2 of another namespace is not there', async () => {
    expect((await metric('flowmesh-lag', 'queue=emails', 'other')).code).toBe(404);
  });

  test.each<[string, () => Promise<{ code: number; body: Any }>, number]>([
    ['another queue', () => metric('flowmesh-lag', 'queue=none'), 404],
    ['another metric', () => metric('flowmesh-age', 'queue=emails'), 404],
    ['a selector of sets', () => metric('flowmesh-lag', 'queue in (emails)'), 400],
    ['no selector', () => metric('flowmesh-lag', ''), 400],
    ['a write', () => get(ROOT, 'POST'), 405],
    ['another path', () => get('/metrics'), 404],
    ['a prototype', () => get('/__proto__'), 404],
  ])('%s is refused with what to do', async (_, ask, expected) => {
    const { code, body } = await ask();
    expect([code, body.kind, body.code]).toEqual([expected, 'Status', expected]);
    expect(body.message).not.toBe('');
  });

  test('whatever is asked, there is an answer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.webPath(), fc.webQueryParameters(), async (path, query) => {
        const { code } = await get(`${path.startsWith('/') ? path : `/${path}`}?${query}`);
        expect([200, 400, 404, 405]).toContain(code);
      }),
    );
  });
});

test.each<[string, object | undefined]>([
  ['queue=a', { queue: 'a' }],
  ['queue==a , cluster=b', { queue: 'a', cluster: 'b' }],
  ['stream=a,group=b', { stream: 'a', group: 'b' }],
  ['stream=a', undefined],
  ['queue=a,stream=b,group=c', undefined],
  ['queue=a,queue=b', undefined],
  ['queue!=a', undefined],
  ['other=a', undefined],
])('the selector %s', (text, labels) => expect(readSelector(text)).toEqual(labels));

test('discovery names the group, its version and both metrics', async () => {
  expect((await get('/apis')).body.groups[0].name).toBe('external.metrics.k8s.io');
  expect((await get('/apis/external.metrics.k8s.io')).body.preferredVersion.version).toBe('v1beta1');
  const { body } = await get(`${ROOT}/`);
  expect(body.resources.map(({ name, verbs }: Any) => [name, verbs])).toEqual([
    ['flowmesh-lag', ['get']],
    ['flowmesh-demand', ['get']],
  ]);
});

describe('the front proxy', () => {
  const of = (data: Record<string, string>) => frontProxyIn({ metadata: { name: 'x' }, data });
  const CA = { 'requestheader-client-ca-file': 'PEM' };
  const named = (...names: string[]) => ({ ...CA, 'requestheader-allowed-names': JSON.stringify(names) });
  const called = (CN: string) => ({ subject: { CN } }) as never;

  test('F2 is not known without an authority, nor with names that cannot be read', () => {
    expect(of({})).toBeUndefined();
    expect(of({ ...CA, 'requestheader-allowed-names': '{' })).toBeUndefined();
    expect(of({ ...CA, 'requestheader-allowed-names': '{"a":1}' })).toBeUndefined();
  });

  test('F1 is known by name, if names are given', () => {
    const some = of(named('front-proxy-client'));
    expect(some && isAllowed(some, called('front-proxy-client'))).toBe(true);
    expect(some && isAllowed(some, called('admin'))).toBe(false);
    const any = of(named());
    expect(any && isAllowed(any, called('whoever'))).toBe(true);
  });
});

describe('the registration', () => {
  const server = { name: 'metrics-api', place: { namespace: 'ops', service: 'fm', clusterDomain: 'c' } };
  const role = { metadata: { name: 'fm', uid: 'r1' } };
  const registration = inApiService(server, 443, async (name) => (name === 'fm' ? role : undefined));
  const none = inApiService(server, 443, async () => undefined);
  const signal = new AbortController().signal;
  const wanted = async (live: ApiService | undefined, of = registration) =>
    of.wanted(live, 'PEM', await of.owner(live, signal));
  const foreign: ApiService = {
    metadata: { name: 'v1beta1.external.metrics.k8s.io', uid: 'a1' },
    spec: { service: { name: 'keda', namespace: 'keda' }, caBundle: 'x' },
  };

  test('R1 belongs to the role of the chart, and is not made without it', async () => {
    const made = await wanted(undefined);
    expect(made).toMatchObject({
      metadata: {
        name: 'v1beta1.external.metrics.k8s.io',
        ownerReferences: [{ kind: 'ClusterRole', uid: 'r1' }],
      },
      spec: { service: { name: 'fm', namespace: 'ops', port: 443 }, group: 'external.metrics.k8s.io' },
    });
    expect(await wanted(made)).toBeUndefined();
    expect(await wanted(undefined, none)).toBeUndefined();
  });

  test('another authority is published, and what others changed is set back', async () => {
    const made = await wanted(undefined);
    const changed = { ...made, spec: { ...made?.spec, caBundle: '' } } as ApiService;
    expect((await wanted(changed))?.spec?.caBundle).toBe(Buffer.from('PEM').toString('base64'));
    expect(registration.trusted(made)).toEqual(['PEM']);
  });

  test('R2 of somebody else is left alone, and says nothing of whom to trust', async () => {
    expect(await wanted(foreign)).toBeUndefined();
    expect(registration.trusted(foreign)).toEqual([]);
  });
});
