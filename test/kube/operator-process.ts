// The operator as a process of its own, as main.ts starts it, but with data planes on loopback: node
// operator-process.ts '<Options as JSON>' FLAGS... The file `endpoints` holds namespace/name of a cluster ->
// host:port and may change at any time. Prints `leading` when it leads; answers `memory` over IPC.
import { readFileSync } from 'node:fs';
import { clusterDefaults } from '../../operator/controllers/cluster/controller.ts';
import { SECRETS } from '../../operator/controllers/cluster/kinds.ts';
import { PARTS } from '../../operator/controllers/cluster/world.ts';
import { declaredControllers } from '../../operator/controllers/declared/controller.ts';
import type { PlaneTimes } from '../../operator/controllers/declared/plane.ts';
import { AdviceDesk } from '../../operator/controllers/scaling/advice.ts';
import { scalingControllers } from '../../operator/controllers/scaling/controller.ts';
import { figuresOf } from '../../operator/controllers/scaling/figures.ts';
import { loadCredentials } from '../../operator/kube/credentials.ts';
import { keyOf } from '../../operator/kube/objects.ts';
import { createLog } from '../../operator/log.ts';
import type { FindFigures } from '../../operator/metrics-api/answer.ts';
import { startMetricsApi } from '../../operator/metrics-api/metrics-api.ts';
import { startOperator } from '../../operator/operator.ts';
import { readOptions } from '../../operator/options.ts';
import { realKeys } from '../../operator/resources/key-source.ts';
import { realRuntime } from '../../operator/runtime.ts';

export interface Options {
  readonly endpoints: string;
  readonly times?: PlaneTimes;
  readonly resyncMs?: number;
  readonly deletionWaitMs?: number;
  /** Where metrics for autoscalers are served, and as which Service of `default`; unset: nowhere. */
  readonly metricsApi?: { readonly port: number; readonly service: string };
}

const { endpoints, metricsApi, ...own } = JSON.parse(process.argv[2] ?? '{}') as Options;
let find: FindFigures = () => undefined;
const options = readOptions(process.argv.slice(3), {}, 'operator-test');
const operator = await startOperator({
  options,
  credentials: await loadCredentials(options, realRuntime),
  runtime: realRuntime,
  log: createLog(options.logLevel),
  version: 'test',
  identity: `operator-test-${process.pid}`,
  controllers: [
    (host) => {
      const declared = declaredControllers(host, {
        ...own,
        resolve: async ({ metadata }) => {
          const known = JSON.parse(readFileSync(endpoints, 'utf8')) as Record<string, string>;
          const address = known[keyOf(metadata)];
          if (address === undefined) throw new Error(`${metadata.name} has no address`);
          return { address };
        },
      });
      const advice = new AdviceDesk(declared.planes, host.runtime.monotonicMs);
      find = figuresOf({ ...declared, advice });
      scalingControllers(host, {
        ...declared,
        ...{ defaults: clusterDefaults(options), keys: realKeys, resyncMs: own.resyncMs },
        ...{ advice, metricsService: metricsApi && { name: metricsApi.service, namespace: 'default' } },
        secrets: host.informer({ resource: SECRETS, labelSelector: PARTS }),
      });
    },
  ],
  services: [
    async (host, { clusterDomain }) => {
      if (metricsApi === undefined) return undefined;
      const { port, service } = metricsApi;
      const api = await startMetricsApi(host, {
        ...{ address: { host: '127.0.0.1', port }, keys: realKeys, servicePort: port },
        place: { namespace: 'default', service, clusterDomain },
        find: (...asked) => find(...asked),
        times: { settleMs: 1_000, aloneMs: 60_000, leavingMs: 100 },
      });
      return { name: 'metricsApi', ...api };
    },
  ],
});
process.on('message', (message) => {
  if (message === 'memory') process.send?.(process.memoryUsage());
});
process.on('SIGTERM', () => void operator.stop().then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));
await operator.leading;
process.stdout.write('leading\n');
if ((await operator.ended) === 'lease-lost') process.exit(1);
