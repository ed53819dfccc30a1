// The fallback without root and without Docker: a real control plane, and no node. What needs no pod runs.

import { type ControlPlane, startControlPlane } from '../control-plane.ts';
import { createRunner, type Driver, type Observer } from './driver.ts';

export function rootlessDriver({ log, stage }: Observer, because: string): Driver {
  const runner = createRunner();
  let plane: ControlPlane | undefined;
  return {
    name: 'rootless',
    abilities: {
      lacks: {},
      only: { label: 'process-ok', reason: `no node here; ${because}` },
    },
    async up() {
      const startedMs = performance.now();
      plane = await startControlPlane({ controllers: true, scheduler: true, log });
      stage('control plane', performance.now() - startedMs);
      return plane.kubeconfig;
    },
    loadImage: async () => {},
    run: runner.run,
    async down() {
      await runner.stop();
      await plane?.stop();
      plane = undefined;
    },
  };
}
