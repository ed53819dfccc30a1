// flowmesh dev: a whole FlowMesh in this process, configured by the manifests that a cluster would get.
import { relative, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrorCode } from '@flowmesh/protocol';
import type { RunningServer, ServerOptions } from '../../dataplane/main.ts';
import type { Context } from '../context.ts';
import { declarationsOf } from '../declarations.ts';
import { CliError, cureOf } from '../failure.ts';
import { noticeText, problemText, readManifests, signatureOf } from '../manifest-files.ts';
import { createTeller } from '../notices.ts';
import { type Outcome, reconcile } from '../reconcile.ts';
import { bannerText, reloadText } from './banner.ts';
import { keepInStep, type Reload, type ReloadWorld } from './reload.ts';

/** Where Redis clients look first. */
const REDIS_PORT = 6379;

export interface DevHost {
  startServer(options: ServerOptions): Promise<RunningServer>;
  version: string;
}

export interface DevOptions {
  data: string;
  ephemeral?: boolean;
  filename?: string[];
  grpcPort: number;
  httpPort: number;
  redisPort?: number;
  keysMemory?: number;
  host: string;
  shards: number;
  token?: string;
  insecure?: boolean;
  autoCreate: boolean;
  logLevel: ServerOptions['logLevel'];
  memoryLimit?: number;
  untilStdinEnds?: boolean;
}

export async function dev(context: Context, options: DevOptions, host: DevHost): Promise<void> {
  const { terminal } = context;
  const signal = options.untilStdinEnds
    ? AbortSignal.any([terminal.interrupted(), ended(terminal.stdin)])
    : terminal.interrupted();
  const paths = options.filename ?? [];
  const signature = await signatureOf(paths);
  const manifests = await readManifests(paths);
  // The first start has no last good state to fall back to, so it does not happen.
  if (manifests.problems.length > 0) {
    terminal.err(manifests.problems.map((problem) => problemText(problem, terminal.errColors)).join('\n'));
    throw new CliError('the manifests have mistakes; nothing was started', 'correct them and start again');
  }
  const dataDir = options.ephemeral ? null : resolve(options.data);
  const server = await start(host, options, dataDir);
  let isClosed = false;
  try {
    // Declared as everybody declares, through the API: one path, one authorisation, one audit trail.
    const own = { address: ownAddress(options.host, server.grpcPort), token: options.token };
    const api = await context.connectTo(own);
    const declarations = declarationsOf(api);
    const outcomes = await reconcile(manifests.resources, declarations);
    const { grpcPort, httpPort, redisPort } = server;
    const untold = createTeller();
    const notices = untold([...manifests.notices, ...manifests.clusterOnly]);
    const shownDir = dataDir === null ? null : relative('.', dataDir) || '.';
    const running = {
      ...{ version: host.version, host: options.host, grpcPort, httpPort, redisPort },
      shards: options.shards,
      ...{ dataDir: shownDir, token: options.token !== undefined, insecure: options.insecure === true },
      ...{ manifests: paths, outcomes, resources: manifests.resources },
    };
    context.showLine(
      { event: 'ready', grpcPort, httpPort, redisPort, dataDir, declared: outcomes.map(outcomeJson) },
      () =>
        [bannerText(running, terminal), ...notices.map((each) => noticeText(each, terminal.colors))].join(''),
    );
    if (paths.length === 0) await aborted(signal);
    else {
      const world: ReloadWorld = {
        signature: () => signatureOf(paths),
        read: () => readManifests(paths),
        apply: (resources) => reconcile(resources, declarations),
        report: (reload) => {
          const isApplied = reload.kind === 'applied';
          const news = isApplied ? { ...reload, notices: untold(reload.notices) } : reload;
          context.showLine(reloadJson(news), () => reloadText(news, terminal));
        },
        sleep: (ms, until) => sleep(ms, undefined, { signal: until }).catch(() => undefined),
      };
      await keepInStep(world, manifests.resources, signature, signal);
    }
    context.showLine(
      { event: 'stopping' },
      () => `${terminal.colors.dim('stopping; Ctrl-C again ends at once')}\n`,
    );
    await server.drain();
    isClosed = true;
    await server.close();
    context.showLine({ event: 'stopped' }, () => `${terminal.colors.dim('stopped')}\n`);
  } finally {
    if (!isClosed) await server.close();
  }
}

