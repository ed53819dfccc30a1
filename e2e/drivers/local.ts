// A cluster of one node in namespaces and cgroups of its own: real kubelet, containerd, runc, kube-proxy and
// CoreDNS. Needs root. What guard.sh starts, guard.sh removes, however this process ends.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { writeImage } from '../../scripts/image/oci.ts';
import { architecture } from '../../scripts/image/platform.ts';
import { cacheDir, ensureBinaries } from '../build/cache.ts';
import { PAUSE_IMAGE } from '../local/configs.ts';
import { createRunner, type Driver, type Observer, tool } from './driver.ts';

interface Up {
  readonly kubeconfig: string;
  readonly auditLog: string;
  readonly socket: string;
}

const here = join(import.meta.dirname, '..', 'local');
const clusters = join(cacheDir, 'clusters');
const LONGEST_MS = 120_000;

export function localDriver({ log, stage }: Observer): Driver {
  const runner = createRunner();
  let guard: ChildProcess | undefined;
  let up: Up | undefined;
  let dir = '';
  let gone: Promise<string> | undefined;

  const init = () => {
    const [pid] = readFileSync(`/proc/${unsharePid}/task/${unsharePid}/children`, 'utf8').split(' ');
    return Number(pid);
  };
  let unsharePid = 0;

  async function bringUp(): Promise<string> {
    const binary = await ensureBinaries(
      ['control-plane', 'node', 'coredns', 'containerd', 'pause', 'runc', 'cni', 'nft'],
      log,
    );
    mkdirSync(clusters, { recursive: true });
    await sweep(log);
    dir = mkdtempSync(join(clusters, `${process.pid}-`));
    const name = `flowmesh-e2e-${basename(dir)}`;
    const inside = [process.execPath, join(here, 'cluster.ts'), dir];
    const command = [join(here, 'guard.sh'), name, dir, 'bash', join(here, 'init.sh'), dir, ...inside];
    // A session of its own: Ctrl-C reaches us, and we end it in order.
    const child = spawn('bash', command, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    guard = child;
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-4000);
    });
    const lines = createInterface({ input: child.stdout });
    let last = '';
    const started = Promise.withResolvers<Up>();
    started.promise.catch(() => {});
    lines.on('line', (line) => {
      last = line;
      const [word = '', value = ''] = line.split(' ');
      if (word === 'pid') unsharePid = Number(value);
      if (!line.startsWith('{')) return;
      const message = JSON.parse(line);
      if (message.log !== undefined) log(message.log);
      if (message.stage !== undefined) stage(message.stage, message.ms);
      if (message.up !== undefined) started.resolve(message.up);
      if (message.failed !== undefined) started.reject(new Error(message.failed));
      if (message.failed !== undefined) log(`the cluster failed: ${message.failed}`);
    });
    gone = once(child, 'close').then(() => last);
    gone.then((end) => {
      started.reject(new Error(`the cluster ended (${end}): ${errors}`));
      // Nothing that runs on it can go on.
      void runner.stop();
    });
    const timer = setTimeout(() => started.reject(new Error('the cluster does not come up')), LONGEST_MS);
    up = await started.promise.finally(() => clearTimeout(timer));
    await loadPause(binary('pause'));
    return up.kubeconfig;
  }

  async function loadPause(pause: string): Promise<void> {
    const tar = join(dir, 'pause.tar');
    const layers = [{ pause: { from: pause } }];
    writeImage(tar, { name: PAUSE_IMAGE, layers, entrypoint: ['/pause'], user: '65535:65535', architecture });
    await loadImage(tar);
  }

  async function loadImage(tar: string): Promise<void> {
    if (up === undefined) throw new Error('the cluster is not up');
    const ctr = (await ensureBinaries(['containerd'], log))('containerd', 'ctr');
    await tool([ctr, '--address', up.socket, '-n', 'k8s.io', 'images', 'import', tar]);
  }

  return {
    name: 'local',
    abilities: {
      lacks: {
        'needs:multinode': 'the local cluster has one node',
        'needs:networkpolicy': 'the bridge of the local cluster enforces no policies',
      },
    },
    up: bringUp,
    loadImage,
    run(command, env) {
      // In the network of the cluster, and with its own processes: whatever it starts ends with it, and us.
      const enter = ['nsenter', `--net=/proc/${init()}/ns/net`, '--'];
      const own = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child', '--'];
      return runner.run(['setpriv', '--pdeathsig', 'KILL', ...enter, ...own, ...command], env);
    },
    async down() {
      if (guard === undefined) return;
      await runner.stop();
      keepLogs(dir);
      guard.stdin?.end();
      const end = await gone;
      guard = undefined;
      if (end !== 'gone') throw new Error(`the local cluster could not be removed: ${end}`);
    },
  };
}

/** The logs of the last clusters stay, for whoever wants to know why. */
function keepLogs(dir: string): void {
  const logs = join(dir, 'plane', 'logs');
  if (!existsSync(logs)) return;
  const kept = join(cacheDir, 'logs');
  rmSync(kept, { recursive: true, force: true });
  cpSync(logs, kept, { recursive: true });
}

/** What was left by a guard that was killed itself: only cgroups and files, as all else ends with it. */
async function sweep(log: (line: string) => void): Promise<void> {
  for (const lock of readdirSync(clusters).filter((each) => each.endsWith('.lock'))) {
    const path = join(clusters, lock);
    // Its guard holds it as long as it lives, in whatever namespace.
    const [held] = await once(spawn('flock', ['-n', path, 'true'], { stdio: 'ignore' }), 'close');
    if (held !== 0) continue;
    const name = basename(lock, '.lock');
    log(`sweep  what is left of a cluster that was not taken down (${name})`);
    const find = ['-depth', '-type', 'd', '-path', `*/flowmesh-e2e-${name}*`, '-exec', 'rmdir', '{}', ';'];
    await once(spawn('find', ['/sys/fs/cgroup', ...find], { stdio: 'ignore' }), 'close');
    rmSync(join(clusters, name), { recursive: true, force: true });
    rmSync(path, { force: true });
  }
}
