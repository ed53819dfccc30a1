// Deletes of the kv view's own accord: keys whose time has come, and members of dead generations. Reads never
// depend on it: they compare times and generations themselves, so it may be late.
//   W1. A tick emits at most EXPIRED_MAX expiries and one slice of garbage, each of at most TICK_BYTES_MAX: a
//       purge of millions of keys or members never holds up a batch.
//   W2. At most one thing is being read: a slice, or the next part of a window. Members of a dead generation
//       change no more, so a slice cannot be outdated.
//   W3. Several tenants share a tick evenly, and take turns to read.
//   W4. A read that fails costs nothing but time: it is tried again after RETRY_MS.
import type { Event, Moment, ViewContext } from '../shard/state-machine.ts';
import type { Row, Window } from '../storage/contract.ts';
import { after } from '../storage/keys.ts';
import { EXPIRED, type KeyGone, SWEPT, type Swept } from './events.ts';
import {
  EXPIRY,
  type Expiry,
  expiryTime,
  GARBAGE,
  type Garbage,
  generationOfGarbage,
  HASH,
  keyOfExpiry,
  keyOfGarbage,
  memberPrefix,
  memberTable,
  tablePrefix,
  ZSET,
} from './tables.ts';

export const EXPIRED_MAX = 256;
/** Hash values come along with the names, up to 1 MiB each. */
const FIELDS_MAX = 64;
const MEMBERS_MAX = 256;
const TICK_BYTES_MAX = 64 * 1024;
const RETRY_MS = 1000;

/** One tenant's queues of work. */
interface Lane {
  readonly expiry: Window<Expiry>;
  readonly garbage: Window<Garbage>;
}

export class Sweeper {
  readonly #context: ViewContext;
  readonly #lanes: Lane[] = [];
  #isReading = false;
  #nowMs = 0;
  /** Nothing is read before. */
  #retryAtMs = 0;
  #slice: Swept | undefined;

  constructor(context: ViewContext) {
    this.#context = context;
  }

  serve(tenant: number): void {
    const { rows } = this.#context;
    const expiry = tablePrefix(tenant, EXPIRY);
    const garbage = tablePrefix(tenant, GARBAGE);
    this.#lanes.push({
      expiry: rows.window(EXPIRY, expiry, after(expiry)),
      garbage: rows.window(GARBAGE, garbage, after(garbage)),
    });
  }

  tick(at: Moment, emit: (event: Event) => void): void {
    this.#nowMs = at.nowMs;
    const share = Math.ceil(EXPIRED_MAX / this.#lanes.length);
    for (const { expiry } of this.#lanes) {
      const first = expiry.first();
      if (first !== undefined && expiryTime(first.key) <= at.nowMs) expire(expiry.take(share), at, emit);
    }
    if (this.#slice !== undefined) {
      emit(this.#slice);
      this.#slice = undefined;
    }
    if (!this.#isReading && at.nowMs >= this.#retryAtMs) this.#readNext();
  }

  wakeAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY;
    let isStale = false;
    for (const { expiry, garbage } of this.#lanes) {
      const first = expiry.first();
      if (first !== undefined) atMs = Math.min(atMs, expiryTime(first.key));
      if (expiry.isStale() || garbage.isStale()) isStale = true;
    }
    const isDue = isStale || this.#retryAtMs > this.#nowMs;
    return isDue && !this.#isReading ? Math.min(atMs, this.#retryAtMs) : atMs;
  }

  #readNext(): void {
    for (let i = 0; i < this.#lanes.length; i++) {
      // The lane that was served goes to the back (W3).
      const lane = this.#lanes.shift() as Lane;
      this.#lanes.push(lane);
      const garbage = lane.garbage.first();
      if (lane.expiry.isStale()) this.#run(lane.expiry.refill());
      else if (garbage !== undefined) this.#run(this.#read(garbage));
      else if (lane.garbage.isStale()) this.#run(lane.garbage.refill());
      else continue;
      return;
    }
  }

  /** Nobody waits for it: what fails (damage, a store that is closing) is tried again later (W4). */
  #run(reading: Promise<void>): void {
    this.#isReading = true;
    reading.then(
      () => {
        this.#isReading = false;
        this.#context.wake();
      },
      () => {
        this.#isReading = false;
        this.#retryAtMs = this.#nowMs + RETRY_MS;
      },
    );
  }

  async #read(garbage: Row<Garbage>): Promise<void> {
    const { kind, cursor } = garbage.value;
    const key = keyOfGarbage(garbage.key);
    const generation = generationOfGarbage(garbage.key);
    const table = memberTable(kind);
    const prefix = memberPrefix(key, table, generation);
    const limit = kind === HASH ? FIELDS_MAX : MEMBERS_MAX;
    const from = cursor === '' ? prefix : `${prefix}${cursor}\0`;
    const rows = await this.#context.rows.scan(table, { from, to: after(prefix), limit });
    const names: string[] = [];
    let bytes = 0;
    for (const row of rows) {
      const name = row.key.slice(prefix.length);
      names.push(name);
      bytes += name.length;
      if (bytes >= TICK_BYTES_MAX) break;
    }
    const isDone = names.length === rows.length && rows.length < limit;
    const scores = kind === ZSET ? names.map((_, i) => rows[i]?.value as number) : [];
    this.#slice = { type: SWEPT, key, generation, kind, isDone, names, scores };
  }
}

function expire(rows: readonly Row<Expiry>[], at: Moment, emit: (event: Event) => void): void {
  let bytes = 0;
  for (const { key, value } of rows) {
    const expireAtMs = expiryTime(key);
    if (expireAtMs > at.nowMs || bytes >= TICK_BYTES_MAX) return;
    bytes += key.length;
    const { generation, kind } = value;
    emit({ type: EXPIRED, key: keyOfExpiry(key), expireAtMs, generation, kind } as KeyGone);
  }
}
