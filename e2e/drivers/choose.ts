// Which driver fits this machine.

import { existsSync } from 'node:fs';
import type { Driver, DriverName, Observer } from './driver.ts';
import { tool } from './driver.ts';
import { kindDriver } from './kind.ts';
import { localDriver } from './local.ts';
import { rootlessDriver } from './rootless.ts';

export const drivers: Record<DriverName, (observer: Observer) => Driver> = {
  local: localDriver,
  rootless: rootlessDriver,
  kind: kindDriver,
};

export async function chooseDriver(): Promise<{ name: DriverName; because: string }> {
  const works = (command: string[]) =>
    tool(command).then(
      () => true,
      () => false,
    );
  if ((await works(['docker', 'info'])) && (await works(['kind', 'version']))) {
    return { name: 'kind', because: 'Docker and kind are here' };
  }
  if (process.platform !== 'linux') throw new Error('without Docker and kind, only Linux can run a cluster');
  if (process.getuid?.() !== 0) return { name: 'rootless', because: 'neither Docker and kind nor root' };
  // The mounts of init.sh are those of version 1.
  if (!existsSync('/sys/fs/cgroup/memory')) {
    return {
      name: 'rootless',
      because: 'no Docker with kind, and the local driver knows cgroups of version 1 only',
    };
  }
  return { name: 'local', because: 'no Docker with kind, but root' };
}
