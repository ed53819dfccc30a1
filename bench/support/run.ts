// A benchmark run: a fresh server process on a fresh directory, a load generator in another process, one
// result line.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ServerProcess, startServerProcess } from '../../test/support/server-process.ts';

/** Runs `use` against a fresh durable server; everything is gone afterwards. */
export async function withServer<R>(
  use: (server: ServerProcess) => Promise<R>,
  options: { shards?: number; nodeArgs?: readonly string[]; memoryLimitBytes?: number } = {},
): Promise<R> {
  const dir = mkdtempSync(join(process.env.FLOWMESH_BENCH_DIR ?? tmpdir(), 'flowmesh-bench-'));
  const { shards = 1, nodeArgs = [], memoryLimitBytes } = options;
  const server = await startServerProcess({ dataDir: dir, shards, memoryLimitBytes }, { nodeArgs });
  try {
    return await use(server);
  } finally {
    await server.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs bench/load/<name>.ts with arguments; its last line of output is JSON. */
export function runLoad<R>(name: string, args: object): Promise<R> {
  const file = fileURLToPath(new URL(`../load/${name}.ts`, import.meta.url));
  const child = spawn(process.execPath, ['--conditions=flowmesh-source', file, JSON.stringify(args)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => {
      const last = out.trim().split('\n').at(-1) ?? '';
      if (code === 0) resolve(JSON.parse(last) as R);
      else reject(new Error(`load ${name} ended with ${code}: ${out}`));
    });
  });
}

export const machine = (): string =>
  `Node ${process.version}, ${process.platform}-${process.arch}, durability fsync`;
