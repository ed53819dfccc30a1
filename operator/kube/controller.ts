// Informers -> queue -> `reconcile(key)`. A key says that something may have changed, never what: reconcile
// looks.
//   C1. Whatever reconcile throws becomes a retry with backoff, a line in the log and a metric; never a
//       crash.
//   C2. Every object is looked at again within `resyncMs`, at a time of its own: jitter spreads them.
//   C3. Nothing runs before the informers have synced, nor twice at once for a key (W1).
//   C4. `stop` lets what runs finish until the deadline; `abort` (the lease is lost) ends it at once by its
//       signal.
import { type Runtime, sleep } from '../runtime.ts';
import { type BackoffTerms, earlier } from './backoff.ts';
import type { Change, Informer } from './informer.ts';
import type { ControllerMeter } from './metrics.ts';
import { isTerminating, type Key, type KubeObject, ownerKeyOf, type Resource } from './objects.ts';
import type { KubeLog } from './telemetry.ts';
import { type Lane, type Work, WorkQueue } from './work-queue.ts';

export interface ReconcileContext {
  /** Aborts when the lease is lost, at the end of a shutdown's grace, or after `timeoutMs`. */
  readonly signal: AbortSignal;
  /** With controller and object. */
  readonly log: KubeLog;
  /** Failures in a row before this run. */
  readonly failures: number;
}

export interface ReconcileResult {
  /** Look again at the latest then; the resync is the upper bound. */
  readonly requeueAfterMs?: number | undefined;
}

export type Reconcile = (key: Key, context: ReconcileContext) => Promise<ReconcileResult | undefined>;

/** Trying again will not help until something changes: no retry but the resync. */
export class TerminalError extends Error {}

/** Another kind whose changes concern objects of the primary one. */
export interface Source {
  readonly synced: Promise<void>;
  start(add: (key: Key) => void): () => void;
}

export interface ControllerOptions<T extends KubeObject> {
  readonly name: string;
  readonly primary: Informer<T>;
  readonly sources?: readonly Source[];
  readonly reconcile: Reconcile;
  /** Which changes of the primary matter; the default is all of them. */
  readonly concerns?: (change: Change<T>) => boolean;
  readonly workersMax?: number;
  readonly resyncMs?: number;
  readonly timeoutMs?: number;
  readonly backoff?: BackoffTerms;
}

export interface ControllerContext {
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly meter: ControllerMeter;
}

const WORKERS_MAX = 4;
const RESYNC_MS = 60_000;
const TIMEOUT_MS = 120_000;
const JITTER = 0.2;

export class Controller<T extends KubeObject = KubeObject> {
  readonly name: string;
  readonly queue: WorkQueue;
  readonly #o: ControllerOptions<T>;
  readonly #context: ControllerContext;
  readonly #log: KubeLog;
  readonly #aborter = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #subscriptions: (() => void)[] = [];
  #pumping = false;
  #closed = false;

  constructor(options: ControllerOptions<T>, context: ControllerContext) {
    this.name = options.name;
    this.#o = options;
    this.#context = context;
    this.#log = context.log.child({ controller: options.name });
    this.queue = new WorkQueue({
      runtime: context.runtime,
      workersMax: options.workersMax ?? WORKERS_MAX,
      ...(options.backoff && { backoff: options.backoff }),
      meter: context.meter,
      onReady: () => this.#pumpSoon(),
    });
    context.meter.watch(this.queue);
  }

