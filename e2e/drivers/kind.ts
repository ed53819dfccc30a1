// A cluster of kind, for machines with Docker. Written to the documentation of kind; not run where this was
// made, as there was no Docker.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KUBERNETES } from '../build/catalog.ts';
import { createRunner, type Driver, type Observer, tool } from './driver.ts';

const WAIT = '120s';

export function kindDriver({ log, stage }: Observer): Driver {
  const runner = createRunner();
  const name = `flowmesh-e2e-${process.pid}`;
  let dir: string | undefined;
  return {
    name: 'kind',
    abilities: {
      lacks: {
        'needs:multinode': 'the cluster is made with one node',
        'needs:networkpolicy': 'not relied on: it came to the network of kind with 0.24',
        'needs:expansion': 'the volumes of kind do not grow',
      },
    },
    async up() {
      dir = mkdtempSync(join(tmpdir(), 'flowmesh-kind-'));
      const kubeconfig = join(dir, 'kubeconfig');
      const startedMs = performance.now();
      log(`kind   creates ${name}`);
      const flags = ['--name', name, '--kubeconfig', kubeconfig, '--wait', WAIT];
      await tool(['kind', 'create', 'cluster', ...flags, '--image', `kindest/node:${KUBERNETES}`]);
      stage('kind', performance.now() - startedMs);
      return kubeconfig;
    },
    async loadImage(tar) {
      await tool(['kind', 'load', 'image-archive', tar, '--name', name]);
    },
    run: runner.run,
    async down() {
      await runner.stop();
      if (dir === undefined) return;
      await tool(['kind', 'delete', 'cluster', '--name', name, '--kubeconfig', join(dir, 'kubeconfig')]);
      rmSync(dir, { recursive: true, force: true });
      dir = undefined;
    },
  };
}
