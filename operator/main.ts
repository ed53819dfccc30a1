// The operator's process. The only place here that knows the real clock, environment and signals.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { clusterController, clusterDefaults } from './controllers/cluster/controller.ts';
import { declaredControllers } from './controllers/declared/controller.ts';
import { loadCredentials } from './kube/credentials.ts';
import { createLog } from './log.ts';
import { type Register, startOperator } from './operator.ts';
import { type OperatorOptions, readOptions, UsageError, usage } from './options.ts';
import { realKeys } from './resources/key-source.ts';
import { realRuntime } from './runtime.ts';

const controllers: readonly Register[] = [
  (host, options) => clusterController(host, { defaults: clusterDefaults(options), keys: realKeys }),
  (host) => declaredControllers(host),
];

const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

const EXIT_USAGE = 2;
const EXIT_LEASE_LOST = 1;

async function main(options: OperatorOptions): Promise<void> {
  const log = createLog(options.logLevel);
  // Of a controller that let a promise go: a bug, but no reason to stop looking after everything else.
  process.on('unhandledRejection', (err) =>
    log.error({ event: 'process.rejection', err }, 'nobody handles this'),
  );
  const credentials = await loadCredentials(options, realRuntime);
  const operator = await startOperator({
    options,
    credentials,
    runtime: realRuntime,
    log,
    version: VERSION,
    identity: `${options.instance}_${randomUUID()}`,
    controllers,
  });
  const { metricsPort, probePort } = operator;
  const { server } = credentials;
  log.info({ event: 'process.started', version: VERSION, server, metricsPort, probePort }, 'started');
  giveBackMemory();
  const onSignal = (signal: NodeJS.Signals) => {
    log.info({ event: 'process.stopping', signal }, 'stopping');
    void operator.stop();
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const why = await operator.ended;
  if (why === 'lease-lost') {
    // Another one may act already: nothing is left to do in order, and a new start is clean.
    setImmediate(() => process.exit(EXIT_LEASE_LOST));
    return;
  }
  await operator.stop();
  log.info({ event: 'process.stopped' }, 'stopped');
  process.exit(0);
}

/** Once: modules fill the young generation, which V8 would keep at its full size. */
function giveBackMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (how: { type: 'major'; flavor: 'last-resort' }) => void;
  collect({ type: 'major', flavor: 'last-resort' });
}

try {
  if (process.argv.includes('--help')) process.stdout.write(`${usage}\n`);
  else await main(readOptions(process.argv.slice(2), process.env, hostname()));
} catch (error) {
  const wrongUse = error instanceof UsageError;
  process.stderr.write(`${error instanceof Error ? error.message : error}\n${wrongUse ? `${usage}\n` : ''}`);
  process.exit(wrongUse ? EXIT_USAGE : 1);
}
