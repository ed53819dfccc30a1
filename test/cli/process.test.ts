// The program itself, from cli/bin.js on: `flowmesh dev` on free ports, and what one does with it in a shell.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';

// Starting processes takes its time on a machine that has other things to do.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const repository = join(import.meta.dirname, '../..');
const dir = mkdtempSync(join(tmpdir(), 'flowmesh-process-'));
const { FLOWMESH_ADDRESS: _, FLOWMESH_TOKEN: __, FORCE_COLOR: ___, ...around } = process.env;
const env = { ...around, NO_COLOR: '1', PATH: `${dir}/bin:${process.env['PATH']}` };

beforeAll(() => {
  mkdirSync(join(dir, 'bin'));
  // As npm installs it: a process that starts another one. And without the detour, for the many short ones.
  const bin = `'${join(repository, 'cli/bin.js')}' "$@"`;
  const commands = { npx: bin, flowmesh: `--conditions=flowmesh-source ${bin}` };
  for (const [name, rest] of Object.entries(commands)) {
    const script = `#!/bin/sh\nexec '${process.execPath}' ${rest}\n`;
    writeFileSync(join(dir, 'bin', name), script, { mode: 0o755 });
  }
});
afterAll(() => rmSync(dir, { recursive: true }));

/** A process whose output one can wait for. */
function start(command: string, ...args: string[]) {
  const child = spawn(command, args, { cwd: dir, env });
  let [text, seen] = ['', 0];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of waiting) look();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      wake();
    });
  }
  const ended = once(child, 'close').then(([code]) => {
    wake();
    return code as number;
  });
  return {
    child,
    ended,
    /** Waits for a text behind what was waited for before. */
    until: (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(text.slice(seen));
          if (found === null && child.exitCode === null) return;
          waiting.delete(look);
          if (found === null) return reject(new Error(`ended without ${pattern}:\n${text}`));
          seen += found.index + found[0].length;
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    async stop(signal: 'SIGINT' | 'SIGTERM' = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
}

const started: ReturnType<typeof start>[] = [];

/** `flowmesh dev` on free ports, which a test that fails does not leave behind. */
function dev(...args: string[]) {
  const ports = ['--grpc-port', '0', '--http-port', '0'];
  const server = start('npx', 'dev', '--until-stdin-ends', ...ports, ...args);
  started.push(server);
  return server;
}

async function ready({ until }: ReturnType<typeof start>): Promise<{ grpcPort: string; httpPort: string }> {
  const [, grpcPort = '', httpPort = ''] = await until(
    /gRPC +localhost:(\d+)[\s\S]*HTTP +http:\/\/localhost:(\d+)[\s\S]*Ctrl-C stops\.\n/,
  );
  return { grpcPort, httpPort };
}

/** A line in a shell that knows the server by its environment. */
function shell(line: string, address = '') {
  const known = address === '' ? {} : { FLOWMESH_ADDRESS: address };
  return spawnSync('bash', ['-c', `set -o pipefail\n${line}`], {
    ...{ cwd: dir, env: { ...env, ...known }, encoding: 'utf8' as const },
  });
}

test('a start after a kill compiles nothing: the type stripper and its 15 MB stay away', async () => {
  const strippers = 'process.moduleLoadList.filter((name) => /amaro/.test(name)).length';
  const report = `process.on('exit', () => console.log('strippers: ' + ${strippers}))`;
  const begin = () => {
    const node = ['--conditions=flowmesh-source', '--import', `data:text/javascript,${report}`];
    const ports = ['--grpc-port', '0', '--http-port', '0'];
    const server = start(
      process.execPath,
      ...node,
      join(repository, 'cli/bin.js'),
      'dev',
      '--ephemeral',
      ...ports,
    );
    started.push(server);
    return server;
  };
  const first = begin();
  await ready(first);
  first.child.kill('SIGKILL');
  await first.ended;
  const second = begin();
  await ready(second);
  second.child.kill('SIGINT');
  await second.until(/strippers: 0\n/);
});

describe('with a server', () => {
  let server: ReturnType<typeof dev>;
  let address: string;

  beforeAll(async () => {
    server = dev('--ephemeral', '-f', join(repository, 'examples/manifests'));
    started.pop(); // It stays for the tests that follow.
    address = `localhost:${(await ready(server)).grpcPort}`;
  });
  afterAll(() => void server.child.stdin.destroy());

  test('keys, jobs and records go in and come out as the README says', () => {
    const { status, stdout, stderr } = shell(
      `flowmesh kv set user:234 '{"name":"Ada"}' --ttl 1h &&
      flowmesh kv get user:234 && echo &&
      flowmesh queue enqueue emails.send '{"to":"ada@example.org"}' &&
      flowmesh queue ls -o json | grep -c '"waiting": 1' &&
      flowmesh stream write orders.events '{"order":1}' --key ada &&
      flowmesh stream read orders.events`,
      address,
    );
    expect([status, stderr]).toEqual([0, '']);
    const lines = stdout.split('\n');
    expect(lines.slice(0, -2)).toEqual([
      'user:234 set, revision 1',
      '{"name":"Ada"}',
      '0-1-0',
      '1',
      'partition 1, offset 0',
    ]);
    expect(lines.at(-2)).toMatch(/^\d\d:\d\d:\d\d\.\d{3} {2}1:0 {7}ada {2}\{"order":1\}$/);
  });

  test('bytes pass through a pipe unharmed, and a reader that leaves early is no failure', () => {
    writeFileSync(join(dir, 'bytes'), Buffer.from(Array.from({ length: 300_000 }, (_each, n) => n * 7)));
    const { status, stdout, stderr } = shell(
      `flowmesh kv set photo < bytes && flowmesh kv get photo > copy && cmp bytes copy &&
      flowmesh kv get photo | head -c 1 > first`,
      address,
    );
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^photo set, revision \d+\n$/);
    expect(readFileSync(join(dir, 'first'))).toEqual(Buffer.from([0]));
  });

  test('scripts tell failures apart by exit code and code', () => {
    const { stdout } = shell(
      `flowmesh kv get nobody 2> 1; echo $?
      flowmesh kv got nobody 2> 2; echo $?
      FLOWMESH_ADDRESS=localhost:1 flowmesh kv get nobody 2> 3; echo $?
      flowmesh queue get nobody -o json 2> 4; echo $?`,
      address,
    );
    expect(stdout).toBe('1\n2\n1\n1\n');
    const error = (name: string) => readFileSync(join(dir, name), 'utf8');
    expect(error('1')).toBe('error: there is no key nobody\n');
    expect(error('2')).toBe("error: unknown command 'got'\n  did you mean get?\n");
    expect(error('3')).toContain('error: no FlowMesh at localhost:1\n  start one with: flowmesh dev');
    expect(JSON.parse(error('4')).error.code).toBe('QUEUE_NOT_FOUND');
  });

  test('tail -f shows a record when it is written, and ends with 0 at Ctrl-C', async () => {
    const tail = start('flowmesh', 'stream', 'tail', 'orders.events', '-n', '0', '-f', '--address', address);
    started.push(tail);
    await tail.until(/following orders\.events/);
    expect(shell("flowmesh stream write orders.events 'just now'", address).status).toBe(0);
    await tail.until(/just now\n/);
    expect(await tail.stop('SIGINT')).toBe(0);
  });

  const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;
  const skipped = hasScript ? '' : ' (skipped: no script(1) here to make a terminal)';

  test.skipIf(!hasScript)(`Ctrl-C and Ctrl-D at a question change nothing${skipped}`, async () => {
    expect(shell('flowmesh queue enqueue asked x', address).status).toBe(0);
    for (const key of ['\u0003', '\u0004']) {
      const line = `flowmesh queue purge asked --address ${address}`;
      const asking = start('script', '--quiet', '--return', '--command', `exec ${line}`, '/dev/null');
      started.push(asking);
      await asking.until(/Remove about 1 job of asked\?/);
      asking.child.stdin.write(key);
      await asking.until(/error: nothing was changed/);
      expect(await asking.ended).toBe(1);
    }
    expect(shell('flowmesh queue get asked', address).stdout).toMatch(/^waiting +1,/m);
  });

  test.skipIf(!hasScript)(`Ctrl-C in a terminal ends dev once, and well${skipped}`, async () => {
    const line = 'npx dev --ephemeral --grpc-port 0 --http-port 0';
    const terminal = start('script', '--quiet', '--return', '--command', `exec ${line}`, '/dev/null');
    started.push(terminal);
    await terminal.until(/Ctrl-C stops\./);
    terminal.child.stdin.write('\u0003');
    await terminal.until(/stopping; Ctrl-C again ends at once[\s\S]*stopped/);
    expect(await terminal.ended).toBe(0);
  });

  test('dev ends well with the program that started it', async () => {
    server.child.stdin.end();
    await server.until(/stopped\n/);
    expect(await server.ended).toBe(0);
  });
});

afterEach(() => {
  for (const { child } of started.splice(0)) {
    child.stdin.destroy();
    child.kill();
  }
});

const manifest = (maxAttempts: string) => `apiVersion: flowmesh.io/v1alpha1
kind: Queue
metadata: { name: emails }
spec:
  clusterRef: { name: main }
  queueName: emails.send
  delivery: { maxAttempts: ${maxAttempts} }
`;

test('a manifest that is saved is applied; one with a mistake leaves everything as it was', async () => {
  const file = join(dir, 'emails.yaml');
  writeFileSync(file, manifest('5'));
  const server = dev('--ephemeral', '-f', file);
  const { httpPort } = await ready(server);
  const attempts = async () => {
    const answer = await fetch(`http://localhost:${httpPort}/v1/queues/emails.send`);
    return ((await answer.json()) as { spec: { maxAttempts: number } }).spec.maxAttempts;
  };
  writeFileSync(file, manifest('7'));
  await server.until(/manifests applied\n +queue +emails\.send +changed: maxAttempts 5 -> 7\n/);
  expect(await attempts()).toBe(7);
  writeFileSync(file, manifest('many'));
  await server.until(
    /a mistake in the manifests; what was declared before stays in force\n.*emails\.yaml:7:/,
  );
  expect(await attempts()).toBe(7);
  writeFileSync(file, '# nothing any more\n');
  await server.until(/queue emails\.send is not declared any more: .*flowmesh queue delete emails\.send\n/);
  expect(await attempts()).toBe(7);
  expect(await server.stop('SIGINT')).toBe(0);
});

test('a schema that is saved holds from the next job on; versions never change', async () => {
  const file = join(dir, 'mails.yaml');
  const save = (...versions: string[]) => {
    const object = (kind: string, name: string, spec: object) =>
      JSON.stringify({ apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name }, spec });
    const schema = { versions: versions.map((to, i) => ({ version: i + 1, fields: { to } })) };
    const queue = { schemaRef: { name: 'mail' } };
    writeFileSync(file, `${object('Schema', 'mail', schema)}\n---\n${object('Queue', 'mails', queue)}\n`);
  };
  save('string');
  const server = dev('--ephemeral', '-f', file);
  const { httpPort } = await ready(server);
  const answerTo = async (to: unknown) => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ payload: { to } });
    const url = `http://localhost:${httpPort}/v1/queues/mails/jobs`;
    const answer = await fetch(url, { method: 'POST', headers, body });
    return ((await answer.json()) as { code?: string }).code;
  };
  expect([await answerTo('ada'), await answerTo(7)]).toEqual([undefined, 'SCHEMA_VIOLATION']);
  save('integer');
  await server.until(/applied, but for 1\n +schema +mail +refused: version 1 .* declare version 2 /);
  save('string', 'integer');
  await server.until(/manifests applied\n +schema +mail +changed: version 2 added\n/);
  expect([await answerTo('ada'), await answerTo(7)]).toEqual(['SCHEMA_VIOLATION', undefined]);
  expect(await server.stop('SIGINT')).toBe(0);
});

