// Whose turn it is among the limit keys of a queue, and which of their jobs may start. Owns what is resident
// of the keys that are being served; everything else of a key is rows (key-tables.ts).
//   N1. Keys take turns in the order of the ring, one job each; a key at a limit leaves the ring, so that
//       nobody walks over it again and again.
//       A key whose rows or bytes come from the disk keeps its turn: the others wait for it.
//   N2. At most LANES_MAX keys are resident, whatever waits.
//   N3. What was picked is not evolved yet: until `settle`, `pending` and the bucket of a lane stand for it.
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import type { Window } from '../storage/contract.ts';
import { after, readPart, readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { Pick } from './grants.ts';
import type * as ke from './key-events.ts';
import { BUCKET, KEYED, slotOf } from './key-tables.ts';
import { nextTokenMs, rebased, spend, tokens } from './limits.ts';
import type { Source } from './sources.ts';
import { type JobMeta, metaBytes, type ResolvedSpec } from './tables.ts';
import { Unreadable } from './unreadable.ts';

const LANES_MAX = 256;
const LOADING_MAX = 64;
/** Keys whose rows or bytes are asked for together with those of the one whose turn it is. */
const AHEAD = 16;
/** Rows of one refill of a lane. */
const LANE_ROWS = 64;
/** Of metas granted at once, so that the events of a grant fit together (shard/bounds.ts). */
const PICKED_BYTES_MAX = 192 * 1024;
const LEAVING_BYTES_MAX = 128 * 1024;
const VISITS_MAX = 4096;

/** A limit key that is being served. */
interface Lane {
  readonly limitKey: string;
  readonly jobs: Window<JobMeta>;
  isReady: boolean;
  isLeaving: boolean;
  /** Picked and not settled. */
  pending: number;
  fullAtUs: number;
  /** The bucket before what is pending was spent. */
  settledFullAtUs: number;
}

/** null: the bytes are on their way; undefined: they cannot be read. */
type SourceAt = (offset: number) => Source | null | undefined;

export class KeyTurns {
  readonly #context: ViewContext;
  readonly #cell: QueueCell;
  readonly #spec: ResolvedSpec;
  readonly #generation: number;
  /** Least recently served first. */
  readonly #lanes = new Map<string, Lane>();
  /** Limit keys whose rows could not be read: they lose their turns for a while. */
  readonly #unreadable = new Unreadable<string>();
  #loading = 0;
  #isRingLoading = false;
  #isClosed = false;
  /** Where the ring goes on. */
  #place: string;
  #leaving: ke.Left['keys'][number][] = [];
  #leavingBytes = 0;
  /** Rounds since the jobs without a limit key had their turn. */
  rounds = 0;

  constructor(context: ViewContext, cell: QueueCell) {
    this.#context = context;
    this.#cell = cell;
    this.#spec = cell.spec;
    this.#generation = cell.state.generation;
    this.#place = cell.limitKeys.ring;
  }

  /** The queue was purged or declared anew: begin again. */
  get isOutdated(): boolean {
    return this.#spec !== this.#cell.spec || this.#generation !== this.#cell.state.generation;
  }

  close(): void {
    this.#isClosed = true;
    for (const { jobs } of this.#lanes.values()) jobs.close();
    this.#lanes.clear();
  }

  /** Picks up to `max` jobs; whoever calls emits the grant, and then settles. */
  take(max: number, at: Moment, sourceAt: SourceAt): Pick[] {
    this.#unreadable.forgive(at.nowMs);
    const picks: Pick[] = [];
    let bytes = 0;
    let isIdleRound = false;
    for (let visits = VISITS_MAX; picks.length < max && bytes < PICKED_BYTES_MAX; visits--) {
      if (visits === 0 || this.#leavingBytes > LEAVING_BYTES_MAX) {
        this.#context.wake();
        break;
      }
      const lane = this.#next();
      if (lane === 'wait') break;
      if (lane === 'round') {
        this.rounds++;
        if (isIdleRound) break;
        isIdleRound = true;
      } else if (lane !== 'skip') {
        const pick = this.#serve(lane, at, sourceAt);
        if (pick === 'wait') break;
        if (pick === null) continue;
        picks.push(pick);
        bytes += metaBytes(pick.meta);
        isIdleRound = false;
      }
    }
    return picks;
  }

  /** New levels of the buckets that were spent from. */
  metered(): ke.Metered['keys'] {
    const keys: ke.Metered['keys'][number][] = [];
    for (const lane of this.#lanes.values()) {
      const { limitKey, fullAtUs, settledFullAtUs } = lane;
      if (fullAtUs === settledFullAtUs) continue;
      keys.push({ limitKey, fullAtUs, replacesSlotMs: settledFullAtUs > 0 ? slotOf(settledFullAtUs) : 0 });
    }
    return keys;
  }

  /** What was picked is evolved: the keys that leave the ring. */
  settle(): ke.Left['keys'] {
    const left = this.#leaving;
    this.#leaving = [];
    this.#leavingBytes = 0;
    for (const lane of this.#lanes.values()) {
      lane.pending = 0;
      lane.settledFullAtUs = lane.fullAtUs;
      lane.isLeaving = false;
    }
    return left;
  }

  #next(): Lane | 'skip' | 'round' | 'wait' {
    const { ring, limitKeys } = this.#cell;
    const row = ring.firstFrom(this.#place);
    if (row === undefined) return this.#roundTheRing();
    const keyOfTurn = readPart(row.key, limitKeys.ring.length).bytes;
    const lane = this.#lanes.get(keyOfTurn);
    if (!lane?.isReady && !this.#unreadable.has(keyOfTurn)) {
      // Nobody else has this turn meanwhile.
      this.#lookAhead(row.key, (limitKey) => this.#open(limitKey));
      return 'wait';
    }
    this.#place = `${row.key}\0`;
    return lane === undefined || lane.isLeaving ? 'skip' : lane;
  }

  #lookAhead(ringKey: string, visit: (limitKey: string) => void): void {
    const { ring, limitKeys } = this.#cell;
    for (let i = 0, from = ringKey; i < AHEAD; i++) {
      const row = ring.firstFrom(from);
      if (row === undefined) return;
      visit(readPart(row.key, limitKeys.ring.length).bytes);
      from = `${row.key}\0`;
    }
  }

  /** The resident part of the ring is behind: go on, or begin again. */
  #roundTheRing(): 'round' | 'wait' {
    const { ring, limitKeys } = this.#cell;
    const end = after(limitKeys.ring);
    if (this.#isRingLoading) return 'wait';
    if (ring.isWhole()) {
      this.#place = limitKeys.ring;
      if (ring.from === limitKeys.ring) return 'round';
      this.rounds++;
      ring.reset(limitKeys.ring, end);
    } else if (this.#place > ring.from) ring.reset(this.#place, end);
    this.#isRingLoading = true;
    const done = () => {
      this.#isRingLoading = false;
      this.#context.wake();
    };
    ring.refill().then(done, () => {
      this.#isRingLoading = false;
    });
    return 'wait';
  }

  #open(limitKey: string): void {
    if (this.#lanes.has(limitKey) || this.#unreadable.has(limitKey) || this.#loading >= LOADING_MAX) return;
    if (this.#lanes.size >= LANES_MAX) this.#evict();
    const { rows } = this.#context;
    const from = this.#cell.limitKeys.jobsOf(limitKey);
    const jobs = rows.window(KEYED, from, after(from), LANE_ROWS);
    const state = {
      isReady: false,
      isLeaving: false,
      pending: 0,
      fullAtUs: 0,
      settledFullAtUs: 0,
    };
    const lane: Lane = { limitKey, jobs, ...state };
    this.#lanes.set(limitKey, lane);
    this.#load(lane);
  }

  /** Makes the next jobs of a lane and its bucket resident. */
  #load(lane: Lane): void {
    const { rows } = this.#context;
    const bucket = { table: BUCKET, key: this.#cell.limitKeys.bucketKey(lane.limitKey) };
    lane.isReady = false;
    this.#loading++;
    const load = async () => {
      await lane.jobs.refill();
      while (!rows.isResident(bucket)) await rows.fetch([bucket]);
    };
    load().then(
      () => {
        this.#loading--;
        if (this.#isClosed) return;
        // Only the lane itself spends, so that the row is what it has settled.
        lane.fullAtUs = lane.settledFullAtUs = rows.get(BUCKET, bucket.key) ?? 0;
        lane.isReady = true;
        this.#context.wake();
      },
      () => {
        this.#loading--;
        this.#drop(lane.limitKey);
        this.#unreadable.add(lane.limitKey);
        this.#context.wake();
      },
    );
  }

  #evict(): void {
    for (const [limitKey, lane] of this.#lanes) {
      if (!lane.isReady || lane.isLeaving || lane.pending > 0) continue;
      this.#drop(limitKey);
      return;
    }
  }

  #drop(limitKey: string): void {
    this.#lanes.get(limitKey)?.jobs.close();
    this.#lanes.delete(limitKey);
  }

  /** The next job of a lane; null: it has none to give now. */
  #serve(lane: Lane, at: Moment, sourceAt: SourceAt): Pick | 'wait' | null {
    const { limitKey, jobs, pending } = lane;
    const { ratePerKey, concurrencyPerKey } = this.#spec.limits ?? {};
    const row = jobs.at(pending);
    if (row === undefined) {
      if (jobs.isWhole()) this.#leave(lane, 'empty', 0);
      else if (pending > 0) return this.#waitAt(limitKey);
      else {
        this.#load(lane);
        return this.#waitAt(limitKey);
      }
      return null;
    }
    const running = (this.#cell.running.get(limitKey) ?? 0) + pending;
    if (concurrencyPerKey !== undefined && running >= concurrencyPerKey) {
      this.#leave(lane, 'concurrency', 0);
      return null;
    }
    if (ratePerKey !== undefined) {
      lane.fullAtUs = rebased(ratePerKey, lane.fullAtUs, at.nowMs);
      if (tokens(ratePerKey, lane.fullAtUs, at.nowMs) < 1) {
        this.#leave(lane, 'rate', nextTokenMs(ratePerKey, lane.fullAtUs));
        return null;
      }
    }
    const offset = readU53be(row.key, row.key.length - 7);
    const source = sourceAt(offset);
    if (source === undefined) return null;
    if (source === null) {
      this.#lookAhead(this.#cell.limitKeys.ringKey(limitKey), (next) => {
        const ahead = this.#lanes.get(next)?.jobs.at(this.#lanes.get(next)?.pending ?? 0);
        if (ahead !== undefined) sourceAt(readU53be(ahead.key, ahead.key.length - 7));
      });
      return this.#waitAt(limitKey);
    }
    lane.pending++;
    if (ratePerKey !== undefined) lane.fullAtUs = spend(ratePerKey, lane.fullAtUs, at.nowMs, 1);
    this.#lanes.delete(limitKey);
    this.#lanes.set(limitKey, lane);
    if (jobs.at(lane.pending) === undefined && jobs.isWhole()) this.#leave(lane, 'empty', 0);
    return { source, index: offset - source.head.baseOffset, count: 1, meta: row.value, from: 'keyed' };
  }

  /** The lane keeps its turn. */
  #waitAt(limitKey: string): 'wait' {
    this.#place = this.#cell.limitKeys.ringKey(limitKey);
    return 'wait';
  }

  #leave(lane: Lane, why: ke.Left['keys'][number]['why'], untilMs: number): void {
    lane.isLeaving = true;
    this.#leaving.push({ limitKey: lane.limitKey, why, untilMs });
    this.#leavingBytes += lane.limitKey.length + 16;
  }
}
