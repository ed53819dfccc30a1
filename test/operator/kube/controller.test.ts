// Informers -> queue -> reconcile, with the fake API server, and what a controller looks like.
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Condition } from '../../../operator/kube/conditions.ts';
import { nextConditions } from '../../../operator/kube/conditions.ts';
import { beyondStatus, owned, TerminalError, watched } from '../../../operator/kube/controller.ts';
import { ControllerHost } from '../../../operator/kube/host.ts';
import type { Leadership } from '../../../operator/kube/leader.ts';
import { createKubeMetrics } from '../../../operator/kube/metrics.ts';
import { type KubeObject, keyOf, ownerReference, type Resource } from '../../../operator/kube/objects.ts';
import { reconciler } from '../../../operator/kube/reconciler.ts';
import { FakeApi } from './fake-api.ts';
import { clientOf, fastRuntime, testLog, until, WIDGETS, type Widget, widgetsIn } from './support.ts';

let api: FakeApi;
const ends: (() => unknown)[] = [];

beforeEach(async () => {
  api = await FakeApi.start();
});

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  await api.close();
});

const a = widgetsIn('a');
const CONFIG_MAPS: Resource<KubeObject & { data?: Record<string, string> }> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

function aHost() {
  const { client, transport } = clientOf(api.url);
  const registry = new Registry();
  const log = testLog();
  const metrics = createKubeMetrics(registry);
  const host = new ControllerHost({
    client,
    runtime: fastRuntime,
    log,
    metrics,
    instance: 'pod-1',
    namespaces: [],
  });
  const lease = new AbortController();
  const leadership: Leadership = {
    signal: lease.signal,
    mayAct: () => !lease.signal.aborted,
    release: async () => lease.abort(),
  };
  ends.push(
    () => host.stop(100),
    () => transport.close(),
  );
  const start = async () => {
    host.watch();
    await host.lead(leadership);
  };
  return { host, start, registry, log, lease };
}

const writes = () => api.requests.filter(({ method }) => method !== 'GET');

// ---- what a controller looks like: informers, a pure decision, and its wiring
type Status = { ready: boolean; conditions: Condition[] };
type Reason = 'TooLarge';
type Limited = KubeObject & { spec: { size: number }; status?: Status };
const LIMITED = WIDGETS as unknown as Resource<Limited>;
type ConfigMap = KubeObject & { data?: Record<string, string> };

function decide(widget: Limited, world: { map: ConfigMap | undefined }, nowMs: number) {
  const { name, namespace, generation } = widget.metadata;
  if (widget.metadata.deletionTimestamp !== undefined) return { finalizer: 'off' as const };
  const tooLarge = widget.spec.size > 100;
  const ready = {
    type: 'Ready',
    status: tooLarge ? ('False' as const) : ('True' as const),
    reason: tooLarge ? 'TooLarge' : 'Applied',
    message: tooLarge ? `size ${widget.spec.size} is over 100: make it smaller` : '',
    ...(generation !== undefined && { observedGeneration: generation }),
  };
  const wanted = {
    metadata: { name, ...(namespace && { namespace }), ownerReferences: [ownerReference(widget, LIMITED)] },
    data: { size: `${widget.spec.size}` },
  };
  return {
    finalizer: 'on' as const,
    apply: tooLarge ? [] : [{ resource: CONFIG_MAPS, wanted, live: world.map }],
    status: { ready: !tooLarge, conditions: nextConditions(widget.status?.conditions, [ready], nowMs) },
    events: tooLarge
      ? [{ type: 'Warning' as const, reason: 'TooLarge' as const, action: 'Reconcile', note: ready.message }]
      : [],
  };
}

function widgetController(host: ControllerHost) {
  const widgets = host.informer<Limited>({ resource: LIMITED });
  const maps = host.informer<ConfigMap>({ resource: CONFIG_MAPS });
  const reconcile = reconciler<Limited, Status, { map: ConfigMap | undefined }, never, Reason>({
    primary: widgets,
    writer: host.writer('test-widget'),
    recorder: host.recorder<Reason>('test.flowmesh.io/widget'),
    finalizer: 'test.flowmesh.io/widget',
    wallMs: () => host.runtime.wallMs(),
    gather: ({ metadata }) => ({ map: maps.get(keyOf(metadata)) }),
    decide,
  });
  return host.controller({
    name: 'widget',
    primary: widgets,
    sources: [owned(maps, LIMITED)],
    concerns: beyondStatus,
    reconcile,
  });
}
// ---- that was all of it

