// Starts the operator. The only place here that knows the real environment; bin.js is the way in that takes
// the least memory.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { startWebhook } from './admission/webhook.ts';
import { registerControllers } from './controllers/register.ts';
import type { Register, StartService } from './operator.ts';
import { runProcess } from './process.ts';
import { realKeys } from './resources/key-source.ts';
import { realRuntime } from './runtime.ts';

const controllers: readonly Register[] = [
  (host, options) => registerControllers(host, { told: options, keys: realKeys }),
];

const services: readonly StartService[] = [
  async (host, { webhook: address, webhookService: service, clusterDomain }, { registry, namespace }) => {
    if (address === undefined) return undefined;
    const place = { namespace, service, clusterDomain };
    return { name: 'webhook', ...(await startWebhook(host, { address, place, keys: realKeys, registry })) };
  },
];

export function start(): Promise<void> {
  return runProcess({
    controllers,
    services,
    args: process.argv.slice(2),
    env: process.env,
    hostname: hostname(),
    uniqueId: randomUUID(),
    runtime: realRuntime,
  });
}

if (import.meta.main) await start();
