// The operator as a process: options in, exit code out. main.ts gives it the environment and the controllers.
//   R1. SIGTERM and SIGINT end it in order (P3 of operator.ts), with exit code 0; a lost lease at once, with
//       1.
//   R2. A rejection that nobody handles is a bug of one controller: logged, and no reason to leave all
//       others alone.
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadCredentials } from './kube/credentials.ts';
import { createLog } from './log.ts';
import { type Register, type StartService, startOperator } from './operator.ts';
import { type Environment, type OperatorOptions, readOptions, UsageError, usage } from './options.ts';
import type { Runtime } from './runtime.ts';

export interface ProcessParts {
  readonly controllers: readonly Register[];
  readonly services: readonly StartService[];
  readonly args: readonly string[];
  readonly env: Environment;
  readonly hostname: string;
  /** Nobody else's: a restarted pod has the same name. */
  readonly uniqueId: string;
  readonly runtime: Runtime;
}

const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

const EXIT_USAGE = 2;
const EXIT_LEASE_LOST = 1;

export async function runProcess(parts: ProcessParts): Promise<void> {
  try {
    if (parts.args.includes('--help')) process.stdout.write(`${usage}\n`);
    else await run(parts, readOptions(parts.args, parts.env, parts.hostname));
  } catch (error) {
    const wrongUse = error instanceof UsageError;
    const said = error instanceof Error ? error.message : error;
    process.stderr.write(`${said}\n${wrongUse ? `${usage}\n` : ''}`);
    process.exit(wrongUse ? EXIT_USAGE : 1);
  }
}

async function run(
  { controllers, services, runtime, uniqueId }: ProcessParts,
  options: OperatorOptions,
): Promise<void> {
  const log = createLog(options.logLevel);
  // R2
  process.on('unhandledRejection', (err) =>
    log.error({ event: 'process.rejection', err }, 'nobody handles this'),
  );
  const credentials = await loadCredentials(options, runtime);
  const operator = await startOperator({
    options,
    credentials,
    runtime,
    log,
    version: VERSION,
    identity: `${options.instance}_${uniqueId}`,
    controllers,
    services,
  });
  const { metricsPort, probePort } = operator;
  const others = Object.fromEntries(operator.services.map(({ name, port }) => [`${name}Port`, port]));
  const { server } = credentials;
  const started = { version: VERSION, server, metricsPort, probePort, ...others };
  log.info({ event: 'process.started', ...started }, 'started');
  giveBackMemory();
  // Lists of thousands of objects leave garbage as well.
  void operator.leading.then(giveBackMemory);
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

/** What a start leaves behind, V8 would keep; a pause of some 30 ms. */
function giveBackMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (how: { type: 'major'; flavor: 'last-resort' }) => void;
  collect({ type: 'major', flavor: 'last-resort' });
}
