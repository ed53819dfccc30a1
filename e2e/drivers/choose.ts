// Which driver fits this machine: the first one that nothing stands in the way of. What is in the way of the
// better ones is told, and so is what is not run for it.

import { existsSync } from 'node:fs';
import { ensureBinaries } from '../build/cache.ts';
import type { Part } from '../build/catalog.ts';
import { MachineLacks, missingPrograms, searchPath } from '../build/machine.ts';
import type { Driver, DriverName, Observer } from './driver.ts';
import { tool } from './driver.ts';
import { kindDriver } from './kind.ts';
import { localDriver } from './local.ts';
import { noDriver } from './none.ts';
import { rootlessDriver } from './rootless.ts';

/** `because`: what stood in the way of the better ones. */
export const drivers: Record<DriverName, (observer: Observer, because: string) => Driver> = {
  local: localDriver,
  rootless: rootlessDriver,
  kind: kindDriver,
  none: noDriver,
};

/** Built before anything runs: a cluster's network leads nowhere, and specs are not to wait for compilers. */
export const partsOf: Record<DriverName, readonly Part[]> = {
  kind: ['kubectl', 'helm'],
  local: [
    ...(['control-plane', 'node', 'kubectl', 'coredns', 'containerd', 'pause'] as const),
    ...(['runc', 'cni', 'nft', 'helm'] as const),
  ],
  rootless: ['control-plane', 'kubectl'],
  none: [],
};

/** It is part of a title. */
const REASON_MAX = 200;

export interface Candidate {
  readonly name: DriverName;
  /** What stands in its way; unset: nothing. */
  obstacle(): Promise<string | undefined>;
}

export interface Choice {
  readonly name: DriverName;
  /** Why none of the better ones; empty for the best. */
  readonly because: string;
}

export async function firstThatFits(candidates: readonly Candidate[]): Promise<Choice> {
  const reasons: string[] = [];
  for (const { name, obstacle } of candidates) {
    const reason = await obstacle();
    if (reason === undefined) return { name, because: reasons.join('; ') };
    reasons.push(`${name}: ${reason.replace(/\s+/g, ' ').slice(0, REASON_MAX)}`);
  }
  return { name: 'none', because: reasons.join('; ') };
}

export function candidates(log: (line: string) => void): Candidate[] {
  const built = async (name: DriverName) => {
    try {
      await ensureBinaries(partsOf[name], log);
      return undefined;
    } catch (error) {
      if (error instanceof MachineLacks) return error.message;
      throw error;
    }
  };
  return [
    { name: 'kind', obstacle: async () => (await withoutDocker()) ?? built('kind') },
    { name: 'local', obstacle: async () => (await noPrivilege()) ?? built('local') },
    { name: 'rootless', obstacle: async () => noProcesses() ?? built('rootless') },
  ];
}

const PROCESS_TOOLS = ['openssl', 'setpriv', 'flock'];
const NODE_TOOLS = [...PROCESS_TOOLS, 'unshare', 'nsenter', 'bash', 'mount', 'ip', 'sysctl', 'hostname'];

async function withoutDocker(): Promise<string | undefined> {
  for (const command of [
    ['docker', 'info'],
    ['kind', 'version'],
  ]) {
    const isThere = await tool(command).then(
      () => true,
      () => false,
    );
    if (!isThere) return `no ${command[0]}`;
  }
  return undefined;
}

function noProcesses(tools = PROCESS_TOOLS): string | undefined {
  if (process.platform !== 'linux') return `not Linux but ${process.platform}`;
  const missing = missingPrograms(tools);
  return missing.length === 0 ? undefined : `no ${missing.join(', ')}`;
}

/** As init.sh does it, without leaving anything: a container's root often may not. */
const PROBE = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/memory
mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory
mkdir /sys/fs/cgroup/upper /sys/fs/cgroup/work
mount -t overlay overlay -o lowerdir=/var,upperdir=/sys/fs/cgroup/upper,workdir=/sys/fs/cgroup/work /var
ip link set lo up`;

async function noPrivilege(): Promise<string | undefined> {
  const tools = noProcesses(NODE_TOOLS);
  if (tools !== undefined) return tools;
  if (process.getuid?.() !== 0) return 'not root';
  // The mounts of init.sh are those of version 1.
  if (!existsSync('/sys/fs/cgroup/memory')) return 'no cgroups of version 1';
  const probe = ['unshare', '-C', '-n', '-m', '-p', '-i', '-u', '-f', '--mount-proc', 'sh', '-c', PROBE];
  return tool(probe, { PATH: searchPath }).then(
    () => undefined,
    (error: Error) =>
      `root may not make namespaces and mounts here: ${error.message.trim().split('\n').at(-1)}`,
  );
}
