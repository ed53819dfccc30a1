// flowmesh serve: its file, what the operator writes into it, and a real process that is told to end while
// everybody is busy.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect } from '@flowmesh/client';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { connect as connectCli } from '../../cli/client.ts';
import { FIELDS, readServeConfig } from '../../cli/serve/config.ts';
import { startEarlyProbes } from '../../dataplane/api/http/early-probes.ts';
import { resolveCluster } from '../../operator/resources/cluster.ts';
import { configMap } from '../../operator/resources/configuration.ts';
import { Authority } from '../api/issued.ts';
import { caseOf, DEFAULTS } from '../operator/render-cases.ts';
import { flowmesh } from './support.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-serve-'));
const file = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));
const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
});

const read = (text: string) => readServeConfig(text, 'f.yaml');
const mistakes = (text: string): string => {
  try {
    read(text);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('it was taken');
};

test('the reference has every field, and no other', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/reference/serve.md'), 'utf8');
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  const expected = Object.entries(FIELDS).map(
    ([path, { what, defaultText }]) => `| \`${path}\` | ${what} | ${defaultText} |`,
  );
  expect(rows).toEqual(expected);
});

test('a file with little in it takes the defaults, which are for production', () => {
  expect(read('dataDir: /data')).toMatchObject({
    ...{ dataDir: '/data', shards: 1, autoCreate: false, logLevel: 'info', insecure: false },
    ...{ host: '127.0.0.1', grpcPort: 7070, httpPort: 7080, redisPort: undefined, drainMs: 20_000 },
  });
  expect(read('ephemeral: true\nlisteners: { redis: {} }')).toMatchObject({ dataDir: null });
  expect(
    read('dataDir: d\nlisteners: { redis: { port: 1 } }\nreloadInterval: 1m\nkeysMemory: 1Gi'),
  ).toMatchObject({
    ...{ redisPort: 1, reloadMs: 60_000, storage: { keysBytesMax: 2 ** 30 } },
  });
});

test('what the operator writes is what serve reads', () => {
  const { cluster } = caseOf('default');
  const text = configMap(resolveCluster(cluster, DEFAULTS)).data?.['flowmesh.yaml'] ?? '';
  const any = Object.values(networkInterfaces())
    .flat()
    .some((each) => each?.family === 'IPv6')
    ? '::'
    : '0.0.0.0';
  expect(read(text)).toMatchObject({
    ...{ dataDir: '/var/lib/flowmesh', host: any, insecure: false },
    tls: {
      certFile: '/etc/flowmesh/tls/tls.crt',
      caFile: '/etc/flowmesh/tls/ca.crt',
      clientAuth: 'optional',
    },
    tokenFile: '/etc/flowmesh/token/token',
    allowedHosts: expect.arrayContaining(['*.main-flowmesh-pods.shop.svc']),
  });
  expect(mistakes(`${text}journal: { engine: JetStream }`)).toContain(
    'JetStream is not served by this version',
  );
});

test('mistakes are told with their place, all of them, and what was meant', async () => {
  expect(mistakes('dataDir: d\nsharts: 3')).toBe('f.yaml: there is no field sharts; did you mean shards?');
  const all = mistakes(
    'shards: 0\nlisteners: { grpc: { port: 70700 }, http: 7080 }\ntls: { certFile: c }\nlogLevel: loud',
  );
  for (const each of [
    'shards is a whole number, 1 to 1024; fixed when the data is created, not 0',
    'listeners.grpc.port is a port',
    'there is no field listeners.http',
    'tls needs certFile and keyFile',
    'logLevel is debug, info',
    'dataDir says where data is kept',
  ])
    expect(all).toContain(each);
  expect(mistakes('dataDir: d\nephemeral: true')).toContain('dataDir says');
  for (const text of ['a: [', '- list', 'text', 'a: &x 1\nb: *x', `# ${'x'.repeat(2 ** 20)}`, 'dataDir: 1'])
    expect(mistakes(text)).toMatch(/^f\.yaml/);
  expect(await flowmesh(`serve --config ${file('none')}`)).toMatchObject({
    code: 1,
    err: expect.stringContaining('ENOENT'),
  });
  writeFileSync(file('good.yaml'), 'ephemeral: true');
  expect(await flowmesh(`serve --check --config ${file('good.yaml')}`)).toMatchObject({ code: 0 });
});

test('[AD36] while the journal is replayed a pod is alive and not ready', async () => {
  const early = await startEarlyProbes({ host: '127.0.0.1', port: 0 });
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${early.port}${path}`);
    return [response.status, ((await response.json()) as { code?: string }).code];
  };
  expect(await ask('/healthz')).toEqual([200, undefined]);
  expect(await ask('/readyz')).toEqual([503, 'UNAVAILABLE']);
  expect(await ask('/v1/queues')).toEqual([503, 'UNAVAILABLE']);
  const held = fetch(`http://127.0.0.1:${early.port}/readyz`);
  await held;
  await early.close();
  // The port is free at once.
  const next = createServer().listen(early.port, '127.0.0.1');
  await once(next, 'listening');
  next.close();
});

