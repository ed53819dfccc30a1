// The operator's process without the process: client, informers, lease, controllers, probes; started and
// stopped.
//   P1. Ready: every informer has listed once, and every service can serve. It is so without the lease, too:
//       a standby is ready to take over.
//   P2. Healthy until the lease is lost: then `ended` resolves and the process must end (L3 of leader.ts).
//   P3. Order of the end: controllers, events, lease, informers, services, probes. So the lease is free only
//       when nothing acts, and whoever asks a service finds it until others have taken over.
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
export type Register = (
  host: ControllerHost,
  options: OperatorOptions,
  told: { readonly namespace: string },
) => void;

/** What answers others, beside the controllers: with or without the lease. */
export interface Service {
  readonly name: string;
  readonly port: number;
  /** What it lacks to serve; undefined: nothing. */
  obstacle(): string | undefined;
  /** Resolves when it has answered its last request. */
  stop(): Promise<void>;
}

/** Starts one before the informers do; undefined: it is not wanted. */
export type StartService = (
  host: ControllerHost,
  options: OperatorOptions,
  told: { readonly registry: Registry; readonly namespace: string },
) => Promise<Service | undefined>;

export interface OperatorParts {
  readonly options: OperatorOptions;
  readonly credentials: Credentials;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly version: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly controllers: readonly Register[];
  readonly services?: readonly StartService[];
}

export interface RunningOperator {
  readonly metricsPort: number | undefined;
  readonly probePort: number | undefined;
  readonly services: readonly Service[];
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
  const namespace = options.leaseNamespace ?? parts.credentials.namespace ?? 'default';
  for (const register of parts.controllers) register(host, options, { namespace });
  const services: Service[] = [];
  for (const start of parts.services ?? []) {
    const service = await start(host, options, { registry, namespace });
    if (service !== undefined) services.push(service);
  }
  const life = new Life(parts, host, metrics, { namespace, services });
  const servers = await listen(options, registry, life);
  host.watch();
  life.start();
  return {
    metricsPort: servers.metrics?.port,
    probePort: servers.probes?.port,
    services,
    host,
    ended: life.ended,
    leading: life.leading,
    async stop() {
      await Promise.all([life.stop(), ...services.map((service) => service.stop())]);
      transport.close();
      await Promise.all([servers.metrics?.close(), servers.probes?.close()]);
    },
  };
}

interface Place {
  readonly namespace: string;
  readonly services: readonly Service[];
}

/** Waits for the lease, leads, and lets go. */
class Life {
  readonly ended: Promise<'lease-lost' | 'stopped'>;
  readonly leading: Promise<void>;
  readonly #parts: OperatorParts;
  readonly #host: ControllerHost;
  readonly #metrics: KubeMetrics;
  readonly #place: Place;
  readonly #stopping = new AbortController();
  #end: (why: 'lease-lost' | 'stopped') => void = () => {};
  #led: () => void = () => {};
  #leadership: Leadership | undefined;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: OperatorParts, host: ControllerHost, metrics: KubeMetrics, place: Place) {
    this.#parts = parts;
    this.#place = place;
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

  /** Why it is not ready (P1). */
  get obstacle(): string | undefined {
    if (this.#stopping.signal.aborted) return 'it is stopping';
    if (!this.#host.isSynced) return 'not every kind has been listed yet';
    const obstacles = this.#place.services.map((service) => service.obstacle());
    return obstacles.find((each) => each !== undefined);
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
    const { options, runtime, log, identity } = this.#parts;
    const name = options.leaseName;
    if (!options.leaderElection) return Promise.resolve(alwaysLeading());
    return electLeader(
      {
        client: this.#host.client,
        runtime,
        log,
        name,
        namespace: this.#place.namespace,
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
  const say = (no: string | undefined): Answer => ({
    status: no === undefined ? 200 : 503,
    body: `${no ?? 'ok'}\n`,
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
      '/healthz': () => say(life.isHealthy ? undefined : 'the lease is lost'),
      '/readyz': () => say(life.obstacle),
    });
  }
  return servers;
}
