// npm run bench:flame -- jobs|streams|set|get [file.svg]: where the server's main thread spends its time
// under load, as a flame graph, with the areas and the functions that take most of it as tables.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServerProcess } from '../test/support/server-process.ts';
import { flameSvg } from './support/flame-svg.ts';
import { areasOf, type CpuProfile, framesOf, functionsOf } from './support/profile.ts';
import { machine, runLoad } from './support/run.ts';

const kv = (op: 'set' | 'get') => ({ load: 'kv', args: { op, callers: 1000, keys: 100_000, bytes: 100 } });
const LOADS: Record<string, { load: string; args: object }> = {
  jobs: { load: 'jobs', args: { callers: 1000, rate: 0, bytes: 200 } },
  streams: { load: 'streams', args: { mode: 'write', callers: 10, batch: 500, bytes: 256 } },
  set: kv('set'),
  get: kv('get'),
};

const [name = '', file = `flame-${name}.svg`] = process.argv.slice(2);
const chosen = LOADS[name];
if (chosen === undefined) {
  process.stderr.write(`error: npm run bench:flame -- ${Object.keys(LOADS).join('|')} [file.svg]\n`);
  process.exit(2);
}
const dir = mkdtempSync(join(process.env.FLOWMESH_BENCH_DIR ?? tmpdir(), 'flowmesh-flame-'));
try {
  const profiles = join(dir, 'profiles');
  const nodeArgs = ['--cpu-prof', `--cpu-prof-dir=${profiles}`, '--cpu-prof-interval=500'];
  const server = await startServerProcess({ dataDir: join(dir, 'data'), shards: 1 }, { nodeArgs });
  await runLoad(chosen.load, { address: server.address, ...chosen.args });
  await server.kill('SIGTERM');
  await sleep(100);
  const [written] = readdirSync(profiles);
  if (written === undefined) throw new Error('the server left no profile');
  const root = framesOf(JSON.parse(readFileSync(join(profiles, written), 'utf8')) as CpuProfile);
  writeFileSync(file, flameSvg(root, `${name}: main thread of the server, ${machine()}`));
  const share = (ms: number) => `${((100 * ms) / root.totalMs).toFixed(1).padStart(5)} %`;
  const rows = [
    `${name}: ${(root.totalMs / 1000).toFixed(1)} s of the main thread at work, ${machine()}`,
    '',
    ...areasOf(root)
      .slice(0, 16)
      .map(({ area, selfMs }) => `${share(selfMs)}  ${area}`),
    '',
    ...functionsOf(root)
      .slice(0, 20)
      .map(({ name: called, area, selfMs }) => `${share(selfMs)}  ${called}  (${area})`),
    '',
    `flame graph: ${file}`,
  ];
  process.stdout.write(`${rows.join('\n')}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
