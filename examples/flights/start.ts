// npm start: a FlowMesh of its own, the flight records through it, the check, and then it keeps serving.
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { connect } from '@flowmesh/client';
import picocolors from 'picocolors';
import { DELAYS, LEADERBOARD, QUEUE, STREAM } from './pipeline.ts';
import { runFlights } from './run.ts';

const { bold, dim, cyan, red } = picocolors;
const repository = join(import.meta.dirname, '../..');

const USAGE = `npm start [-- OPTIONS]
  --once         end after the check (exit code 1 if it failed)
  --records N    only so many records
  --data DIR     where the data is kept (.flowmesh)`;

const options = readOptions();

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        ...{ once: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
        ...{ records: { type: 'string' }, data: { type: 'string' } },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const records = values.records === undefined ? undefined : Number(values.records);
    if (records !== undefined && !(Number.isInteger(records) && records > 0))
      throw new Error(`--records ${values.records}: a whole number above 0`);
    return { ...values, records };
  } catch (error) {
    console.error(`${red('error:')} ${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

interface Running {
  child: ChildProcess;
  grpcPort: number;
  httpPort: number;
}

/** Needs no stack: the message says it all. */
class NotStarted extends Error {}

/** The usual port, or any free one if somebody has it. */
async function portOr(usual: number): Promise<number> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(0));
    probe.listen(usual, '127.0.0.1', () => probe.close(() => resolve(usual)));
  });
}

async function startFlowMesh(): Promise<Running> {
  const [grpcPort, httpPort] = await Promise.all([portOr(7070), portOr(7080)]);
  const command = [
    ...[
      '--conditions=flowmesh-source',
      join(repository, 'cli/main.ts'),
      'dev',
      '-o',
      'json',
      '--until-stdin-ends',
    ],
    ...['--grpc-port', String(grpcPort), '--http-port', String(httpPort)],
    ...[
      '--data',
      options.data ?? join(repository, '.flowmesh'),
      '-f',
      join(repository, 'examples/manifests'),
    ],
  ];
  // Its standard input is a lifeline: however this process ends, the server notices and stops.
  const child = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = createInterface({ input: child.stdout });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new NotStarted(`flowmesh dev ended with code ${code}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      const { message, hint } = (parsed(line)?.['error'] ?? {}) as { message?: string; hint?: string };
      // The options of the server are those of npm start behind a --.
      const cure = hint?.replace('--data', 'npm start -- --data') ?? '';
      if (message !== undefined) reject(new NotStarted(`${message}\n  ${cure}`));
      else process.stderr.write(`${line}\n`);
    });
    lines.on('line', (line) => {
      const event = parsed(line);
      if (event?.['event'] === 'ready') {
        resolve({ child, grpcPort: Number(event['grpcPort']), httpPort: Number(event['httpPort']) });
      } else if (event?.['level'] !== undefined) process.stderr.write(`${line}\n`);
    });
  });
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

async function waitUntilReady(httpPort: number): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${httpPort}/readyz`).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.ok) return;
    if (performance.now() > deadlineMs) throw new Error(`no answer from http://127.0.0.1:${httpPort}/readyz`);
    await sleep(100);
  }
}

async function stop({ child }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.stdin?.end();
  await exited;
}

function printWhatToTry({ grpcPort, httpPort }: Running): void {
  const address = grpcPort === 7070 ? '' : ` --address localhost:${grpcPort}`;
  const flowmesh = (args: string) => `  ${cyan(`npx flowmesh ${args}${address}`)}`;
  const http = `http://localhost:${httpPort}`;
  const data = relative('.', options.data ?? join(repository, '.flowmesh')) || '.';
  console.log(`
${bold('FlowMesh keeps serving')}: gRPC on localhost:${grpcPort}, HTTP on ${http}, data in ${data}

${dim('Look around in another terminal:')}
${flowmesh('status')}
${flowmesh(`kv zrange '${LEADERBOARD}' --reverse --limit 3`)}
${flowmesh(`kv hget '${DELAYS}' '17h short|minutes'`)}
${flowmesh(`stream get '${STREAM}'`)}
${flowmesh(`queue get '${QUEUE}'`)}
  ${cyan(`curl ${http}/v1/queues`)}

${dim('Ctrl-C stops it. npm start begins anew.')}`);
}

console.log(`\n${bold('FlowMesh')} ${dim('starting, with the manifests of examples/manifests')}`);
const running = await startFlowMesh().catch((error: unknown) => {
  if (!(error instanceof NotStarted)) throw error;
  console.error(`${red('error:')} ${error.message}`);
  process.exit(1);
});
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(130);
    stopping.abort();
  });
}
running.child.removeAllListeners('exit');
running.child.once('exit', (code, signal) => {
  if (stopping.signal.aborted) return;
  const how = code === null ? `was ended by ${signal}` : `ended with code ${code}`;
  console.error(`\n${red('error:')} the server ${how}; what it acknowledged is kept, npm start begins anew`);
  process.exit(1);
});

try {
  await waitUntilReady(running.httpPort);
  console.log(`${dim('Flight records: vega-datasets, flights-200k.json')}\n`);
  const fm = await connect({ address: `localhost:${running.grpcPort}` });
  const work = runFlights(fm, { records: options.records });
  const isRight = await Promise.race([work, aborted(stopping.signal)]);
  await fm.close({ timeout: '2s' });
  if (isRight === false) process.exitCode = 1;
  if (isRight === true && !options.once) {
    printWhatToTry(running);
    await aborted(stopping.signal);
  }
} finally {
  stopping.abort();
  await stop(running);
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
