// A cluster leaves nothing, however those who started it end. Needs root: `npm run e2e:harness`.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { cacheDir } from '../build/cache.ts';

const repository = resolve(import.meta.dirname, '../..');
const root = process.getuid?.() === 0 && existsSync('/sys/fs/cgroup/memory');
let main: ChildProcess | undefined;
let output = '';

afterEach(() => {
  main?.kill('SIGKILL');
});

/** What there is of the clusters of process `pid`, by kind. */
function traces(pid: number) {
  const mark = `clusters/${pid}-`;
  const find = ['/sys/fs/cgroup', '-type', 'd', '-name', `flowmesh-e2e-${pid}-*`];
  const groups = execFileSync('find', find, { encoding: 'utf8' }).split('\n').filter(Boolean);
  const read = (path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  const processes = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`).includes(mark),
  );
  const clusters = join(cacheDir, 'clusters');
  return {
    groups,
    processes,
    folders: existsSync(clusters) ? readdirSync(clusters).filter((name) => name.startsWith(`${pid}-`)) : [],
    mounts: read('/proc/self/mountinfo')
      .split('\n')
      .filter((line) => line.includes(mark)),
    // The command that was run in the cluster: a number that nothing else has.
    sleepers: readdirSync('/proc').filter((name) => read(`/proc/${name}/cmdline`).includes('31415926')),
  };
}

const nothing = { groups: [], processes: [], folders: [], mounts: [], sleepers: [] };
const sysctls = ['vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops', 'net/ipv4/ip_forward'];
const machine = () => [
  ...sysctls.map((name) => readFileSync(`/proc/sys/${name}`, 'utf8')),
  execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).split('\n').length,
  existsSync('/var/lib/kubelet'),
];

async function start(): Promise<number> {
  output = '';
  const command = ['e2e/main.ts', '--driver', 'local', '--run', 'echo running; sleep 31415926 & wait'];
  const child = spawn(process.execPath, command, { cwd: repository, stdio: ['ignore', 'pipe', 'pipe'] });
  main = child;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  await expect.poll(() => output, { timeout: 170_000 }).toContain('\nrunning');
  return child.pid ?? 0;
}

test.runIf(root).for(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('leaves nothing after %s', async (signal) => {
  const before = machine();
  const pid = await start();
  expect(traces(pid)).not.toEqual(nothing);
  const end = once(main as ChildProcess, 'exit');
  main?.kill(signal);
  const [code] = await end;
  // Killed, it cannot wait for its guard; else it says so only when all is gone.
  if (signal === 'SIGKILL') await expect.poll(() => traces(pid), { timeout: 30_000 }).toEqual(nothing);
  expect([code, traces(pid)]).toEqual([signal === 'SIGKILL' ? null : 130, nothing]);
  expect(machine()).toEqual(before);
});

test.runIf(root)(
  'when the guard itself is killed, all processes end, and the next cluster removes the rest',
  async () => {
    const pid = await start();
    const { processes } = traces(pid);
    const guard = processes.find((each) =>
      readFileSync(`/proc/${each}/cmdline`, 'utf8').includes('guard.sh'),
    );
    const end = once(main as ChildProcess, 'exit');
    process.kill(Number(guard), 'SIGKILL');
    const [code] = await end;
    expect(code).toBe(1);
    await expect.poll(() => traces(pid).processes, { timeout: 30_000 }).toEqual([]);
    const next = await start();
    expect(traces(pid)).toMatchObject({ groups: [], folders: [] });
    const nextEnd = once(main as ChildProcess, 'exit');
    main?.kill('SIGTERM');
    await nextEnd;
    expect(traces(next)).toEqual(nothing);
  },
);
