// One cache keyspace: the kv view over rows in memory, with a bound on them. To the service it is a shard, so
// every operation means what it means elsewhere.
//   H1. Nothing is journaled: an answer says `memory`, and a restart begins with nothing.
//   H2. After a command, at most EVICT_ROWS_MAX rows were deleted to come back within the bound; what is left
//       over goes with the next ones, or by itself.
//   H3. A mutation that is repeated is carried out again: what a cache promises ends with the connection.
import { FlowError } from '@flowmesh/protocol';
import type { Runtime } from '../runtime.ts';
import type { Follower, LiveEntry } from '../shard/history.ts';
import { asFlowError } from '../shard/refusals.ts';
import {
  type Command,
  type Event,
  type HistoryEntry,
  type Moment,
  NOT_NOW,
  type ShardPort,
  type Timeline,
  type WholeEntry,
} from '../shard/state-machine.ts';
import { after } from '../storage/keys.ts';
import { CacheRows } from './cache-rows.ts';
import type { KvCommand } from './command.ts';
import { EVICTED, isGone, type KeyGone, type KeyPut, MEMBERS_REMOVED, SWEPT } from './events.ts';
import { Eviction, type Policy } from './eviction.ts';
import { type Kind, META, type Meta, memberPrefix, memberTable, ORDER, ZSET } from './tables.ts';
import { KvView } from './view.ts';

const EVICT_ROWS_MAX = 2000;
const GO_ON_MS = 1;
/** Positions of a later life are above those of an earlier one: a cursor never fits by accident. */
const POSITIONS_PER_MS = 1000;

export interface CacheBound {
  readonly maxBytes: number;
  readonly eviction: Policy;
}

export interface CacheParts {
  readonly runtime: Pick<Runtime, 'wallMs' | 'random' | 'after'>;
  readonly nowMs: () => number;
}

interface Remains {
  readonly key: string;
  readonly kind: Kind;
  readonly generation: number;
}

export class CacheShard implements ShardPort {
  readonly id = 0;
  readonly shards = 1;
  readonly rows = new CacheRows();
  readonly view: KvView;
  evictedTotal = 0;
  readonly #p: CacheParts;
  readonly #eviction: Eviction;
  readonly #followers = new Set<Follower>();
  /** Collections that were evicted, and still have members. */
  readonly #remains: Remains[] = [];
  #bound: CacheBound;
  #position: number;
  #events: Event[] = [];
  #cancelTimer = () => {};
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(bound: CacheBound, parts: CacheParts) {
    this.#p = parts;
    this.#bound = bound;
    this.#position = Math.floor(parts.runtime.wallMs()) * POSITIONS_PER_MS;
    const { random, wallMs } = parts.runtime;
    const expiryOf = (key: string) => this.rows.get(META, key)?.expireAtMs ?? 0;
    this.#eviction = new Eviction(bound.eviction, { random, nowMs: parts.nowMs, expiryOf });
    const none = () => {
      throw new FlowError('INTERNAL', 'a cache has no logs');
    };
    const logs = { open: none, drop: none };
    this.view = new KvView({
      shard: 0,
      shards: 1,
      rows: this.rows,
      logs,
      random,
      wallMs,
      wake: () => this.#arm(0),
      showsTime: () => {},
    });
  }

  set bound(bound: CacheBound) {
    this.#bound = bound;
    this.#eviction.policy = bound.eviction;
    this.#turn(() => undefined);
  }

  nowMs(): number {
    return this.#p.nowMs();
  }

  momentMs(): number {
    return this.#p.nowMs();
  }

  /** Never: a command is what tells the eviction which keys are in use. */
  peek(): typeof NOT_NOW {
    return NOT_NOW;
  }

  submit(command: Command, done: (error: FlowError | null, reply: unknown) => void): void {
    let reply: unknown;
    try {
      for (const { key } of (command as KvCommand).plans) this.#eviction.use(key);
      reply = this.#turn((at) => this.view.decide(command, at, (event) => this.#apply(event)));
    } catch (error) {
      done(asFlowError(error), undefined);
      return;
    }
    done(null, reply);
  }

