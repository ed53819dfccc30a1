// npm run bench:recovery -- 1G: how long a server takes from its start to its first answer when it has a
// whole journal to replay: written with checkpoints held back, ended by kill -9. With `-- 10M-keys`: when it
// has so many keys, and was killed while they were written.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServerProcess } from '../test/support/server-process.ts';
import { machine } from './support/run.ts';

const asked = /^(\d+)([MG])(-keys)?$/.exec(process.argv[2] ?? '1G');
if (asked === null) throw new Error('give a size such as 100M or 1G, or keys such as 10M-keys');
const amount = Number(asked[1]) * { M: 1e6, G: 1e9 }[asked[2] as 'M' | 'G'];
const isKeys = asked[3] !== undefined;
const [bytes, keys] = isKeys ? [0, amount] : [amount, 0];
const TARGET_MS = isKeys ? 20_000 : 5000;
const VALUE_BYTES = isKeys ? 100 : 200;

interface Filled {
  readonly bytes: number;
  readonly keys: number;
  readonly jobs: number;
  readonly records: number;
}

function fill(dataDir: string): Promise<Filled> {
  const file = fileURLToPath(new URL('./load/journal.ts', import.meta.url));
  const args = ['--conditions=flowmesh-source', file, JSON.stringify({ dataDir, bytes, keys })];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => {
      if (signal === 'SIGKILL' && out !== '') resolve(JSON.parse(out) as Filled);
      else reject(new Error(`filling the journal ended with ${code ?? signal}`));
    });
  });
}

/** What the server needed, whoever else the machine worked for. Linux only. */
function cpuTime(pid: number | undefined): string {
  if (process.platform !== 'linux') return '';
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const TICKS_PER_SECOND = 100;
  const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  return ` (${seconds.toFixed(2)} s of processor)`;
}

const dir = mkdtempSync(join(process.env.FLOWMESH_BENCH_DIR ?? tmpdir(), 'flowmesh-recovery-'));
try {
  const filled = await fill(dir);
  // What is started again has been started before, and was compiled then.
  const before = await startServerProcess({ dataDir: join(dir, 'before'), shards: 1 });
  await before.kill('SIGKILL');
  const startMs = performance.now();
  const nodeArgs = process.env.FLOWMESH_BENCH_PROFILE ? ['--cpu-prof'] : [];
  const server = await startServerProcess({ dataDir: dir, shards: 1 }, { nodeArgs });
  const answer = await fetch(`http://127.0.0.1:${server.httpPort}/v1/kv/default/key-0`);
  const tookMs = performance.now() - startMs;
  if ((await answer.text()).length !== VALUE_BYTES)
    throw new Error('the first answer is not what was written');
  const cpu = cpuTime(server.child.pid);
  const { rss } = await server.memory();
  await server.kill(nodeArgs.length > 0 ? 'SIGTERM' : 'SIGKILL');
  const verdict = tookMs <= TARGET_MS * Math.max(1, bytes / 1e9) ? 'met' : 'MISSED';
  process.stdout.write(
    `${machine()}\n${(filled.bytes / 1e6).toFixed(0)} MB of journal (${filled.records} records, ` +
      `${filled.jobs} jobs, ${filled.keys} keys set): ${(tookMs / 1000).toFixed(2)} s to the first answer` +
      `${cpu}, ${(rss / 1e6).toFixed(0)} MB resident; at most ${TARGET_MS / 1000} s: ${verdict}\n`,
  );
} finally {
  rmSync(dir, { recursive: true, force: true });
}