  /** After a takeover, or at the start: everything there is gets looked at, deletions first. */
  async start(): Promise<void> {
    const { primary, sources = [] } = this.#o;
    await Promise.all([primary.synced, ...sources.map(({ synced }) => synced)]);
    if (this.#closed) return;
    let first = true;
    const onChange = (change: Change<T>) => {
      if (!first && this.#o.concerns?.(change) === false) return;
      this.queue.add(change.key, this.#laneOf(change.key, first ? 'resync' : 'change'));
    };
    this.#subscriptions.push(primary.onChange(onChange));
    for (const source of sources) {
      const add = (key: Key) => {
        // Everything of the primary is in the queue already.
        if (!first) this.queue.add(key, this.#laneOf(key, 'change'));
      };
      this.#subscriptions.push(source.start(add));
    }
    first = false;
  }

  /** Something that no informer sees has changed, such as the data plane. */
  trigger(key: Key): void {
    this.queue.add(key, this.#laneOf(key, 'change'));
  }

  async stop(graceMs: number): Promise<void> {
    this.#close();
    const { runtime } = this.#context;
    const finished = new AbortController();
    const all = Promise.all(this.#running).then(() => finished.abort());
    await Promise.race([all, sleep(runtime, graceMs, finished.signal)]);
    this.#aborter.abort();
  }

  abort(): void {
    this.#close();
    this.#aborter.abort();
  }

  #close(): void {
    this.#closed = true;
    for (const end of this.#subscriptions.splice(0)) end();
    this.queue.close();
  }

  // One turn of the event loop each: reconciles without IO must not starve it.
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#context.runtime.soon(() => {
      this.#pumping = false;
      for (let work = this.queue.take(); work !== undefined; work = this.queue.take()) this.#run(work);
    });
  }

  #run(work: Work): void {
    const run = this.#reconcile(work).finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  async #reconcile({ key, failures }: Work): Promise<void> {
    const { runtime, meter } = this.#context;
    const log = this.#log.child({ key });
    const startedMs = runtime.monotonicMs();
    const took = () => (runtime.monotonicMs() - startedMs) / 1000;
    const deadline = new AbortController();
    const stop = () => deadline.abort();
    const cancel = runtime.after(this.#o.timeoutMs ?? TIMEOUT_MS, stop);
    this.#aborter.signal.addEventListener('abort', stop);
    try {
      const result = await this.#o.reconcile(key, { signal: deadline.signal, log, failures });
      const afterMs = result?.requeueAfterMs;
      meter.reconciled(afterMs === undefined ? 'success' : 'requeue_after', took());
      this.queue.done(key, this.#next(key, afterMs));
    } catch (err) {
      this.#failed(key, err, failures + 1, took(), log);
    } finally {
      cancel();
      this.#aborter.signal.removeEventListener('abort', stop);
    }
  }

  #failed(key: Key, err: unknown, failures: number, seconds: number, log: KubeLog): void {
    const { meter } = this.#context;
    if (this.#aborter.signal.aborted) {
      this.queue.done(key);
      return;
    }
    meter.reconciled('error', seconds);
    if (err instanceof TerminalError) {
      log.warn({ event: 'reconcile.refused', err }, 'not again until something changes');
      this.queue.done(key, this.#next(key, undefined));
      return;
    }
    const waitMs = Math.round(this.queue.failed(key));
    // A thousand objects of a dead data plane must not fill the log: the 1st, 2nd, 4th, 8th ... failure of
    // each.
    const level = (failures & (failures - 1)) === 0 ? 'warn' : 'debug';
    log[level]({ event: 'reconcile.failed', err, failures, waitMs }, 'trying again');
  }

  /** C2: what is gone is not looked at again. */
  #next(key: Key, askedMs: number | undefined): { afterMs: number; lane: Lane } | undefined {
    const { runtime } = this.#context;
    const resyncMs = earlier(this.#o.resyncMs ?? RESYNC_MS, JITTER, runtime.random());
    if (askedMs !== undefined && askedMs < resyncMs) {
      return { afterMs: askedMs, lane: this.#laneOf(key, 'change') };
    }
    if (this.#o.primary.get(key) === undefined) return undefined;
    return { afterMs: resyncMs, lane: this.#laneOf(key, 'resync') };
  }

  #laneOf(key: Key, otherwise: Lane): Lane {
    const object = this.#o.primary.get(key);
    return object !== undefined && isTerminating(object) ? 'deletion' : otherwise;
  }
}

/** Objects that the primary's objects own: their changes concern the owner. */
export function owned<C extends KubeObject>(informer: Informer<C>, owner: Resource): Source {
  return watched(informer, (object) => {
    const key = ownerKeyOf(object, owner);
    return key === undefined ? [] : [key];
  });
}

/** Objects that others refer to, by an index for instance. Hears what it was before, too. */
export function watched<C extends KubeObject>(
  informer: Informer<C>,
  keysOf: (object: C) => Iterable<Key>,
  concerns: (change: Change<C>) => boolean = () => true,
): Source {
  return {
    synced: informer.synced,
    start: (add) =>
      informer.onChange((change) => {
        if (!concerns(change)) return;
        const before = change.kind === 'updated' ? keysOf(change.before) : [];
        for (const key of new Set([...keysOf(change.object), ...before])) add(key);
      }),
  };
}

/** For `concerns`: not what only the status or the managed fields say. */
export function beyondStatus<T extends KubeObject>(change: Change<T>): boolean {
  if (change.kind !== 'updated') return true;
  const [now, before] = [change.object.metadata, change.before.metadata];
  const said = ({ generation, labels, annotations, finalizers, ownerReferences }: typeof now) =>
    JSON.stringify([generation, labels, annotations, finalizers, ownerReferences]);
  return (
    now.uid !== before.uid || now.deletionTimestamp !== before.deletionTimestamp || said(now) !== said(before)
  );
}