  call<R>(command: Command): Promise<R> {
    return new Promise((resolve, reject) => {
      this.submit(command, (error, reply) => (error === null ? resolve(reply as R) : reject(error)));
    });
  }

  async transact(): Promise<unknown[]> {
    throw new FlowError('INVALID_ARGUMENT', 'a cache has no part in transactions');
  }

  async settled(): Promise<void> {}

  async *history(): AsyncIterable<HistoryEntry> {}

  readonly timeline: Timeline = ((shard: CacheShard) => ({
    /** Nothing is retained. */
    get window() {
      return { first: shard.#position, next: shard.#position };
    },
    positionAt: async () => shard.#position,
    async *entries(): AsyncIterable<WholeEntry> {},
    async *range(): AsyncIterable<WholeEntry> {},
    place: () => ({ position: shard.#position, events: 0 }),
    follow(_view: string, follower: Follower) {
      shard.#followers.add(follower);
      return () => void shard.#followers.delete(follower);
    },
  }))(this);

  close(): void {
    this.#cancelTimer();
  }

  /** One entry, if anything happens. */
  #turn<R>(run: (at: Moment) => R): R {
    const at = { nowMs: this.nowMs(), position: this.#position };
    try {
      const result = run(at);
      if (this.#events.length > 0) this.#tick(at);
      this.#shrink();
      return result;
    } finally {
      this.#tell(at);
      this.#arm(this.view.wakeAtMs());
    }
  }

  #tick(at: Moment): void {
    this.view.tick(at, (event) => this.#apply(event));
  }

  #apply(event: Event): void {
    this.view.evolve(event);
    if (event.type === SWEPT) return;
    this.#events.push(event);
    const { key } = event as KeyPut;
    if (isGone(event) || (event.type === MEMBERS_REMOVED && (event as KeyPut).meta.count === 0)) {
      this.#eviction.remove(key);
    } else this.#eviction.add(key);
  }

  #tell({ position, nowMs }: Moment): void {
    if (this.#events.length === 0) return;
    const entry: LiveEntry = { position, timeMs: nowMs, events: this.#events };
    this.#events = [];
    this.#position = position + 1;
    for (const follower of [...this.#followers]) follower(entry);
  }

  #shrink(): void {
    let left = EVICT_ROWS_MAX;
    while (left > 0 && this.rows.bytes > this.#bound.maxBytes) {
      const remains = this.#remains.at(-1);
      if (remains !== undefined) left -= this.#deleteMembers(remains, left);
      else if (!this.#evict()) return;
      else left--;
    }
    if (left <= 0) this.#arm(this.nowMs() + GO_ON_MS);
  }

  #evict(): boolean {
    const key = this.#eviction.worst();
    const meta = key === undefined ? undefined : (this.rows.get(META, key) as Meta);
    if (key === undefined || meta === undefined) return false;
    const { expireAtMs, generation, kind } = meta;
    this.evictedTotal++;
    this.#apply({ type: EVICTED, key, expireAtMs, generation, kind } as KeyGone);
    if (generation !== 0) this.#remains.push({ key, kind, generation });
    return true;
  }

  /** The sweeper would come to them as well, but not before memory is short. */
  #deleteMembers({ key, kind, generation }: Remains, max: number): number {
    const tables = kind === ZSET ? [memberTable(kind), ORDER] : [memberTable(kind)];
    let deleted = 0;
    for (const table of tables) {
      const from = memberPrefix(key, table, generation);
      for (const row of this.rows.first(from, after(from), max - deleted)) {
        this.rows.del(table, row);
        deleted++;
      }
    }
    if (deleted < max) this.#remains.pop();
    return Math.max(1, deleted);
  }

  #arm(atMs: number): void {
    const wanted = this.#remains.length > 0 && this.rows.bytes > this.#bound.maxBytes ? 0 : atMs;
    if (wanted === this.#timerAtMs) return;
    this.#cancelTimer();
    this.#timerAtMs = wanted;
    if (wanted === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer = this.#p.runtime.after(Math.max(GO_ON_MS, wanted - this.nowMs()), () => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#turn((at) => this.#tick(at));
    });
  }
}