const map = '/api/v1/namespaces/a/configmaps/w';
type Stored = ReturnType<FakeApi['get']> & { status?: Status; data?: Record<string, string> };
const stored = (path: string) => api.get(path) as Stored | undefined;

test('gather, decide, apply: all follows the spec, drift is set back, then it is quiet', async () => {
  const { host, start } = aHost();
  widgetController(host);
  await start();
  api.put(a, { metadata: { name: 'w' }, spec: { size: 5 } });
  await until('the status', () => stored(`${a}/w`)?.status?.ready === true);
  expect(stored(map)?.data).toEqual({ size: '5' });
  expect(stored(`${a}/w`)?.metadata.finalizers).toEqual(['test.flowmesh.io/widget']);

  api.put('/api/v1/namespaces/a/configmaps', {
    ...stored(map),
    metadata: { name: 'w' },
    data: { size: '6' },
  });
  await until('the drift is set back', () => stored(map)?.data?.['size'] === '5');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = writes().length;
  // Sixty seconds of resyncs at thirty times the speed would be two; each key is triggered instead.
  api.bookmark();
  api.put(a, { ...api.get(`${a}/w`), metadata: { name: 'w', labels: { touched: 'yes' } } });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(writes().slice(before)).toEqual([]);

  api.put(a, { metadata: { name: 'w' }, spec: { size: 500 } });
  await until('it is refused', () => stored(`${a}/w`)?.status?.ready === false);
  await until('the event', () => writes().some(({ path }) => path.includes('events.k8s.io')));
  const event = writes().find(({ path }) => path.includes('events.k8s.io'))?.body as Record<string, unknown>;
  expect(event).toMatchObject({ reason: 'TooLarge', note: 'size 500 is over 100: make it smaller' });

  api.remove(`${a}/w`);
  await until('it is gone', () => api.get(`${a}/w`) === undefined);
});

test('[A6] a status whose answer is lost, and of which no watch tells, is read, not said again', async () => {
  const { host, start } = aHost();
  const { queue } = widgetController(host);
  await start();
  const isStatus = ({ path }: { path: string }) => path === `${a}/w/status`;
  // The transport sends it a second time by itself.
  const lost = { match: isStatus, answer: 'lose' } as const;
  api.faults.push(lost, lost);
  api.put(a, { metadata: { name: 'w' }, spec: { size: 5 } });
  const isRead = ({ method, path }: { method: string; path: string }) =>
    method === 'GET' && path === `${a}/w`;
  await until('it is read', () => api.requests.some(isRead));
  await until('all is said', () => queue.activeCount === 0);
  expect(stored(`${a}/w`)?.status?.ready).toBe(true);
  expect(writes().filter(isStatus)).toHaveLength(2);
});

test('[C1] what reconcile throws is a retry and a metric; a terminal error is not retried', async () => {
  const { host, start, registry, log } = aHost();
  const runs = new Map<string, number>();
  host.controller({
    name: 'shaky',
    primary: host.informer<Widget>({ resource: WIDGETS }),
    reconcile: (key) => {
      const run = (runs.get(key) ?? 0) + 1;
      runs.set(key, run);
      if (key === 'a/hopeless') throw new TerminalError('no');
      // Thrown before there is a promise, too.
      if (run === 1) throw new Error('a bug');
      if (run === 2) return Promise.reject(new Error('not yet'));
      return Promise.resolve(undefined);
    },
  });
  api.put(a, { metadata: { name: 'w' } });
  api.put(a, { metadata: { name: 'hopeless' } });
  await start();
  await until('it succeeds', () => runs.get('a/w') === 3);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(runs.get('a/hopeless')).toBe(1);
  const text = await registry.metrics();
  expect(text).toContain('controller_runtime_reconcile_total{controller="shaky",result="success"} 1');
  expect(text).toContain('controller_runtime_reconcile_total{controller="shaky",result="error"} 3');
  expect(text).toContain('controller_runtime_reconcile_errors_total{controller="shaky"} 3');
  expect(text).toContain('workqueue_retries_total{name="shaky",controller="shaky"} 2');
  for (const name of [
    'workqueue_depth',
    'workqueue_adds_total',
    'workqueue_queue_duration_seconds_count',
    'workqueue_work_duration_seconds_count',
    'workqueue_unfinished_work_seconds',
    'workqueue_longest_running_processor_seconds',
    'controller_runtime_reconcile_time_seconds_count',
    'controller_runtime_active_workers',
    'controller_runtime_max_concurrent_reconciles',
  ]) {
    expect(text).toMatch(new RegExp(`^${name}\\{[^}]*controller="shaky"`, 'm'));
  }
  expect(log.lines.filter(({ event }) => event === 'reconcile.failed')).toHaveLength(2);
});

