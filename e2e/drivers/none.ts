// Where nothing can be brought up: every spec is skipped, and its title says why.

import { createRunner, type Driver, type Observer } from './driver.ts';

export function noDriver(_observer: Observer, because: string): Driver {
  const runner = createRunner();
  return {
    name: 'none',
    abilities: { lacks: {}, only: { reason: `no cluster here; ${because}` } },
    up: async () => '/dev/null',
    loadImage: async () => {},
    run: runner.run,
    down: runner.stop,
  };
}
