// Starts the operator. The only place here that knows the real environment; bin.js is the way in that takes
// the least memory.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { clusterController, clusterDefaults } from './controllers/cluster/controller.ts';
import { declaredControllers } from './controllers/declared/controller.ts';
import type { Register } from './operator.ts';
import { runProcess } from './process.ts';
import { realKeys } from './resources/key-source.ts';
import { realRuntime } from './runtime.ts';

const controllers: readonly Register[] = [
  (host, options) => clusterController(host, { defaults: clusterDefaults(options), keys: realKeys }),
  (host) => declaredControllers(host),
];

export function start(): Promise<void> {
  return runProcess({
    controllers,
    args: process.argv.slice(2),
    env: process.env,
    hostname: hostname(),
    uniqueId: randomUUID(),
    runtime: realRuntime,
  });
}

if (import.meta.main) await start();
