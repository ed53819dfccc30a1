// What is known of one data plane: whether it can be reached, its figures, and what others change there.
//   P1. One watch and one list of figures for a cluster and all its objects; the watch is also how its health
//       is known, so that a dead data plane costs one connection attempt at a time and no retries of objects.
//   P2. It counts as down after GRACE_MS without a watch, so that a restart of a pod flips no status.
//   P3. Whoever watches hears that it is up after the figures have been listed: what went by while the watch
//       was broken shows in them.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { backoffMs, earlier } from '../../kube/backoff.ts';
import type { KubeLog } from '../../kube/telemetry.ts';
import { type Runtime, sleep } from '../../runtime.ts';
import type { Connection } from './connection.ts';

export type Kind = 'queue' | 'stream' | 'schema';

export interface Summaries {
  queue: pb.QueueSummary;
  stream: pb.StreamSummary;
  schema: pb.SchemaSummary;
}

type Listed = { readonly [K in Kind]: Map<string, Summaries[K]> };

const nothingListed = (): Listed => ({ queue: new Map(), stream: new Map(), schema: new Map() });

export interface PlaneEvents {
  /** Figures of that kind and name are not what they were; unset: up or down, anything may be different. */
  changed(kind?: Kind, name?: string): void;
  /** What it says of itself is not what it was. */
  changedItself(): void;
  /** Somebody declared, changed or deleted it. */
  told(change: pb.AdminChange): void;
}

/** What a data plane says of itself. */
export interface PlaneFacts {
  /** Of its data directory. */
  readonly clusterId: string;
  /** Of its disk, in percent; undefined: it has none. */
  readonly usedPercent: number | undefined;
}

export interface PlaneTimes {
  /** Between two lists of figures. */
  readonly figuresMs: number;
  readonly graceMs: number;
}

export const PLANE_TIMES: PlaneTimes = { figuresMs: 30_000, graceMs: 10_000 };

export interface PlaneParts {
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly times: PlaneTimes;
  readonly connect: (signal: AbortSignal) => Promise<Connection>;
  readonly events: PlaneEvents;
}

const FIRST_MESSAGE_MS = 10_000;
const RETRY = { baseMs: 250, maxMs: 15_000 };
const PAGE = 1000;
const JITTER = 0.1;

export class Plane {
  readonly #p: PlaneParts;
  readonly #aborter = new AbortController();
  #figures = nothingListed();
  #facts: PlaneFacts | undefined;
  #listedAtMs = 0;
  #state: 'connecting' | 'up' | 'down' = 'connecting';
  #connection: Connection | undefined;
  #attempt = new AbortController();
  #cancelGrace: () => void = () => {};
  #failures = 0;

  constructor(parts: PlaneParts) {
    this.#p = parts;
    this.#beginGrace();
    void this.#run();
  }

  get state(): 'connecting' | 'up' | 'down' {
    return this.#state;
  }

  /** As it said last. */
  get facts(): PlaneFacts | undefined {
    return this.#facts;
  }

  /** While it is up. */
  get connection(): Connection | undefined {
    return this.#state === 'up' ? this.#connection : undefined;
  }

  /** When the list that `summary` answers from was asked for, on the monotonic clock. */
  get listedAtMs(): number {
    return this.#listedAtMs;
  }

  summary<K extends Kind>(kind: K, name: string): Summaries[K] | undefined {
    return this.#figures[kind].get(name);
  }

  /** Where it is or how one gets in may be different: connects anew. */
  reconnect(): void {
    this.#attempt.abort();
  }

  close(): void {
    this.#aborter.abort();
    this.#attempt.abort();
    this.#cancelGrace();
  }

