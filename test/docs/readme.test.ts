// Every snippet of the README runs as it stands, against a server of its own (only addresses are replaced).
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseManifests } from '../../crds/manifests.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const root = new URL('../../', import.meta.url).pathname;
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const run = promisify(execFile);

/** Bodies of the fenced blocks of a language. */
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map((m) => m[1] ?? '');

const commands = blocks('sh')
  .flatMap((block) => block.split('\n'))
  .map((line) => line.replace(/\s+#.*$/, '').trim())
  .filter((line) => /^(npx flowmesh|curl) /.test(line) && !line.startsWith('npx flowmesh dev'));

let server: ServerProcess;
// Inside the repository, so that snippets find the packages by name.
const dir = mkdtempSync(join(root, '.readme-'));

beforeAll(async () => {
  server = await startServerProcess({});
});
afterAll(async () => {
  await server.kill('SIGTERM');
  rmSync(dir, { recursive: true, force: true });
});

test('the README has the snippets that this test is about', () => {
  expect(commands.length).toBeGreaterThan(8);
  expect(blocks('ts').length).toBeGreaterThan(1);
});

test('shell snippets run in order', async () => {
  for (const command of commands) {
    const line = command
      .replace(
        /^npx flowmesh/,
        `node --conditions=flowmesh-source ${root}cli/main.ts --address ${server.address}`,
      )
      .replace('curl ', 'curl --fail-with-body -sS ')
      .replace('localhost:7080', `localhost:${server.httpPort}`);
    await expect(run('bash', ['-c', line], { cwd: dir }), command).resolves.toBeDefined();
  }
}, 60_000);

test.each(blocks('ts').map((code, i) => [i + 1, code] as const))(
  'Node snippet %i runs',
  async (i, code) => {
    const file = join(dir, `snippet-${i}.ts`);
    writeFileSync(file, code.replace('connect()', `connect({ address: '${server.address}' })`));
    await run(process.execPath, ['--conditions=flowmesh-source', file], { timeout: 20_000 });
  },
  30_000,
);

test('the manifest is valid', () => {
  for (const text of blocks('yaml')) expect(parseManifests(text, 'README.md').problems).toEqual([]);
});
