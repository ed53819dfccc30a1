// Kubernetes events (events.k8s.io/v1): what `kubectl describe` shows people.
//   V1. Recording never waits and never fails: what cannot be sent is counted and dropped.
//   V2. The same thing said again within SERIES_MS is one event with a count; the count is written at most
//       every SERIES_WRITE_MS.
//   V3. An object gets a burst of OBJECT_BURST events, then one in OBJECT_REFILL_MS; all objects together
//       ALL_BURST, then one in ALL_REFILL_MS. Series, buckets and what waits to be sent are bounded.
import { type Runtime, sleep } from '../runtime.ts';
import type { Client } from './client.ts';
import { isNotFound } from './errors.ts';
import { microTime } from './lease.ts';
import { apiVersionOf, type KubeObject, type Resource } from './objects.ts';
import type { KubeLog } from './telemetry.ts';
import { TokenBucket } from './token-bucket.ts';

export interface EventDraft<Reason extends string = string> {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase; from a closed list of the controller. */
  readonly reason: Reason;
  /** What the controller was doing, CamelCase, such as Reconcile or Restart. */
  readonly action: string;
  /** For people: what, with which values, what to do. */
  readonly note: string;
}

export interface Recorder<Reason extends string = string> {
  record(resource: Resource, about: KubeObject, event: EventDraft<Reason>): void;
}

export interface EventObject extends KubeObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  regarding: { apiVersion: string; kind: string; namespace?: string; name: string; uid?: string };
  note: string;
  type: string;
  series?: { count: number; lastObservedTime: string };
}

export const EVENTS: Resource<EventObject> = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};

export interface EventsOptions {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  /** Such as flowmesh.io/queue-controller. */
  readonly controller: string;
  /** Name of the pod. */
  readonly instance: string;
  readonly mayWrite: () => boolean;
  readonly onOutcome?: (outcome: 'sent' | 'aggregated' | 'dropped' | 'failed') => void;
}

interface Series {
  readonly event: EventObject;
  seenMs: number;
  /** Undefined: never. */
  writtenMs: number | undefined;
  count: number;
  waiting: boolean;
}

const SERIES_MS = 6 * 60_000;
const SERIES_WRITE_MS = 60_000;
const SERIES_MAX = 2_000;
const WAITING_MAX = 1_000;
const OBJECT_BURST = 25;
const OBJECT_REFILL_MS = 60_000;
const ALL_BURST = 100;
const ALL_REFILL_MS = 200;
const NOTE_MAX = 1024;
const TRIES = 3;

export class EventRecorder<Reason extends string = string> implements Recorder<Reason> {
  readonly #o: EventsOptions;
  readonly #series = new Map<string, Series>();
  readonly #objects = new Map<string, TokenBucket>();
  readonly #all: TokenBucket;
  readonly #waiting: Series[] = [];
  readonly #stopped = new AbortController();
  #sending: Promise<void> | undefined;
  #madeCount = 0;

  constructor(options: EventsOptions) {
    this.#o = options;
    this.#all = new TokenBucket(ALL_BURST, ALL_REFILL_MS, options.runtime.monotonicMs());
  }

  record(resource: Resource, about: KubeObject, draft: EventDraft<Reason>): void {
    const nowMs = this.#o.runtime.monotonicMs();
    const { uid = '', name, namespace = '' } = about.metadata;
    const id = [resource.kind, namespace, name, uid, draft.type, draft.reason, draft.action, draft.note].join(
      '\0',
    );
    const known = this.#series.get(id);
    if (known !== undefined && nowMs - known.seenMs < SERIES_MS) {
      this.#again(known, nowMs);
      return;
    }
    if (!this.#allowed(`${resource.kind}\0${namespace}\0${name}`, nowMs)) {
      this.#o.onOutcome?.('dropped');
      return;
    }
    const event = this.#eventOf(resource, about, draft);
    const series = { event, seenMs: nowMs, writtenMs: undefined, count: 1, waiting: false };
    remember(this.#series, id, series, SERIES_MAX);
    this.#send(series);
  }

