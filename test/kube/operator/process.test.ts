// Operators as processes against a real API server: hand-over, kill, a restarted API server, two thousand
// objects.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { until } from '../../../e2e/parts/process.ts';
import { type Connection, connect, defineWidgets, holds, WIDGETS, writesOf } from './support.ts';

let plane: ControlPlane;
let connection: Connection;
const operators: ChildProcess[] = [];

beforeAll(async () => {
  plane = await startControlPlane();
  await defineWidgets(plane);
  connection = await connect(plane.kubeconfig);
  const [demo] = [join(import.meta.dirname, 'demo-operator.ts')];
  const env = { ...process.env, NODE_COMPILE_CACHE: join(plane.dir, 'compiled') };
  spawnSync(process.execPath, [...nodeFlags, demo, '--help'], { env });
});
afterEach(() => {
  for (const each of operators.splice(0)) each.kill('SIGKILL');
});
afterAll(async () => {
  connection?.transport.close();
  await plane?.stop();
});

// As operator/bin.js does: a small young generation, and everything compiled before.
const nodeFlags = ['--conditions=flowmesh-source', '--max-semi-space-size=2'];

function launch(lease: string, namespace = 'default') {
  const demo = join(import.meta.dirname, 'demo-operator.ts');
  const flags = ['--kubeconfig', plane.kubeconfig, '--lease-name', lease, '--namespaces', namespace];
  const off = ['--metrics-address', '127.0.0.1:0', '--probe-address', 'off'];
  const child = spawn(process.execPath, [...nodeFlags, demo, ...flags, ...off], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_COMPILE_CACHE: join(plane.dir, 'compiled') },
  });
  operators.push(child);
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const said = (event: string) => output.includes(`"event":"${event}"`);
  const rssMb = () =>
    Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1000;
  return { child, said, rssMb, output: () => output };
}

const create = (name: string, namespace = 'default', note = '') =>
  connection.client.create(WIDGETS, { metadata: { name, namespace }, spec: { size: 3, note } });

const seen = (name: string) =>
  until(
    `${name} is seen`,
    async () =>
      (await connection.client.get(WIDGETS, { name, namespace: 'default' }))?.status?.ready === true,
  );

const sinceMs = (startedMs: number) => Math.round(performance.now() - startedMs);

test('two operators: one acts; the other takes over in seconds, after a kill with the lease', async () => {
  const first = launch('pair');
  await holds('the first leads', () => first.said('leader.acquired'));
  const second = launch('pair');
  await holds('the second waits', () => second.said('leader.waiting'));
  await create('one');
  await seen('one');
  expect(second.said('leader.acquired')).toBe(false);

  let startedMs = performance.now();
  first.child.kill('SIGTERM');
  await create('two');
  await seen('two');
  const handOverMs = sinceMs(startedMs);
  expect(first.said('leader.released')).toBe(true);
  expect(handOverMs).toBeLessThan(5_000);

  const third = launch('pair');
  await holds('the third waits', () => third.said('leader.waiting'));
  startedMs = performance.now();
  second.child.kill('SIGKILL');
  await create('three');
  await seen('three');
  const takeOverMs = sinceMs(startedMs);
  process.stderr.write(`hand-over ${handOverMs} ms, after a kill ${takeOverMs} ms\n`);
  // Not before the lease has ended by the third one's clock.
  expect(takeOverMs).toBeGreaterThan(10_000);
  expect(takeOverMs).toBeLessThan(25_000);
});

test('the API server is killed and comes back: the leader goes on', async () => {
  const operator = launch('survivor');
  await holds('it leads', () => operator.said('leader.acquired'));
  await plane.stopApiServer('SIGKILL');
  await plane.startApiServer();
  await create('four');
  await seen('four');
  expect(operator.said('leader.lost')).toBe(false);
  expect(operator.child.exitCode).toBeNull();
});

test('two thousand objects: all seen, little memory, and then nothing is written but the lease', async () => {
  const namespace = 'many';
  await plane.api('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  const note = 'x'.repeat(2_000);
  const batches = Array.from({ length: 100 }, (_, n) => n);
  for (const batch of batches) {
    await Promise.all(Array.from({ length: 20 }, (_, n) => create(`w-${batch}-${n}`, namespace, note)));
  }
  const operator = launch('many', namespace);
  const startedMs = performance.now();
  await until(
    'all are seen',
    async () => {
      const all = await connection.client.list(WIDGETS, { namespace, pageSize: 500 });
      return all.length === 2_000 && all.every(({ status }) => status?.ready === true);
    },
    { everyMs: 500, timeoutMs: 120_000 },
  );
  const tookMs = sinceMs(startedMs);
  const [busyMb] = [operator.rssMb()];
  // More than two rounds of resyncs (10 s).
  const from = plane.auditEvents().length;
  await new Promise((resolve) => setTimeout(resolve, 22_000));
  const writes = writesOf(plane, 'flowmesh-operator', from);
  process.stderr.write(`2,000 in ${tookMs} ms, ${busyMb} MB, ${operator.rssMb()} MB after two resyncs\n`);
  expect(writes.length).toBeGreaterThan(5);
  expect(writes.filter((line) => !line.includes('/leases/many'))).toEqual([]);
  expect(operator.rssMb()).toBeLessThan(150);
  operator.child.kill('SIGTERM');
  const [code] = await once(operator.child, 'exit');
  expect(code).toBe(0);
});
