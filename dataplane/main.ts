// Starts the data plane: fabric, listeners, logs. The only place that knows the real clock, environment and
// process.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openFabric } from './fabric.ts';
import { type ListenerOptions, prepareDoors } from './listeners.ts';
import { realRuntime } from './runtime.ts';
import type { Fabric } from './services.ts';
import type { Memory } from './shard/memory-watch.ts';
import type { StorageOptions } from './shard/open-shard.ts';
import { createLog, type EventName, type Level } from './telemetry/log.ts';

export interface ServerOptions extends ListenerOptions {
  /** null: everything in memory, gone at the end. */
  readonly dataDir: string | null;
  readonly shards: number;
  /** Queues and streams appear on first use. */
  readonly autoCreate: boolean;
  readonly logLevel: Level;
  /** What the process may take; default: the limit of its container, or all that the machine has. */
  readonly memoryLimitBytes?: number | undefined;
  readonly storage?: StorageOptions | undefined;
  /** How long calls that run may take to finish at the end. Default: 5 s. */
  readonly drainMs?: number | undefined;
  /** The process must end; the default ends it. */
  readonly onFatal?: (error: Error) => void;
}

export interface RunningServer {
  readonly grpcPort: number;
  readonly httpPort: number;
  /** Unset: there is none. */
  readonly redisPort: number | undefined;
  readonly fabric: Fabric;
  /** No new calls; those that run may finish. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

const GRACE_MS = 5000;
/** From here on memory is not what is short: the heap may hold as much garbage as what is alive. */
const ROOMY_BYTES = 1024 * 1024 * 1024;
/** Memory for keys at hand: a million of 100 B and room to spare; most of a small machine is for others. */
const KEYS_BYTES_MAX = 256 * 1024 * 1024;
const KEYS_SHARE_MAX = 1 / 8;

export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

export async function startServer(o: ServerOptions): Promise<RunningServer> {
  const log = createLog({ level: o.logLevel, pretty: process.stdout.isTTY });
  const onFatal = o.onFatal ?? endProcess;
  const memory = memoryOf(o.memoryLimitBytes);
  const keysBytesMax = Math.min(KEYS_BYTES_MAX, memory.limitBytes * KEYS_SHARE_MAX);
  const startedMs = performance.now();
  log.info({ event: 'server.starting', version: VERSION, dataDir: o.dataDir, shards: o.shards }, 'starting');
  const doors = await prepareDoors(o, { log, runtime: realRuntime, version: VERSION });
  const fabric = await openFabric({
    dataDir: o.dataDir,
    shards: o.shards,
    autoCreate: o.autoCreate,
    storage: { seed: randomInt(2 ** 32), keysBytesMax, ...o.storage },
    memory,
    runtime: realRuntime,
    version: VERSION,
    log: (event, fields) => {
      log[fields.err === undefined ? 'debug' : 'error']({ ...fields, event: event as EventName }, event);
    },
    onFatal: (error) => {
      log.fatal(
        { event: 'journal.failed', err: error },
        'the journal failed; ending the process so that nothing is acknowledged that is not durable',
      );
      onFatal(error);
    },
  }).catch(async (error: unknown) => {
    await doors.close();
    throw error;
  });
  try {
    const { grpc, http, redis, close } = await doors.open(fabric);
    let closing: Promise<void> | undefined;
    const closeAll = async () => {
      log.info({ event: 'server.draining' }, 'no new calls; those that run may finish');
      fabric.drain();
      await close(o.drainMs ?? GRACE_MS);
      await fabric.close();
      log.info({ event: 'server.stopped' }, 'everything is on disk');
    };
    const ms = Math.round(performance.now() - startedMs);
    const ports = { grpcPort: grpc.port, httpPort: http.port, redisPort: redis?.port };
    log.info({ event: 'server.ready', ms, ...ports }, 'serving');
    return {
      ...ports,
      fabric,
      drain: async () => fabric.drain(),
      close: () => {
        closing ??= closeAll();
        return closing;
      },
    };
  } catch (error) {
    await fabric.close();
    throw error;
  }
}

function memoryOf(limitBytes: number | undefined): Memory {
  // Without a limit some systems say 0, others a number beyond all memory.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return {
    limitBytes: limitBytes ?? Math.min(constrained, totalmem()),
    resident: () => process.memoryUsage.rss(),
    live() {
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    },
  };
}

/**
 * Once, when a server has started: modules fill the young generation, which V8 would keep at its full size.
 * About 40 MB less, for a pause of some 50 ms before anybody is served.
 */
export function giveBackMemory(memoryLimitBytes?: number): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (how: { type: 'major'; flavor: 'last-resort' }) => void;
  collect({ type: 'major', flavor: 'last-resort' });
  if (memoryOf(memoryLimitBytes).limitBytes < ROOMY_BYTES) return;
  // V8 lets the heap grow by a third at most once it was asked to be small: at 1,000 jobs/s that was a full
  // collection every three seconds, of 20 ms and more. Twice what is alive is what it does otherwise.
  setFlagsFromString('--heap-growing-percent=100');
}

/** Exit code of a failed journal: a supervisor starts us again, and recovery says what is there. */
function endProcess(): void {
  process.exitCode = 70;
  // The last log line leaves first; nothing is answered meanwhile (the shard refuses everything).
  setImmediate(() => process.exit(70));
}
