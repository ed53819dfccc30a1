// The operator's process without the process: client, informers, lease, controllers, probes; started and
// stopped.
//   P1. Ready: every informer has listed once. It is so without the lease, too: a standby is ready to take
//       over.
//   P2. Healthy until the lease is lost: then `ended` resolves and the process must end (L3 of leader.ts).
//   P3. Order of the end: controllers, events, lease, informers, probes. So the lease is free only when
//       nothing acts.
import { collectDefaultMetrics, Registry } from 'prom-client';
import { createClient } from './kube/client.ts';
import type { Credentials } from './kube/credentials.ts';
import { ControllerHost } from './kube/host.ts';
import { electLeader, type Leadership } from './kube/leader.ts';
import { createKubeMetrics, type KubeMetrics } from './kube/metrics.ts';
import type { KubeLog } from './kube/telemetry.ts';
import { createTransport } from './kube/transport.ts';
import type { OperatorOptions } from './options.ts';
import { type Answer, type SmallServer, serve } from './probes.ts';
import type { Runtime } from './runtime.ts';

/** Makes the informers and controllers of one kind. */
export type Register = (host: ControllerHost, options: OperatorOptions) => void;

export interface OperatorParts {
  readonly options: OperatorOptions;
  readonly credentials: Credentials;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly version: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly controllers: readonly Register[];
}

export interface RunningOperator {
  readonly metricsPort: number | undefined;
  readonly probePort: number | undefined;
  readonly host: ControllerHost;
  /** The lease was lost, or `stop` is through. */
  readonly ended: Promise<'lease-lost' | 'stopped'>;
  /** Resolves when it leads and every controller runs. */
  readonly leading: Promise<void>;
  stop(): Promise<void>;
}

export async function startOperator(parts: OperatorParts): Promise<RunningOperator> {
  const { options, runtime, log } = parts;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const metrics = createKubeMetrics(registry);
  const transport = createTransport({
    credentials: parts.credentials,
    runtime,
    userAgent: `flowmesh-operator/${parts.version}`,
    onAnswer: metrics.answer,
  });
  const host = new ControllerHost({
    client: createClient(transport),
    runtime,
    log,
    metrics,
    instance: options.instance,
    namespaces: options.namespaces,
  });
  for (const register of parts.controllers) register(host, options);
  const life = new Life(parts, host, metrics);
  const servers = await listen(options, registry, life);
  host.watch();
  life.start();
  return {
    metricsPort: servers.metrics?.port,
    probePort: servers.probes?.port,
    host,
    ended: life.ended,
    leading: life.leading,
    async stop() {
      await life.stop();
      transport.close();
      await Promise.all([servers.metrics?.close(), servers.probes?.close()]);
    },
  };
}

/** Waits for the lease, leads, and lets go. */
class Life {
  readonly ended: Promise<'lease-lost' | 'stopped'>;
  readonly leading: Promise<void>;
  readonly #parts: OperatorParts;
  readonly #host: ControllerHost;
  readonly #metrics: KubeMetrics;
  readonly #stopping = new AbortController();
  #end: (why: 'lease-lost' | 'stopped') => void = () => {};
  #led: () => void = () => {};
  #leadership: Leadership | undefined;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: OperatorParts, host: ControllerHost, metrics: KubeMetrics) {
    this.#parts = parts;
    this.#host = host;
    this.#metrics = metrics;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.leading = new Promise((resolve) => {
      this.#led = resolve;
    });
  }

  get isHealthy(): boolean {
    return this.#leadership === undefined || this.#stopping.signal.aborted || this.#leadership.mayAct();
  }

  get isReady(): boolean {
    return this.#host.isSynced && !this.#stopping.signal.aborted;
  }

  start(): void {
    this.#running = this.#run();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #run(): Promise<void> {
    const leadership = await this.#elected();
    if (leadership === undefined) return;
    this.#leadership = leadership;
    leadership.signal.addEventListener('abort', () => {
      if (!this.#stopping.signal.aborted) this.#end('lease-lost');
    });
    void this.#host.lead(leadership).then(this.#led);
  }

  #elected(): Promise<Leadership | undefined> {
    const { options, runtime, log, credentials, identity } = this.#parts;
    const name = options.leaseName;
    if (!options.leaderElection) return Promise.resolve(alwaysLeading());
    return electLeader(
      {
        client: this.#host.client,
        runtime,
        log,
        name,
        namespace: options.leaseNamespace ?? credentials.namespace ?? 'default',
        identity,
        onChange: (leads) => this.#metrics.leading(name, leads),
      },
      this.#stopping.signal,
    );
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#host.stop(this.#parts.options.graceMs);
    await this.#leadership?.release();
    this.#end('stopped');
  }
}

function alwaysLeading(): Leadership {
  const aborter = new AbortController();
  return {
    signal: aborter.signal,
    mayAct: () => !aborter.signal.aborted,
    release: async () => aborter.abort(),
  };
}

async function listen(options: OperatorOptions, registry: Registry, life: Life) {
  const say = (ok: boolean, no: string): Answer => ({
    status: ok ? 200 : 503,
    body: ok ? 'ok\n' : `${no}\n`,
  });
  const servers: { metrics?: SmallServer; probes?: SmallServer } = {};
  if (options.metrics !== undefined) {
    servers.metrics = await serve(options.metrics, {
      '/metrics': async () => ({
        status: 200,
        contentType: registry.contentType,
        body: await registry.metrics(),
      }),
    });
  }
  if (options.probes !== undefined) {
    servers.probes = await serve(options.probes, {
      '/healthz': () => say(life.isHealthy, 'the lease is lost'),
      '/readyz': () => say(life.isReady, 'not every kind has been listed yet, or it is stopping'),
    });
  }
  return servers;
}
