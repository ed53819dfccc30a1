// All informers and controllers of a process, and their order of life.
//   H1. Informers run from the start, also without the lease: a takeover begins with warm caches.
//   H2. Controllers run while the lease is ours, and only then; losing it aborts them at once.
//   H3. Shutdown: no new work, what runs gets its grace, events leave, informers stop.
import type { Runtime } from '../runtime.ts';
import { Writer } from './apply.ts';
import type { Client } from './client.ts';
import { Controller, type ControllerOptions } from './controller.ts';
import { EventRecorder, type Recorder } from './events.ts';
import { Informer, type InformerOptions } from './informer.ts';
import type { Leadership } from './leader.ts';
import type { KubeMetrics } from './metrics.ts';
import type { KubeObject, Resource } from './objects.ts';
import type { KubeLog } from './telemetry.ts';

export interface HostOptions {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly metrics: KubeMetrics;
  /** Name of the pod, for events. */
  readonly instance: string;
  /** Empty: all of them. The default of every informer. */
  readonly namespaces: readonly string[];
}

const WORKERS_MAX = 4;

export class ControllerHost {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly #o: HostOptions;
  readonly #informers: Informer[] = [];
  readonly #controllers: Controller[] = [];
  readonly #recorders: EventRecorder[] = [];
  #leadership: Leadership | undefined;

  constructor(options: HostOptions) {
    this.#o = options;
    this.client = options.client;
    this.runtime = options.runtime;
    this.log = options.log;
  }

  informer<T extends KubeObject>(options: InformerOptions<T>): Informer<T> {
    const { client, runtime, log, metrics, namespaces } = this.#o;
    const context = { client, runtime, log, onRelist: metrics.relisted };
    const informer = new Informer<T>({ namespaces, ...options }, context);
    this.#informers.push(informer as unknown as Informer);
    return informer;
  }

  /** Who writes for a controller. `name` is its field manager, such as flowmesh-queue. */
  writer(name: string): Writer {
    const { client, log } = this.#o;
    return new Writer({
      client,
      log,
      fieldManager: name,
      mayWrite: () => this.mayAct(),
      observe: (resource, object) => this.#observe(resource, object),
    });
  }

  /** `name` such as flowmesh.io/queue-controller. */
  recorder<Reason extends string>(name: string): Recorder<Reason> {
    const { client, runtime, log, metrics, instance } = this.#o;
    const recorder = new EventRecorder<Reason>({
      client,
      runtime,
      log,
      instance,
      controller: name,
      mayWrite: () => this.mayAct(),
      onOutcome: metrics.event,
    });
    this.#recorders.push(recorder as EventRecorder);
    return recorder;
  }

  controller<T extends KubeObject>(options: ControllerOptions<T>): Controller<T> {
    const { runtime, log, metrics } = this.#o;
    const meter = metrics.controller(options.name, options.workersMax ?? WORKERS_MAX);
    const controller = new Controller<T>(options, { runtime, log, meter });
    this.#controllers.push(controller as unknown as Controller);
    return controller;
  }

  get isSynced(): boolean {
    return this.#informers.every((informer) => informer.isSynced);
  }

  mayAct(): boolean {
    return this.#leadership?.mayAct() ?? false;
  }

  watch(): void {
    for (const informer of this.#informers) informer.start();
  }

  /** Resolves when all controllers run. */
  async lead(leadership: Leadership): Promise<void> {
    this.#leadership = leadership;
    leadership.signal.addEventListener('abort', () => {
      for (const controller of this.#controllers) controller.abort();
    });
    await Promise.all(this.#controllers.map((controller) => controller.start()));
  }

  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.#controllers.map((controller) => controller.stop(graceMs)));
    await Promise.all(this.#recorders.map((recorder) => recorder.close(Math.min(graceMs, 2_000))));
    await Promise.all(this.#informers.map((informer) => informer.stop()));
  }

  #observe<T extends KubeObject>(resource: Resource<T>, object: T): T {
    const informer = this.#informers.find(
      (each) => each.resource.plural === resource.plural && each.resource.group === resource.group,
    ) as Informer<T> | undefined;
    return informer?.observe(object) ?? object;
  }
}