async function start(host: DevHost, options: DevOptions, dataDir: string | null): Promise<RunningServer> {
  const asked = {
    dataDir,
    shards: options.shards,
    host: options.host,
    grpcPort: options.grpcPort,
    httpPort: options.httpPort,
    redisPort: options.redisPort ?? REDIS_PORT,
    token: options.token,
    insecure: options.insecure === true,
    autoCreate: options.autoCreate,
    logLevel: options.logLevel,
    storage: options.keysMemory === undefined ? {} : { keysBytesMax: options.keysMemory },
    memoryLimitBytes: options.memoryLimit,
  };
  try {
    return await host.startServer(asked);
  } catch (error) {
    // Many people have a Redis there: unless the port was asked for, FlowMesh does without.
    const isTaken = options.redisPort === undefined && portInUse(error) === REDIS_PORT;
    if (!isTaken) throw startProblem(error, options);
  }
  return host.startServer({ ...asked, redisPort: undefined }).catch((error: unknown) => {
    throw startProblem(error, options);
  });
}

/** The port that somebody else has; 0: one of them; undefined: that is not it. */
function portInUse(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, port } = error as NodeJS.ErrnoException & { port?: number };
  const inUse = code === 'EADDRINUSE' || /EADDRINUSE|address already in use/i.test(error.message);
  return inUse ? (port ?? Number(/:(\d+)/.exec(error.message)?.[1] ?? 0)) : undefined;
}

/** What commonly keeps a server from starting, with what to do about it. */
function startProblem(error: unknown, options: DevOptions): unknown {
  if (!(error instanceof Error)) return error;
  const { grpcPort, httpPort, redisPort, data, host } = options;
  const { code } = error as NodeJS.ErrnoException;
  const which = portInUse(error);
  if (which !== undefined) {
    const what = which > 0 ? `port ${which}` : `port ${grpcPort} or ${httpPort}`;
    const option = which === httpPort ? '--http-port' : which === redisPort ? '--redis-port' : '--grpc-port';
    return new CliError(
      `${what} is in use on ${host}`,
      `stop what uses it, or choose another: ${option} 0 takes any`,
    );
  }
  if (code === 'EEXIST' || code === 'ENOTDIR') {
    return new CliError(`${data} is not a directory`, 'choose a directory with --data');
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new CliError(
      `${data} cannot be written: ${error.message}`,
      'choose another directory with --data',
    );
  }
  if (typeof code !== 'string' || !isErrorCode(code)) return error;
  const hints: Partial<Record<string, string>> = {
    DATA_LOCKED: 'another directory: --data DIR',
    DATA_TOO_NEW: 'another directory: --data DIR',
    DATA_MISMATCH: 'start it with the --shards it was created with; another directory: --data DIR',
    INVALID_ARGUMENT: '',
    UNAVAILABLE: 'an address of this machine: --host 127.0.0.1, or --host 0.0.0.0 for all it has',
  };
  return new CliError(error.message, hints[code] ?? cureOf(code));
}

/** A server on every address is on this one too. */
function ownAddress(host: string, port: number): string {
  if (host === '0.0.0.0') return `127.0.0.1:${port}`;
  if (host === '::') return `[::1]:${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** A program that started this one and is gone, however it went, has closed its end of the pipe. */
function ended(stdin: Readable): AbortSignal {
  const controller = new AbortController();
  const abort = () => controller.abort();
  stdin.once('end', abort).once('close', abort).once('error', abort).resume();
  return controller.signal;
}

export const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolveWait) => {
    // A timer keeps the process alive whatever the server holds open.
    const timer = setInterval(() => {}, 2 ** 30);
    const done = () => {
      clearInterval(timer);
      resolveWait();
    };
    if (signal.aborted) done();
    else signal.addEventListener('abort', done, { once: true });
  });

const outcomeJson = ({ kind, name, result, changes, error }: Outcome) => ({
  kind,
  name,
  result,
  changes,
  ...(error instanceof Error ? { error: error.message } : {}),
});

function reloadJson(reload: Reload) {
  if (reload.kind === 'broken') return { event: 'manifests.broken', problems: reload.problems };
  if (reload.kind === 'failed') return { event: 'manifests.failed', error: String(reload.error) };
  const { outcomes, forgotten } = reload;
  return { event: 'manifests.applied', outcomes: outcomes.map(outcomeJson), forgotten };
}