test('[C2] every object is looked at again within a minute, not all at once', async () => {
  const { host, start } = aHost();
  const at = new Map<string, number[]>();
  const primary = host.informer<Widget>({ resource: WIDGETS });
  host.controller({
    name: 'steady',
    primary,
    resyncMs: 3_000,
    reconcile: async (key) => {
      at.set(key, [...(at.get(key) ?? []), performance.now()]);
      return undefined;
    },
  });
  for (let n = 0; n < 20; n++) api.put(a, { metadata: { name: `w${n}` } });
  await start();
  await until('three rounds', () => at.size === 20 && [...at.values()].every((times) => times.length >= 3));
  api.remove(`${a}/w0`);
  await until('the deletion', () => primary.get('a/w0') === undefined);
  const rounds = (name: string) => at.get(`a/${name}`)?.length ?? 0;
  const further = async (count: number) => {
    const before = rounds('w1');
    await until(`${count} rounds`, () => rounds('w1') >= before + count);
  };
  await further(1);
  const last = rounds('w0');
  await further(2);
  expect(rounds('w0')).toBe(last);
});

test('[C4] losing the lease aborts what runs, starts nothing more, and nothing can be written', async () => {
  const { host, start, lease } = aHost();
  const writer = host.writer('test');
  const seen: string[] = [];
  host.controller({
    name: 'slow',
    primary: host.informer<Widget>({ resource: WIDGETS }),
    workersMax: 1,
    reconcile: async (key, { signal }) => {
      seen.push(key);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await writer
        .apply(WIDGETS, { metadata: { name: 'late', namespace: 'a' } })
        .catch((error) => seen.push(`${error}`));
      return undefined;
    },
  });
  api.put(a, { metadata: { name: 'w1' } });
  api.put(a, { metadata: { name: 'w2' } });
  await start();
  await until('the first runs', () => seen.length === 1);
  lease.abort();
  await until('it is over', () => seen.length === 2);
  expect(seen).toEqual(['a/w1', 'Error: the lease is not ours any more: nothing is written']);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect([seen.length, writes()]).toEqual([2, []]);
});

test('changes of what an object refers to concern it, before and after', async () => {
  const { host, start } = aHost();
  const seen: string[] = [];
  const widgets = host.informer<Widget>({
    resource: WIDGETS,
    indexes: { parent: ({ spec }) => (spec?.parentRef === undefined ? [] : [spec.parentRef]) },
  });
  const maps = host.informer<KubeObject>({ resource: CONFIG_MAPS });
  host.controller({
    name: 'referring',
    primary: widgets,
    sources: [
      watched(maps, ({ metadata }) =>
        widgets.byIndex('parent', metadata.name).map(({ metadata: m }) => keyOf(m)),
      ),
    ],
    reconcile: async (key) => {
      seen.push(key);
      return undefined;
    },
  });
  api.put(a, { metadata: { name: 'w1' }, spec: { parentRef: 'p' } });
  api.put(a, { metadata: { name: 'w2' }, spec: { parentRef: 'q' } });
  await start();
  await until('the start', () => seen.length === 2);
  api.put('/api/v1/namespaces/a/configmaps', { metadata: { name: 'p' } });
  await until('the change', () => seen.length === 3);
  expect(seen.at(-1)).toBe('a/w1');
});
