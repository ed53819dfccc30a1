// Limit keys that wait for a token: they return to the ring when their time has come, or when the limits of
// their queue are declared anew. Buckets that are full are forgotten.
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import type { Window } from '../storage/contract.ts';
import { after, DEFAULT_TENANT, readPart, readU32be, readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as ke from './key-events.ts';
import { BUCKET_FULL } from './key-tables.ts';
import { type ResolvedSpec, tablePrefix } from './tables.ts';
import type { EmitThen } from './upkeep.ts';

/** Keys of one event. */
const SLICE = 256;
const HOUSEKEEPING_MS = 5000;
/** After a read that failed. */
const RETRY_MS = 1000;

/** What is known of a queue that has jobs by key. */
interface Watched {
  /** Under which its keys were parked. */
  spec: ResolvedSpec;
  /** The spec changed: all keys behind this one return. */
  drainFrom: string;
  dueMs: number;
}

export class Parking {
  readonly #context: ViewContext;
  readonly #cells = new Map<QueueCell, Watched>();
  readonly #bucketsFull: Window<true>;
  #nextHousekeepingMs = 0;

  constructor(context: ViewContext) {
    this.#context = context;
    const prefix = tablePrefix(DEFAULT_TENANT, BUCKET_FULL);
    this.#bucketsFull = context.rows.window(BUCKET_FULL, prefix, after(prefix));
  }

  /** Something happened to a queue: it may have jobs by key now, or keys that wait. */
  note(cell: QueueCell): void {
    if (cell.state.keyed === 0) return;
    const known = this.#cells.get(cell);
    if (known === undefined) this.#cells.set(cell, { spec: cell.spec, drainFrom: '', dueMs: 0 });
    else known.dueMs = known.spec === cell.spec ? Math.min(known.dueMs, dueOf(cell)) : 0;
  }

  forget(cell: QueueCell): void {
    this.#cells.delete(cell);
  }

  wakeAtMs(): number {
    let nextMs = this.#nextHousekeepingMs;
    for (const { dueMs } of this.#cells.values()) nextMs = Math.min(nextMs, dueMs);
    return nextMs;
  }

  run(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    for (const [cell, watched] of this.#cells) {
      if (watched.dueMs > at.nowMs) continue;
      if (cell.state.keyed === 0) this.#cells.delete(cell);
      else this.#resume(cell, watched, at, emit, hasRoom);
    }
    if (at.nowMs >= this.#nextHousekeepingMs) this.#forgetBuckets(at, emit);
  }

  #resume(cell: QueueCell, watched: Watched, at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    const { parked, limitKeys } = cell;
    if (watched.spec !== cell.spec && watched.drainFrom === '') watched.drainFrom = limitKeys.parked;
    for (;;) {
      if (!hasRoom()) return;
      const keys = watched.drainFrom === '' ? dueKeys(cell, at.nowMs) : this.#drain(cell, watched);
      if (keys.length === 0) break;
      emit({ type: ke.RESUMED, queueNo: cell.queueNo, keys } as ke.Resumed);
    }
    if (watched.drainFrom !== '') {
      watched.drainFrom = '';
      watched.spec = cell.spec;
    }
    watched.dueMs = dueOf(cell);
    if (!parked.isStale()) return;
    watched.dueMs = Number.POSITIVE_INFINITY;
    const again = () => {
      watched.dueMs = 0;
      this.#context.wake();
    };
    parked.refill().then(again, () => {
      watched.dueMs = Math.min(watched.dueMs, at.nowMs + RETRY_MS);
    });
  }

  /** Whatever their time: the next keys that were parked under the former limits. */
  #drain(cell: QueueCell, watched: Watched): ke.Resumed['keys'] {
    const keys: ke.Resumed['keys'][number][] = [...cell.full].slice(0, SLICE).map((limitKey) => ({
      limitKey,
      untilMs: 0,
    }));
    while (keys.length < SLICE) {
      const row = cell.parked.firstFrom(watched.drainFrom);
      if (row === undefined) break;
      watched.drainFrom = `${row.key}\0`;
      keys.push(parkedKey(cell, row.key));
    }
    return keys;
  }

  #forgetBuckets(at: Moment, emit: EmitThen): void {
    this.#nextHousekeepingMs = at.nowMs + HOUSEKEEPING_MS;
    const keys: ke.Refilled['keys'][number][] = [];
    for (const { key } of this.#bucketsFull.take(SLICE)) {
      const slotMs = readU53be(key, 5);
      if (slotMs > at.nowMs) break;
      keys.push({ queueNo: readU32be(key, 12), limitKey: readPart(key, 16).bytes, slotMs });
    }
    if (keys.length > 0) emit({ type: ke.REFILLED, keys } as ke.Refilled);
    // What cannot be read is asked for again when house is kept next.
    if (this.#bucketsFull.isStale()) this.#bucketsFull.refill().then(this.#context.wake, () => {});
    if (keys.length === SLICE) this.#nextHousekeepingMs = at.nowMs + 20;
  }
}

function dueKeys(cell: QueueCell, nowMs: number): ke.Resumed['keys'] {
  const keys: ke.Resumed['keys'][number][] = [];
  for (const { key } of cell.parked.take(SLICE)) {
    const parked = parkedKey(cell, key);
    if (parked.untilMs > nowMs) break;
    keys.push(parked);
  }
  return keys;
}

function parkedKey(cell: QueueCell, key: string): ke.Resumed['keys'][number] {
  const at = cell.limitKeys.parked.length;
  return { untilMs: readU53be(key, at), limitKey: readPart(key, at + 7).bytes };
}

/** When the first parked key returns; Infinity: none is parked. */
function dueOf(cell: QueueCell): number {
  const first = cell.parked.first();
  if (first !== undefined) return readU53be(first.key, cell.limitKeys.parked.length);
  return cell.parked.isStale() ? 0 : Number.POSITIVE_INFINITY;
}