test('data outlives a stop, belongs to one process, and to no older version', async () => {
  const data = join(dir, 'data');
  const first = dev('--data', data);
  const address = `localhost:${(await ready(first)).grpcPort}`;
  expect(shell('flowmesh kv set kept yes', address).status).toBe(0);

  const second = dev('--data', data);
  await second.until(/error: .*data.* is used by another process.*\n {2}another directory: --data DIR\n/);
  expect(await second.ended).toBe(1);

  expect(await first.stop('SIGINT')).toBe(0);
  await first.until(/stopping; Ctrl-C again ends at once\nstopped\n/);

  const again = dev('--data', data);
  const next = `localhost:${(await ready(again)).grpcPort}`;
  expect(shell('flowmesh kv get kept', next).stdout).toBe('yes');
  expect(await again.stop('SIGTERM')).toBe(0);

  const identity = join(data, 'flowmesh.json');
  const { format, clusterId, shards } = JSON.parse(readFileSync(identity, 'utf8'));
  writeFileSync(identity, JSON.stringify({ format: format + 1, clusterId, shards }));
  const older = dev('--data', data);
  await older.until(
    /error: .*data has format \d+, this version reads up to \d+.*\n {2}another directory: --data DIR\n/,
  );
  expect(await older.ended).toBe(1);
});

test('a port that is in use is named, with the option that takes another', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  try {
    for (const option of ['--grpc-port', '--http-port']) {
      const server = dev('--ephemeral', option, String(port));
      await server.until(
        new RegExp(`error: port ${port} is in use on 127\\.0\\.0\\.1\n {2}.*: ${option} 0 takes any\n`),
      );
      expect(await server.ended).toBe(1);
    }
  } finally {
    other.close();
  }
});
