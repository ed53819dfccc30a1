// Shards with the stream view in one process: the real shard over a journal in an array, so that a test
// decides when entries are durable, what a restart finds, and what time it is.
import type { Journal } from '../../dataplane/journal/journal.ts';
import type { Runtime } from '../../dataplane/runtime.ts';
import type { SchemaHolder } from '../../dataplane/schema/registry.ts';
import { ShardClock } from '../../dataplane/shard/clock.ts';
import { Effects } from '../../dataplane/shard/effects.ts';
import { Producers } from '../../dataplane/shard/producers.ts';
import { Shard } from '../../dataplane/shard/shard.ts';
import type { Caller, View, ViewContext } from '../../dataplane/shard/state-machine.ts';
import { type Level, openLevel } from '../../dataplane/storage/level.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import { createStreamService, type Streams } from '../../dataplane/stream/service.ts';
import { createStreamView, type StreamView } from '../../dataplane/stream/view.ts';
import { FakeLogs } from './fake-log.ts';

export const caller: Caller = { identity: 'test', tenant: 1, deadlineMs: 0 };

export class FakeTime implements Runtime {
  now = 1_700_000_000_000;
  #timers = new Set<{ atMs: number; run: () => void }>();
  #seed = 1;
  wallMs = () => this.now;
  monotonicMs = () => this.now;
  random = () => {
    this.#seed = (this.#seed * 48271) % 0x7fffffff;
    return this.#seed / 0x7fffffff;
  };
  soon = (run: () => void) => void setImmediate(run);

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.now + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Steps of at most a second, as a living process would see. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    while (this.now < end) {
      this.now = Math.min(end, this.now + 1000);
      for (const timer of [...this.#timers]) {
        if (timer.atMs > this.now) continue;
        this.#timers.delete(timer);
        timer.run();
      }
      await turns();
    }
  }

  clear(): void {
    this.#timers.clear();
  }
}

/** Lets everything happen that needs no time. */
export async function turns(count = 12): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

interface Entry {
  readonly seq: number;
  readonly timeMs: number;
  readonly payload: Buffer;
}

export class FakeJournal {
  entries: Entry[] = [];
  isHeld = false;
  #waiting: (() => void)[] = [];

  append(frame: { timeMs: number; payload: readonly Uint8Array[] }, o: { expect: number }): Promise<number> {
    const entry = { seq: o.expect, timeMs: frame.timeMs, payload: Buffer.concat(frame.payload) };
    return new Promise((resolve) => {
      const write = () => {
        this.entries.push(entry);
        resolve(entry.seq);
      };
      if (this.isHeld) this.#waiting.push(write);
      else write();
    });
  }

  release(): void {
    this.isHeld = false;
    for (const write of this.#waiting.splice(0)) write();
  }

  state = () => 'ready' as const;
}

interface Node {
  shard: Shard;
  view: StreamView;
  /** With those of the shard itself: a checkpoint has all of them. */
  readonly views: readonly View[];
  rows: RowStore;
  logs: FakeLogs;
  readonly journal: FakeJournal;
  readonly level: Level;
  checkpointSeq: number;
}

export class World {
  readonly time = new FakeTime();
  readonly nodes: Node[] = [];
  readonly #autoCreate: boolean;
  streams!: Streams;

  static async open(shards: number, autoCreate = false): Promise<World> {
    const world = new World(autoCreate);
    for (let id = 0; id < shards; id++) {
      const level = await openLevel({ memory: true });
      world.nodes.push(await world.#start(id, shards, new FakeJournal(), level, new FakeLogs(), 0));
    }
    world.#serve();
    return world;
  }

  constructor(autoCreate: boolean) {
    this.#autoCreate = autoCreate;
  }

  get service() {
    return this.streams.service;
  }

  get admin() {
    return this.streams.admin;
  }

  #serve(): void {
    this.streams = createStreamService({
      shards: this.nodes.map(({ shard }) => shard),
      views: this.nodes.map(({ view }) => view),
      schemas: noSchemas,
      autoCreate: this.#autoCreate,
      wanted: () => null,
      random: this.time.random,
    });
  }

  async #start(
    id: number,
    shards: number,
    journal: FakeJournal,
    level: Level,
    logs: FakeLogs,
    checkpointSeq: number,
  ): Promise<Node> {
    const { time } = this;
    const rows = new RowStore({ level, monotonicMs: time.monotonicMs });
    let wake = () => {};
    const context: ViewContext = {
      shard: id,
      shards,
      rows,
      logs,
      random: time.random,
      wallMs: time.wallMs,
      wake: () => wake(),
      showsTime: () => {},
    };
    const producers = new Producers(context, 1);
    const effects = new Effects(context, () => 1);
    const view = createStreamView(context);
    await producers.load();
    await effects.load();
    await view.load();
    const parts = {
      id,
      shards,
      runtime: time,
      clock: new ShardClock(time, time.now),
      rows,
      journal: journal as unknown as Journal,
      fence: 1,
      room: { demand() {} },
      producers,
      effects,
      views: [producers, effects, view],
      afterSeal: () => {},
      onFatal: () => {},
    };
    const shard = new Shard(parts, { seq: checkpointSeq, timeMs: 0 });
    wake = shard.wake;
    for (const { seq, timeMs, payload } of journal.entries) {
      if (seq > checkpointSeq) shard.replay(seq, timeMs, payload);
    }
    return { shard, view, views: parts.views, rows, logs, journal, level, checkpointSeq };
  }

  /** Everything durable so far is in rows and logs; the journal behind it would be trimmed. */
  async checkpoint(): Promise<void> {
    for (const node of this.nodes) {
      await node.shard.settled();
      for (const view of node.views) view.flush();
      node.rows.freeze();
      node.logs.checkpoint();
      await node.rows.writeFrozen([]);
      node.checkpointSeq = node.shard.durableSeq;
    }
  }

  /** The process dies now: what is not durable is lost. */
  async restart(): Promise<void> {
    this.time.clear();
    const { length } = this.nodes;
    for (const [id, { journal, level, logs, checkpointSeq }] of [...this.nodes.entries()]) {
      // What was on its way to the old journal is not to arrive in the new one.
      const kept = new FakeJournal();
      kept.entries = [...journal.entries];
      this.nodes[id] = await this.#start(id, length, kept, level, logs.restart(), checkpointSeq);
    }
    this.#serve();
    await this.streams.reconcile();
  }
}

/** Streams of these tests refer to none. */
export const noSchemas: SchemaHolder = { holding: (_tenant, _ref, run) => run() };