  async #run(): Promise<void> {
    const { runtime, log } = this.#p;
    const { signal } = this.#aborter;
    while (!signal.aborted) {
      this.#attempt = new AbortController();
      try {
        await this.#follow(this.#attempt.signal);
      } catch (err) {
        this.#failures++;
        const isTold = (this.#failures & (this.#failures - 1)) === 0 && this.#failures > 1;
        log[isTold ? 'warn' : 'debug'](
          { event: 'plane.unreachable', err, failures: this.#failures },
          'a data plane cannot be reached',
        );
      }
      this.#connection?.close();
      this.#connection = undefined;
      if (signal.aborted) return;
      if (this.#state === 'up') this.#beginGrace();
      await sleep(runtime, backoffMs(this.#failures, RETRY, runtime.random()), signal);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { runtime, connect, events } = this.#p;
    const connection = await connect(signal);
    this.#connection = connection;
    const tooLate = runtime.after(FIRST_MESSAGE_MS, () => this.#attempt.abort());
    let cancelFigures = () => {};
    try {
      let isUp = false;
      for await (const { changes } of connection.watch(signal)) {
        tooLate();
        if (!isUp) {
          await this.#list(connection, signal);
          isUp = true;
          this.#up();
          cancelFigures = this.#keepListing(connection, signal);
        }
        for (const change of changes) events.told(change);
      }
      if (!isUp) throw new Error('it does not answer');
    } finally {
      tooLate();
      cancelFigures();
    }
  }

  #up(): void {
    this.#failures = 0;
    this.#cancelGrace();
    this.#cancelGrace = () => {};
    this.#state = 'up';
    this.#p.events.changed();
  }

  /** P2: from the end of the last watch, however many attempts there have been since. */
  #beginGrace(): void {
    this.#state = 'connecting';
    this.#cancelGrace = this.#p.runtime.after(this.#p.times.graceMs, () => {
      if (this.#state !== 'connecting') return;
      this.#state = 'down';
      this.#p.events.changed();
    });
  }

  #keepListing(connection: Connection, signal: AbortSignal): () => void {
    const { runtime, times, log } = this.#p;
    let cancel = () => {};
    const next = () => {
      cancel = runtime.after(earlier(times.figuresMs, JITTER, runtime.random()), () => {
        void this.#list(connection, signal)
          .catch((err: FlowError) => log.debug({ event: 'plane.figures', err }, 'no figures this time'))
          .finally(() => !signal.aborted && next());
      });
    };
    next();
    return () => cancel();
  }

  /** Answers come in pages, and count when all have come. */
  async #list(connection: Connection, signal: AbortSignal): Promise<void> {
    const startedMs = this.#p.runtime.monotonicMs();
    const listed = nothingListed();
    let cursor = '';
    do {
      const page = await connection.listFigures({ cursor, limit: PAGE, bucketed: true }, signal);
      for (const each of page.queues) listed.queue.set(each.name, each);
      for (const each of page.streams) listed.stream.set(each.name, each);
      for (const each of page.schemas) listed.schema.set(each.name, each);
      cursor = page.cursor;
    } while (cursor !== '');
    this.#learn(factsOf(await connection.getCluster({}, signal)));
    const before = this.#figures;
    this.#figures = listed;
    this.#listedAtMs = startedMs;
    if (this.#state !== 'up') return;
    for (const kind of Object.keys(listed) as Kind[]) this.#tellDifferences(kind, before[kind], listed[kind]);
  }

  #learn(facts: PlaneFacts): void {
    const isNews = JSON.stringify(facts) !== JSON.stringify(this.#facts);
    this.#facts = facts;
    if (isNews) this.#p.events.changedItself();
  }

  #tellDifferences(kind: Kind, before: ReadonlyMap<string, object>, now: ReadonlyMap<string, object>): void {
    for (const name of before.keys()) if (!now.has(name)) this.#p.events.changed(kind, name);
    for (const [name, summary] of now) {
      if (JSON.stringify(summary) !== JSON.stringify(before.get(name))) this.#p.events.changed(kind, name);
    }
  }
}

function factsOf({ clusterId, storageBytes, storageFreeBytes }: pb.Cluster): PlaneFacts {
  const usedPercent =
    storageBytes === 0 ? undefined : (100 * (storageBytes - storageFreeBytes)) / storageBytes;
  return { clusterId, usedPercent };
}