/** `flowmesh serve`; resolves with its ports when it is ready. */
async function serve(
  config: string,
): Promise<{ child: ChildProcess; lines: Record<string, unknown>[]; grpcPort: number; httpPort: number }> {
  writeFileSync(file('serve.yaml'), config);
  const main = join(import.meta.dirname, '../../cli/main.ts');
  const args = ['--conditions=flowmesh-source', main, 'serve', '--config', file('serve.yaml')];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  running.push(child);
  const lines: Record<string, unknown>[] = [];
  const ready = await new Promise<Record<string, unknown>>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`ended with ${code}: ${JSON.stringify(lines)}`)));
    createInterface(child.stdout as NodeJS.ReadableStream).on('line', (line) => {
      const parsed = JSON.parse(line) as Record<string, unknown>;
      lines.push(parsed);
      if (parsed['event'] === 'server.ready') resolve(parsed);
    });
  });
  return { child, lines, grpcPort: ready['grpcPort'] as number, httpPort: ready['httpPort'] as number };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

test('[AD37] a restart under load loses nothing and runs nothing twice', async () => {
  const authority = new Authority('test');
  const { cert, key } = authority.issue('server');
  for (const [name, text] of Object.entries({
    'tls.crt': cert,
    'tls.key': key,
    token: 'a-token-of-some-length',
    'ca.crt': authority.cert,
  }))
    writeFileSync(file(name), text);
  const [grpcPort, httpPort] = [await freePort(), await freePort()];
  const config = `
dataDir: ${file('data')}
autoCreate: true
listeners: { grpc: { port: ${grpcPort} }, http: { port: ${httpPort} } }
tls: { certFile: ${file('tls.crt')}, keyFile: ${file('tls.key')} }
tokenFile: ${file('token')}
`;
  let server = await serve(config);
  const fm = await connect({
    address: `localhost:${grpcPort}`,
    token: 'a-token-of-some-length',
    tls: { ca: authority.cert },
  });
  const handled = new Map<number, number>();
  let slow = 0;
  const worker = fm.queue.worker(
    'q',
    async (job) => {
      const { n } = job.payload as { n: number };
      // Some are on their way whenever the server goes.
      if (n % 10 === 0) {
        slow++;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      handled.set(n, (handled.get(n) ?? 0) + 1);
    },
    { concurrency: 50 },
  );
  let [n, isOver] = [0, false];
  const acked: number[] = [];
  const errors: unknown[] = [];
  const producers = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const mine = n++;
      await fm.queue.enqueue('q', { n: mine }).then(
        () => acked.push(mine),
        (error: unknown) => errors.push(error),
      );
    }
  });
  const before = acked.length;
  await expect.poll(() => acked.length - before > 200 && slow > 0, { timeout: 20_000 }).toBe(true);
  const ended = once(server.child, 'exit');
  const startMs = performance.now();
  server.child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  expect(performance.now() - startMs).toBeLessThan(10_000);
  const events = server.lines.map(({ event }) => event);
  expect(events.slice(events.indexOf('server.draining'))).toContain('server.stopped');
  server = await serve(config);
  const after = acked.length;
  await expect.poll(() => acked.length - after > 200, { timeout: 20_000 }).toBe(true);
  isOver = true;
  await Promise.all(producers);
  await expect.poll(() => acked.every((each) => handled.has(each)), { timeout: 20_000 }).toBe(true);
  const { figures } = await fm.admin.getQueue('q');
  expect(figures).toMatchObject({ waiting: 0, failedTotal: 0 });
  await worker.drain();
  await fm.close();
  expect(errors).toEqual([]);
  expect([...handled.values()].every((times) => times === 1)).toBe(true);

  // The command line, with the files and environment that a binding gives.
  const env = { FLOWMESH_CA: authority.cert };
  const address = ['--address', `localhost:${grpcPort}`, '--token', 'a-token-of-some-length'];
  for (const [more, screen] of [
    [['--tls-ca', file('ca.crt')], {}],
    [[], { env }],
  ] as const) {
    const { code, out } = await flowmesh([...address, ...more, 'queue', 'ls'], connectCli, screen);
    expect([code, out]).toEqual([0, expect.stringContaining('q ')]);
  }
  const half = await flowmesh(
    [...address, '--tls-ca', file('ca.crt'), '--tls-cert', file('tls.crt'), 'queue', 'ls'],
    connectCli,
  );
  expect(half).toMatchObject({ code: 2, err: expect.stringContaining('needs its key') });
});
