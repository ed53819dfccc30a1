// A kind's objects at hand, kept up to date by a reflector for each namespace in scope.
//   I1. `synced` resolves when every reflector has listed once; until then nothing may be concluded from
//       absence.
//   I2. Only what `transform` leaves is kept.
//   I3. What a write answered may be shown to `observe`: the next read of a known object sees it, before
//       the watch brings it.
import type { Runtime } from '../runtime.ts';
import { type Change, type ChangeHandler, type IndexFunction, ObjectCache } from './cache.ts';
import type { Client } from './client.ts';
import type { Key, KubeObject, Resource } from './objects.ts';
import { keyOf, lean } from './objects.ts';
import { type ReflectorEvent, type RelistReason, reflect } from './reflector.ts';
import type { KubeLog } from './telemetry.ts';

export type { Change };

export interface InformerOptions<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** Empty or unset: all of them. */
  readonly namespaces?: readonly string[];
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Keeps only what is needed; the default drops managed fields and the copy that kubectl keeps. */
  readonly transform?: (object: T) => T;
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  /** Names, labels, annotations, owners and finalizers are enough. */
  readonly metadataOnly?: boolean;
  /** The API may not be installed in this cluster. */
  readonly optional?: boolean;
  readonly pageSize?: number;
}

export interface InformerContext {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly onRelist?: (resource: string, reason: RelistReason) => void;
}

export class Informer<T extends KubeObject = KubeObject> {
  readonly resource: Resource<T>;
  readonly synced: Promise<void>;
  readonly #o: InformerOptions<T>;
  readonly #context: InformerContext;
  readonly #cache: ObjectCache<T>;
  readonly #unlisted: Set<string>;
  #resolveSynced: () => void = () => {};
  #aborter = new AbortController();
  #running: Promise<unknown> | undefined;
  #isServed = false;
  readonly #served = new Set<() => void>();

  constructor(options: InformerOptions<T>, context: InformerContext) {
    this.resource = options.resource;
    this.#o = options;
    this.#context = context;
    this.#unlisted = new Set(this.#scopes());
    this.synced = new Promise((resolve) => {
      this.#resolveSynced = resolve;
    });
    this.#cache = new ObjectCache({
      ...(options.indexes && { indexes: options.indexes }),
      onHandlerError: (err, key) =>
        context.log.error(
          { event: 'informer.handler-failed', err, key, resource: this.resource.plural },
          'a handler',
        ),
    });
  }

  get isSynced(): boolean {
    return this.#unlisted.size === 0;
  }

  /** Whether the API server has this kind; an optional one may come and go. */
  get isServed(): boolean {
    return this.#isServed;
  }

  get size(): number {
    return this.#cache.size;
  }

  get(key: Key): T | undefined {
    return this.#cache.get(key);
  }

  keys(): IterableIterator<Key> {
    return this.#cache.keys();
  }

  values(): IterableIterator<T> {
    return this.#cache.values();
  }

  byIndex(name: string, value: string): T[] {
    return this.#cache.byIndex(name, value);
  }

  /** Hears of everything that is there first, then of every change. Answers how to stop. */
  onChange(handler: ChangeHandler<T>): () => void {
    return this.#cache.onChange(handler);
  }

  /** The API of an optional kind has come or gone. Answers how to stop. */
  onServed(handler: () => void): () => void {
    this.#served.add(handler);
    return () => void this.#served.delete(handler);
  }

  /** Answers what it keeps of it. */
  observe(object: T): T {
    const kept = this.#kept(object);
    this.#cache.update(kept);
    return kept;
  }

  start(): void {
    if (this.#running !== undefined) return;
    const { signal } = this.#aborter;
    this.#running = Promise.all(this.#scopes().map((namespace) => this.#reflect(namespace, signal)));
  }

  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.#running;
  }

  #scopes(): string[] {
    const { namespaces = [] } = this.#o;
    return namespaces.length === 0 || !this.resource.namespaced ? [''] : [...new Set(namespaces)];
  }

  #reflect(namespace: string, signal: AbortSignal): Promise<void> {
    const { resource, optional = false, labelSelector, fieldSelector, metadataOnly, pageSize } = this.#o;
    const { client, runtime } = this.#context;
    const sink = {
      listed: (object: T) => this.#cache.putListed(this.#kept(object)),
      complete: (keys: ReadonlySet<Key>) => this.#complete(namespace, keys),
      put: (object: T) => this.#cache.put(this.#kept(object)),
      remove: (object: T) => this.#cache.remove(keyOf(object.metadata), this.#kept(object)),
      on: (event: ReflectorEvent) => this.#tell(event, namespace),
    };
    const list = {
      namespace,
      labelSelector,
      fieldSelector,
      ...(metadataOnly !== undefined && { metadataOnly }),
      ...(pageSize !== undefined && { pageSize }),
    };
    return reflect({ resource, client, runtime, list, sink, optional }, signal);
  }

  #kept(object: T): T {
    return (this.#o.transform ?? lean)(object);
  }

  #complete(namespace: string, keys: ReadonlySet<Key>): void {
    const prefix = namespace === '' ? '' : `${namespace}/`;
    for (const key of [...this.#cache.keys()]) {
      if (key.startsWith(prefix) && !keys.has(key)) this.#cache.remove(key);
    }
    this.#unlisted.delete(namespace);
    if (this.#unlisted.size === 0) this.#resolveSynced();
  }

  #serve(isServed: boolean): void {
    if (this.#isServed === isServed) return;
    this.#isServed = isServed;
    for (const handler of this.#served) handler();
  }

  #tell(event: ReflectorEvent, namespace: string): void {
    const { log, onRelist } = this.#context;
    if (event.kind === 'listed') this.#serve(true);
    if (event.kind === 'absent') {
      this.#serve(false);
      return;
    }
    const at = { resource: this.resource.plural, ...(namespace !== '' && { namespace }) };
    if (event.kind === 'listed') {
      onRelist?.(this.resource.plural, event.reason);
      log.debug({ event: 'informer.listed', ...at, reason: event.reason, objects: event.objects }, 'listed');
      return;
    }
    if (event.kind === 'recovered') {
      log.info({ event: 'informer.recovered', ...at, failures: event.failures }, 'the watch works again');
      return;
    }
    // The first failure may be a restart of the API server; it is told once it has happened twice, then
    // seldom.
    const { failures } = event;
    const level = failures === 2 || failures % 20 === 0 ? 'warn' : 'debug';
    log[level](
      { event: 'informer.failed', err: event.error, ...at, failures, waitMs: Math.round(event.waitMs) },
      'the API server does not let us list or watch; trying again',
    );
  }
}
