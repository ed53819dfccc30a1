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
import { loadCredentials } from '../../operator/kube/credentials.ts';
import { keyOf } from '../../operator/kube/objects.ts';
import { createLog } from '../../operator/log.ts';
import { startOperator } from '../../operator/operator.ts';
import { readOptions } from '../../operator/options.ts';
import { realKeys } from '../../operator/resources/key-source.ts';
import { realRuntime } from '../../operator/runtime.ts';

export interface Options {
  readonly endpoints: string;
  readonly times?: PlaneTimes;
  readonly resyncMs?: number;
  readonly deletionWaitMs?: number;
}

const { endpoints, ...own } = JSON.parse(process.argv[2] ?? '{}') as Options;
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
      scalingControllers(host, {
        ...declared,
        ...{ defaults: clusterDefaults(options), keys: realKeys, resyncMs: own.resyncMs },
        advice: new AdviceDesk(declared.planes, host.runtime.monotonicMs),
        secrets: host.informer({ resource: SECRETS, labelSelector: PARTS }),
      });
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
