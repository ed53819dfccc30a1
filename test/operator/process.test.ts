// The operator as a process, against the fake API server.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import type { LeaseObject } from '../../operator/kube/lease.ts';
import { readOptions } from '../../operator/options.ts';
import { FakeApi } from './kube/fake-api.ts';
import { until } from './kube/support.ts';

const repository = join(import.meta.dirname, '../..');
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/ops/leases/flowmesh-operator';
// The first start fills it, the others find it.
const compiled = mkdtempSync(join(tmpdir(), 'flowmesh-compiled-'));
let api: FakeApi;
let dir: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  api = await FakeApi.start();
  dir = mkdtempSync(join(tmpdir(), 'flowmesh-operator-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await api.close();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});

afterAll(() => rmSync(compiled, { recursive: true, force: true, maxRetries: 5 }));

function launch(args: string[] = [], env: Record<string, string> = {}) {
  const kubeconfig = join(dir, 'kubeconfig');
  const cluster = { server: api.url, 'insecure-skip-tls-verify': true };
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u', namespace: 'ops' } }],
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: 'abc' } }],
    }),
  );
  const node = [join(repository, 'operator/bin.js'), '--kubeconfig', kubeconfig];
  const addresses = ['--metrics-address', '127.0.0.1:0', '--probe-address', '127.0.0.1:0'];
  const child = spawn(process.execPath, ['--conditions=flowmesh-source', ...node, ...addresses, ...args], {
    env: { ...process.env, NODE_COMPILE_CACHE: compiled, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const lines = () =>
    output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  const said = (event: string) => lines().find((line) => line.event === event);
  return { child, said, output: () => output };
}

const holder = () => (api.get(LEASE) as LeaseObject | undefined)?.spec?.holderIdentity;

test('starts, takes the lease, is ready, measures itself, takes little, and leaves in order', async () => {
  const { child, said, output } = launch([], { POD_NAME: 'pod-7' });
  await until(`it leads: ${output()}`, () => said('leader.acquired') !== undefined, 30_000);
  const { probePort, metricsPort } = said('process.started');
  const ask = async (port: number, path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };
  let isReady = false;
  const looking = (async () => {
    while (!isReady) isReady = (await ask(probePort, '/readyz')).status === 200;
  })();
  expect(await ask(probePort, '/healthz')).toEqual({ status: 200, text: 'ok\n' });
  await until('it is ready', () => isReady, 10_000);
  await looking;
  expect((await ask(probePort, '/metrics')).status).toBe(404);
  expect((await ask(probePort, '/healthz', 'POST')).status).toBe(405);
  const metrics = (await ask(metricsPort, '/metrics')).text;
  expect(metrics).toContain('leader_election_master_status{name="flowmesh-operator"} 1');
  expect(metrics).toMatch(/rest_client_requests_total\{method="POST",host="127.0.0.1:\d+",code="201"\} 1/);
  expect(metrics).toContain('process_resident_memory_bytes');
  expect(holder()).toMatch(/^pod-7_/);
  if (process.platform === 'linux') {
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    expect(Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) / 1000).toBeLessThan(100);
  }
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
  expect(holder()).toBe('');
  expect(said('process.stopped')).toBeDefined();
});

test('[R1] a lease that is lost ends it with 1, without a word to the API server', async () => {
  const { child, said } = launch();
  await until('it leads', () => said('leader.acquired') !== undefined, 30_000);
  const lease = api.get(LEASE);
  const leases = LEASE.slice(0, LEASE.lastIndexOf('/'));
  api.put(leases, { ...lease, metadata: { name: 'flowmesh-operator' }, spec: { holderIdentity: 'thief' } });
  const [code] = await once(child, 'exit');
  expect(code).toBe(1);
  expect(holder()).toBe('thief');
  expect(said('leader.lost')).toMatchObject({ why: 'it belongs to thief' });
});

test('wrong use ends it with 2 and says what it takes', async () => {
  const { child, output } = launch(['--grace-seconds', 'soon']);
  const [code] = await once(child, 'exit');
  expect(code).toBe(2);
  expect(output()).toContain('--grace-seconds soon: a whole number from 0 to 3600');
  expect(output()).toContain('--namespaces');
});

test('options: a flag wins over the environment, which wins over the default', () => {
  const env = {
    FLOWMESH_OPERATOR_NAMESPACES: 'a, b',
    FLOWMESH_OPERATOR_LOG_LEVEL: 'debug',
    POD_NAMESPACE: 'ops',
  };
  expect(readOptions(['--log-level', 'warn', '--probe-address', 'off'], env, 'host')).toMatchObject({
    namespaces: ['a', 'b'],
    logLevel: 'warn',
    leaderElection: true,
    leaseNamespace: 'ops',
    instance: 'host',
    metrics: { host: '0.0.0.0', port: 8080 },
    probes: undefined,
  });
  expect(readOptions(['--metrics-address', '[::1]:9'], {}, 'h').metrics).toEqual({ host: '::1', port: 9 });
  for (const args of [
    ['--metrics-address', '8080'],
    ['--leader-elect', 'maybe'],
    ['--nope', '1'],
    ['extra'],
  ]) {
    expect(() => readOptions(args, {}, 'h')).toThrow();
  }
});
