// The FlowMesh image: all that it needs to run is in it, and nothing that it does not need.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { finished } from 'node:stream/promises';
import { afterEach, expect, test } from 'vitest';
import { flowmeshImage } from '../../scripts/image/contents.ts';
import { type Tree, writeTar } from '../../scripts/image/tar.ts';

const repository = resolve(import.meta.dirname, '../..');
const isLinux = process.platform === 'linux';
const image = () => flowmeshImage(repository, 'flowmesh:test');
let dir: string | undefined;

afterEach(() => {
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

test.runIf(isLinux)('holds neither tests nor development packages, and is not root', () => {
  const { layers, user } = image();
  const paths = layers.flatMap((layer) => Object.keys(layer));
  expect(paths).toContain('app/dataplane/main.ts');
  expect(paths.filter((path) => /\.test\.ts$|vitest|biome|\/typescript\/|\.md$/.test(path))).toEqual([]);
  expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
});

test.runIf(isLinux)('a server starts from its files alone', async () => {
  dir = mkdtempSync(join(tmpdir(), 'flowmesh-image-'));
  const [, packages, sources] = image().layers;
  const tar = join(dir, 'app.tar');
  const file = createWriteStream(tar);
  writeTar({ ...packages, ...sources } as Tree, (bytes) => file.write(Buffer.from(bytes)));
  file.end();
  await finished(file);
  execFileSync('tar', ['-xf', tar, '-C', dir]);
  const command = ['dev', '--ephemeral', '--grpc-port', '0', '--http-port', '0', '--redis-port', '0'];
  const args = ['--conditions=flowmesh-source', join(dir, 'app/cli/main.ts'), ...command];
  const child = spawn(process.execPath, args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const exit = once(child, 'exit');
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text));
  const address = () => /http:\/\/localhost:\d+/.exec(output)?.[0] ?? '';
  await expect.poll(() => address() || child.exitCode, { timeout: 20_000 }).toBeTruthy();
  expect([output, child.exitCode]).toEqual([expect.stringContaining('is running'), null]);
  const { status } = await fetch(`${address()}/readyz`);
  child.kill('SIGTERM');
  await exit;
  expect(status).toBe(200);
});