  /** Sends what waits, for at most that long. */
  async close(graceMs: number): Promise<void> {
    const end = this.#o.runtime.after(graceMs, () => this.#stopped.abort());
    await this.#sending;
    end();
    this.#stopped.abort();
  }

  #again(series: Series, nowMs: number): void {
    series.count++;
    series.seenMs = nowMs;
    this.#o.onOutcome?.('aggregated');
    if (series.writtenMs !== undefined && nowMs - series.writtenMs >= SERIES_WRITE_MS) this.#send(series);
  }

  #allowed(object: string, nowMs: number): boolean {
    const bucket = this.#objects.get(object) ?? new TokenBucket(OBJECT_BURST, OBJECT_REFILL_MS, nowMs);
    remember(this.#objects, object, bucket, SERIES_MAX);
    return bucket.take(nowMs) && this.#all.take(nowMs);
  }

  #eventOf(resource: Resource, about: KubeObject, draft: EventDraft<Reason>): EventObject {
    const { runtime, controller, instance } = this.#o;
    const { name, namespace, uid } = about.metadata;
    const wallMs = runtime.wallMs();
    const chance = Math.floor(runtime.random() * 2 ** 32);
    const suffix = `${chance.toString(16)}${(this.#madeCount++).toString(16)}`;
    return {
      // Names are at most 253 characters.
      metadata: {
        name: `${name.slice(0, 220)}.${wallMs.toString(16)}${suffix}`,
        namespace: namespace ?? 'default',
      },
      eventTime: microTime(wallMs),
      reportingController: controller,
      reportingInstance: instance.slice(0, 128),
      action: draft.action,
      reason: draft.reason,
      type: draft.type,
      note: draft.note.length > NOTE_MAX ? `${draft.note.slice(0, NOTE_MAX - 1)}…` : draft.note,
      regarding: {
        apiVersion: apiVersionOf(resource),
        kind: resource.kind,
        name,
        ...(namespace !== undefined && { namespace }),
        ...(uid !== undefined && { uid }),
      },
    };
  }

  #send(series: Series): void {
    if (series.waiting) return;
    if (this.#waiting.length >= WAITING_MAX || this.#stopped.signal.aborted) {
      this.#o.onOutcome?.('dropped');
      return;
    }
    series.waiting = true;
    this.#waiting.push(series);
    this.#sending ??= this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    for (let series = this.#waiting.shift(); series !== undefined; series = this.#waiting.shift()) {
      series.waiting = false;
      this.#o.onOutcome?.((await this.#write(series)) ? 'sent' : 'failed');
    }
    this.#sending = undefined;
  }

  async #write(series: Series): Promise<boolean> {
    const { runtime, log, mayWrite } = this.#o;
    const { signal } = this.#stopped;
    for (let tries = 1; tries <= TRIES && !signal.aborted && mayWrite(); tries++) {
      try {
        await (series.writtenMs === undefined ? this.#create(series) : this.#update(series));
        series.writtenMs = runtime.monotonicMs();
        return true;
      } catch (err) {
        log.debug(
          { event: 'events.failed', err, reason: series.event.reason, tries },
          'an event was not taken',
        );
        await sleep(runtime, 1000 * tries * (0.5 + runtime.random()), signal);
      }
    }
    return false;
  }

  #create({ event }: Series): Promise<EventObject> {
    return this.#o.client.create(EVENTS, event, this.#stopped.signal);
  }

  async #update(series: Series): Promise<void> {
    const { client, runtime } = this.#o;
    const { event, count } = series;
    const change = { series: { count, lastObservedTime: microTime(runtime.wallMs()) } };
    try {
      await client.patch(EVENTS, event.metadata, change, { type: 'merge', signal: this.#stopped.signal });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      // The server keeps events for an hour.
      await client.create(EVENTS, { ...event, ...change }, this.#stopped.signal);
    }
  }
}

/** The one that was used longest ago goes. */
function remember<V>(map: Map<string, V>, key: string, value: V, sizeMax: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.size > sizeMax ? map.keys() : [];
  if (oldest !== undefined) map.delete(oldest);
}
