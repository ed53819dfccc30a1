// Starts the operator. The only place here that knows the real environment; bin.js is the way in that takes
// the least memory.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { startWebhook } from './admission/webhook.ts';
import { type Registered, registerControllers } from './controllers/register.ts';
import { startMetricsApi } from './metrics-api/metrics-api.ts';
import type { Register, StartService } from './operator.ts';
import { runProcess } from './process.ts';
import { realKeys } from './resources/key-source.ts';
import { realRuntime } from './runtime.ts';

/** Told by the controllers when they are registered, which is before any service starts. */
let registered: Registered | undefined;

const controllers: readonly Register[] = [
  (host, options, { namespace }) => {
    const { metricsApi, metricsApiService: name } = options;
    const metricsService = metricsApi && { name, namespace };
    registered = registerControllers(host, { told: options, keys: realKeys, metricsService });
  },
];

const services: readonly StartService[] = [
  async (host, { webhook: address, webhookService: service, clusterDomain }, { registry, namespace }) => {
    if (address === undefined) return undefined;
    const place = { namespace, service, clusterDomain };
    return { name: 'webhook', ...(await startWebhook(host, { address, place, keys: realKeys, registry })) };
  },
  async (host, { metricsApi: address, metricsApiService: service, clusterDomain }, { namespace }) => {
    if (address === undefined || registered === undefined) return undefined;
    const place = { namespace, service, clusterDomain };
    const find = registered.figures;
    return { name: 'metricsApi', ...(await startMetricsApi(host, { address, place, keys: realKeys, find })) };
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
