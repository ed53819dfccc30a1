// The examples of the help and of docs/reference/cli.md: one for each command, and all of them work, in
// order, from a server that is new.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../cli/client.ts';
import { pathOf } from '../../cli/command-path.ts';
import { examples } from '../../cli/examples.ts';
import { createProgram } from '../../cli/program.ts';
import { type RunningServer, startServer } from '../../dataplane/main.ts';
import { fakeTerminal, flowmesh } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-examples-'));
const before = process.cwd();
let server: RunningServer;

beforeAll(async () => {
  server = await startServer({
    ...{ dataDir: null, shards: 1, host: '127.0.0.1', grpcPort: 0, httpPort: 0 },
    ...{ insecure: false, autoCreate: true, logLevel: 'error' },
  });
  process.chdir(dir);
  writeFileSync('flowmesh.yaml', 'ephemeral: true\n');
  mkdirSync('manifests');
  writeFileSync(
    'manifests/emails.yaml',
    'apiVersion: flowmesh.io/v1alpha1\nkind: Queue\nmetadata: { name: emails }\n' +
      'spec: { clusterRef: { name: main }, queueName: emails.send }\n',
  );
  writeFileSync(
    'manifests/order.yaml',
    'apiVersion: flowmesh.io/v1alpha1\nkind: Schema\nmetadata: { name: order }\n' +
      'spec: { versions: [{ version: 1, fields: { order: integer, customer: string } }] }\n',
  );
  writeFileSync('photo.jpg', Buffer.from([255, 216, 255, 224, 0]));
  writeFileSync(
    'order.yaml',
    'queue: "{shop}:order"\nchildren: [{ queue: "{shop}:pack", payload: socks }]\n',
  );
  writeFileSync('jobs.jsonl', '{"to":"eve@example.org"}\n{"to":"joe@example.org"}\n');
  writeFileSync('orders.jsonl', '{"order":2,"customer":"ada"}\n{"order":3,"customer":"bob"}\n');
});
afterAll(async () => {
  process.chdir(before);
  rmSync(dir, { recursive: true });
  await server.close();
});

test('every command has an example, and every example has its command', () => {
  const host = { terminal: fakeTerminal().terminal, version: '', connect, startServer };
  const leaves = (command: Command): string[] =>
    command.commands.length === 0 ? [pathOf(command)] : command.commands.flatMap(leaves);
  expect(Object.keys(examples).sort()).toEqual(leaves(createProgram(host, () => {})).sort());
});

// `dev` and what is to be kept in a shell are not run here.
const lines = Object.entries(examples)
  .flatMap(([path, list]) => (['dev', 'completion'].includes(path) ? [] : list))
  .filter((line) => !line.startsWith('flowmesh serve') || line.endsWith('--check'));

/** What goes on until Ctrl-C. */
const endless = /stream tail .*-f|kv watch/;

test.each(lines)('%s', async (line) => {
  const [, command = '', direction, file = ''] = /^flowmesh (.*?)(?: ([<>]) (\S+))?$/.exec(line) ?? [];
  const args = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
  const screen = {
    ...(direction === '<' ? { stdin: readFileSync(file, 'latin1') } : {}),
    ...(endless.test(line) ? { interrupt: AbortSignal.abort() } : {}),
  };
  const to = (target: Parameters<typeof connect>[0]) =>
    connect({ ...target, address: `127.0.0.1:${server.grpcPort}` });
  const { code, err } = await flowmesh(args, to, screen);
  expect([code, err.startsWith('error')], err).toEqual([0, false]);
});
